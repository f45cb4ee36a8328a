package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
	"github.com/sallyport-dev/sallyport/ratelimit/compat"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
)

// inMemory is the --store of one process for itself.
const inMemory = "memory"

type ratelimitFlags struct {
	daemon.Options
	limits, store, http string
	headers             []string
	pprof, compat       bool
	audit               auditFlags
	xds                 xdsFlags
	dial                redisdial.Options
	keyPrefix           string
	replicas, maxKeys   int
	bound               boundClients
	adminAPI            string

	// What no flag says, but the environment of --compat does.
	reference    *compat.Settings // nil without --compat
	perSecond    *redisdial.Options
	storeTimeout time.Duration // zero: the limiter's own
}

func newRatelimit(s streams) *cobra.Command {
	f := &ratelimitFlags{Options: daemon.Options{Listen: "127.0.0.1:8081", Admin: "127.0.0.1:6070"}}
	cmd := &cobra.Command{
		Use:   "ratelimit --limits FILE|DIR",
		Short: "Serve Envoy's rate-limit service: how many may come at once",
		Long: `Ratelimit serves envoy.service.ratelimit.v3.RateLimitService by the limits files (the format of envoyproxy/ratelimit, and
Sallyport's own keys), which are read again when they change: a file that does not load keeps its last good version, and says why
in the log, on /readyz and as a metric. With --xds they come from a management server instead, as Envoy Gateway runs one: a domain
that does not load keeps its last good version, and the server is told why.

Replicas that share a --store share every limit. While the store is away each rule does what its on_store_failure says.

With --compat, or run under the name "ratelimit", it stands in for envoyproxy/ratelimit: its environment, ports and
answers. A flag that is given beats a variable.` + signals,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.compat {
				if err := f.readReference(s, cmd.Flags()); err != nil {
					return daemon.Unable(err)
				}
			}
			return serveRatelimit(cmd.Context(), s, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.limits, "limits", "", "limits file, or a folder of *.yaml files, one domain each (required, or --xds)")
	flags.StringVar(&f.store, "store", "", "where counters live: memory, redis://HOST:PORT/DB, rediss://..., redis+sentinel://MASTER@HOST,HOST/DB, redis+cluster://HOST,HOST, unix:///PATH (default memory, on loopback only)")
	flags.StringVar(&f.dial.Username, "store-username", "", "the store's user (ACL)")
	flags.StringVar(&f.dial.PasswordFile, "store-password-file", "", "file with the store's password; read again for every connection")
	flags.StringVar(&f.dial.CAFile, "store-ca", "", "authorities that sign the store's certificate, PEM")
	flags.StringVar(&f.keyPrefix, "store-key-prefix", "", "stands before every key; services that share it share counters (default sp1:)")
	flags.IntVar(&f.replicas, "replicas", 1, "how many replicas share the limits that each counts for itself: all of them with --store memory, else those of rules that say local while the store is away")
	flags.IntVar(&f.maxKeys, "store-max-keys", 1_000_000, "most counters that this process holds in memory, about 0.7 kB each with two sliding windows; the rest of a rule shares one")
	flags.StringVar(&f.adminAPI, "admin-api", "", "unix:/PATH of the admin API, by which sallyport limits peek, reset, grant and unmatched ask; mode 0600, off unless given")
	flags.StringVar(&f.http, "http", "", "where /json (a question over HTTP) and /healthcheck are; empty is nowhere")
	flags.StringSliceVar(&f.headers, "response-headers", nil, "headers for clients, beside Envoy's own: ratelimit (RateLimit and RateLimit-Policy), retry-after, degraded (x-ratelimit-degraded: true, where the store could not decide)")
	flags.BoolVar(&f.pprof, "pprof", false, "profiles under /debug/pprof/ on the --admin port, which asks nobody for a password: they show what the process holds")
	flags.BoolVar(&f.compat, "compat", false, "stand in for envoyproxy/ratelimit: take its environment variables, ports and answers")
	f.audit.bind(flags)
	f.xds.bind(flags)
	f.Bind(flags)
	flags.Lookup("tls-client-ids").Usage += "; 'NAME = mesh,edge' binds one to the domains whose limits it may spend"
	fromEnvironment(cmd, s)
	return cmd
}

// readReference reads the reference's environment into the flags that were not given.
func (f *ratelimitFlags) readReference(s streams, flags *pflag.FlagSet) error {
	settings, err := compat.Parse(s.environ)
	if err != nil {
		return fmt.Errorf("the environment of --compat:\n%w", err)
	}
	return f.follow(settings, flags.Changed)
}

func (f *ratelimitFlags) check() (err error) {
	if f.TLS.ClientIDs, f.bound, err = bindClients(f.TLS.ClientIDs); err != nil {
		return err
	}
	local, err := f.OnLoopback()
	switch {
	case f.limits == "" && !f.xds.given() && f.reference == nil:
		return errors.New("ratelimit needs --limits FILE or DIR: the limits that it answers by (or --xds, a server that sends them)")
	case f.limits != "" && f.xds.given():
		return errors.New("--limits and --xds contradict each other: the limits come from files or from a management server")
	case err != nil:
		return err
	case f.store == "" && !local:
		return errors.New("--listen is off loopback, so --store must be written: `--store memory` counts for this process alone, a redis:// URL for all replicas")
	case f.replicas < 1:
		return errors.New("--replicas is at least 1")
	case f.maxKeys < 1:
		return errors.New("--store-max-keys is at least 1")
	case f.inMemory() && (f.dial.Username != "" || f.dial.PasswordFile != "" || f.dial.CAFile != "" || f.keyPrefix != ""):
		return errors.New("--store-username, --store-password-file, --store-ca and --store-key-prefix are for a shared store: write its URL into --store, or leave them out")
	case f.reference == nil && f.http != "" && !f.Plaintext && !onLoopback(f.http):
		return errors.New("--http speaks plain text: keep it on loopback, or give --plaintext if the mesh encrypts")
	case f.pprof && f.Admin == "":
		return errors.New("--pprof stands on the --admin port, and there is none")
	}
	if _, err := f.responseHeaders(); err != nil {
		return err
	}
	return f.xds.check()
}

// onLoopback says that only this machine can connect to an address; what is none is the daemon's to refuse.
func onLoopback(address string) bool {
	local, err := daemon.Options{Listen: address}.OnLoopback()
	return err != nil || local
}

// responseHeaders are the headers that clients are to see.
func (f *ratelimitFlags) responseHeaders() (rls.Headers, error) {
	var h rls.Headers
	known := map[string]*bool{"ratelimit": &h.RateLimit, "retry-after": &h.RetryAfter, "degraded": &h.Degraded}
	for _, word := range f.headers {
		if known[word] == nil {
			return h, fmt.Errorf("--response-headers %q: write some of ratelimit, retry-after, degraded", word)
		}
		*known[word] = true
	}
	if f.reference != nil && f.reference.Headers.On {
		names := f.reference.Headers
		h.Legacy = &rls.HeaderNames{Limit: names.Limit, Remaining: names.Remaining, Reset: names.Reset}
	}
	return h, nil
}

// inMemory says that counters live in this process alone.
func (f *ratelimitFlags) inMemory() bool { return f.store == "" || f.store == inMemory }

// mostAsked is the longest request in bytes. gRPC answers a longer one with an error, by which Envoy lets a request pass, so it is far more
// than the headers of any request can fill the descriptors of any route with.
const mostAsked = 32 << 20

func serveRatelimit(ctx context.Context, s streams, f *ratelimitFlags) error {
	if err := f.check(); err != nil {
		return daemon.Unable(err)
	}
	log, err := logger(s, f.Options)
	if err != nil {
		return daemon.Unable(err)
	}
	if f.reference != nil {
		nameWithoutEffect(log, f.reference)
	} else if found := compat.Found(s.environ); len(found) > 0 {
		log.Warn("environment variables of envoyproxy/ratelimit have no effect without --compat", "variables", strings.Join(found, " "))
	}
	if f.bound.any() && f.http != "" {
		log.Warn("/json knows no client, so it refuses everything while --tls-client-ids binds clients to domains")
	}
	g := newRatelimitGate(f)
	config := daemon.Config{Options: f.Options, Service: rls.ServiceName, Build: readBuild().daemon(), Log: log, AdminPages: g.pages(), MaxRecvBytes: mostAsked}
	if f.reference != nil {
		config.HealthNames = []string{referenceHealthName}
	}
	d, err := daemon.Open(ctx, config)
	if err != nil {
		return err
	}
	if err := g.wire(ctx, s, d); err != nil {
		return errors.Join(err, d.Close())
	}
	if err := d.Run(ctx); err != nil {
		return daemon.Unable(fmt.Errorf("ratelimit: %w", err))
	}
	return nil
}
