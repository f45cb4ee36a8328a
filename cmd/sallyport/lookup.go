package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	ownergrpc "github.com/sallyport-dev/sallyport/authz/owner/grpc"
	"github.com/sallyport-dev/sallyport/authz/owner/grpc/conformance"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

func newLookup(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "lookup", Short: "Work with servers that know whose objects are"}
	cmd.AddCommand(newLookupConform(s))
	return cmd
}

type conformFlags struct {
	facts  string
	server policy.GRPCLookup
}

func newLookupConform(s streams) *cobra.Command {
	var f conformFlags
	cmd := &cobra.Command{
		Use:   "conform --address HOST:PORT|unix:PATH --facts FILE",
		Short: "Hold a server of sallyport.owner.v1.OwnerService to the protocol",
		Long: `Conform asks a running server of yours, in any language, whose objects are, and prints a line for each thing that it must do: ok, FAIL
with what was expected and what came, or -- where the facts do not suffice to find out. It changes nothing there, and asks a thousand
or two of questions. What is true there is said in a file of facts:

  facts:
    - {issuer: shop, subject: alice, objects: [order-1, order-2]}
    - {issuer: shop, subject: bob, objects: [order-3]}
    - {issuer: shop, subject: alice, relation: viewer, objects: [order-3]}
    - {tenant: acme, issuer: shop, kind: machine, subject: billing, objects: [order-1]}

Two subjects with an object each are the least. Of an object that it names it says all: nobody else has it.
The connection is made as a policy's "grpc:" makes it: by TLS, or without on the loopback, by a Unix socket or with --plaintext.

Exit codes: 0 the server keeps to the protocol, 1 it does not, 2 it cannot be asked, or the facts cannot be read.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := f.run(cmd.Context())
			if err != nil {
				return daemon.Unable(err)
			}
			return showFindings(s.out, findings)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.server.Address, "address", "", "the server: HOST:PORT, or unix:/path")
	flags.StringVar(&f.facts, "facts", "", "the file that says whose objects are")
	flags.StringVar(&f.server.ServerName, "server-name", "", "what the server's certificate must be of (default the host)")
	flags.StringVar(&f.server.CAFile, "ca-file", "", "trust these roots instead of the system's")
	flags.StringVar(&f.server.CertFile, "cert-file", "", "show this client certificate")
	flags.StringVar(&f.server.KeyFile, "key-file", "", "the client certificate's key")
	flags.StringVar(&f.server.TokenFile, "token-file", "", "send the bearer token in this file")
	flags.BoolVar(&f.server.Plaintext, "plaintext", false, "speak no TLS")
	fromEnvironment(cmd, s)
	return cmd
}

// run reads the facts and asks the server.
func (f *conformFlags) run(ctx context.Context) ([]conformance.Finding, error) {
	switch {
	case f.server.Address == "":
		return nil, errors.New("--address is missing: the server's HOST:PORT, or unix:/path")
	case f.facts == "":
		return nil, errors.New("--facts is missing: the file that says whose objects are")
	}
	data, err := os.ReadFile(f.facts)
	if err != nil {
		return nil, err
	}
	facts, errs := conformance.Parse(f.facts, data)
	if len(errs) > 0 {
		return nil, fmt.Errorf("the facts do not load:\n%s", errs.Pretty())
	}
	server, err := ownergrpc.New(&f.server)
	if err != nil {
		return nil, err
	}
	findings, err := conformance.Run(ctx, server.Conn(), facts)
	return findings, errors.Join(err, server.Close())
}

// showFindings prints a line for each, and says no if one is bad.
func showFindings(out io.Writer, findings []conformance.Finding) error {
	failed := 0
	for _, f := range findings {
		switch {
		case f.Skipped != "":
			fmt.Fprintf(out, "--    %s: not checked, %s\n", f.Check, f.Skipped)
		case f.OK():
			fmt.Fprintf(out, "ok    %s\n", f.Check)
		default:
			failed++
			fmt.Fprintf(out, "FAIL  %s: expected %s, got %s\n", f.Check, f.Expected, f.Got)
		}
	}
	if failed > 0 {
		return daemon.Invalid(fmt.Errorf("%d of %d checks failed", failed, len(findings)))
	}
	return nil
}
