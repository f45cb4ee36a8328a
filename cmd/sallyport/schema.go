package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

func newPolicySchema(s streams) *cobra.Command { return schemaCommand(s, "policy", policy.Schema()) }

func newLimitsSchema(s streams) *cobra.Command { return schemaCommand(s, "limits", limits.Schema()) }

// schemaCommand prints the schema of a kind of file.
func schemaCommand(s streams, kind, schema string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of " + kind + " files, for editors",
		Long: `Schema prints the JSON Schema (2020-12) of ` + kind + ` files: which keys there are, what they take and what they mean. An editor with the
YAML language server completes and explains by it:

  sallyport ` + kind + ` schema > ` + kind + `.schema.json

and as the first line of the file

  # yaml-language-server: $schema=` + kind + `.schema.json

Whether a file loads, only "sallyport ` + kind + ` check" says.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(s.out, schema)
			return err
		},
	}
	fromEnvironment(cmd, s)
	return cmd
}
