package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/adminapi"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

func newToken(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Say why a token is refused, or take tokens back"}
	cmd.AddCommand(newTokenInspect(s), newTokenRevoke(s))
	return cmd
}

// revokeFlags say which tokens; exactly one of the last five is set.
type revokeFlags struct {
	adminAPI, issuer, before      string
	jti, subject, client, session string
	all                           bool
}

func newTokenRevoke(s streams) *cobra.Command {
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "revoke --admin-api unix:PATH --issuer NAME (--jti X | --subject X | --client X | --session X | --all)",
		Short: "Take tokens back before they expire",
		Long: `Revoke asks a running gate to refuse tokens from now on; every replica that shares its store follows within a second.
Of a person, a client, a session or the whole issuer, the tokens that were issued until now are taken back (until --issued-until, if
that is given), and later ones are good. Who reached the socket is who may do this: it belongs to the user that the gate runs as.

Exit codes: 0 revoked, 1 the gate refused (no such issuer, revocation is off), 2 it could not be asked or its store was away: ask again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.request()
			if err != nil {
				return daemon.Unable(err)
			}
			until, err := adminapi.Revoke(cmd.Context(), f.adminAPI, r)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "revoked: %s; remembered until %s\n", describe(r), until.UTC().Format(time.RFC3339))
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.adminAPI, "admin-api", "", "the gate's admin API: unix:/path, as the gate was given it")
	flags.StringVar(&f.issuer, "issuer", "", "the policy's name of the issuer")
	flags.StringVar(&f.jti, "jti", "", "the one token with this jti")
	flags.StringVar(&f.subject, "subject", "", "every token of this person (sub)")
	flags.StringVar(&f.client, "client", "", "every token that this application got for itself (client_id)")
	flags.StringVar(&f.session, "session", "", "every token of this login session (sid)")
	flags.BoolVar(&f.all, "all", false, "every token of the issuer")
	flags.StringVar(&f.before, "issued-until", "", "only tokens issued until this instant, RFC 3339 or Unix seconds (default now)")
	fromEnvironment(cmd, s)
	return cmd
}

// request reads the flags.
func (f *revokeFlags) request() (adminapi.Request, error) {
	r := adminapi.Request{Issuer: f.issuer}
	targets := 0
	for _, target := range []struct {
		kind  adminapi.Kind
		value string
	}{{adminapi.Token, f.jti}, {adminapi.Subject, f.subject}, {adminapi.Client, f.client}, {adminapi.Session, f.session}} {
		if target.value != "" {
			targets++
			r.Kind, r.Value = target.kind, target.value
		}
	}
	if f.all {
		targets++
		r.Kind, r.Value = adminapi.WholeIssuer, ""
	}
	switch {
	case f.adminAPI == "":
		return r, errors.New("--admin-api is missing: unix:/path, as the gate was given it")
	case f.issuer == "":
		return r, errors.New("--issuer is missing: the policy's name of the issuer")
	case targets != 1:
		return r, errors.New("say which tokens by exactly one of --jti, --subject, --client, --session and --all")
	case f.before != "" && r.Kind == adminapi.Token:
		return r, errors.New("--issued-until does not go with --jti, which names one token whenever it was issued")
	case f.before != "":
		at, err := instant(f.before)
		if err != nil {
			return r, fmt.Errorf("--issued-until: %w", err)
		}
		r.At = at
	}
	return r, nil
}

// describe says what a request names, in a sentence's words.
func describe(r adminapi.Request) string {
	until := ""
	if !r.At.IsZero() {
		until = ", issued until " + r.At.UTC().Format(time.RFC3339)
	}
	switch r.Kind {
	case adminapi.Token:
		return fmt.Sprintf("the token %q of %s", r.Value, r.Issuer)
	case adminapi.WholeIssuer:
		return fmt.Sprintf("every token of %s%s", r.Issuer, until)
	default:
		return fmt.Sprintf("every token of the %s %q of %s%s", r.Kind, r.Value, r.Issuer, until)
	}
}
