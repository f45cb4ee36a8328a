package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/demo"
)

type demoFlags struct {
	envoy, valkey               string
	requireEnvoy, requireValkey bool
	once, keep                  bool
}

func newDemo(s streams) *cobra.Command {
	f := &demoFlags{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Tell the whole story on this machine: attacks, without the gates and with them",
		Long: `Demo starts a token issuer, an orders service that is honest but naive, both gates, Envoy and Valkey, all on 127.0.0.1, and sends
the classic attacks on APIs at them: first past the gates, then through. Each line shows both answers, the reason and the rule.
Then everything runs on, with curl lines to paste, until Ctrl-C.

Without Envoy the gates are asked directly, and what only Envoy can show is left out. Without Valkey the limits are counted in memory.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return tell(cmd, s, f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.once, "once", false, "tell the story, and exit with 0 if every line held and 1 if not")
	flags.StringVar(&f.envoy, "envoy", "", "the envoy binary (default: envoy in PATH, then build/tools/bin/envoy); none does without")
	flags.StringVar(&f.valkey, "valkey", "", "the valkey-server binary (default: in PATH, then build/tools/bin); none does without")
	flags.BoolVar(&f.requireEnvoy, "require-envoy", false, "exit with 2 if there is no Envoy")
	flags.BoolVar(&f.requireValkey, "require-valkey", false, "exit with 2 if there is no Valkey")
	flags.BoolVar(&f.keep, "keep", false, "leave the folder with policy, logs and audit log behind")
	fromEnvironment(cmd, s)
	return cmd
}

// tell runs the demo and makes its score an exit code.
func tell(cmd *cobra.Command, s streams, f *demoFlags) error {
	opt, err := f.options(s)
	if err != nil {
		return daemon.Unable(err)
	}
	// A reader that leaves (sallyport demo | head) must not keep us from ending what we started.
	signal.Ignore(syscall.SIGPIPE)
	// Nor must a terminal that closes: the gates among our children take SIGHUP for a wish to reopen their logs.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
	defer stop()
	score, err := demo.Run(ctx, opt)
	switch {
	case err != nil && ctx.Err() != nil:
		return daemon.Unable(errors.New("interrupted before the end of the story"))
	case errors.Is(err, syscall.EPIPE):
		return daemon.Unable(errors.New("")) // there is nobody left to tell
	case err != nil:
		return daemon.Unable(err)
	case score.Broken > 0:
		return daemon.Invalid(fmt.Errorf("%d of %d lines of the story did not hold", score.Broken, score.Broken+score.Held))
	}
	return nil
}

// options finds the parts.
func (f *demoFlags) options(s streams) (demo.Options, error) {
	opt := demo.Options{Out: s.out, Color: coloured(s.out, s.environ), Once: f.once, Keep: f.keep, Environ: s.environ}
	var err error
	if opt.Self, err = os.Executable(); err != nil {
		return opt, fmt.Errorf("demo: find the running binary: %w", err)
	}
	if opt.Envoy, err = demo.Locate("envoy", f.envoy); err != nil {
		return opt, err
	}
	if opt.Valkey, err = demo.Locate("valkey-server", f.valkey); err != nil {
		return opt, err
	}
	const missing = "demo: there is no %s: it is neither in PATH nor in build/tools/bin; `make tools` fetches it, %s names another"
	if opt.Envoy == "" && f.requireEnvoy {
		return opt, fmt.Errorf(missing, "envoy", "--envoy PATH")
	}
	if opt.Valkey == "" && f.requireValkey {
		return opt, fmt.Errorf(missing, "valkey-server", "--valkey PATH")
	}
	return opt, nil
}

// coloured says whether the output is a terminal whose user did not ask for plain text (https://no-color.org).
func coloured(out io.Writer, environ []string) bool {
	plain := slices.ContainsFunc(environ, func(entry string) bool {
		return entry == "TERM=dumb" || strings.HasPrefix(entry, "NO_COLOR=") && entry != "NO_COLOR="
	})
	file, ok := out.(*os.File)
	if plain || !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
