package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Who may call a gate: a certificate of the right authority, in the right name, over TLS 1.3. Each refusal is counted under its reason.
func TestWhoMayCall(t *testing.T) {
	servers, clients, strangers := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "strangers")
	files := tlsFolder(t, servers, clients, leaf{}, "spiffe://td/ns/*/sa/envoy", "dns:envoy.example.com")
	g := startGate(t, Config{Options: Options{TLS: files}}, nil)
	for _, c := range []struct {
		name    string
		pair    *tls.Certificate
		max     uint16
		refused string
	}{
		{"its SPIFFE ID is on the list", ref(clients.pair(leaf{uris: []string{"spiffe://td/ns/web/sa/envoy"}})), 0, ""},
		{"its DNS name is on the list", ref(clients.pair(leaf{dns: []string{"envoy.example.com"}})), 0, ""},

		{"another service account", ref(clients.pair(leaf{uris: []string{"spiffe://td/ns/web/sa/other"}})), 0, "client_id"},
		{"another trust domain", ref(clients.pair(leaf{uris: []string{"spiffe://other/ns/web/sa/envoy"}})), 0, "client_id"},
		{"two URI names", ref(clients.pair(leaf{uris: []string{"spiffe://td/ns/web/sa/envoy", "spiffe://td/ns/web/sa/x"}})), 0, "client_id"},
		{"a certificate that signs others", ref(clients.pair(leaf{uris: []string{"spiffe://td/ns/web/sa/envoy"}, authority: true})), 0, "client_id"},
		{"no name", ref(clients.pair(leaf{})), 0, "client_id"},
		{"no certificate", nil, 0, "handshake"},
		{"another authority", ref(strangers.pair(leaf{uris: []string{"spiffe://td/ns/web/sa/envoy"}})), 0, "handshake"},
		{"expired", ref(clients.pair(leaf{uris: []string{"spiffe://td/ns/web/sa/envoy"}, after: time.Now().Add(-time.Minute)})), 0, "handshake"},
		{"TLS 1.2", ref(clients.pair(leaf{uris: []string{"spiffe://td/ns/web/sa/envoy"}})), tls.VersionTLS12, "version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := refusals(g, c.refused)
			config := &tls.Config{RootCAs: servers.pool(), MaxVersion: c.max}
			if c.pair != nil {
				config.Certificates = []tls.Certificate{*c.pair}
			}
			_, err := ask(t.Context(), g.dial(config), "hello")
			if c.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if status.Code(err) != codes.Unavailable {
				t.Fatalf("%v, want Unavailable", err)
			}
			eventually(t, "the refusal is counted as "+c.refused, func() bool { return refusals(g, c.refused) > before })
		})
	}
	// The line for TLS 1.2 says what to set, where Envoy itself only says "connection failure".
	if !g.log.has("tls_maximum_protocol_version: TLSv1_3") {
		t.Errorf("the log does not say what to set in Envoy:\n%s", g.log)
	}
	if !g.log.has("spiffe://td/ns/web/sa/other") {
		t.Errorf("the log does not name the client that was refused:\n%s", g.log)
	}
}

func ref[T any](v T) *T { return &v }

func refusals(g *gate, reason string) float64 {
	return testutil.ToFloat64(g.metrics.refused.WithLabelValues(reason))
}

func TestTLS12WhenAskedFor(t *testing.T) {
	ca := newAuthority(t, "ca")
	files := tlsFolder(t, ca, ca, leaf{})
	files.ClientCA, files.Min = "", tls.VersionTLS12
	g := startGate(t, Config{Options: Options{TLS: files}}, nil)
	if _, err := ask(t.Context(), g.dial(&tls.Config{RootCAs: ca.pool(), MaxVersion: tls.VersionTLS12}), "hello"); err != nil {
		t.Fatal(err)
	}
}

// A port probe connects and leaves. It is no refusal to warn about.
func TestPortProbeIsNoWarning(t *testing.T) {
	ca := newAuthority(t, "ca")
	g := startGate(t, Config{Options: Options{TLS: tlsFolder(t, ca, ca, leaf{}, "dns:x")}}, nil)
	conn, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	eventually(t, "the probe is counted", func() bool { return refusals(g, "gone") == 1 })
	if g.log.has("level=WARN") {
		t.Errorf("a warning:\n%s", g.log)
	}
}

// tickets counts the session tickets that a client was given.
type tickets struct{ n atomic.Int64 }

func (c *tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *tickets) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		c.n.Add(1)
	}
}

// A client with a ticket would come back without being judged again.
func TestNoSessionTickets(t *testing.T) {
	ca := newAuthority(t, "ca")
	files := tlsFolder(t, ca, ca, leaf{}, "dns:envoy")
	g := startGate(t, Config{Options: Options{TLS: files}}, nil)
	cache := new(tickets)
	conn, err := tls.Dial("tcp", g.Addr().String(), &tls.Config{
		RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.pair(leaf{dns: []string{"envoy"}})}, ClientSessionCache: cache, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// A ticket would come before the server's first HTTP/2 frame.
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	if n := cache.n.Load(); n != 0 {
		t.Errorf("%d tickets, want none", n)
	}
}

// reloader is a certificates under a clock, whose refresh the test calls by hand.
func reloader(t *testing.T, files TLSFiles, log *slog.Logger, now func() time.Time) (*certificates, *[]error) {
	t.Helper()
	_, m := newRegistry(Build{})
	reports := new([]error)
	c := &certificates{files: files, log: log, now: now, refused: m.refused, lines: throttle{now: now},
		report: func(err error) { *reports = append(*reports, err) }}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	return c, reports
}

func (c *certificates) serial() int64 { return c.current.Load().leaf.SerialNumber.Int64() }

// New files are taken whole or not at all; what is refused is reported once, in words that hold nothing of the key.
func TestReloadKeepsTheLastGoodPair(t *testing.T) {
	ca, log := newAuthority(t, "ca"), new(logbook)
	files := tlsFolder(t, ca, ca, leaf{serial: 10}, "dns:envoy")
	c, reports := reloader(t, files, log.logger(), time.Now)
	step := func(name string, wantSerial int64, wantReports int) {
		t.Helper()
		c.refresh()
		c.refresh() // a second look at the same files says nothing new
		if c.serial() != wantSerial || len(*reports) != wantReports {
			t.Fatalf("%s: serial %d, %d reports %v; want %d, %d", name, c.serial(), len(*reports), *reports, wantSerial, wantReports)
		}
	}
	step("nothing changed", 10, 0)

	cert, key := ca.issue(leaf{serial: 11})
	write(t, files.Cert, cert)
	step("the certificate came before its key", 10, 1)
	write(t, files.Key, key)
	step("the key arrived", 11, 2)
	if (*reports)[0] == nil || (*reports)[1] != nil {
		t.Errorf("reports %v, want one error and then good", *reports)
	}

	write(t, files.Key, []byte("-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n"))
	step("a key that is none", 11, 3)
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	step("the key is gone", 11, 4)
	write(t, files.Key, key)
	step("the key is back", 11, 5)
	write(t, files.ClientCA, append(ca.pem(), key...))
	step("a key among the authorities", 11, 6)
	write(t, files.ClientCA, nil)
	step("no authority", 11, 7)
	write(t, files.ClientCA, newAuthority(t, "next").pem())
	step("another authority", 11, 8)

	shown := log.String()
	for _, err := range *reports {
		if err != nil {
			shown += err.Error()
		}
	}
	for line := range strings.Lines(string(key)) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") && strings.Contains(shown, line) {
			t.Errorf("the private key is shown:\n%s", shown)
		}
	}
}

// A pair whose dates are over does not replace one whose dates hold, and does replace one that is over too.
func TestOutOfDatePairDoesNotReplaceAGoodOne(t *testing.T) {
	ca, log := newAuthority(t, "ca"), new(logbook)
	start := time.Now()
	now := start
	files := tlsFolder(t, ca, ca, leaf{serial: 20, after: start.Add(30 * time.Minute)}, "dns:envoy")
	c, reports := reloader(t, files, log.logger(), func() time.Time { return now })

	cert, key := ca.issue(leaf{serial: 21, after: start.Add(10 * time.Minute)})
	write(t, files.Cert, cert)
	write(t, files.Key, key)
	now = start.Add(20 * time.Minute)
	c.refresh()
	if c.serial() != 20 || len(*reports) != 1 {
		t.Fatalf("serial %d, reports %v; want the pair that is valid, and one report", c.serial(), *reports)
	}
	now = start.Add(40 * time.Minute)
	c.refresh()
	if c.serial() != 21 {
		t.Errorf("serial %d: both are over, want what is on disk", c.serial())
	}
}

// An operator learns at the start that nobody will be able to connect, and need not restart the gate to mend it.
func TestOutOfDateAtTheStartIsAWarning(t *testing.T) {
	ca, log := newAuthority(t, "ca"), new(logbook)
	reloader(t, tlsFolder(t, ca, ca, leaf{after: time.Now().Add(-time.Minute)}, "dns:envoy"), log.logger(), time.Now)
	if !log.has("out of date") {
		t.Errorf("no warning:\n%s", log)
	}
}

// End to end: an edit on disk reaches the next handshake and keeps out who is no longer trusted.
func TestReloadReachesTheNextHandshake(t *testing.T) {
	servers, clients, next := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "next")
	files := tlsFolder(t, servers, clients, leaf{serial: 30}, "dns:envoy")
	g := startGate(t, Config{Options: Options{TLS: files}}, nil)
	served := func(client *authority) (serial int64, ok bool) {
		config := &tls.Config{RootCAs: servers.pool(), Certificates: []tls.Certificate{client.pair(leaf{dns: []string{"envoy"}})}}
		config.VerifyConnection = func(s tls.ConnectionState) error {
			serial = s.PeerCertificates[0].SerialNumber.Int64()
			return nil
		}
		_, err := ask(t.Context(), g.dial(config), "hello")
		return serial, err == nil
	}
	if serial, ok := served(clients); serial != 30 || !ok {
		t.Fatalf("serial %d, %v", serial, ok)
	}
	cert, key := servers.issue(leaf{serial: 31})
	write(t, files.Cert, cert)
	write(t, files.Key, key)
	write(t, files.ClientCA, next.pem())
	eventually(t, "the new files are served", func() bool {
		serial, ok := served(next)
		return serial == 31 && ok
	})
	if _, ok := served(clients); ok {
		t.Error("a client of the old authority still connects")
	}
	expiry, err := testutil.GatherAndCount(g.Registry, "sallyport_tls_certificate_expiry_seconds")
	if err != nil || expiry != 1 {
		t.Errorf("the expiry gauge: %d, %v", expiry, err)
	}
}

// Files that never made a pair end the start.
func TestBadTLSFilesEndTheStart(t *testing.T) {
	ca := newAuthority(t, "ca")
	_, otherKey := ca.issue(leaf{})
	for _, c := range []struct {
		name  string
		spoil func(f *TLSFiles)
	}{
		{"no certificate file", func(f *TLSFiles) { f.Cert += ".gone" }},
		{"no key file", func(f *TLSFiles) { f.Key += ".gone" }},
		{"no authorities file", func(f *TLSFiles) { f.ClientCA += ".gone" }},
		{"not a pair", func(f *TLSFiles) { write(t, f.Key, otherKey) }},
		{"authorities that are none", func(f *TLSFiles) { write(t, f.ClientCA, []byte("hello")) }},
		{"an entry that is none", func(f *TLSFiles) { f.ClientIDs = []string{"envoy"} }},
		{"a folder for a file", func(f *TLSFiles) { f.Key = t.TempDir() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := tlsFolder(t, ca, ca, leaf{}, "dns:envoy")
			c.spoil(&files)
			if _, err := Open(t.Context(), Config{Options: Options{Listen: "127.0.0.1:0", TLS: files}}); ExitCode(err) != ExitUnable {
				t.Errorf("error %v, want exit 2", err)
			}
		})
	}
}

// An attacker decides how often a handshake fails. The log says it once per reason and period, and how many it left out.
func TestRefusalsAreThrottled(t *testing.T) {
	now := time.Unix(1000, 0)
	log := new(logbook)
	_, m := newRegistry(Build{})
	c := &certificates{log: log.logger(), refused: m.refused, lines: throttle{now: func() time.Time { return now }}}
	from := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
	for range 1000 {
		c.turnedAway(from, false, errors.New("bad"))
	}
	c.turnedAway(from, true, errors.New("old"))
	now = now.Add(quiet)
	c.turnedAway(from, false, errors.New("bad"))
	if n := bytes.Count([]byte(log.String()), []byte("\n")); n != 3 {
		t.Errorf("%d lines, want 3:\n%s", n, log)
	}
	if !log.has("not_logged=999") {
		t.Errorf("the lines left out are not counted:\n%s", log)
	}
	if n := testutil.ToFloat64(m.refused.WithLabelValues("handshake")); n != 1001 {
		t.Errorf("%v counted, want 1001", n)
	}
}

// A call says which entries of the list its caller answers to, so that a gate can tell its callers apart.
func TestClientIsKnown(t *testing.T) {
	servers, clients := newAuthority(t, "servers"), newAuthority(t, "clients")
	g := startGate(t, Config{Options: Options{TLS: tlsFolder(t, servers, clients, leaf{}, "spiffe://td/ns/web/sa/envoy", "dns:envoy.example.com", "spiffe://td/ns/*/sa/envoy")}}, func(d *Daemon) {
		register(d.Server, func(ctx context.Context, _ string) (string, error) { return fmt.Sprint(Client(ctx)), nil })
	})
	for name, test := range map[string]struct {
		leaf leaf
		want string
	}{
		"two entries": {leaf{uris: []string{"spiffe://td/ns/web/sa/envoy"}}, "[0 2]"},
		"one":         {leaf{uris: []string{"spiffe://td/ns/shop/sa/envoy"}}, "[2]"},
		"a DNS name":  {leaf{dns: []string{"envoy.example.com"}}, "[1]"},
	} {
		pair := clients.pair(test.leaf)
		if got, err := ask(t.Context(), g.dial(&tls.Config{RootCAs: servers.pool(), Certificates: []tls.Certificate{pair}}), "who"); err != nil || got != test.want {
			t.Errorf("%s: %q, %v, want %s", name, got, err, test.want)
		}
	}
}
