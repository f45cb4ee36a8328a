package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "Two gates for an Envoy mesh: who may pass, and how many at once",
		Long: `Sallyport is the double gate of an Envoy mesh, in one binary.

The first gate (sallyport authz) answers Envoy's ext_authz: it verifies tokens, enforces scopes and callers,
and lets nobody touch an object that is not theirs. The second (sallyport ratelimit) answers Envoy's rate-limit
service: a sliding window that never admits more than the limit. "sallyport demo" shows both on this machine.

Every flag can be set as SALLYPORT_FLAG_NAME in the environment; the flag wins.
Exit codes: 0 yes, 1 no (an invalid file, a story that did not hold), 2 could not run.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return daemon.Unable(fmt.Errorf("%w (see \"%s --help\")", err, cmd.CommandPath()))
	})
	root.AddCommand(newAuthz(s), newRatelimit(s), newDemo(s), newPolicy(s), newLimits(s), newVersion(s))
	return root
}

// fromEnvironment gives a command's flags their values from the environment, beneath the command line's. It must be called after
// all flags are defined.
func fromEnvironment(cmd *cobra.Command, s streams) {
	args := cmd.Args
	cmd.Args = nil
	cmd.PreRunE = func(cmd *cobra.Command, given []string) error {
		if args != nil {
			if err := args(cmd, given); err != nil {
				return daemon.Unable(fmt.Errorf("%w (see \"%s --help\")", err, cmd.CommandPath()))
			}
		}
		return bindEnvironment(cmd.Flags(), s)
	}
}

// bindEnvironment sets what the command line left alone.
func bindEnvironment(flags *pflag.FlagSet, s streams) error {
	given := map[string]string{}
	lists := map[string][]string{}
	flags.Visit(func(f *pflag.Flag) {
		given[f.Name] = f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			lists[f.Name] = list.GetSlice()
		}
	})
	unknown, err := daemon.BindEnv(flags, s.environ)
	if err != nil {
		return err
	}
	for name, value := range given {
		flag := flags.Lookup(name)
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			err = list.Replace(lists[name])
		} else {
			err = flag.Value.Set(value)
		}
		if err != nil {
			return daemon.Unable(err)
		}
	}
	if len(unknown) > 0 {
		fmt.Fprintf(s.err, "sallyport: no flag reads these environment variables, they have no effect: %v\n", unknown)
	}
	return nil
}

// logger is the log of a command that serves.
func logger(s streams, o daemon.Options) (*slog.Logger, error) {
	return daemon.NewLogger(s.err, o.LogFormat, o.LogLevel)
}
