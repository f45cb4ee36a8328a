package xds_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// As Envoy Gateway serves it: mTLS, one resource a domain, the first load and an update, each acknowledged with its version.
func TestLoadAndUpdate(t *testing.T) {
	p, g := gatewayPKI(t), newGateway(t)
	at, _ := serve(t, "", p.serverTLS("server"), g.service)
	g.set("1", domain("default/eg/http", 5), domain("other", 1))
	c := connect(t, xds.Options{Server: at, TLS: p.clientTLS(), Node: xds.Node{Metadata: map[string]string{"region": "here"}}})

	first := next(t, "a request", g.requests)
	if first.GetTypeUrl() != xds.TypeURL || first.GetNode().GetId() != nodeID || first.GetNode().GetMetadata().AsMap()["region"] != "here" || first.GetVersionInfo() != "" {
		t.Errorf("asked %v", first)
	}
	u := c.update()
	if u.Err != nil || u.Version != "1" || limit(u.Table, "default/eg/http") != 5 || limit(u.Table, "other") != 1 || len(u.Domains) != 2 {
		t.Errorf("got %+v", u)
	}
	if a := g.answer(); a.GetVersionInfo() != "1" || a.GetErrorDetail() != nil {
		t.Errorf("answered %v", a)
	}
	g.set("2", domain("default/eg/http", 6), domain("other", 1))
	if u := c.update(); u.Err != nil || u.Version != "2" || limit(u.Table, "default/eg/http") != 6 {
		t.Errorf("got %+v", u)
	}
	if a := g.answer(); a.GetVersionInfo() != "2" || a.GetErrorDetail() != nil {
		t.Errorf("answered %v", a)
	}
	if err := testutil.CollectAndCompare(c, strings.NewReader(`
# HELP sallyport_ratelimit_xds_connected 1 while a stream to the management server stands.
# TYPE sallyport_ratelimit_xds_connected gauge
sallyport_ratelimit_xds_connected 1
# HELP sallyport_ratelimit_xds_version_info Always 1; the label is the version that was accepted last.
# TYPE sallyport_ratelimit_xds_version_info gauge
sallyport_ratelimit_xds_version_info{version="2"} 1
# HELP sallyport_ratelimit_xds_responses_total Responses of the management server: accepted, refused in whole or in part, or repeated (the same as the one before).
# TYPE sallyport_ratelimit_xds_responses_total counter
sallyport_ratelimit_xds_responses_total{result="accepted"} 2
sallyport_ratelimit_xds_responses_total{result="refused"} 0
sallyport_ratelimit_xds_responses_total{result="repeated"} 0
`), "sallyport_ratelimit_xds_connected", "sallyport_ratelimit_xds_version_info", "sallyport_ratelimit_xds_responses_total"); err != nil {
		t.Error(err)
	}
}

// A bad domain is refused by its path and keeps its last good version; the good one beside it is taken. The answer names the version
// that was accepted last.
func TestBadUpdateIsRefused(t *testing.T) {
	g := newGateway(t)
	at, _ := serve(t, "", nil, g.service)
	g.set("1", domain("a", 5), domain("b", 1))
	c := prepare(t, xds.Options{Server: at})
	c.After(func(time.Duration) <-chan time.Time { return nil }) // what is held back stays back
	c.run()
	c.update()
	g.answer()

	bad := domain("a", 9)
	bad.Descriptors[0].RateLimit.Unit = configv3.RateLimitUnit_UNKNOWN
	g.set("2", bad, domain("b", 2))
	u := c.update()
	if u.Err == nil || limit(u.Table, "a") != 5 || limit(u.Table, "b") != 2 || !u.Domains[0].LastGood || !u.Domains[1].OK() {
		t.Errorf("got %+v", u)
	}
	a := g.answer()
	if a.GetVersionInfo() != "1" || a.GetErrorDetail().GetMessage() != "a: a.who: invalid rate limit unit 'UNKNOWN'" || a.GetErrorDetail().GetCode() != 3 {
		t.Errorf("answered %v", a)
	}
}

// A server that goes away takes nothing with it, and is asked again when it is back. That it numbers its versions anew changes
// nothing: a stream begins without a version.
func TestServerGoneAndBack(t *testing.T) {
	g := newGateway(t)
	at, stop := serve(t, "", nil, g.service)
	g.set("1", domain("a", 5))
	c := connect(t, xds.Options{Server: at})
	c.update()
	g.answer()
	stop()
	if why := c.lost(); !strings.Contains(why, at) {
		t.Errorf("lost: %s", why)
	}
	c.lost() // and once more: it goes on trying
	if n := len(c.updates); n > 0 {
		t.Errorf("%d updates without a server", n)
	}
	g = newGateway(t)
	g.set("1", domain("a", 7))
	serve(t, at, nil, g.service)
	if u := c.update(); u.Err != nil || u.Version != "1" || limit(u.Table, "a") != 7 {
		t.Errorf("got %+v", u)
	}
	if first := next(t, "a request", g.requests); first.GetVersionInfo() != "" || first.GetNode().GetId() != nodeID {
		t.Errorf("asked %v", first)
	}
}

// What a new connection sends again is no update.
func TestSameAgainIsNoUpdate(t *testing.T) {
	g := newGateway(t)
	g.set("1", domain("a", 5), domain("b", 5), domain("c", 5))
	at, stop := serve(t, "", nil, g.service)
	c := connect(t, xds.Options{Server: at})
	c.update()
	g.answer()
	stop()
	c.lost()
	serve(t, at, nil, g.service)
	if a := g.answer(); a.GetErrorDetail() != nil || a.GetVersionInfo() != "1" {
		t.Errorf("answered %v", a)
	}
	if n := len(c.updates); n > 0 {
		t.Errorf("%d updates of nothing new", n)
	}
}

// A resource that is gone from a good response is gone; when the last one goes, they stay. A server that never had one is believed.
func TestResourceRemoved(t *testing.T) {
	g := newGateway(t)
	at, _ := serve(t, "", nil, g.service)
	c := connect(t, xds.Options{Server: at})
	g.set("0")
	if u := c.update(); u.Err != nil || u.Table != nil {
		t.Errorf("an empty start: %+v", u)
	}
	if a := g.answer(); a.GetErrorDetail() != nil || a.GetVersionInfo() != "0" {
		t.Errorf("answered %v", a)
	}
	g.set("1", domain("a", 5), domain("b", 1))
	c.update()
	g.set("2", domain("b", 1))
	if u := c.update(); u.Err != nil || limit(u.Table, "a") != 0 || limit(u.Table, "b") != 1 {
		t.Errorf("one removed: %+v", u)
	}
	g.set("3")
	if u := c.update(); u.Err == nil || !strings.Contains(u.Err.Error(), "no resource is left") || limit(u.Table, "b") != 1 {
		t.Errorf("all removed: %+v", u)
	}
}

// Two resources of one domain: the one that is in force stays, at the start the first by name.
func TestDuplicateDomain(t *testing.T) {
	g := newGateway(t)
	at, _ := serve(t, "", nil, g.service)
	first, second := domain("mesh", 5), domain("mesh", 9)
	first.Name, second.Name = "first", "second"
	g.set("1", first, second)
	c := prepare(t, xds.Options{Server: at})
	c.After(func(time.Duration) <-chan time.Time { return nil })
	c.run()
	if u := c.update(); u.Err == nil || limit(u.Table, "mesh") != 5 {
		t.Errorf("got %+v", u)
	}
	if got, want := g.answer().GetErrorDetail().GetMessage(), "second: mesh: duplicate domain 'mesh' in config file"; got != want {
		t.Errorf("answered %q, want %q", got, want)
	}
}

// With MergeDomains several resources make one domain. One that is missing beside a bad one stays, though another has its domain.
func TestMergedDomain(t *testing.T) {
	s := newScripted()
	at, _ := serve(t, "", nil, s)
	first, second, third := domain("mesh", 5), domain("mesh", 9), domain("mesh", 7)
	first.Name, second.Name, third.Name = "first", "second", "third"
	second.Descriptors[0].Key, third.Descriptors[0].Key = "user", "other"
	c := connect(t, xds.Options{Server: at, MergeDomains: true})
	s.send <- response("1", packed(t, first), packed(t, second), packed(t, third))
	if u := c.update(); u.Err != nil || limit(u.Table, "mesh") != 5 || len(u.Table.Rules()) != 4 {
		t.Errorf("got %+v", u)
	}
	third.Descriptors[0].Key = ""
	s.send <- response("2", packed(t, second), packed(t, third))
	if u := c.update(); u.Err == nil || limit(u.Table, "mesh") != 5 || len(u.Table.Rules()) != 4 {
		t.Errorf("got %+v", u)
	}
}

// scripted is a server that sends what it is told to, whatever the protocol says, and hands over what it is answered.
type scripted struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	send    chan *discoveryv3.DiscoveryResponse
	answers chan *discoveryv3.DiscoveryRequest
	headers chan metadata.MD
}

func newScripted() *scripted {
	return &scripted{send: make(chan *discoveryv3.DiscoveryResponse), answers: make(chan *discoveryv3.DiscoveryRequest, 1000), headers: make(chan metadata.MD, 1000)}
}

func (s *scripted) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	s.headers <- md
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			if r.GetResponseNonce() != "" {
				s.answers <- r
			}
		}
	}()
	for {
		select {
		case r := <-s.send:
			if err := stream.Send(r); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func response(version string, resources ...*anypb.Any) *discoveryv3.DiscoveryResponse {
	return &discoveryv3.DiscoveryResponse{TypeUrl: xds.TypeURL, VersionInfo: version, Nonce: "n" + version, Resources: resources}
}

// Whatever a server sends that is no set of limits is refused with the reason, and what was in force stays in force.
func TestGarbageIsRefused(t *testing.T) {
	good := packed(t, domain("mesh", 5))
	invalid := domain("\xff", 5)
	invalid.Domain = "mesh"
	cut := &anypb.Any{TypeUrl: xds.TypeURL, Value: good.Value[:len(good.Value)-1]}
	elsewhere := response("2", good)
	elsewhere.TypeUrl = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	for _, tt := range []struct {
		name     string
		response *discoveryv3.DiscoveryResponse
		want     string
	}{
		{"bytes", response("2", &anypb.Any{TypeUrl: xds.TypeURL, Value: []byte("\xff\xff\xff")}), "resource 1 of 1: no RateLimitConfig can be read from it"},
		{"half a message", response("2", good, cut), "resource 2 of 2: no RateLimitConfig can be read from it"},
		{"another type", response("2", packed(t, &discoveryv3.DiscoveryRequest{})), "its type is"},
		{"no type", response("2", &anypb.Any{}), `its type is ""`},
		{"nothing in the envelope", response("2", packed(t, &discoveryv3.Resource{Name: "mesh"})), `its type is ""`},
		{"a broken envelope", response("2", &anypb.Any{TypeUrl: "type.googleapis.com/envoy.service.discovery.v3.Resource", Value: []byte{0xff}}), "an envelope that cannot be read"},
		{"no name", response("2", packed(t, &configv3.RateLimitConfig{})), "it has no name and no domain"},
		{"one name twice", response("2", good, good), `two resources are called "mesh"`},
		{"a name without a domain", response("2", packed(t, &configv3.RateLimitConfig{Name: "mesh"})), "config file cannot have empty domain"},
		{"a response of another type", elsewhere, "was asked for"},
		{"nothing", response("2"), "no resource is left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScripted()
			at, _ := serve(t, "", nil, s)
			c := connect(t, xds.Options{Server: at})
			s.send <- response("1", good)
			c.update()
			if a := next(t, "an answer", s.answers); a.GetErrorDetail() != nil {
				t.Fatalf("answered %v", a)
			}
			s.send <- tt.response
			if u := c.update(); u.Err == nil || limit(u.Table, "mesh") != 5 || slices.ContainsFunc(u.Domains, limits.FileState.OK) {
				t.Errorf("got %+v", u)
			}
			a := next(t, "an answer", s.answers)
			if !strings.Contains(a.GetErrorDetail().GetMessage(), tt.want) || a.GetVersionInfo() != "1" || a.GetResponseNonce() != "n2" {
				t.Errorf("answered %v, want %q", a, tt.want)
			}
			s.send <- response("3", packed(t, domain("mesh", 6)))
			if u := c.update(); u.Err != nil || limit(u.Table, "mesh") != 6 {
				t.Errorf("afterwards: %+v", u)
			}
		})
	}
}

// A response that is refused in part removes nothing: the bad resource may be the new version of what looks removed.
func TestRefusedInPartRemovesNothing(t *testing.T) {
	s := newScripted()
	at, _ := serve(t, "", nil, s)
	c := connect(t, xds.Options{Server: at})
	s.send <- response("1", packed(t, domain("a", 1)), packed(t, domain("b", 2)), packed(t, domain("c", 3)))
	c.update()
	renamed, moved := domain("a", 9), domain("b", 8)
	renamed.Name, renamed.Domain = "a-renamed", ""
	moved.Name = "b-renamed"
	s.send <- response("2", packed(t, renamed), packed(t, moved))
	u := c.update()
	if u.Err == nil || limit(u.Table, "a") != 1 || limit(u.Table, "b") != 8 || limit(u.Table, "c") != 3 {
		t.Errorf("a %d, b %d, c %d: %v", limit(u.Table, "a"), limit(u.Table, "b"), limit(u.Table, "c"), u.Err)
	}
	s.send <- response("3", packed(t, moved))
	if u := c.update(); u.Err != nil || limit(u.Table, "a") != 0 || limit(u.Table, "b") != 8 || limit(u.Table, "c") != 0 {
		t.Errorf("mended: %+v", u)
	}
}

// go-control-plane sends again at once whatever is refused. The first answer is immediate, every later one waits longer, and a good
// update is taken the moment it comes.
func TestRefusalsDoNotSpin(t *testing.T) {
	g := newGateway(t)
	at, _ := serve(t, "", nil, g.service)
	bad := domain("a", 9)
	bad.Descriptors[0].Key = ""
	g.set("1", bad)
	c := prepare(t, xds.Options{Server: at})
	waits, release := make(chan time.Duration, 100), make(chan time.Time)
	c.After(func(d time.Duration) <-chan time.Time { waits <- d; return release })
	c.run()
	if u := c.update(); u.Err == nil || u.Table != nil {
		t.Errorf("got %+v", u)
	}
	g.answer()
	for i, about := range []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second} {
		if d := next(t, "a wait", waits); d < about/2 || d > about*3/2 {
			t.Errorf("wait %d is %s, want %s or half of it more or less", i, d, about)
		}
		if n := len(g.requests); n > 0 {
			t.Errorf("%d answers while one is held back", n)
		}
		release <- time.Time{}
		g.answer()
	}
	g.set("2", domain("a", 3))
	next(t, "a wait", waits)
	release <- time.Time{}
	if u := c.update(); u.Err != nil || limit(u.Table, "a") != 3 {
		t.Errorf("mended: %+v", u)
	}
	if a := g.answer(); a.GetErrorDetail() == nil {
		t.Errorf("the answer that was held back is %v", a)
	}
	if a := g.answer(); a.GetErrorDetail() != nil || a.GetVersionInfo() != "2" {
		t.Errorf("answered %v", a)
	}
	if n := len(c.updates); n > 0 {
		t.Errorf("%d updates of one bad version", n)
	}
}

// A server that pushes while an answer is held back is read all the same.
func TestPushWhileHeld(t *testing.T) {
	s := newScripted()
	at, _ := serve(t, "", nil, s)
	c := prepare(t, xds.Options{Server: at})
	c.After(func(time.Duration) <-chan time.Time { return nil })
	c.run()
	bad := packed(t, &configv3.RateLimitConfig{Name: "a"})
	s.send <- response("1", bad)
	next(t, "an answer", s.answers)
	s.send <- response("2", bad)
	s.send <- response("3", packed(t, domain("a", 3)))
	if a := next(t, "an answer", s.answers); a.GetResponseNonce() != "n3" || a.GetErrorDetail() != nil || a.GetVersionInfo() != "3" {
		t.Errorf("answered %v", a)
	}
}

// 5 MB of limits are read; what is larger than was permitted is an error of the connection, and what was in force stays.
func TestLargeConfig(t *testing.T) {
	large := domain("mesh", 5)
	route := "httproute/a-namespace-with-a-name/a-route-with-a-name/rule/0/match/0/" + strings.Repeat("a-host-with-a-name.", 8)
	for i := range 22_000 {
		large.Descriptors = append(large.Descriptors, &configv3.RateLimitDescriptor{Key: "route", Value: fmt.Sprint(route, i),
			RateLimit: &configv3.RateLimitPolicy{Unit: configv3.RateLimitUnit_HOUR, RequestsPerUnit: 100}})
	}
	if size := proto.Size(large); size < 5_000_000 {
		t.Fatalf("only %d bytes", size)
	}
	g := newGateway(t)
	at, _ := serve(t, "", nil, g.service)
	g.set("1", large)
	c := connect(t, xds.Options{Server: at})
	if u := c.update(); u.Err != nil || limit(u.Table, "mesh") != 5 || len(u.Table.Rules()) != 22_002 {
		t.Errorf("%d rules, %v", len(u.Table.Rules()), u.Err)
	}
	small := connect(t, xds.Options{Server: at, MaxMessageBytes: 4 << 20})
	if why := small.lost(); !strings.Contains(why, "larger than max") {
		t.Errorf("lost: %s", why)
	}
}

// The server must carry the name that was asked for, and the client a certificate. Replaced files are used from the next connection
// on, so that a rotation needs no restart.
func TestMutualTLS(t *testing.T) {
	p, g := gatewayPKI(t), newGateway(t)
	g.set("1", domain("a", 5))
	at, stop := serve(t, "", p.serverTLS("server"), g.service)
	another := newPKI(t)
	for name, tt := range map[string]struct {
		tls  *xds.TLS
		want string
	}{
		"another name":          {&xds.TLS{CA: p.ca(), Cert: p.cert_("client"), Key: p.key_("client"), ServerName: "elsewhere"}, "elsewhere"},
		"the address's name":    {&xds.TLS{CA: p.ca(), Cert: p.cert_("client"), Key: p.key_("client")}, "127.0.0.1"},
		"another authority":     {&xds.TLS{CA: another.ca(), Cert: p.cert_("client"), Key: p.key_("client"), ServerName: "envoy-gateway"}, "unknown authority"},
		"no client certificate": {&xds.TLS{CA: p.ca(), ServerName: "envoy-gateway"}, ""}, // the server hangs up, and its alert may be lost
		"plain text":            {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, xds.Options{Server: at, TLS: tt.tls})
			if why := c.lost(); !strings.Contains(why, tt.want) || len(c.updates) > 0 {
				t.Errorf("lost: %s", why)
			}
		})
	}
	c := connect(t, xds.Options{Server: at, TLS: p.clientTLS()})
	if u := c.update(); u.Err != nil {
		t.Fatal(u.Err)
	}
	stop()
	c.lost()
	// Another authority signs both sides from now on, in the same files.
	another.folder = p.folder
	another.sign("server", "envoy-gateway")
	another.sign("client", "envoy-ratelimit")
	writePEM(t, p.ca(), "CERTIFICATE", another.cert.Raw)
	g.set("2", domain("a", 6))
	serve(t, at, another.serverTLS("server"), g.service)
	if u := c.update(); u.Err != nil || limit(u.Table, "a") != 6 {
		t.Errorf("after the rotation: %+v", u)
	}
}

// A server on this machine may stand behind a Unix socket.
func TestUnixSocket(t *testing.T) {
	g := newGateway(t)
	g.set("1", domain("a", 5))
	socket := filepath.Join(t.TempDir(), "xds.sock")
	serve(t, "unix:"+socket, nil, g.service)
	c := connect(t, xds.Options{Server: "unix:" + socket})
	if u := c.update(); u.Err != nil || limit(u.Table, "a") != 5 {
		t.Errorf("got %+v", u)
	}
}

// Additional headers go with every stream, those of files as the files are then.
func TestHeaders(t *testing.T) {
	s := newScripted()
	at, stop := serve(t, "", nil, s)
	token := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Bearer one\n")
	c := connect(t, xds.Options{Server: at, Headers: map[string]string{"x-cluster": "blue"}, HeaderFiles: map[string]string{"authorization": token}})
	if md := next(t, "headers", s.headers); md.Get("x-cluster")[0] != "blue" || md.Get("authorization")[0] != "Bearer one" {
		t.Errorf("got %v", md)
	}
	stop()
	c.lost()
	write("Bearer two")
	serve(t, at, nil, s)
	for { // a connection that was being made may still have read the old one
		if md := next(t, "headers", s.headers); md.Get("authorization")[0] == "Bearer two" {
			break
		}
	}
}

// Waits grow until the server sends something, and a server that is not there has a wait of its own.
func TestWaits(t *testing.T) {
	s := newScripted()
	at, stop := serve(t, "", nil, s)
	c := prepare(t, xds.Options{Server: at, Retry: xds.Backoff{Initial: 1, Max: 1 << 10}, Reach: xds.Backoff{Initial: 1 << 20, Max: 1 << 40}})
	waits, release := make(chan time.Duration), make(chan time.Time)
	c.After(func(d time.Duration) <-chan time.Time { waits <- d; return release })
	c.run()
	s.send <- response("1", packed(t, domain("a", 1)))
	c.update()
	next(t, "an answer", s.answers)
	stop()
	for i, want := range []time.Duration{1, 2 << 20, 4 << 20} {
		if d := next(t, "a wait", waits); d != want {
			t.Errorf("wait %d is %d, want %d", i, d, want)
		}
		if i < 2 {
			release <- time.Time{}
		}
	}
	serve(t, at, nil, s)
	release <- time.Time{}
	s.send <- response("2", packed(t, domain("a", 2)))
	if u := c.update(); u.Err != nil || limit(u.Table, "a") != 2 {
		t.Errorf("got %+v", u)
	}
}

// A client that is told to end does, connected or not.
func TestRunEnds(t *testing.T) {
	c := prepare(t, xds.Options{Server: "127.0.0.1:1", Retry: xds.Backoff{Initial: time.Hour, Max: time.Hour}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	c.lost()
	cancel()
	if err := next(t, "the end of Run", done); err != nil {
		t.Error(err)
	}
}

// What cannot be meant is refused before anything is dialled.
func TestNewRefuses(t *testing.T) {
	p := gatewayPKI(t)
	good := func() xds.Options { return xds.Options{Server: "127.0.0.1:1", Node: xds.Node{ID: "n"}} }
	if _, err := xds.New(good()); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*xds.Options)
		want   string
	}{
		"no server":            {func(o *xds.Options) { o.Server = "" }, "write host:port"},
		"no port":              {func(o *xds.Options) { o.Server = "envoy-gateway" }, "write host:port"},
		"a resolver of gRPC's": {func(o *xds.Options) { o.Server = "xds:///gateway" }, "write host:port"},
		"a relative socket":    {func(o *xds.Options) { o.Server = "unix:xds.sock" }, "write a whole path"},
		"no node":              {func(o *xds.Options) { o.Node.ID = "" }, "a node needs an ID"},
		"half a pair":          {func(o *xds.Options) { o.TLS = &xds.TLS{Cert: p.cert_("client")} }, "belong together"},
		"no pair":              {func(o *xds.Options) { o.TLS = &xds.TLS{Cert: p.cert_("client"), Key: p.key_("server")} }, "are not a pair"},
		"no such file":         {func(o *xds.Options) { o.TLS = &xds.TLS{CA: "/none/ca.crt"} }, "/none/ca.crt"},
		"no authorities":       {func(o *xds.Options) { o.TLS = &xds.TLS{CA: p.key_("client")} }, "holds no PEM certificate"},
		"old TLS":              {func(o *xds.Options) { o.TLS = &xds.TLS{Min: 0x0302} }, "1.2 or 1.3"},
		"a negative size":      {func(o *xds.Options) { o.MaxMessageBytes = -1 }, "more than 0 bytes"},
		"no first wait":        {func(o *xds.Options) { o.Retry = xds.Backoff{Max: 1} }, "above zero"},
		"a longest too short":  {func(o *xds.Options) { o.Retry = xds.Backoff{Initial: 2, Max: 1} }, "not below the first"},
		"too much jitter":      {func(o *xds.Options) { o.Retry = xds.Backoff{Initial: 1, Max: 1, Jitter: 1.1} }, "from 0 to 1"},
		"a header of gRPC's":   {func(o *xds.Options) { o.Headers = map[string]string{"grpc-timeout": "1S"} }, "cannot be the name"},
		"a broken header":      {func(o *xds.Options) { o.Headers = map[string]string{"a": "b\r\nc: d"} }, "more than visible"},
		"no such token":        {func(o *xds.Options) { o.HeaderFiles = map[string]string{"a": "/none/token"} }, "/none/token"},
		"a header twice": {func(o *xds.Options) {
			o.Headers, o.HeaderFiles = map[string]string{"a": "b"}, map[string]string{"a": "/none"}
		}, "keep one of them"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			tt.change(&o)
			if _, err := xds.New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Plain text is for addresses that only this machine can be behind.
func TestLocal(t *testing.T) {
	for server, want := range map[string]bool{
		"127.0.0.1:1": true, "localhost:1": true, "[::1]:1": true, "unix:/run/x.sock": true, "dns:///localhost:1": true,
		"10.0.0.1:1": false, "envoy-gateway:18001": false, "localhost.example.com:1": false, "0.0.0.0:1": false,
	} {
		if got, err := xds.Local(server); got != want || err != nil {
			t.Errorf("%s: %v, %v", server, got, err)
		}
	}
}
