package daemon

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"
)

// fetch asks one of the daemon's own HTTP servers.
func fetch(g *gate, flag, path string) (int, string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+g.WebAddr(flag).String()+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// A server of the command's own answers through the drain, until the calls in flight have finished, and is gone after it.
func TestServeHTTPLastsThroughTheDrain(t *testing.T) {
	inCall, goOn := make(chan struct{}), make(chan struct{})
	var daemon *Daemon
	g := startGate(t, Config{}, func(d *Daemon) {
		daemon = d
		register(d.Server, func(ctx context.Context, in string) (string, error) {
			close(inCall)
			<-goOn
			return in, nil
		})
		if err := d.ServeHTTP(t.Context(), "--http", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if d.Status.Report().Draining {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})); err != nil {
			t.Fatal(err)
		}
	})
	eventually(t, "it answers", func() bool { code, _ := fetch(g, "--http", "/"); return code == 200 })
	conn := g.dial(nil)
	answered := make(chan error, 1)
	go func() { _, err := ask(context.Background(), conn, "x"); answered <- err }()
	<-inCall
	g.stop()
	eventually(t, "it says that it drains", func() bool { code, _ := fetch(g, "--http", "/"); return code == 500 })
	close(goOn)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := g.wait(); err != nil {
		t.Error(err)
	}
	if code, _ := fetch(g, "--http", "/"); code != 0 {
		t.Errorf("it answers after the end: %d", code)
	}
	if daemon.WebAddr("--other") != nil {
		t.Error("a server that is not there has an address")
	}
}

func TestServeHTTPRefusesAddresses(t *testing.T) {
	startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, echo)
		err := d.ServeHTTP(t.Context(), "--http", "name:80", http.NotFoundHandler())
		if ExitCode(err) != ExitUnable || !strings.Contains(err.Error(), `--http "name:80"`) {
			t.Errorf("got %v", err)
		}
	})
}

// Pages and names of the command's own stand beside the daemon's.
func TestFurtherPagesAndHealthNames(t *testing.T) {
	g := startGate(t, Config{HealthNames: []string{"other"}, AdminPages: map[string]http.Handler{
		"/more": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "more") }),
	}}, nil)
	eventually(t, "ready", func() bool { code, _ := page(t, g, "GET", "/readyz"); return code == 200 })
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/more", 200}, {"POST", "/more", 405}, {"GET", "/healthz", 200}, {"GET", "/less", 404}} {
		if code, body := page(t, g, c.method, c.path); code != c.want {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, body)
		}
	}
	client := grpc_health_v1.NewHealthClient(g.dial(nil))
	eventually(t, "the name is served", func() bool {
		resp, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "other"})
		return err == nil && resp.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING
	})
}

// A gate may be told to refuse health checks while a part of it is away, before it is ready too.
func TestRefuseHealth(t *testing.T) {
	g := startGate(t, Config{}, func(d *Daemon) { register(d.Server, echo); d.RefuseHealth(true) })
	client := grpc_health_v1.NewHealthClient(g.dial(nil))
	says := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) func() bool {
		return func() bool {
			resp, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			return err == nil && resp.GetStatus() == want
		}
	}
	<-g.Status.WhenReady()
	eventually(t, "refused", says(grpc_health_v1.HealthCheckResponse_NOT_SERVING))
	g.RefuseHealth(false)
	eventually(t, "served", says(grpc_health_v1.HealthCheckResponse_SERVING))
	g.RefuseHealth(true)
	eventually(t, "refused again", says(grpc_health_v1.HealthCheckResponse_NOT_SERVING))
}

// The reference's rule of who may connect over TLS: anybody, anybody whom an authority signed, or whoever has one host name.
func TestAnyClient(t *testing.T) {
	servers, clients, strangers := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "strangers")
	files := tlsFolder(t, servers, clients, leaf{})
	for _, c := range []struct {
		name     string
		ca, want string
		pair     *tls.Certificate
		admitted bool
	}{
		{"no authority, no certificate", "", "", nil, true},
		{"an authority, its client", files.ClientCA, "", ref(clients.pair(leaf{})), true},
		{"an authority, a stranger", files.ClientCA, "", ref(strangers.pair(leaf{})), false},
		{"an authority, no certificate", files.ClientCA, "", nil, false},
		{"a name, its owner", files.ClientCA, "envoy.mesh", ref(clients.pair(leaf{dns: []string{"envoy.mesh"}})), true},
		{"a name, the owner of its wildcard", files.ClientCA, "envoy.mesh", ref(clients.pair(leaf{dns: []string{"*.mesh"}})), true},
		{"a name, another", files.ClientCA, "envoy.mesh", ref(clients.pair(leaf{dns: []string{"other.mesh"}})), false},
		{"a name, a stranger who claims it", files.ClientCA, "envoy.mesh", ref(strangers.pair(leaf{dns: []string{"envoy.mesh"}})), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := files
			files.ClientCA, files.ClientName, files.AnyClient, files.Min = c.ca, c.want, true, tls.VersionTLS12
			g := startGate(t, Config{Options: Options{TLS: files}}, nil)
			config := &tls.Config{RootCAs: servers.pool(), MaxVersion: tls.VersionTLS12}
			if c.pair != nil {
				config.Certificates = []tls.Certificate{*c.pair}
			}
			if _, err := ask(t.Context(), g.dial(config), "hello"); (err == nil) != c.admitted {
				t.Errorf("admitted: %v, want %v", err, c.admitted)
			}
		})
	}
	for name, f := range map[string]TLSFiles{
		"a name without an authority": {Cert: "c", Key: "k", ClientName: "n", AnyClient: true},
		"nobody named, off loopback":  {Cert: "c", Key: "k"},
	} {
		if f.check(true) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := (TLSFiles{Cert: "c", Key: "k", AnyClient: true}).check(true); err != nil {
		t.Error(err)
	}
}
