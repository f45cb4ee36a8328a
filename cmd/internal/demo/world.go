package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/issuer"
	"github.com/sallyport-dev/sallyport/envoy"
)

//go:embed policy.yaml limits/edge.yaml limits/mesh.yaml
var files embed.FS

// issuerInFile is what the policy file names as the issuer; the true port takes its place.
const issuerInFile = "http://127.0.0.1:9100"

// loopbackInFile is the network that the policy file trusts to say whose request it carries. This machine's own addresses are put
// beside it, because Envoy writes one of them into x-forwarded-for in place of a loopback peer.
const loopbackInFile = "127.0.0.0/8"

// ownAddresses lists this machine's IPv4 addresses off loopback, each with a comma before it.
func ownAddresses() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "" // then the story shows who the gate took for the client
	}
	var list strings.Builder
	for _, address := range addresses {
		network, ok := address.(*net.IPNet)
		if ok && network.IP.To4() != nil && !network.IP.IsLoopback() {
			list.WriteString(", " + network.IP.String())
		}
	}
	return list.String()
}

// serviceName is the name of the orders service in the policy.
const serviceName = "orders"

// workload is one that has a certificate.
type workload struct {
	id     string // SPIFFE ID that the certificate claims
	forged bool   // signed by somebody else
}

// ports of 127.0.0.1, one for each door and server.
type ports struct {
	issuer, service, store, authz, authzAdmin, limits, limitsAdmin, gated, ungated, mesh, envoyAdmin int
}

// world is everything that runs: two servers in this process, and children. It belongs to one goroutine.
type world struct {
	opt    Options
	p      *printer
	dir    string
	ports  ports
	issuer *issuer.Issuer
	tokens *tokens

	service *service
	servers []*http.Server
	trusted *authority // signs the workloads
	other   *authority // signs the forger

	store, authz, limits, envoy *child
	standIn                     *envoy.StandIn // nil where Envoy runs
	audit, limitsAudit          auditLog
	doors                       doors
}

// startPatience bounds the start of one part.
const startPatience = 30 * time.Second

// open makes the folder and starts everything, in the order in which the parts need each other, and says so on one line. The caller
// closes the world, whatever the error.
func (w *world) open(ctx context.Context) error {
	if err := w.lay(); err != nil {
		return err
	}
	parts := []struct {
		name  string
		start func(context.Context) error
	}{
		{"the token issuer", w.startIssuer},
		{"the orders service", w.startService},
		{"Valkey", w.startStore},
		{"the authz gate", w.startAuthz},
		{"the rate limit gate", w.startLimits},
		{"Envoy", w.startEnvoy},
	}
	w.p.say("Starting ")
	for i, part := range parts {
		if part.name == "Valkey" && w.opt.Valkey == "" || part.name == "Envoy" && w.opt.Envoy == "" {
			continue
		}
		if i > 0 {
			w.p.say(", ")
		}
		w.p.say(part.name)
		if err := part.start(ctx); err != nil {
			w.p.line(".")
			return err
		}
	}
	w.p.line(": ready.")
	return w.openDoors()
}

// lay makes the folder, finds the ports and writes the files.
func (w *world) lay() error {
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return fmt.Errorf("demo: make a folder: %w", err)
	}
	if w.dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("demo: find the folder: %w", err)
	}
	w.audit, w.limitsAudit = auditLog(w.file("audit.log")), auditLog(w.file("limits-audit.log"))
	free, err := freePorts(11)
	if err != nil {
		return err
	}
	w.ports = ports{free[0], free[1], free[2], free[3], free[4], free[5], free[6], free[7], free[8], free[9], free[10]}
	if w.issuer, err = issuer.New(issuer.Options{Issuer: "http://" + local(w.ports.issuer)}); err != nil {
		return err
	}
	if w.tokens, err = mint(w.issuer, time.Now()); err != nil {
		return err
	}
	if w.trusted, err = newAuthority(); err != nil {
		return err
	}
	if w.other, err = newAuthority(); err != nil {
		return err
	}
	return w.writeFiles()
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

// writeFiles writes what a person may read and change while the demo runs.
func (w *world) writeFiles() error {
	for _, name := range []string{"policy.yaml", "limits/edge.yaml", "limits/mesh.yaml"} {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("demo: read %s: %w", name, err)
		}
		text := strings.ReplaceAll(string(data), issuerInFile, "http://"+local(w.ports.issuer))
		text = strings.ReplaceAll(text, loopbackInFile, loopbackInFile+ownAddresses())
		if err := w.put(name, text); err != nil {
			return err
		}
	}
	for name, token := range map[string]string{"alice": w.tokens.alice, "bob": w.tokens.bob, "carol": w.tokens.carol} {
		if err := w.put("tokens/"+name, token+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// put writes a file whole: whoever watches it sees the old one or the new one.
func (w *world) put(name, text string) error {
	path := w.file(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("demo: write %s: %w", name, err)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil { //nolint:gosec // G703: a file of the folder that we made
		return fmt.Errorf("demo: write %s: %w", name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("demo: write %s: %w", name, err)
	}
	return nil
}

// edit replaces the one place in the policy where old stands.
func (w *world) edit(old, instead string) error {
	data, err := os.ReadFile(w.file("policy.yaml"))
	if err != nil {
		return fmt.Errorf("demo: read the policy: %w", err)
	}
	if n := strings.Count(string(data), old); n != 1 {
		return fmt.Errorf("demo: %q stands %d times in the policy, not once", old, n)
	}
	return w.put("policy.yaml", strings.Replace(string(data), old, instead, 1))
}

func (w *world) startIssuer(context.Context) error { return w.serve(w.ports.issuer, w.issuer) }

func (w *world) startService(context.Context) error {
	w.service = &service{}
	return w.serve(w.ports.service, w.service)
}

// serve answers on a port until the world is closed.
func (w *world) serve(port int, handler http.Handler) error {
	listener, err := net.Listen("tcp", local(port))
	if err != nil {
		return fmt.Errorf("demo: listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	w.servers = append(w.servers, server)
	go func() { _ = server.Serve(listener) }() // it ends with Close, and its clients see to the rest
	return nil
}

func (w *world) startStore(ctx context.Context) (err error) {
	w.store, err = start(spec{name: "Valkey", path: w.opt.Valkey, env: w.environ(), log: w.file("valkey.log"), args: []string{
		"--port", strconv.Itoa(w.ports.store), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no",
		"--dir", w.dir, "--maxmemory-policy", "noeviction",
	}})
	if err != nil {
		return err
	}
	return w.ready(ctx, w.store, func() bool { return pong(local(w.ports.store)) })
}

// pong asks a Valkey whether it is there.
func pong(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 5)
	n, _ := conn.Read(answer)
	return string(answer[:n]) == "+PONG"
}

func (w *world) startAuthz(ctx context.Context) (err error) {
	w.authz, err = w.gate("authz", w.ports.authz, w.ports.authzAdmin, append([]string{"--policy", w.file("policy.yaml"), "--audit", string(w.audit), "--audit-fold", "0"}, w.revocationFlags()...)...)
	if err != nil {
		return err
	}
	return w.ready(ctx, w.authz, answers(w.ports.authzAdmin, "/readyz"))
}

func (w *world) startLimits(ctx context.Context) (err error) {
	store := "memory"
	if w.opt.Valkey != "" {
		store = "redis://" + local(w.ports.store)
	}
	w.limits, err = w.gate("ratelimit", w.ports.limits, w.ports.limitsAdmin, "--limits", w.file("limits"), "--store", store, "--replicas", "1",
		"--audit", string(w.limitsAudit), "--audit-fold", "0")
	if err != nil {
		return err
	}
	return w.ready(ctx, w.limits, answers(w.ports.limitsAdmin, "/readyz"))
}

// gate starts this binary once more, as one of the gates.
func (w *world) gate(name string, listen, admin int, args ...string) (*child, error) {
	args = append([]string{name, "--listen", local(listen), "--admin", local(admin), "--drain-delay", "0s", "--drain-timeout", "1s"}, args...)
	return start(spec{name: "sallyport " + name, path: w.opt.Self, args: args, env: w.environ(), log: w.file(name + ".log")})
}

func (w *world) startEnvoy(ctx context.Context) error {
	server, err := w.trusted.issue(spiffeID("shop", serviceName))
	if err != nil {
		return err
	}
	own, err := write(w.dir, "orders", server)
	if err != nil {
		return err
	}
	if err := writePEM(w.file("mesh-ca.pem"), "CERTIFICATE", w.trusted.cert.Raw); err != nil {
		return err
	}
	config, err := envoy.Render("demo.yaml", map[string]string{
		"ADMIN_PORT": strconv.Itoa(w.ports.envoyAdmin), "GATED_PORT": strconv.Itoa(w.ports.gated),
		"UNGATED_PORT": strconv.Itoa(w.ports.ungated), "MESH_PORT": strconv.Itoa(w.ports.mesh),
		"TRUST_DOMAIN": trustDomain, "MESH_CERT": own.cert, "MESH_KEY": own.key, "MESH_CA": w.file("mesh-ca.pem"),
		"SERVICE": serviceName, "SERVICE_PORT": strconv.Itoa(w.ports.service), "CORS_ORIGIN": "http://shop.test",
		"ACCESS_LOG": w.file("access.log"), "AUTHZ_PORT": strconv.Itoa(w.ports.authz), "RATELIMIT_PORT": strconv.Itoa(w.ports.limits),
	})
	if err != nil {
		return err
	}
	if err := w.put("envoy.yaml", string(config)); err != nil {
		return err
	}
	w.envoy, err = start(spec{name: "Envoy", path: w.opt.Envoy, env: w.environ(), log: w.file("envoy.log"), args: []string{
		"-c", w.file("envoy.yaml"), "--concurrency", "2", "--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "500",
	}})
	if err != nil {
		return err
	}
	return w.ready(ctx, w.envoy, answers(w.ports.envoyAdmin, "/ready"))
}

// environ is the environment of the children: ours, without what would change the gates' settings.
func (w *world) environ() []string {
	var kept []string
	for _, entry := range w.opt.Environ {
		if !strings.HasPrefix(entry, "SALLYPORT_") {
			kept = append(kept, entry)
		}
	}
	return kept
}

// ready waits for a child to say that it is; a child that ends instead, or never does, is trouble.
func (w *world) ready(ctx context.Context, c *child, is func() bool) error {
	err := until(ctx, startPatience, 20*time.Millisecond, func() (bool, error) {
		if c.ended() {
			return false, c.trouble("ended at its start")
		}
		return is(), nil
	})
	if errors.Is(err, errLate) {
		return c.trouble(fmt.Sprintf("was not ready within %s", startPatience))
	}
	return err
}

// admin asks admin ports. No proxy of the environment stands between.
var admin = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}

// answers makes a question of a page: does it answer 200?
func answers(port int, page string) func() bool {
	return func() bool {
		response, err := admin.Get("http://" + local(port) + page)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
}

// openDoors says how requests get in: through Envoy's listeners, or through the stand-in.
func (w *world) openDoors() error {
	if w.opt.Envoy == "" {
		standIn, err := envoy.NewStandIn(local(w.ports.authz), local(w.ports.limits))
		if err != nil {
			return err
		}
		w.standIn = standIn
		service := socket{address: local(w.ports.service)}
		w.doors = doors{ungated: service, gated: asked{standIn: standIn, service: service}, mesh: func(who workload) (door, error) {
			return asked{standIn: standIn, service: service, principal: who.id, pin: serviceName}, nil
		}}
		return nil
	}
	w.doors = doors{ungated: socket{address: local(w.ports.ungated)}, gated: socket{address: local(w.ports.gated)}, mesh: w.meshDoor}
	return nil
}

// meshDoor is the door of one workload, with a certificate of its own.
func (w *world) meshDoor(who workload) (door, error) {
	signer := w.trusted
	if who.forged {
		signer = w.other
	}
	own, err := signer.issue(who.id)
	if err != nil {
		return nil, err
	}
	return socket{address: local(w.ports.mesh), tls: w.trusted.client(own)}, nil
}

// children are the processes that were started, in the order in which they are to be ended: first who asks, then who is asked.
func (w *world) children() []*child {
	var all []*child
	for _, c := range []*child{w.envoy, w.authz, w.limits, w.store} {
		if c != nil {
			all = append(all, c)
		}
	}
	return all
}

// grace is how long a child may take to end by itself.
const grace = 3 * time.Second

// close ends everything, and removes the folder unless it is to be kept.
func (w *world) close(keep bool) error {
	for _, c := range w.children() {
		c.stop(grace)
	}
	for _, server := range w.servers {
		_ = server.Close()
	}
	if w.standIn != nil {
		_ = w.standIn.Close()
	}
	if keep || w.dir == "" {
		return nil
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return fmt.Errorf("demo: remove the folder: %w", err)
	}
	return nil
}
