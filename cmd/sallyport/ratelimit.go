package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
)

// inMemory is the --store of one process for itself.
const inMemory = "memory"

type ratelimitFlags struct {
	daemon.Options
	limits, store     string
	audit             auditFlags
	dial              redisdial.Options
	keyPrefix         string
	replicas, maxKeys int
}

func newRatelimit(s streams) *cobra.Command {
	f := &ratelimitFlags{Options: daemon.Options{Listen: "127.0.0.1:8081", Admin: "127.0.0.1:6070"}}
	cmd := &cobra.Command{
		Use:   "ratelimit --limits FILE|DIR",
		Short: "Serve Envoy's rate-limit service: how many may come at once",
		Long: `Ratelimit serves envoy.service.ratelimit.v3.RateLimitService by the limits files (the format of envoyproxy/ratelimit, and
Sallyport's own keys), which are read again when they change: a file that does not load keeps its last good version, and says why
in the log, on /readyz and as a metric.

Replicas that share a --store share every limit. While the store is away each rule does what its on_store_failure says.` + signals,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serveRatelimit(cmd.Context(), s, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.limits, "limits", "", "limits file, or a folder of *.yaml files, one domain each (required)")
	flags.StringVar(&f.store, "store", "", "where counters live: memory, redis://HOST:PORT/DB, rediss://..., redis+sentinel://MASTER@HOST,HOST/DB, unix:///PATH (default memory, on loopback only)")
	flags.StringVar(&f.dial.Username, "store-username", "", "the store's user (ACL)")
	flags.StringVar(&f.dial.PasswordFile, "store-password-file", "", "file with the store's password; read again for every connection")
	flags.StringVar(&f.dial.CAFile, "store-ca", "", "authorities that sign the store's certificate, PEM")
	flags.StringVar(&f.keyPrefix, "store-key-prefix", "", "stands before every key; services that share it share counters (default sp1:)")
	flags.IntVar(&f.replicas, "replicas", 1, "how many replicas share the limits that each counts for itself: all of them with --store memory, else those of rules that say local while the store is away")
	flags.IntVar(&f.maxKeys, "store-max-keys", 1_000_000, "most counters that this process holds in memory, about 0.7 kB each with two sliding windows; the rest of a rule shares one")
	f.audit.bind(flags)
	f.Bind(flags)
	fromEnvironment(cmd, s)
	return cmd
}

func (f *ratelimitFlags) check() error {
	local, err := f.OnLoopback()
	switch {
	case f.limits == "":
		return errors.New("ratelimit needs --limits FILE or DIR: the limits that it answers by")
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
	}
	return nil
}

// inMemory says that counters live in this process alone.
func (f *ratelimitFlags) inMemory() bool { return f.store == "" || f.store == inMemory }

func serveRatelimit(ctx context.Context, s streams, f *ratelimitFlags) error {
	if err := f.check(); err != nil {
		return daemon.Unable(err)
	}
	log, err := logger(s, f.Options)
	if err != nil {
		return daemon.Unable(err)
	}
	if found := referenceVariables(s.environ); len(found) > 0 {
		log.Warn("environment variables of envoyproxy/ratelimit have no effect without --compat, which is not supported yet", "variables", strings.Join(found, " "))
	}
	d, err := daemon.Open(ctx, daemon.Config{Options: f.Options, Service: rls.ServiceName, Build: readBuild().daemon(), Log: log})
	if err != nil {
		return err
	}
	if err := wireRatelimit(s, d, f); err != nil {
		return errors.Join(err, d.Close())
	}
	if err := d.Run(ctx); err != nil {
		return daemon.Unable(fmt.Errorf("ratelimit: %w", err))
	}
	return nil
}
