package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/cmd/internal/adminapi"
)

// revokerFunc is a gate of one function.
type revokerFunc func(adminapi.Request) (time.Time, error)

// Revoke is part of adminapi.Revoker.
func (f revokerFunc) Revoke(_ context.Context, r adminapi.Request) (time.Time, error) { return f(r) }

// What the command asks the gate, what it prints, and when it asks nothing.
func TestTokenRevoke(t *testing.T) {
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := "unix:" + filepath.Join(dir, "a.sock")
	l, err := adminapi.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)
	var asked []adminapi.Request
	gate := revokerFunc(func(r adminapi.Request) (time.Time, error) {
		asked = append(asked, r)
		switch r.Issuer {
		case "unknown":
			return time.Time{}, adminapi.ErrNoIssuer
		case "away":
			return time.Time{}, adminapi.ErrStore
		}
		return now.Add(time.Hour), nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- adminapi.Serve(ctx, l, gate, adminapi.Options{Now: func() time.Time { return now }}) }()

	for _, c := range []struct {
		args  string
		code  int
		asked *adminapi.Request
		want  string
	}{
		{"--issuer shop --jti t-1", 0, &adminapi.Request{Issuer: "shop", Kind: adminapi.Token, Value: "t-1"}, `revoked: the token "t-1" of shop; remembered until 2026-11-20T13:00:00Z`},
		{"--issuer shop --subject alice", 0, &adminapi.Request{Issuer: "shop", Kind: adminapi.Subject, Value: "alice", At: now}, `revoked: every token of the subject "alice" of shop; remembered`},
		{"--issuer shop --client web --issued-until 2026-11-20T11:00:00Z", 0, &adminapi.Request{Issuer: "shop", Kind: adminapi.Client, Value: "web", At: now.Add(-time.Hour)}, "issued until 2026-11-20T11:00:00Z; remembered"},
		{"--issuer shop --session s-1", 0, &adminapi.Request{Issuer: "shop", Kind: adminapi.Session, Value: "s-1", At: now}, `the session "s-1" of shop`},
		{"--issuer shop --all", 0, &adminapi.Request{Issuer: "shop", Kind: adminapi.WholeIssuer, At: now}, "revoked: every token of shop; remembered"},
		{"--issuer unknown --all", 1, &adminapi.Request{Issuer: "unknown", Kind: adminapi.WholeIssuer, At: now}, "no such issuer"},
		{"--issuer away --all", 2, &adminapi.Request{Issuer: "away", Kind: adminapi.WholeIssuer, At: now}, "ask again"},
		{"--issuer shop --all --issued-until 2026-11-20T13:00:00Z", 1, nil, "lies in the future"},

		{"--all", 2, nil, "--issuer is missing"},
		{"--issuer shop", 2, nil, "exactly one of"},
		{"--issuer shop --jti a --subject b", 2, nil, "exactly one of"},
		{"--issuer shop --jti a --all", 2, nil, "exactly one of"},
		{"--issuer shop --jti=", 2, nil, "exactly one of"},
		{"--issuer shop --jti a --issued-until 1", 2, nil, "does not go with --jti"},
		{"--issuer shop --all --issued-until noon", 2, nil, "is no instant"},
		{"--issuer shop --all --admin-api 127.0.0.1:1", 2, nil, "mTLS for the admin API is not supported yet"},
		{"--issuer shop --all --admin-api unix:/nowhere/a.sock", 2, nil, "there is no socket"},
		{"--issuer shop --all extra", 2, nil, "unknown command"},
	} {
		asked = nil
		code, out := tokenCommand(t, "", append([]string{"revoke", "--admin-api", address}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", c.args, code, c.code, c.want, out)
		}
		if want := []adminapi.Request{}; c.asked != nil {
			want = append(want, *c.asked)
			if fmt.Sprint(asked) != fmt.Sprint(want) {
				t.Errorf("%s: asked %+v, want %+v", c.args, asked, want)
			}
		} else if len(asked) > 0 {
			t.Errorf("%s: the gate was asked %+v", c.args, asked)
		}
	}
	if code, out := tokenCommand(t, "", "revoke", "--issuer", "shop", "--all"); code != 2 || !strings.Contains(out, "--admin-api is missing") {
		t.Errorf("without a gate: exit %d, %s", code, out)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
