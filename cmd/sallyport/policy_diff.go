package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

func newPolicyDiff(s streams) *cobra.Command {
	var file, failOn string
	cmd := &cobra.Command{
		Use:   "diff OLD NEW -f REQUESTS",
		Short: "Replay recorded requests under two policies, and say whose answer changes",
		Long: `Diff replays requests that a gate recorded (sallyport authz --record) under two policies, each a file or a folder, and tells the
decisions that change: first what was denied and is allowed now. A request of which the recording does not hold what a rule reads is
counted as one that cannot be told, and never as an allow.

Exit codes: 0 nothing was opened, 1 a request that was denied is allowed now (--fail-on any: or anything changes or cannot be told),
2 could not run.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if failOn != "allow" && failOn != "any" {
				return daemon.Unable(fmt.Errorf("--fail-on is allow or any, not %q", failOn))
			}
			diff, err := replay(cmd.Context(), cmd.InOrStdin(), args, file)
			if err != nil {
				return daemon.Unable(err)
			}
			diff.Print(s.out, file)
			changed := diff.Count(offline.Closes)+diff.Count(offline.Differs)+diff.Untold() > 0
			if diff.Count(offline.Opens) > 0 || failOn == "any" && changed {
				return errShown
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "file", "f", "", "the recorded requests: a file, or - for stdin (required)")
	flags.StringVar(&failOn, "fail-on", "allow", "when the exit code is 1: allow, where a denial becomes one; any, where anything changes")
	fromEnvironment(cmd, s)
	return cmd
}

// replay reads the two policies and the requests.
func replay(ctx context.Context, stdin io.Reader, policies []string, file string) (*offline.Diff, error) {
	if file == "" {
		return nil, errors.New("-f is missing: the requests that a gate recorded")
	}
	before, err := readPolicy(policies[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", policies[0], err)
	}
	after, err := readPolicy(policies[1])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", policies[1], err)
	}
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		stdin = opened
	}
	diff := offline.NewDiff(before, after)
	if err := replayLines(ctx, bufio.NewReaderSize(stdin, offline.MaxLine), file, diff); err != nil {
		return nil, err
	}
	if diff.Lines == 0 {
		return nil, fmt.Errorf("%s holds no requests", file)
	}
	return diff, nil
}

// replayLines adds line after line. A last line that has no end and cannot be read is one that a gate is still writing.
func replayLines(ctx context.Context, in *bufio.Reader, file string, diff *offline.Diff) error {
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("%s:%d: %w", file, number, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			c, errs := offline.ReadCase(file, line)
			switch {
			case len(errs) > 0 && last:
				return nil
			case len(errs) > 0:
				return fmt.Errorf("%s:%d: not a recorded request: %s", file, number, errs[0].Msg)
			}
			if err := diff.Add(ctx, c, number); err != nil {
				return fmt.Errorf("%s:%d: %w", file, number, err)
			}
		}
		if last {
			return nil
		}
	}
}
