package main

import "github.com/spf13/cobra"

func newEnvoy(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "envoy", Short: "Work with Envoy's configuration"}
	cmd.AddCommand(newEnvoyRender(s), newEnvoyDoctor(s))
	return cmd
}
