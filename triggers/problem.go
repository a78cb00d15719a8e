package triggers

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong in a manifest.
type Problem struct {
	// File is the path inside the folder, Line the line in it, 0 if unknown.
	File string
	Line int
	// Document counts the documents of the file from 1.
	Document int
	// Object names what the document holds, "trigger delete-malware".
	Object string
	// Field is the path of the field, "spec.filters[0].exact.priority".
	Field string
	// Message says what is wrong, Cure what to write instead.
	Message string
	Cure    string
}

// Error returns the problem on one line, as a compiler would.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	} else if p.Document > 0 {
		fmt.Fprintf(&b, " (document %d)", p.Document)
	}
	if p.Object != "" {
		b.WriteString(": " + p.Object)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": " + p.Message)
	if p.Cure != "" {
		b.WriteString("; " + p.Cure)
	}
	return b.String()
}

// LoadError holds every problem of a folder: nothing is loaded unless all of it
// can be.
type LoadError struct {
	Problems []Problem
}

// Error returns the problems, one on each line.
func (e *LoadError) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As access to each [Problem].
func (e *LoadError) Unwrap() []error {
	errs := make([]error, 0, len(e.Problems))
	for _, p := range e.Problems {
		errs = append(errs, p)
	}
	return errs
}
