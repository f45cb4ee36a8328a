package extauthz_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/extauthz"
)

// asked is the request that a checker is asked about.
func asked(t testing.TB, in *authv3.CheckRequest) *authz.Request {
	t.Helper()
	var got *authz.Request
	s := extauthz.New(checker(func(_ context.Context, r *authz.Request) *authz.Decision { got = r; return &authz.Decision{} }), nil)
	if _, err := s.Check(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(got.Headers.Fields, func(a, b authz.Field) int { return strings.Compare(a.Name, b.Name) })
	return got
}

// Every part of a CheckRequest is read from its one place, and from no other that a client can write to.
func TestRequest(t *testing.T) {
	in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{
			Address: socket("2001:db8::1"), Principal: "spiffe://cluster.local/ns/web/sa/x", Certificate: "PEM", Service: "forged",
		},
		Destination: &authv3.AttributeContext_Peer{Principal: "spiffe://cluster.local/ns/shop/sa/orders"},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "7", Method: "GET", Path: "/a?b", Host: "orders.example", Scheme: "https", Query: "forged", Fragment: "forged", Size: 4, Body: "text",
			Headers: map[string]string{":path": "/a?b", "X-User": "a,b", "accept": ""},
		}},
		ContextExtensions: map[string]string{"service": "orders", "other": "x"},
		MetadataContext:   &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"x": {}}},
	}}
	want := &authz.Request{
		HTTP: true, Method: "GET", Host: "orders.example", Target: "/a?b",
		Headers:     authz.Headers{Joined: true, Fields: []authz.Field{{Name: ":path", Value: "/a?b"}, {Name: "accept", Value: ""}, {Name: "x-user", Value: "a,b"}}},
		Peer:        authz.Peer{Principal: "spiffe://cluster.local/ns/web/sa/x", Certificate: "PEM", Address: "2001:db8::1"},
		Destination: "spiffe://cluster.local/ns/shop/sa/orders", Service: "orders", HasService: true,
		Body: authz.Body{Data: []byte("text"), Lossy: true, Size: 4},
	}
	if diff := cmp.Diff(want, asked(t, in)); diff != "" {
		t.Error(diff)
	}
	in.GetAttributes().ContextExtensions["service"] = ""
	if r := asked(t, in); r.Service != "" || !r.HasService {
		t.Errorf("an empty service extension is absent: %+v", r)
	}
	delete(in.GetAttributes().GetContextExtensions(), "service")
	if r := asked(t, in); r.HasService {
		t.Errorf("an absent service extension is there: %+v", r)
	}
}

// header_map keeps duplicates apart and bytes exact; its text value stands in where there are no bytes.
func TestRawHeaders(t *testing.T) {
	in := request("GET", "/", nil)
	in.GetAttributes().GetRequest().GetHttp().HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: "b", RawValue: []byte("\x80\xff\x00")}, {Key: "B", RawValue: []byte("2")}, {Key: "c", Value: "text"}, {Key: "d", Value: "text", RawValue: []byte("bytes")}, nil, {},
	}}
	want := authz.Headers{Fields: []authz.Field{{}, {}, {Name: "b", Value: "\x80\xff\x00"}, {Name: "b", Value: "2"}, {Name: "c", Value: "text"}, {Name: "d", Value: "bytes"}}}
	if diff := cmp.Diff(want, asked(t, in).Headers); diff != "" {
		t.Error(diff)
	}
	// Both encodings at once are two copies of each header, and two credentials are none.
	both := request("GET", "/users/alice/orders", map[string]string{"authorization": "Bearer " + good})
	both.GetAttributes().GetRequest().GetHttp().HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer " + good)}}}
	if r := asked(t, both); !r.Headers.Joined || len(r.Headers.Fields) != 2 {
		t.Errorf("one of two encodings is left out: %+v", r.Headers)
	}
	out, err := extauthz.New(gate(t), nil).Check(t.Context(), both)
	if err != nil || out.GetDeniedResponse().GetStatus().GetCode() != 400 {
		t.Errorf("%v %v", out, err)
	}
}

// What is no HTTP request, or only a part of one, is a denial and not a crash.
func TestPartsMissing(t *testing.T) {
	s := extauthz.New(gate(t), nil)
	for name, test := range map[string]struct {
		in     *authv3.CheckRequest
		reason string
	}{
		"nil":                {nil, "not_http"},
		"empty":              {&authv3.CheckRequest{}, "not_http"},
		"no request":         {&authv3.CheckRequest{Attributes: &authv3.AttributeContext{}}, "not_http"},
		"TCP":                {&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Source: &authv3.AttributeContext_Peer{Address: socket("203.0.113.9")}, Request: &authv3.AttributeContext_Request{}}}, "not_http"},
		"an empty HTTP one":  {&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{}}}}, "bad_target"},
		"CONNECT, no path":   {request("CONNECT", "", nil), "bad_target"},
		"CONNECT and a path": {request("CONNECT", "/catalogue/x", nil), "bad_target"},
		"no path":            {request("GET", "", nil), "bad_target"},
	} {
		out, err := s.Check(t.Context(), test.in)
		if err != nil || out.GetDeniedResponse().GetStatus().GetCode() != 400 || out.GetStatus().GetCode() != 3 || texts(t, out.GetDynamicMetadata())["reason"] != test.reason {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

// An address that is no IP address is none.
func TestAddress(t *testing.T) {
	for name, test := range map[string]struct {
		address *corev3.Address
		want    string
	}{
		"IPv4": {socket("203.0.113.9"), "203.0.113.9"}, "IPv6": {socket("2001:db8::1"), "2001:db8::1"}, "a name": {socket("orders.example"), ""}, "empty": {socket(""), ""}, "octal": {socket("0177.0.0.1"), ""}, "bytes": {socket("\xff"), ""},
		"nil": {nil, ""}, "nothing": {&corev3.Address{}, ""}, "a nil socket": {&corev3.Address{Address: &corev3.Address_SocketAddress{}}, ""},
		"a pipe":         {&corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/203.0.113.9"}}}, ""},
		"Envoy-internal": {&corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{}}}, ""},
	} {
		in := request("GET", "/", nil)
		in.GetAttributes().Source = &authv3.AttributeContext_Peer{Address: test.address}
		if got := asked(t, in).Peer.Address; got != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Every byte above ASCII, in every place that a client or a peer can write to: a decision, and never an allow of what is private.
func TestBytes(t *testing.T) {
	s := extauthz.New(gate(t), nil)
	for b := 0x80; b <= 0xff; b++ {
		text := string([]byte{byte(b)})
		in := raw(request("GET", "/users/alice/orders", map[string]string{"authorization": "Bearer " + good, "x-forwarded-for": text, text: text}))
		places := map[string]func(){
			"path":      func() { in.GetAttributes().GetRequest().GetHttp().Path += text },
			"host":      func() { in.GetAttributes().GetRequest().GetHttp().Host += text },
			"method":    func() { in.GetAttributes().GetRequest().GetHttp().Method += text },
			"principal": func() { in.GetAttributes().GetSource().Principal = "spiffe://cluster.local/ns/web/sa/" + text },
			"token": func() {
				in.GetAttributes().GetRequest().GetHttp().HeaderMap.Headers = []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer " + good + text)}}
			},
		}
		out, err := s.Check(t.Context(), in)
		if err != nil || out.GetOkResponse() == nil {
			t.Fatalf("a byte that nobody reads: %v, %v", out, err)
		}
		for place, write := range places {
			in = raw(request("GET", "/users/alice/orders", map[string]string{"authorization": "Bearer " + good}))
			write()
			out, err := s.Check(t.Context(), in)
			denied := out.GetDeniedResponse() != nil && out.GetStatus().GetCode() != 0
			if err != nil || denied == (place == "principal") { // a principal that the rule does not ask for is nobody, and no obstacle
				t.Errorf("byte %#x in %s: %v, %v", b, place, out, err)
			}
			texts(t, out.GetDynamicMetadata())
		}
	}
}
