package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/jwks"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

type explainFlags struct {
	policy, file, curl, jwks, lookups string
	asJSON                            bool
}

func newPolicyExplain(s streams) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --policy FILE|DIR (-f FILE|- | --curl 'curl ...')",
		Short: "Tell what a policy decides about one request, and why",
		Long: `Explain reads one request, as a case of "policy test" or as a curl command line, and tells every step of the gate's decision: what the
rule demands, what was found, and what would have allowed it. No token is verified and no lookup is asked: the request says who asks,
and what the lookups know. A token in a curl line is read without looking at its signature, which the output says, unless --jwks names the
issuer's keys; it is never shown.

Exit codes: 0 allowed, 1 denied, 2 could not run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.InOrStdin(), s) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "the policy: a file, or a folder of *.yaml (required)")
	flags.StringVarP(&f.file, "file", "f", "", "the request: a file, or - for stdin")
	flags.StringVar(&f.curl, "curl", "", "the request, as a curl command line")
	flags.StringVar(&f.jwks, "jwks", "", "check the signature of the request's token with this key set, a file")
	flags.StringVar(&f.lookups, "lookups", "", "what the lookups know, beside a curl line: 'orders: {o-1: bob}'")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	fromEnvironment(cmd, s)
	return cmd
}

func (f *explainFlags) run(ctx context.Context, stdin io.Reader, s streams) error {
	if f.policy == "" {
		return daemon.Unable(errors.New("--policy is missing: the policy that the gate runs with"))
	}
	c, err := f.read(stdin)
	if err != nil {
		return daemon.Unable(err)
	}
	if f.lookups != "" {
		if errs := c.AddLookups("--lookups", f.lookups); len(errs) > 0 {
			return daemon.Unable(errors.New(errs.Pretty()))
		}
	}
	p, err := readPolicy(f.policy)
	if err != nil {
		return err
	}
	room := offline.NewRoom(p)
	if misfits := room.Misfits(c); len(misfits) > 0 {
		return daemon.Unable(errors.New(misfits.Pretty()))
	}
	if err := f.prove(ctx, room, c); err != nil {
		return daemon.Unable(err)
	}
	result, err := room.Decide(ctx, c)
	switch {
	case err != nil:
		return daemon.Unable(err)
	case len(result.Unanswered) > 0:
		return daemon.Unable(errors.New(strings.Join(result.Unanswered, "\n") + "\nsay it: --lookups 'NAME: {ID: owner}', or `lookups: {NAME: {ID: owner}}` in the case"))
	case result.Untold != "":
		return daemon.Unable(errors.New("this request cannot be explained: " + result.Untold))
	}
	notes := f.notesOf(result)
	if err := f.show(s, result, notes); err != nil {
		return daemon.Unable(err)
	}
	if result.Ruled().Verdict != authz.Allow {
		return errShown
	}
	return nil
}

// read reads the one request.
func (f *explainFlags) read(stdin io.Reader) (*offline.Case, error) {
	switch {
	case f.file != "" && f.curl != "":
		return nil, errors.New("say one request: -f FILE or --curl 'curl ...', not both")
	case f.file == "" && f.curl == "":
		return nil, errors.New("say which request: -f FILE, or --curl 'curl ...'")
	case f.curl != "":
		return offline.ReadCurl(f.curl)
	}
	name, in := f.file, stdin
	if f.file == "-" {
		name = "stdin"
	} else {
		file, err := os.Open(f.file)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxStdin+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if offline.IsCurl(string(data)) {
		return offline.ReadCurl(string(data))
	}
	c, errs := offline.ReadCase(name, data)
	if len(errs) > 0 {
		return nil, errors.New(errs.Pretty())
	}
	return c, nil
}

// prove lets the room check the signature of the one token that the request brings.
func (f *explainFlags) prove(ctx context.Context, room *offline.Room, c *offline.Case) error {
	if f.jwks == "" {
		return nil
	}
	sent := slices.ContainsFunc(c.Request.Headers, func(h authz.Field) bool { return h.Name == "authorization" })
	if c.Who.Named || !sent {
		return errors.New("--jwks checks a token's signature, and the request brings none: give it an Authorization header")
	}
	path, err := filepath.Abs(f.jwks)
	if err != nil {
		return fmt.Errorf("--jwks: %w", err)
	}
	set := jwks.New(policy.KeySource{File: path}, "", jwks.Options{})
	if err := set.Try(ctx); err != nil {
		return fmt.Errorf("--jwks: %w", err)
	}
	room.Prove(frozenKeys{set: set, fetched: set.Stats().Fetched})
	return nil
}

// notesOf is what whoever reads the explanation must know to believe it no more than it deserves.
func (f *explainFlags) notesOf(r *offline.Result) []string {
	value, count := r.Request.Headers.One("authorization")
	scheme, token, _ := strings.Cut(value, " ")
	if r.Case.Who.Named || count != 1 || !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	if _, err := offline.BearerIssuer(token); err != nil {
		return []string{err.Error()}
	}
	if f.jwks != "" {
		return nil
	}
	return []string{"THE TOKEN'S SIGNATURE WAS NOT CHECKED: its claims are believed as they stand. --jwks checks it."}
}

func (f *explainFlags) show(s streams, r *offline.Result, notes []string) error {
	if !f.asJSON {
		for _, note := range notes {
			fmt.Fprintf(s.out, "note: %s\n\n", note)
		}
		fmt.Fprint(s.out, r.Explain().Text())
		return nil
	}
	encoder := json.NewEncoder(s.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(struct {
		Notes []string `json:"notes,omitempty"`
		*authz.Explanation
	}{notes, r.Explain()})
}
