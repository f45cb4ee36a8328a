package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

func newPolicy(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Work with policy files"}
	cmd.AddCommand(newPolicyCheck(s), newPolicyTest(s), newPolicyExplain(s), newPolicyDiff(s), newPolicySchema(s), newPolicyImport(s))
	return cmd
}

func newPolicyCheck(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE|DIR",
		Short: "Say whether a policy loads, and every reason why not",
		Long: `Check reads a policy file, or the *.yaml and *.yml files of a folder as one policy, as the gate would.
It exits 0 if the policy loads, and 1 with every error otherwise: file:line:column, the line, and what to write instead.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := readAll(args[0])
			if err != nil {
				return err
			}
			p, errs := policy.ParseAt(policyFiles(files), time.Now())
			if p != nil {
				errs = withLines(checkLookups(p), files)
			}
			if len(errs) > 0 {
				return showErrors(s.out, errs)
			}
			if len(p.Warnings) > 0 {
				fmt.Fprintf(s.out, "%s\n\nwarnings: %d\n", p.Warnings.Pretty(), len(p.Warnings))
			}
			rules := 0
			for _, service := range p.Services {
				rules += len(service.Rules)
			}
			fmt.Fprintf(s.out, "ok: %d issuers, %d services, %d rules; policy %s\n", len(p.Issuers), len(p.Services), rules, p.Digest)
			return nil
		},
	}
	fromEnvironment(cmd, s)
	return cmd
}

func policyFiles(files []daemon.File) []policy.File {
	out := make([]policy.File, len(files))
	for i, file := range files {
		out[i] = policy.File{Name: file.Name, Data: file.Data}
	}
	return out
}
