package daemon

import "errors"

// The exit codes of every command. Scripts and CI tell "your file is wrong" from "I could not even look" by them.
const (
	// ExitInvalid says no: an invalid file, a failing test.
	ExitInvalid = 1
	// ExitUnable says that the question was never put: wrong usage, a missing file, a taken port.
	ExitUnable = 2
)

// ExitError is an error that knows the process's exit code. Code zero is never a success: ExitCode reads it as ExitUnable.
type ExitError struct {
	Code int
	Err  error
}

// Error is the message of the wrapped error alone, since the code is for the shell.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap gives errors.Is and errors.As the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// Invalid marks err as a "no": exit code 1. Nil stays nil, and an error that already carries a code keeps it.
func Invalid(err error) error { return withCode(ExitInvalid, err) }

// Unable marks err as "could not run": exit code 2. Nil stays nil, and an error that already carries a code keeps it.
func Unable(err error) error { return withCode(ExitUnable, err) }

func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ExitError](err); ok {
		return err
	}
	return &ExitError{Code: code, Err: err}
}

// ExitCode is the code that a command which ended with err should leave: 0 for nil, the code of an ExitError, and ExitUnable
// for everything else, because an error nobody classified is not an answer.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*ExitError](err); ok && e.Code != 0 {
		return e.Code
	}
	return ExitUnable
}
