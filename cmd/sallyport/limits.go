package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

func newLimits(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "limits", Short: "Work with limits files"}
	cmd.AddCommand(newLimitsCheck(s), newLimitsExplain(s), newLimitsSchema(s), newLimitsPeek(s), newLimitsReset(s), newLimitsGrant(s), newLimitsUnmatched(s))
	return cmd
}

func newLimitsCheck(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE|DIR",
		Short: "Say whether limits load, and every reason why not",
		Long: `Check reads a limits file, or the *.yaml and *.yml files of a folder, one domain each, as the gate would. Both the format of
envoyproxy/ratelimit and Sallyport's own keys are read.
It exits 0 if they load, and 1 with every error otherwise: file:line:column, the line, and what to write instead.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			found, err := daemon.ReadFiles(args[0])
			if err != nil {
				return daemon.Unable(err)
			}
			loaded := limits.Load(nil, limitsSources(found))
			errs := loaded.Errors()
			if len(errs) > 0 {
				return showErrors(s.out, errs)
			}
			fmt.Fprintf(s.out, "ok: %d domains, %d limits\n", len(found), len(loaded.Table.Rules())-len(found))
			return nil
		},
	}
	fromEnvironment(cmd, s)
	return cmd
}

// errLimitsTooLarge says of a limits file what daemon.ErrTooLarge says of files in general, whose advice to split it is none here.
var errLimitsTooLarge = errors.New("is larger than 1 MiB: a limits file holds one domain, and at most that")

// limitsSources hands files over as they were found.
func limitsSources(files []daemon.File) []limits.Source {
	sources := make([]limits.Source, len(files))
	for i, file := range files {
		sources[i] = limits.Source{Name: file.Name, Data: file.Data, Err: file.Err}
		if errors.Is(file.Err, daemon.ErrTooLarge) {
			sources[i].Err = errLimitsTooLarge
		}
	}
	return sources
}
