package extauthz_test

import (
	"context"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/extauthz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// browser is a request with the headers that a browser and an Envoy send, in raw mode.
func browser(path, token string) *authv3.CheckRequest {
	return raw(request("GET", path, map[string]string{
		":authority": "orders.example", ":path": path, ":method": "GET", ":scheme": "https", "authorization": "Bearer " + token, "user-agent": "Mozilla/5.0", "accept": "*/*",
		"accept-language": "en", "accept-encoding": "gzip", "cookie": "a=1", "referer": "https://shop.example/", "origin": "https://shop.example", "sec-fetch-mode": "cors",
		"x-request-id": "0af7651916cd43dd8448eb211c80319c", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https",
	}))
}

// envoy is a caller's context: it carries the deadline that Envoy sends with every Check, always as far away.
type envoy struct{ context.Context }

func (envoy) Deadline() (time.Time, bool) { return time.Now().Add(200 * time.Millisecond), true }

// One Check in process: the message is decoded already, and the answer is not yet encoded.
func BenchmarkCheck(b *testing.B) {
	s := extauthz.New(gate(b), extauthz.NewMetrics(prometheus.NewRegistry()))
	for name, in := range map[string]*authv3.CheckRequest{"allow": browser("/users/alice/orders", good), "deny": browser("/users/bob/orders", good), "public": browser("/catalogue/x", good)} {
		b.Run(name, func(b *testing.B) {
			ctx := envoy{b.Context()}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Check(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What headers for the upstream's answer add to an allow: a list that was made at load, told in Envoy's words.
func BenchmarkAnswer(b *testing.B) {
	headers := []policy.ResponseHeader{
		{Name: "strict-transport-security", Value: "max-age=31536000"}, {Name: "x-content-type-options", Value: "nosniff"},
		{Name: "content-security-policy", Value: "frame-ancestors 'none'", Mode: policy.ResponseAppend},
		{Name: "referrer-policy", Value: "no-referrer", Mode: policy.ResponseIfAbsent}, {Name: "cache-control", Value: "no-store"},
	}
	in := browser("/", good)
	for name, d := range map[string]*authz.Decision{
		"bare": {Verdict: authz.Allow, Reason: authz.Allowed, ID: "ID", Who: "ip|unknown"}, "security headers": {Verdict: authz.Allow, Reason: authz.Allowed, ID: "ID", Who: "ip|unknown", Respond: headers},
	} {
		s := extauthz.New(checker(func(context.Context, *authz.Request) *authz.Decision { return d }), nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Check(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The whole call, from bytes to bytes, without a network.
func BenchmarkCheckBytes(b *testing.B) {
	s := extauthz.New(gate(b), extauthz.NewMetrics(prometheus.NewRegistry()))
	data := encoded(b, browser("/users/alice/orders", good))
	ctx := envoy{b.Context()}
	b.ReportAllocs()
	for b.Loop() {
		in := &authv3.CheckRequest{}
		if err := proto.Unmarshal(data, in); err != nil {
			b.Fatal(err)
		}
		out, err := s.Check(ctx, in)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := proto.Marshal(out); err != nil {
			b.Fatal(err)
		}
	}
}

// A call on loopback, through gRPC.
func BenchmarkCheckLoopback(b *testing.B) {
	client := authv3.NewAuthorizationClient(serve(b, gate(b)))
	in := browser("/users/alice/orders", good)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Check(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
