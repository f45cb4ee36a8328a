package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/jwks"
	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// maxStdin bounds what is read as a token; a gate reads far less.
const maxStdin = 1 << 20

type inspectFlags struct {
	policy, issuer, keys, at string
	fetch                    bool
}

func newTokenInspect(s streams) *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect --policy FILE|DIR [--issuer NAME] [--keys FILE | --fetch] [--at TIME] < token",
		Short: "Say step by step why a token on stdin would be accepted or refused",
		Long: `Inspect reads one token from stdin and answers "why 401": each thing that the policy's issuer demands of a token, in the order in
which the gate looks, and what this token has. The last line is the gate's own verdict: accepted, or refused and the word that the
audit log has for it. Neither the token nor its signature is printed; its claims are.

The signature needs the issuer's keys. Nothing is fetched unless --fetch is given: --keys FILE is a JSON Web Key Set on disk. Without
either, a token that nothing else refuses ends as undecided. A rule may refuse an accepted token for its scopes, roles, sender or owner.

Exit codes: 0 accepted, 1 refused, 2 undecided or could not run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := f.inspection(cmd.Context(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			return in.run(cmd.Context()).show(s.out)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "the policy: a file, or a folder of *.yaml")
	flags.StringVar(&f.issuer, "issuer", "", "judge by this issuer of the policy (default the one that the token names)")
	flags.StringVar(&f.keys, "keys", "", "the issuer's key set: a file")
	flags.BoolVar(&f.fetch, "fetch", false, "fetch the issuer's key set once, as the gate does")
	flags.StringVar(&f.at, "at", "", "judge at this instant, RFC 3339 or Unix seconds (default now)")
	fromEnvironment(cmd, s)
	return cmd
}

// inspection is one token and everything that it is judged by.
type inspection struct {
	token  string
	issuer *policy.Issuer
	keys   authz.Keys // nil: none at hand
	now    time.Time
	notes  []string
}

// inspection reads the flags, the policy and the token.
func (f *inspectFlags) inspection(ctx context.Context, stdin io.Reader) (*inspection, error) {
	if f.policy == "" {
		return nil, daemon.Unable(errors.New("--policy is missing: the policy that the gate runs with"))
	}
	if f.keys != "" && f.fetch {
		return nil, daemon.Unable(errors.New("--keys and --fetch are two sources of keys: choose one"))
	}
	in := &inspection{now: time.Now()}
	if f.at != "" {
		var err error
		if in.now, err = instant(f.at); err != nil {
			return nil, daemon.Unable(fmt.Errorf("--at: %w", err))
		}
	}
	p, err := readPolicy(f.policy)
	if err != nil {
		return nil, err
	}
	if err := in.read(stdin); err != nil {
		return nil, daemon.Unable(err)
	}
	if err := in.choose(p, f.issuer); err != nil {
		return nil, err
	}
	if err := f.findKeys(ctx, in); err != nil {
		return nil, daemon.Unable(err)
	}
	return in, nil
}

func readPolicy(path string) (*policy.Policy, error) {
	files, err := readAll(path)
	if err != nil {
		return nil, daemon.Unable(err)
	}
	p, errs := policy.Parse(policyFiles(files))
	if len(errs) > 0 {
		return nil, daemon.Unable(fmt.Errorf("the policy does not load:\n%w", errs))
	}
	return p, nil
}

// read takes the token from stdin, without what people paste around it.
func (in *inspection) read(stdin io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(stdin, maxStdin))
	if err != nil {
		return fmt.Errorf("read the token from stdin: %w", err)
	}
	in.token = strings.TrimSpace(string(data))
	for _, prefix := range []string{"authorization:", "bearer "} {
		if len(in.token) >= len(prefix) && strings.EqualFold(in.token[:len(prefix)], prefix) {
			in.token = strings.TrimSpace(in.token[len(prefix):])
			in.notes = append(in.notes, fmt.Sprintf("%q was taken off the front: it is no part of a token", strings.TrimSpace(prefix)))
		}
	}
	if in.token == "" {
		return errors.New("there is no token on stdin")
	}
	return nil
}

// choose finds the issuer to judge by: the one asked for, else the one that the token names, as a rule with several issuers does.
func (in *inspection) choose(p *policy.Policy, name string) error {
	names := slices.Sorted(maps.Keys(p.Issuers))
	if name != "" {
		if in.issuer = p.Issuers[name]; in.issuer == nil {
			return daemon.Unable(fmt.Errorf("the policy has no issuer %q; it has %s", name, strings.Join(names, ", ")))
		}
		return nil
	}
	iss, readable := jwt.UnverifiedIssuer(in.token)
	var fit []string
	for _, name := range names {
		if readable && p.Issuers[name].Issuer == iss {
			fit = append(fit, name)
		}
	}
	switch {
	case len(names) == 0:
		return daemon.Unable(errors.New("the policy has no issuers: no rule of it takes a token"))
	case len(fit) == 1:
		in.issuer = p.Issuers[fit[0]]
	case len(fit) > 1:
		return daemon.Unable(fmt.Errorf("the token's iss is that of several issuers of the policy: choose with --issuer: %s", strings.Join(fit, ", ")))
	default:
		in.issuer = p.Issuers[names[0]]
		if len(names) > 1 {
			in.notes = append(in.notes, fmt.Sprintf("the token names none of the policy's issuers (%s); it is judged by the first, --issuer chooses another", strings.Join(names, ", ")))
		}
	}
	return nil
}

// findKeys gets the issuer's keys from where the flags say. A key set on this machine's disk needs no flag.
func (f *inspectFlags) findKeys(ctx context.Context, in *inspection) error {
	source := in.issuer.Keys
	switch {
	case f.keys != "":
		path, err := filepath.Abs(f.keys)
		if err != nil {
			return fmt.Errorf("--keys: %w", err)
		}
		source = policy.KeySource{File: path}
	case !f.fetch && source.File == "":
		return nil
	}
	set := jwks.New(source, in.issuer.Issuer, jwks.Options{})
	if err := set.Try(ctx); err != nil {
		return fmt.Errorf("the keys of %s: %w", in.issuer.Name, err)
	}
	in.keys = frozenKeys{set: set, fetched: set.Stats().Fetched}
	return nil
}

// frozenKeys are a key set at the moment that it was read, whatever moment a token is judged at: old keys are the gate's business.
type frozenKeys struct {
	set     *jwks.Set
	fetched time.Time
}

// Key is part of authz.Keys.
func (k frozenKeys) Key(kid, alg string, _ time.Time) (crypto.PublicKey, uint64, error) {
	return k.set.Key(kid, alg, k.fetched)
}

// noKeys is a gate that has no keys: all it can say is what a token is refused for before its signature.
type noKeys struct{}

// Key is part of authz.Keys.
func (noKeys) Key(string, string, time.Time) (crypto.PublicKey, uint64, error) {
	return nil, 0, authz.ErrKeysUnavailable
}

// run judges the token twice: once by the gate's own verifier, whose verdict counts, and once step by step, for the reader.
func (in *inspection) run(ctx context.Context) *report {
	keys := in.keys
	if keys == nil {
		keys = noKeys{}
	}
	principal, err := jwt.New(in.issuer, keys, jwt.Options{}).Verify(ctx, in.token, in.now)
	r := &report{inspection: in, verdict: verdict{principal: principal, err: err, offline: in.keys == nil}}
	r.explain()
	return r
}

// instant reads a moment: RFC 3339, or Unix seconds, as tokens write it.
func instant(text string) (time.Time, error) {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds >= 0 && seconds <= lastDate {
		return time.Unix(seconds, 0).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no instant: write 2026-11-20T12:00:00Z, or seconds since 1970", text)
	}
	return at, nil
}
