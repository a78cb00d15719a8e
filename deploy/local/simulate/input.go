package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// where is a place in the input.
type where struct {
	name string
	line int // 0 if there is one thing in it only.
}

func (w where) String() string {
	if w.line == 0 {
		return w.name
	}
	return fmt.Sprintf("%s:%d", w.name, w.line)
}

// alert is one event and where it was read.
type alert struct {
	where
	event event.Event
}

// readAll reads everything that is named, and says what cannot be read.
func readAll(inputs []string, stdin io.Reader, s sender) (alerts []alert, bad []error) {
	var files []string
	for _, input := range inputs {
		found, err := filesOf(input)
		if err != nil {
			bad = append(bad, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		name, content, err := contentOf(file, stdin)
		if err != nil {
			bad = append(bad, fmt.Errorf("read alerts: %w", err))
			continue
		}
		r := reader{name: name, sender: s}
		r.read(content)
		alerts, bad = append(alerts, r.alerts...), append(bad, r.problems()...)
	}
	return alerts, bad
}

func contentOf(file string, stdin io.Reader) (name string, content []byte, err error) {
	if file == "-" {
		content, err = io.ReadAll(stdin)
		return "stdin", content, err
	}
	content, err = os.ReadFile(file)
	return file, content, err
}

// endings are those of the files that are read in a folder.
func endings() []string { return []string{".json", ".jsonl", ".ndjson", ".log", ".http"} }

// filesOf returns the files of an input, those of a folder in order.
func filesOf(input string) ([]string, error) {
	if input == "-" {
		return []string{input}, nil
	}
	info, err := os.Stat(input)
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	if !info.IsDir() {
		return []string{input}, nil
	}
	var files []string
	err = filepath.WalkDir(input, func(path string, entry fs.DirEntry, err error) error {
		switch hidden := path != input && strings.HasPrefix(entry.Name(), "."); {
		case err != nil:
			return err
		case hidden && entry.IsDir():
			return fs.SkipDir
		case !hidden && !entry.IsDir() && slices.Contains(endings(), strings.ToLower(filepath.Ext(path))):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("read alerts: folder %s has no file that ends in %s", input, strings.Join(endings(), ", "))
	}
	return files, nil
}

// maxProblems bounds what is said about one file.
const maxProblems = 20

// reader takes one file apart.
type reader struct {
	name   string
	sender sender
	alerts []alert
	bad    []error
	more   int // problems beyond maxProblems.
}

func (r *reader) fail(line int, err error) {
	if len(r.bad) == maxProblems {
		r.more++
		return
	}
	r.bad = append(r.bad, fmt.Errorf("%s: %w", where{r.name, line}, err))
}

func (r *reader) problems() []error {
	if r.more > 0 {
		return append(r.bad, fmt.Errorf("%s: and %d more problems", r.name, r.more))
	}
	return r.bad
}

func (r *reader) add(line int, e event.Event, err error) {
	if err != nil {
		r.fail(line, err)
		return
	}
	r.alerts = append(r.alerts, alert{where: where{r.name, line}, event: e})
}

func (r *reader) read(content []byte) {
	if isRequest(content) {
		r.request(content)
	} else {
		r.values(content, 1)
	}
	if len(r.alerts) == 0 && len(r.bad) == 0 {
		r.fail(0, errors.New("there is no alert in it"))
	}
}
