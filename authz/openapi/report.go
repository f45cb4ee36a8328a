package openapi

import (
	"fmt"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// maxErrors is how many errors of one document are shown: more than that is a wrong file, not a list to work through.
const maxErrors = 100

// report collects the errors of one document.
type report struct {
	file  string
	lines []string
	errs  strictyaml.Errors
}

func (r *report) add(at strictyaml.Pos, hint, format string, args ...any) {
	if len(r.errs) >= maxErrors {
		return
	}
	e := &strictyaml.Error{File: r.file, Pos: at, Msg: fmt.Sprintf(format, args...), Hint: hint}
	if at.Line >= 1 && at.Line <= len(r.lines) {
		e.Line = r.lines[at.Line-1]
	}
	r.errs = append(r.errs, e)
}

func (r *report) failed() bool { return len(r.errs) > 0 }

func (r *report) errors() strictyaml.Errors {
	r.errs.Sort()
	return r.errs
}
