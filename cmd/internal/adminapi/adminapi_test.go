package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	adminv1 "github.com/sallyport-dev/sallyport/proto/admin/v1"
)

var now = time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)

// revoker is a Revoker of one function.
type revoker func(ctx context.Context, r Request) (time.Time, error)

func (f revoker) Revoke(ctx context.Context, r Request) (time.Time, error) { return f(ctx, r) }

// gate serves r on a socket of the test's own until the test ends, and hands out what was audited so far.
func gate(t *testing.T, r Revoker) (address string, audited func() []Call) {
	t.Helper()
	return gateWith(t, r, Options{})
}

func gateWith(t *testing.T, r Revoker, opt Options) (address string, audited func() []Call) {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin") // t.TempDir's paths can be too long to bind
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address = "unix:" + filepath.Join(dir, "a.sock")
	l, err := Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var calls []Call
	audit := func(c Call) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	opt.Audit, opt.Now = audit, func() time.Time { return now }
	go func() { ended <- Serve(ctx, l, r, opt) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return address, func() []Call {
		mu.Lock()
		defer mu.Unlock()
		return calls
	}
}

// What reaches the Revoker is what was asked, with the gate's own now, and its answer comes back.
func TestRevoke(t *testing.T) {
	got := make(chan Request, 1)
	address, audited := gate(t, revoker(func(_ context.Context, r Request) (time.Time, error) {
		got <- r
		return now.Add(time.Hour), nil
	}))
	before := now.Add(-time.Minute)
	cases := []struct{ ask, want Request }{
		{Request{Issuer: "shop", Kind: Token, Value: "t-1"}, Request{Issuer: "shop", Kind: Token, Value: "t-1"}},
		{Request{Issuer: "shop", Kind: Subject, Value: "alice"}, Request{Issuer: "shop", Kind: Subject, Value: "alice", At: now}},
		{Request{Issuer: "shop", Kind: Client, Value: "web", At: before}, Request{Issuer: "shop", Kind: Client, Value: "web", At: before}},
		{Request{Issuer: "shop", Kind: Session, Value: "s/1"}, Request{Issuer: "shop", Kind: Session, Value: "s/1", At: now}},
		{Request{Issuer: "shop", Kind: WholeIssuer}, Request{Issuer: "shop", Kind: WholeIssuer, At: now}},
	}
	for _, c := range cases {
		until, err := Revoke(t.Context(), address, c.ask)
		if err != nil || !until.Equal(now.Add(time.Hour)) {
			t.Fatalf("%+v: %v, %v", c.ask, until, err)
		}
		if diff := cmp.Diff(c.want, <-got); diff != "" {
			t.Errorf("%+v:\n%s", c.ask, diff)
		}
	}
	calls := audited()
	if len(calls) != len(cases) {
		t.Fatalf("%d calls were audited, want %d", len(calls), len(cases))
	}
	for i, call := range calls {
		if diff := cmp.Diff(cases[i].want, call.Request); diff != "" || call.Err != nil || call.Until.IsZero() {
			t.Errorf("audited %+v", call)
		}
		if call.Caller.Known && (int(call.Caller.UID) != os.Getuid() || int(call.Caller.PID) != os.Getpid()) {
			t.Errorf("the caller is %+v, and was uid %d, pid %d", call.Caller, os.Getuid(), os.Getpid())
		}
	}
	if (callerOf(nil) != Caller{}) {
		t.Error("a connection that is no socket has a caller")
	}
}

// Why nothing was revoked, in the operator's words, and the exit code: 1 is the gate's no, 2 that it could not be done.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		code int
		text string
	}{
		{"no such issuer", fmt.Errorf("shop: %w", ErrNoIssuer), 1, "shop: the policy in force has no such issuer"},
		{"off", ErrOff, 1, "revocation is off"},
		{"the store", fmt.Errorf("%w: dial tcp 127.0.0.1:6379: connection refused", ErrStore), 2, "not revoked everywhere, ask again (twice is once): the store"},
		{"no time", fmt.Errorf("wait: %w", context.DeadlineExceeded), 2, "did not answer in time"},
		{"anything", errors.New("disk full\nline two"), 2, "the gate failed: disk full line two"},
	} {
		address, audited := gate(t, revoker(func(context.Context, Request) (time.Time, error) { return now, c.err }))
		until, err := Revoke(t.Context(), address, Request{Issuer: "shop", Kind: WholeIssuer})
		if err == nil || !strings.Contains(err.Error(), c.text) || daemon.ExitCode(err) != c.code || !until.IsZero() {
			t.Errorf("%s: %v, code %d, until %v", c.name, err, daemon.ExitCode(err), until)
		}
		if calls := audited(); len(calls) != 1 || calls[0].Err == nil || !calls[0].Until.IsZero() {
			t.Errorf("%s: audited %+v", c.name, calls)
		}
	}
}

// A defect behind the door is one failed call, and tells nothing of what it held.
func TestDefects(t *testing.T) {
	address, _ := gate(t, revoker(func(context.Context, Request) (time.Time, error) { panic("eyJhbGciOi") }))
	for range 2 {
		_, err := Revoke(t.Context(), address, Request{Issuer: "shop", Kind: WholeIssuer})
		if err == nil || strings.Contains(err.Error(), "eyJ") || !strings.Contains(err.Error(), "defect") {
			t.Errorf("a panic: %v", err)
		}
	}
	address, _ = gate(t, revoker(func(context.Context, Request) (time.Time, error) { return time.Time{}, nil }))
	if _, err := Revoke(t.Context(), address, Request{Issuer: "shop", Kind: WholeIssuer}); err == nil {
		t.Error("an answer without an end counts as revoked")
	}
}

// A request that names no tokens, or contradicts itself, reaches nobody.
func TestRead(t *testing.T) {
	jti := func(v string) *adminv1.RevokeRequest {
		return &adminv1.RevokeRequest{Issuer: "shop", Target: &adminv1.RevokeRequest_Jti{Jti: v}}
	}
	all := func(over func(*adminv1.RevokeRequest)) *adminv1.RevokeRequest {
		in := &adminv1.RevokeRequest{Issuer: "shop", Target: &adminv1.RevokeRequest_WholeIssuer{WholeIssuer: true}}
		if over != nil {
			over(in)
		}
		return in
	}
	at := func(t time.Time) func(*adminv1.RevokeRequest) {
		return func(in *adminv1.RevokeRequest) { in.At = timestamppb.New(t) }
	}
	timed := jti("x")
	timed.At = timestamppb.New(now)
	for _, c := range []struct {
		name    string
		in      *adminv1.RevokeRequest
		refused string
	}{
		{"a jti", jti("x"), ""},
		{"a jti of 2048 bytes", jti(strings.Repeat("x", 2048)), ""},
		{"all", all(nil), ""},
		{"all until now", all(at(now)), ""},

		{"nothing", nil, "issuer is missing"},
		{"no issuer", all(func(in *adminv1.RevokeRequest) { in.Issuer = "" }), "issuer is missing"},
		{"a long issuer", all(func(in *adminv1.RevokeRequest) { in.Issuer = strings.Repeat("x", 256) }), "longer than 255"},
		{"no target", all(func(in *adminv1.RevokeRequest) { in.Target = nil }), "say which tokens"},
		{"an empty jti", jti(""), "jti is empty"},
		{"a long jti", jti(strings.Repeat("x", 2049)), "longer than 2048"},
		{"a control character", jti("x\n"), "control character"},
		{"an empty session", all(func(in *adminv1.RevokeRequest) { in.Target = &adminv1.RevokeRequest_Session{} }), "session is empty"},
		{"an empty subject", all(func(in *adminv1.RevokeRequest) { in.Target = &adminv1.RevokeRequest_Subject{} }), "subject is empty"},
		{"an empty client", all(func(in *adminv1.RevokeRequest) { in.Target = &adminv1.RevokeRequest_Client{} }), "client is empty"},
		{"not all", all(func(in *adminv1.RevokeRequest) { in.Target = &adminv1.RevokeRequest_WholeIssuer{} }), "whole_issuer is false"},
		{"one token at a time", timed, "does not go with jti"},
		{"the future", all(at(now.Add(time.Nanosecond))), "lies in the future"},
		{"before 1970", all(at(time.Unix(-1, 0))), "before 1970"},
		{"no instant", all(func(in *adminv1.RevokeRequest) { in.At = &timestamppb.Timestamp{Nanos: -1} }), "not an instant"},
	} {
		r, err := read(c.in, now)
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.refused == "" && (r.Kind == Token) != r.At.IsZero():
			t.Errorf("%s: at %v", c.name, r.At)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.refused)
		}
	}
}

// The socket is the user's alone, and there is no other door.
func TestListen(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9192": "mTLS for the admin API is not supported yet", "0.0.0.0:0": "mTLS for the admin API is not supported yet",
		"localhost:1": "mTLS for the admin API is not supported yet", "": "mTLS for the admin API is not supported yet", "unix:a.sock": "whole path", "unix:@a": "whole path",
	} {
		if _, err := Listen(t.Context(), address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
		if _, err := Revoke(t.Context(), address, Request{Issuer: "shop", Kind: WholeIssuer}); daemon.ExitCode(err) != 2 {
			t.Errorf("%q: the client says %v", address, err)
		}
	}
	address, _ := gate(t, revoker(func(context.Context, Request) (time.Time, error) { return now, nil }))
	path := strings.TrimPrefix(address, "unix:")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v, %v", info.Mode(), err)
	}
	if _, err := Listen(t.Context(), address); err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("a second gate at the same socket: %v", err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), address+"2"); err == nil || !strings.Contains(err.Error(), "writable by group or others") {
		t.Errorf("a folder of everybody's: %v", err)
	}
}

// Before the gate, after it, and where it died: the client says in words that nobody is there, and the next gate takes the socket over.
func TestEnd(t *testing.T) {
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "a.sock")
	ask := func() error {
		_, err := Revoke(t.Context(), "unix:"+path, Request{Issuer: "shop", Kind: WholeIssuer})
		return err
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), "there is no socket") || daemon.ExitCode(err) != 2 {
		t.Errorf("before: %v", err)
	}
	l, err := Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, revoker(func(context.Context, Request) (time.Time, error) { return now, nil }), Options{})
	}()
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	if err := ask(); err == nil || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("a socket left behind: %v", err)
	}
	l, err = Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), l, nil, Options{}); err == nil {
		t.Error("a closed listener is no error")
	}
}
