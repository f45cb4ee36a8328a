package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// errShown ends a command with exit code 1 after its findings were printed.
var errShown = daemon.Invalid(errors.New(""))

// readAll reads the policy files FILE or DIR, and the descriptor sets and lists of networks beside them, for a check. A file that cannot be read is an error of the check, in its place among the others.
func readAll(path string) ([]daemon.File, error) {
	files, err := daemon.ReadFiles(path, policy.Beside()...)
	if err != nil {
		return nil, daemon.Unable(err)
	}
	for _, file := range files {
		if file.Err != nil {
			return nil, daemon.Invalid(fmt.Errorf("%s: %w", file.Name, file.Err))
		}
	}
	return files, nil
}

// showErrors prints findings with their lines and carets, and how many there are.
func showErrors(out io.Writer, errs strictyaml.Errors) error {
	fmt.Fprintln(out, errs.Pretty())
	plural := "s"
	if len(errs) == 1 {
		plural = ""
	}
	fmt.Fprintf(out, "\n%d error%s\n", len(errs), plural)
	return errShown
}
