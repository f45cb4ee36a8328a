package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sallyport-dev/sallyport/authz/owner/grpc/conformance"
)

const facts = `facts:
  - {issuer: shop, subject: alice, objects: [order-1, order-2]}
  - {issuer: shop, subject: bob, objects: [order-3]}
  - {issuer: shop, subject: alice, relation: viewer, objects: [order-3]}
  - {tenant: acme, issuer: shop, kind: machine, subject: billing, objects: [order-1]}
`

// The example keeps to the protocol, every check of it.
func TestConforms(t *testing.T) {
	parsed, errs := conformance.Parse("facts.yaml", []byte(facts))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, parsed) }()
	conn, err := grpc.NewClient("dns:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	findings, err := conformance.Run(t.Context(), conn, parsed)
	if err != nil || len(findings) == 0 {
		t.Fatal(findings, err)
	}
	for _, f := range findings {
		if !f.OK() || f.Skipped != "" {
			t.Errorf("%s: want %s, got %s%s", f.Check, f.Expected, f.Got, f.Skipped)
		}
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// Usage that cannot be meant is refused, and so is an address that others reach.
func TestRun(t *testing.T) {
	good := filepath.Join(t.TempDir(), "facts.yaml")
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	for path, text := range map[string]string{good: facts, bad: "facts: [{issuer: shop}]\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "--facts is missing"},
		{[]string{"--facts", good, "--listen", "0.0.0.0:9300"}, "loopback"},
		{[]string{"--facts", good, "--listen", "example.com:9300"}, "loopback"},
		{[]string{"--facts", good, "--listen", ":9300"}, "loopback"},
		{[]string{"--facts", bad}, "subject"},
		{[]string{"--facts", good + "-gone"}, "no such file"},
		{[]string{"--fact", good}, "not defined"},
	} {
		if err := run(t.Context(), c.args, t.Output()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := run(ctx, []string{"--facts", good, "--listen", "127.0.0.1:0"}, t.Output()); err != nil && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("ended before it began: %v", err)
	}
}
