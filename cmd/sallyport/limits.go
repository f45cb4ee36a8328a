package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

func newLimits(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "limits", Short: "Work with limits files"}
	cmd.AddCommand(newLimitsCheck(s))
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
			found, err := readAll(args[0])
			if err != nil {
				return err
			}
			var files []*limits.File
			var errs strictyaml.Errors
			for _, file := range found {
				decoded, wrong := limits.Decode(file.Name, file.Data)
				errs = append(errs, wrong...)
				if decoded != nil {
					files = append(files, decoded)
				}
			}
			var table *limits.Table
			if len(errs) == 0 {
				table, errs = limits.Build(files)
			}
			if len(errs) > 0 {
				return showErrors(s.out, errs)
			}
			fmt.Fprintf(s.out, "ok: %d domains, %d limits\n", len(files), len(table.Rules())-len(files))
			return nil
		},
	}
	fromEnvironment(cmd, s)
	return cmd
}
