package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz/openapi"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/target"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/starter"
)

func newPolicyImport(s streams) *cobra.Command {
	var file string
	var o starter.Options
	cmd := &cobra.Command{
		Use:   "import --openapi FILE",
		Short: "Write a policy to start from, out of an OpenAPI document",
		Long: `Import reads an OpenAPI document, 3.0 or 3.1, and writes a policy to start from: a rule for each operation, the scopes of its security, and an
owner for each id in a path. Where the document does not say who may do what, the rule is closed and a comment says what to decide; what
the document says and a policy cannot is listed at the top. The policy loads as it is, and the same document gives the same bytes:

  sallyport policy import --openapi openapi.yaml > policy.yaml

The document is one file: a reference to another is refused, and nothing is ever fetched.

Exit codes: 0 written, 1 the document is none, with every reason, 2 could not run.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := importOpenAPI(s, file, o)
			if err != nil {
				return err
			}
			if _, err = s.out.Write(text); err != nil {
				return daemon.Unable(err)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "openapi", "", "the document, YAML or JSON (required)")
	flags.StringVar(&o.Service, "service", "", "the service's name, [a-z0-9-]+ (default: made of the document's title)")
	flags.StringVar(&o.Host, "host", "", "what clients call the service (default: the document's servers)")
	flags.StringVar(&o.Issuer, "issuer", "", "the exact iss of its tokens, a URL (default: what the document's security lets guess, or a placeholder)")
	flags.StringVar(&o.Audience, "audience", "", "the aud of its tokens (default: the service's name, a placeholder)")
	fromEnvironment(cmd, s)
	return cmd
}

// importOpenAPI writes the policy of a document. It is loaded before anybody sees it, so that what the flags say is complained about here.
func importOpenAPI(s streams, file string, o starter.Options) ([]byte, error) {
	switch {
	case file == "":
		return nil, daemon.Unable(errors.New("--openapi is missing: the document to read"))
	case starter.Name(o.Service) != o.Service:
		return nil, daemon.Unable(fmt.Errorf("--service: %q is no name: lower-case letters, digits and -", o.Service))
	}
	if host, err := target.ParseHost(o.Host); o.Host != "" && (err != nil || host != o.Host) {
		return nil, daemon.Unable(fmt.Errorf("--host: %q is no host as a policy writes it: lower-case, without a port", o.Host))
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, daemon.Unable(err)
	}
	doc, errs := openapi.Read(filepath.Base(file), data)
	if len(errs) > 0 {
		return nil, showErrors(s.err, errs)
	}
	text := starter.Write(doc, o)
	if _, errs := policy.ParseAt([]policy.File{{Name: "policy.yaml", Data: text}}, time.Now()); len(errs) > 0 {
		return nil, showErrors(s.err, errs)
	}
	return text, nil
}
