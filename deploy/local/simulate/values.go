package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// values reads JSON objects and arrays of them, one after another: on a line each or
// not. After something that is neither it goes on at the next line that begins with
// one, so that every bad line of a log is named. The content begins on a line of the
// file.
func (r *reader) values(content []byte, first int) {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")) // What some editors put first.
	at, lines := 0, lineCounter{content: content, line: first}
	for {
		at += len(content[at:]) - len(bytes.TrimLeft(content[at:], " \t\r\n"))
		if at == len(content) {
			return
		}
		start := at
		if content[at] != '{' && content[at] != '[' {
			end := at + lineLength(content[at:])
			r.fail(lines.of(start), fmt.Errorf("%s is no JSON object: want an alert of Falco or a CloudEvent", excerpt(content[at:end])))
			at = end
			continue
		}
		d := json.NewDecoder(bytes.NewReader(content[at:]))
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			offset, reason := broken(err, len(content)-at)
			r.fail(lines.of(start), fmt.Errorf("broken JSON in line %d: %w", lines.of(at+offset), reason))
			at = nextValue(content, at)
			continue
		}
		at += int(d.InputOffset())
		r.value(raw, func(offset int) int { return lines.of(start + offset) })
	}
}

// value reads an object, or an array of objects.
func (r *reader) value(raw []byte, line func(offset int) int) {
	if raw[0] == '{' {
		e, err := r.sender.value(raw)
		r.add(line(0), e, err)
		return
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		r.fail(line(0), err)
		return
	}
	for d.More() {
		var one json.RawMessage
		if err := d.Decode(&one); err != nil {
			r.fail(line(0), err)
			return
		}
		at := line(int(d.InputOffset()) - len(one))
		if one[0] != '{' {
			r.fail(at, fmt.Errorf("%s in an array is no JSON object: want an alert of Falco or a CloudEvent", excerpt(one)))
			continue
		}
		e, err := r.sender.value(one)
		r.add(at, e, err)
	}
}

// broken says at which of so many bytes JSON is broken, and how.
func broken(err error, length int) (offset int, reason error) {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return min(max(int(syntax.Offset)-1, 0), length), err // Of the byte after.
	case errors.Is(err, io.ErrUnexpectedEOF):
		return length, errors.New("it ends before it is complete")
	}
	return 0, err
}

// lineCounter says on which line an offset is. It goes on from the last one it was
// asked for, so that a long log is counted once.
type lineCounter struct {
	content  []byte
	at, line int
}

func (l *lineCounter) of(offset int) int {
	if offset < l.at {
		l.line -= bytes.Count(l.content[offset:l.at], []byte("\n"))
	} else {
		l.line += bytes.Count(l.content[l.at:offset], []byte("\n"))
	}
	l.at = offset
	return l.line
}

// nextValue returns where the next line starts that begins with an object or an array.
func nextValue(content []byte, at int) int {
	for at += lineLength(content[at:]); at < len(content); at += lineLength(content[at:]) {
		if content[at] == '{' || content[at] == '[' {
			return at
		}
	}
	return len(content)
}

// lineLength includes the end of the line.
func lineLength(content []byte) int {
	if i := bytes.IndexByte(content, '\n'); i >= 0 {
		return i + 1
	}
	return len(content)
}

// excerpt quotes the beginning of a text: an attacker may have written it.
func excerpt(text []byte) string {
	const most = 60
	s := strings.TrimSpace(string(text))
	if len(s) > most {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:most], ""))
	}
	return fmt.Sprintf("%q", s)
}
