// Command sallyport is the double gate of an Envoy mesh: an external-authorization service and a rate-limit service, driven by files
// that a person can read aloud. This package names every concrete type: it reads flags, wires what the other packages offer, and
// turns the outcome into an exit code (0 yes, 1 no, 2 could not run).
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

func main() {
	os.Exit(run(context.Background(), streams{out: os.Stdout, err: os.Stderr, environ: os.Environ()}, compatArgs(os.Args)))
}

// streams are the edges of the process: results go to out, logs and errors to err.
type streams struct {
	out, err io.Writer
	environ  []string
}

// run is main without the process around it.
func run(ctx context.Context, s streams, args []string) int {
	ctx, stop := daemon.WithSignals(ctx)
	defer stop()
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && err.Error() != "" {
		fmt.Fprintln(s.err, "sallyport:", err)
	}
	return daemon.ExitCode(err)
}
