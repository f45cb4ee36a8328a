package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// tryPolicy puts a second policy beside the one in force: a gate of its own in all but the answers. What is wrong with it is told and
// hurts nobody.
func (g *authzGate) tryPolicy(path string) {
	if path == "" {
		return
	}
	trial := &authzGate{
		daemon: g.daemon, service: g.service, whole: path, authorizer: g.authorizer, install: g.authorizer.UseTrial, prefix: "shadow:", audit: g.audit,
		shadows: g.shadows, lookups: g.lookups, issuers: map[string]*issuerKeys{}, pool: g.pool, revocations: g.revocations,
		revocationsTried: g.revocationsTried,
		fileOK: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_shadow_policy_file_ok", Help: "Of the policy on trial: 1 if the file on disk is, 0 if its last good version is, or nothing of it.",
		}, []string{"file"}),
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sallyport_shadow_policy_info", Help: "Always 1; the label is the policy on trial."}, []string{"digest"}),
	}
	trial.keys = newKeyFiles(g.daemon, trial.prefix)
	g.daemon.Registry.MustRegister(trial.fileOK, trial.info)
	g.daemon.Task("issuer keys of the shadow policy", trial.run)
	g.daemon.TryFiles(path, trial.load, policy.Beside()...)
}

// shadowState shows which services answer for rules that are on trial.
type shadowState struct {
	daemon *daemon.Daemon
	until  *prometheus.GaugeVec
	ends   []*time.Timer
	shown  []string
}

func newShadowState(d *daemon.Daemon) *shadowState {
	s := &shadowState{daemon: d, until: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sallyport_shadow", Help: "Services in shadow: the Unix time at which their rules are enforced.",
	}, []string{"service"})}
	d.Registry.MustRegister(s.until)
	return s
}

// services shows those of a policy that came into force, in place of those before. It is called for one reload at a time.
func (s *shadowState) services(p *policy.Policy, now time.Time) {
	for _, timer := range s.ends {
		timer.Stop()
	}
	for _, part := range s.shown {
		s.daemon.Status.Forget(part)
	}
	s.ends, s.shown = nil, nil
	s.until.Reset()
	for _, service := range p.Services {
		shadow := service.Shadow
		if shadow == nil || !now.Before(shadow.Until) {
			continue
		}
		answer := "denies"
		if shadow.Allow {
			answer = "allows"
		}
		part := "shadow:" + service.Name
		s.shown = append(s.shown, part)
		s.until.WithLabelValues(service.Name).Set(float64(shadow.Until.Unix()))
		s.daemon.Status.Set(part, daemon.Degraded("in shadow: it "+answer+" whatever its rules say, until "+shadow.Until.Format(time.DateOnly)))
		s.daemon.Log.Warn("a service is in shadow: it "+answer+" whatever its rules say", "service", service.Name, "until", shadow.Until.Format(time.DateOnly))
		s.ends = append(s.ends, time.AfterFunc(shadow.Until.Sub(now), func() {
			s.daemon.Status.Forget(part)
			s.until.DeleteLabelValues(service.Name)
			s.daemon.Log.Info("a service's rules are enforced now", "service", service.Name)
		}))
	}
}
