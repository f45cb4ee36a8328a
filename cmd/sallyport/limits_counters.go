package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/adminapi"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// newLimitsCounter is one of the commands that ask a running gate about one counter.
func newLimitsCounter(s streams, call, short, long string) *cobra.Command {
	var adminAPI string
	var hits uint64
	use := call + " --admin-api unix:PATH 'domain=D KEY=VALUE KEY=VALUE'"
	if call == "grant" {
		use = call + " --admin-api unix:PATH --hits N 'domain=D KEY=VALUE KEY=VALUE'"
	}
	cmd := &cobra.Command{
		Use: use, Short: short,
		Long: long + `

The descriptor is written as for ` + "`sallyport limits explain`" + `. Exit codes: 0 done, 1 no limit counts this descriptor, 2 the gate or its store
could not be asked.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			domain, entries, err := readDescriptor(args[0])
			switch {
			case adminAPI == "":
				return daemon.Unable(errNoAdminAPI)
			case err != nil:
				return daemon.Unable(fmt.Errorf("%q: %w", args[0], err))
			case domain == "":
				return daemon.Unable(fmt.Errorf("%q: begin with domain=", args[0]))
			case call == "grant" && hits == 0:
				return daemon.Unable(errors.New("--hits is missing: how many to give back"))
			}
			counter, err := adminapi.Count(cmd.Context(), adminAPI, call, domain, entries, hits)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s (%s)\n", counter.Rule, counter.Place)
			for _, w := range counter.Windows {
				fmt.Fprintf(s.out, "  %d of %d left in %s, some come back in %s\n", w.Remaining, w.Limit, w.Span, w.Reset.Round(time.Second))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&adminAPI, "admin-api", "", "the gate's admin API: unix:/path, as the gate was given it")
	if call == "grant" {
		cmd.Flags().Uint64Var(&hits, "hits", 0, "how many hits to give back (required)")
	}
	fromEnvironment(cmd, s)
	return cmd
}

func newLimitsPeek(s streams) *cobra.Command {
	return newLimitsCounter(s, "peek", "Ask a running gate how much of a limit is left", "Peek tells each window of a counter, and spends nothing.")
}

func newLimitsReset(s streams) *cobra.Command {
	return newLimitsCounter(s, "reset", "Have a running gate forget a counter", `Reset makes a counter empty, in the store that the replicas share and in this gate. The gate writes down who asked. Another
replica that remembers the counter to be over its limit may refuse for ten seconds more.`)
}

func newLimitsGrant(s streams) *cobra.Command {
	return newLimitsCounter(s, "grant", "Have a running gate give hits back", `Grant gives back hits that were spent, the newest first, down to none; it never raises a limit. The gate writes down who asked.`)
}

// tellUnmatched prints what a gate saw of descriptors that find no limit.
func tellUnmatched(ctx context.Context, s streams, adminAPI string) error {
	if adminAPI == "" {
		return daemon.Unable(errNoAdminAPI)
	}
	strays, err := adminapi.Strays(ctx, adminAPI)
	if err != nil {
		return err
	}
	if len(strays) == 0 {
		fmt.Fprintln(s.out, "every descriptor found a limit, or a level that lets pass on purpose")
	}
	for _, stray := range strays {
		text := writeDescriptor(stray.Domain, stray.Entries)
		if len(stray.Entries) == 0 {
			text += "  no limits file has this domain"
		}
		fmt.Fprintf(s.out, "%s  %d times  %s\n", stray.Time.UTC().Format(time.RFC3339), stray.Count, text)
	}
	return nil
}

func newLimitsUnmatched(s streams) *cobra.Command {
	var adminAPI string
	cmd := &cobra.Command{
		Use:   "unmatched --admin-api unix:PATH",
		Short: "Ask a running gate which descriptors find no limit",
		Long: `Unmatched lists the descriptors about which the limits files have nothing to say, so that they pass unlimited: the latest of each form
(domain and keys), as this gate saw them, and the domains that no file has. ` + "`sallyport limits explain`" + ` tells of each what is missing.

Exit codes: 0 told, 2 the gate could not be asked.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return tellUnmatched(cmd.Context(), s, adminAPI)
		},
	}
	cmd.Flags().StringVar(&adminAPI, "admin-api", "", "the gate's admin API: unix:/path, as the gate was given it")
	fromEnvironment(cmd, s)
	return cmd
}
