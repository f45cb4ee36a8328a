package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

// twoOwners is a server in which alice has a and bob has b, and which takes anything for a question unless it is strict.
type twoOwners struct {
	ownerv1.UnimplementedOwnerServiceServer
	strict bool
}

func (s twoOwners) Check(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
	seen := map[string]bool{"": true}
	out := &ownerv1.CheckResponse{}
	for _, object := range in.GetObjects() {
		if seen[object] && s.strict {
			return nil, status.Error(codes.InvalidArgument, "twice")
		}
		seen[object] = true
		standing := ownerv1.Standing_STANDING_NOT_THERE
		if owner := map[string]string{"a": "alice", "b": "bob"}[object]; owner != "" {
			standing = ownerv1.Standing_STANDING_NOT_THEIRS
			if owner == in.GetSubject() && in.GetIssuer() == "shop" && in.GetKind() == ownerv1.Kind_KIND_PERSON && in.GetRelation() == "" {
				standing = ownerv1.Standing_STANDING_THEIRS
			}
		}
		out.Answers = append(out.Answers, &ownerv1.Answer{Object: object, Standing: standing})
	}
	if s.strict && (in.GetIssuer() == "" || in.GetKind() == 0 || in.GetSubject() == "" || len(out.Answers) == 0 || len(out.Answers) > 1000) {
		return nil, status.Error(codes.InvalidArgument, "not a question")
	}
	return out, nil
}

func serveOwners(t *testing.T, s twoOwners) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	ownerv1.RegisterOwnerServiceServer(server, s)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// The exit code says whether the server keeps to the protocol, does not, or was never asked; stdout has a line a check.
func TestLookupConform(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "facts.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	facts := write("facts:\n  - {issuer: shop, subject: alice, objects: [a]}\n  - {issuer: shop, subject: bob, objects: [b]}\n")
	wrong := write("facts:\n  - {issuer: shop, subject: bob, objects: [a]}\n  - {issuer: shop, subject: alice, objects: [b]}\n")
	alone := write("facts:\n  - {issuer: shop, subject: alice, objects: [a]}\n")
	broken := write("facts:\n  - {issuer: shop, subjects: alice, objects: [a]}\n")
	strict, lax := serveOwners(t, twoOwners{strict: true}), serveOwners(t, twoOwners{})
	nobody, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	for _, c := range []struct {
		args     []string
		code     int
		out, err string
	}{
		{[]string{"--address", strict, "--facts", facts}, 0, "ok    nobody's object\n", ""},
		{[]string{"--address", strict, "--facts", facts}, 0, "--    tenants apart: not checked, the facts name no tenant\n", ""},
		{[]string{"--address", lax, "--facts", facts}, daemon.ExitInvalid, "FAIL  no subject: expected INVALID_ARGUMENT, got 2 answers\n", "checks failed"},
		{[]string{"--address", strict, "--facts", wrong}, daemon.ExitInvalid, "FAIL  the facts: expected STANDING_THEIRS for every object of every fact, got \"bob\" of \"shop\": \"a\" is STANDING_NOT_THEIRS", "checks failed"},

		{[]string{"--address", nobody.Addr().String(), "--facts", facts}, daemon.ExitUnable, "", "cannot be asked"},
		{[]string{"--address", strict, "--facts", alone}, daemon.ExitUnable, "", "two facts"},
		{[]string{"--address", strict, "--facts", broken}, daemon.ExitUnable, "", "subjects"},
		{[]string{"--address", strict, "--facts", facts + "-gone"}, daemon.ExitUnable, "", "no such file"},
		{[]string{"--address", strict}, daemon.ExitUnable, "", "--facts is missing"},
		{[]string{"--facts", facts}, daemon.ExitUnable, "", "--address is missing"},
		{[]string{"--address", "owners", "--facts", facts}, daemon.ExitUnable, "", "HOST:PORT"},
		{[]string{"--address", strict, "--facts", facts, "--ca-file", facts}, daemon.ExitUnable, "", "handshake failed"},
		{[]string{"--address", strict, "--facts", facts, "more"}, daemon.ExitUnable, "", "--help"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), streams{out: &out, err: &errs}, append([]string{"lookup", "conform"}, c.args...))
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.err) || c.code == daemon.ExitUnable && out.Len() > 0 {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit %d, %q, %q", c.args, code, out.String(), errs.String(), c.code, c.out, c.err)
		}
		if lines := strings.Count(out.String(), "\n"); c.code != daemon.ExitUnable && lines < 20 {
			t.Errorf("%v: %d lines", c.args, lines)
		}
	}
}
