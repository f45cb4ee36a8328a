package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/xds"
)

// xdsFlags say which management server sends the limits, in place of --limits.
type xdsFlags struct {
	server, node, serverName    string
	metadata, headers, files    map[string]string
	ca, cert, key               string
	plaintext, readyWithoutThem bool
	maxBytes                    int
	retry, retryMax             time.Duration
}

func (f *xdsFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.server, "xds", "", "management server that sends the limits, in place of --limits: HOST:PORT or unix:/PATH (docs/xds.md)")
	flags.StringVar(&f.node, "xds-node-id", "envoy-ratelimit", "who asks: servers keep what they send by node; Envoy Gateway's is the default")
	flags.StringToStringVar(&f.metadata, "xds-node-metadata", nil, "metadata of the node: KEY=TEXT,...")
	flags.StringToStringVar(&f.headers, "xds-header", nil, "additional headers of the stream: NAME=TEXT,...")
	flags.StringToStringVar(&f.files, "xds-header-file", nil, "additional headers whose values are secrets: NAME=FILE,...; read again for every connection")
	flags.StringVar(&f.ca, "xds-ca", "", "authorities that sign the management server, PEM (default the machine's); this and the next two are read again for every connection")
	flags.StringVar(&f.cert, "xds-cert", "", "this client's certificate chain, PEM")
	flags.StringVar(&f.key, "xds-key", "", "this client's private key, PEM")
	flags.StringVar(&f.serverName, "xds-server-name", "", "DNS name or IP address in the server's certificate (default the host of --xds)")
	flags.BoolVar(&f.plaintext, "xds-plaintext", false, "ask a server off loopback without TLS, because the mesh encrypts")
	flags.IntVar(&f.maxBytes, "xds-max-message-bytes", xds.DefaultMaxMessageBytes, "largest set of limits that is read")
	flags.DurationVar(&f.retry, "xds-retry", xds.DefaultRetry.Initial, "first wait before the next connection; it doubles, give or take half")
	flags.DurationVar(&f.retryMax, "xds-retry-max", xds.DefaultRetry.Max, "longest wait before the next connection")
	flags.BoolVar(&f.readyWithoutThem, "xds-ready-without-limits", false, "be ready before the server has sent any limits; requests are answered with an error until then")
}

// given says that the limits come from a management server.
func (f *xdsFlags) given() bool { return f.server != "" }

// stray says that a flag speaks of a server, and none is named.
func (f *xdsFlags) stray() bool {
	return !f.given() && (f.ca != "" || f.cert != "" || f.key != "" || f.serverName != "" || f.plaintext || f.readyWithoutThem || len(f.metadata)+len(f.headers)+len(f.files) > 0)
}

// check refuses a server that anybody in between could speak for: who writes the limits can remove them.
func (f *xdsFlags) check() error {
	if f.stray() {
		return errors.New("--xds-* flags speak of a management server: name it with --xds, or leave them out")
	}
	if f.plaintext && f.anyTLS() {
		return errors.New("--xds-plaintext and --xds-ca, --xds-cert, --xds-key or --xds-server-name contradict each other: leave one out")
	}
	return nil
}

func (f *xdsFlags) anyTLS() bool {
	return f.ca != "" || f.cert != "" || f.key != "" || f.serverName != ""
}

// source is what the flags ask for. Off loopback TLS is on unless the flags say that the mesh encrypts.
func (f *xdsFlags) source() (xdsSource, error) {
	local, err := xds.Local(f.server)
	if err != nil {
		return xdsSource{}, fmt.Errorf("--xds: %w", err)
	}
	o := xds.Options{
		Server: f.server, Node: xds.Node{ID: f.node, Metadata: f.metadata}, Headers: f.headers, HeaderFiles: f.files, MaxMessageBytes: f.maxBytes,
		Retry: xds.Backoff{Initial: f.retry, Max: f.retryMax, Jitter: xds.DefaultRetry.Jitter},
	}
	if f.anyTLS() || !local && !f.plaintext {
		o.TLS = &xds.TLS{CA: f.ca, Cert: f.cert, Key: f.key, ServerName: f.serverName}
	}
	return xdsSource{Options: o, readyWithoutLimits: f.readyWithoutThem}, nil
}

// xdsSource is a management server, by our flags or by the variables of envoyproxy/ratelimit.
type xdsSource struct {
	xds.Options // but for the callbacks
	// readyWithoutLimits does not wait for the first response before the gate is called ready.
	readyWithoutLimits bool
}

// The parts that a management server has in the status: whether it can be asked, and whether what it sent is in force.
const (
	partXDS       = "xds"
	partXDSLimits = "xds:limits"
)

// watchXDS has the gate's limits come from a management server: from the time the daemon runs until it ends. Errors are of the
// settings; a server that is away is degraded, not a failed start.
func (g *ratelimitGate) watchXDS(source xdsSource) error {
	w := &xdsWatch{gate: g, source: source}
	o := source.Options
	o.OnConnection, o.OnUpdate = w.connection, w.update
	client, err := xds.New(o)
	if err != nil {
		return daemon.Unable(err)
	}
	d := g.daemon
	d.Registry.MustRegister(client)
	if !source.readyWithoutLimits {
		d.Status.Expect(partXDSLimits)
	}
	if r := g.flags.reference; r != nil && r.HealthyWithConfig {
		d.Status.Expect(partLimits) // a response without any domain is not enough then
	}
	d.Status.Set(partXDSLimits, daemon.Degraded(fmt.Sprintf("no limits have come from %s yet for the node %q, and every request is answered with an error until they do", o.Server, o.Node.ID)))
	d.Task("xds", client.Run)
	return nil
}

// xdsWatch tells the gate, the log, the metrics and the status what the client of a management server tells.
type xdsWatch struct {
	gate   *ratelimitGate
	source xdsSource
	lost   string // why there is no connection, as it was logged last
	taken  bool   // some limits are in force
}

func (w *xdsWatch) connection(err error) {
	d := w.gate.daemon
	if err == nil {
		d.Status.Set(partXDS, daemon.OK())
		d.Log.Info("connected to the management server", "server", w.source.Server)
		w.lost = ""
		return
	}
	meaning := "; the limits in force stay in force"
	if !w.taken {
		meaning = "; no limits are in force yet"
	}
	d.Status.Set(partXDS, daemon.Degraded(err.Error()+meaning))
	if text := err.Error(); text != w.lost {
		d.Log.Warn("no management server"+meaning, "err", text)
		w.lost = text
	}
}

func (w *xdsWatch) update(u xds.Update) {
	g := w.gate
	names := make([]string, len(u.Domains))
	for i, domain := range u.Domains {
		g.loaded(domain.OK())
		names[i] = domain.Name
	}
	if len(u.Domains) == 0 {
		g.loaded(u.Err == nil)
	}
	g.use(u.Table)
	if w.taken = u.Table != nil; w.taken {
		g.daemon.Status.Tried(partLimits)
	}
	err := partly(u)
	event := eventOf(audit.EventConfig, w.source.Server, err)
	event.Files, event.Count = names, uint64(len(names))
	g.audit.Event(event)
	w.tell(u, err)
}

// partly marks the error of a response that is in force in part.
func partly(u xds.Update) error {
	for _, domain := range u.Domains {
		if u.Err != nil && domain.OK() {
			return daemon.Partly(u.Err)
		}
	}
	return u.Err
}

func (w *xdsWatch) tell(u xds.Update, err error) {
	d := w.gate.daemon
	if len(u.Unknown) > 0 {
		d.Log.Warn("the management server sent fields that this version does not know; they have no effect", "fields", strings.Join(u.Unknown, ", "))
	}
	if err != nil {
		d.Status.Set(partXDSLimits, daemon.Degraded(fmt.Sprintf("version %q of the management server was refused, what was in force of it stays: %v", u.Version, err)))
		d.Log.Error("limits refused", "version", u.Version, "domains", inForce(u.Domains), "err", err)
		if u.Table != nil {
			d.Status.Tried(partXDSLimits)
		}
		return
	}
	d.Status.Tried(partXDSLimits)
	if u.Table == nil {
		d.Log.Info("the management server has no limits yet", "version", u.Version)
		return
	}
	d.Status.Set(partXDSLimits, daemon.OK())
	d.Log.Info("limits taken", "version", u.Version, "domains", len(u.Domains))
}

// inForce says of each domain what is in force.
func inForce(domains []limits.FileState) string {
	words := make([]string, len(domains))
	for i, domain := range domains {
		switch {
		case domain.OK():
			words[i] = domain.Name + ": new"
		case domain.LastGood:
			words[i] = domain.Name + ": last good"
		default:
			words[i] = domain.Name + ": none"
		}
	}
	return strings.Join(words, ", ")
}
