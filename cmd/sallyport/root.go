package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

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
	root.SetUsageTemplate(usageTemplate(root.UsageTemplate()))
	root.AddCommand(newAuthz(s), newRatelimit(s), newDemo(s), group(newPolicy(s), s), group(newLimits(s), s), group(newToken(s), s), group(newLookup(s), s), group(newEnvoy(s), s),
		group(newClientKey(s), s),
		newWhy(s), newVersion(s))
	return group(root, s)
}

// group makes a command that only holds others say no to what is none of them. Left alone it prints its help and exits with 0, and a
// pipeline with a misspelt check passes for ever.
func group(cmd *cobra.Command, s streams) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.SetOut(s.err)
			if err := cmd.Help(); err != nil {
				return daemon.Unable(err)
			}
			return daemon.Unable(errors.New("")) // the help said it
		}
		hint := fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
		if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
			hint = "did you mean " + strings.Join(like, " or ") + "?"
		}
		return daemon.Unable(fmt.Errorf("unknown command %q for %q (%s)", args[0], cmd.CommandPath(), hint))
	}
	return cmd
}

// usageTemplate is cobra's with lines that fit a terminal, and without a line for running a command that only holds others.
func usageTemplate(cobras string) string {
	return strings.NewReplacer(
		".FlagUsages", ".FlagUsagesWrapped 120",
		"{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}",
	).Replace(cobras)
}

// fromEnvironment gives a command's flags their values from the environment, beneath the command line's.
func fromEnvironment(cmd *cobra.Command, s streams) {
	cmd.Flags().SortFlags = false // help shows together what belongs together
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
	unknown, err := daemon.BindEnv(flags, s.environ)
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		fmt.Fprintf(s.err, "sallyport: no flag reads these environment variables, they have no effect: %v\n", unknown)
	}
	return nil
}

// signals is what both gates do at a signal, for their help.
const signals = `

SIGTERM and Ctrl-C drain: calls in flight finish; a second one ends the gate at once. SIGHUP opens the audit file anew (after
logrotate) and looks at all files at once.`

// logger is the log of a command that serves.
func logger(s streams, o daemon.Options) (*slog.Logger, error) {
	return daemon.NewLogger(s.err, o.LogFormat, o.LogLevel)
}
