package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz/extauthz"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

type authzFlags struct {
	daemon.Options
	policy, service string
	shadowPolicy    string
	audit           auditFlags
	revocations     revocationFlags
	record          recordFlags
}

func newAuthz(s streams) *cobra.Command {
	f := &authzFlags{Options: daemon.Options{Listen: "127.0.0.1:9191", Admin: "127.0.0.1:9190"}}
	cmd := &cobra.Command{
		Use:   "authz --policy FILE|DIR",
		Short: "Serve Envoy's ext_authz: who may pass",
		Long: `Authz serves envoy.service.auth.v3.Authorization by the policy, which is read again when it changes: a file that does not
load keeps its last good version, and says why in the log, on /readyz and as a metric.` + signals,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serveAuthz(cmd.Context(), s, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "policy file, or a folder of *.yaml files that are one policy (required)")
	flags.StringVar(&f.shadowPolicy, "shadow-policy", "", "a second policy, file or folder, that is evaluated beside the first and never changes an answer")
	flags.StringVar(&f.service, "service", "", "answer for this service of the policy only, as beside one sidecar")
	f.audit.bind(flags)
	f.audit.bindMode(flags)
	f.record.bind(flags)
	f.revocations.bind(flags)
	f.Bind(flags)
	fromEnvironment(cmd, s)
	return cmd
}

func serveAuthz(ctx context.Context, s streams, f *authzFlags) error {
	if f.policy == "" {
		return daemon.Unable(errors.New("authz needs --policy FILE or DIR: the rules that it answers by"))
	}
	log, err := logger(s, f.Options)
	if err != nil {
		return daemon.Unable(err)
	}
	d, err := daemon.Open(ctx, daemon.Config{
		Options: f.Options, Service: extauthz.ServiceName, Build: readBuild().daemon(), Log: log,
	})
	if err != nil {
		return err
	}
	if err := wireAuthz(ctx, s, d, f); err != nil {
		return errors.Join(err, d.Close())
	}
	if err := d.Run(ctx); err != nil {
		return daemon.Unable(fmt.Errorf("authz: %w", err))
	}
	return nil
}
