package jwks

import (
	"context"
	"crypto"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// clock is a time that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: authztest.Now} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// host is an issuer's host whose answer the test changes between attempts.
type host struct {
	*httptest.Server
	answer  atomic.Pointer[http.HandlerFunc]
	fetches atomic.Int64
}

func newHost(t *testing.T, answer http.HandlerFunc) *host {
	h := &host{}
	h.answer.Store(&answer)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fetches.Add(1)
		(*h.answer.Load())(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *host) says(answer http.HandlerFunc) { h.answer.Store(&answer) }

func serve(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
}

func fromURL(url string) policy.KeySource { return policy.KeySource{URL: url} }

func mustTry(t *testing.T, s *Set) {
	t.Helper()
	if err := s.Try(t.Context()); err != nil {
		t.Fatalf("Try: %v", err)
	}
}

func wantKey(t *testing.T, s *Set, key *authztest.Key, now time.Time) (generation uint64) {
	t.Helper()
	got, generation, err := s.Key(key.ID, key.Alg, now)
	if err != nil {
		t.Fatalf("Key(%s): %v", key.ID, err)
	}
	if !got.(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
		t.Fatalf("Key(%s) is another key", key.ID)
	}
	return generation
}

func wantErr(t *testing.T, s *Set, kid string, now time.Time, want error) {
	t.Helper()
	if key, _, err := s.Key(kid, "RS256", now); !errors.Is(err, want) || key != nil {
		t.Fatalf("Key(%q) = %v, %v; want %v", kid, key, err, want)
	}
}

// Before the first answer nothing is known, so nothing is refused for good.
func TestNoKeysYet(t *testing.T) {
	s := New(fromURL("http://127.0.0.1:1/"), authztest.Issuer, Options{})
	wantErr(t, s, "rsa-1", authztest.Now, authz.ErrKeysUnavailable)
	if ok, text := s.Health(); ok || text == "" {
		t.Errorf("Health = %v, %q before the first attempt", ok, text)
	}
	if err := s.Try(t.Context()); err == nil {
		t.Fatal("nobody listens there")
	}
	wantErr(t, s, "rsa-1", authztest.Now, authz.ErrKeysUnavailable)
	if ok, text := s.Health(); ok || !strings.Contains(text, "1 attempts failed") {
		t.Errorf("Health = %v, %q", ok, text)
	}
}

// Whatever the host answers, a good set stays in service, unchanged, until it is replaced by a good one.
func TestHostileAnswersTakeNothingAway(t *testing.T) {
	elsewhere := newHost(t, serve(authztest.JWKS(authztest.OtherEC())))
	redirect := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, code) }
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "answered 500"},
		"404 with a set": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = w.Write(authztest.JWKS(authztest.EC()))
		}, "answered 404"},
		"204":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "answered 204"},
		"moved":       {redirect(301), "redirects are not followed"},
		"found":       {redirect(302), "redirects are not followed"},
		"temporary":   {redirect(307), "redirects are not followed"},
		"unasked 304": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "answered 304"},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>")
		}, `"text/html"`},
		"garbage":         {serve([]byte{0, 1, 2, 0xff}), "not strict JSON"},
		"empty":           {serve(nil), "not strict JSON"},
		"an empty object": {serve([]byte("{}")), "no key set"},
		"an empty set":    {serve([]byte(`{"keys":[]}`)), "no usable key"},
		"no usable key":   {serve(authztest.Set(authztest.EC().JWK(map[string]any{"use": "enc"}))), "no usable key, 1 for other purposes"},
		"a gigabyte":      {endless, "more than"},
		"an encoding": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte{0x1f, 0x8b})
		}, "encoding"},
		"endless headers":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, ""},
		"a cut connection":  {cut, ""},
		"silence":           {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ""},
		"a drop and no end": {drip, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, serve(authztest.JWKS(authztest.RSA())))
			at := newClock()
			var last Attempt
			s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now, Timeout: 200 * time.Millisecond, Observe: func(a Attempt) { last = a }})
			mustTry(t, s)
			before := wantKey(t, s, authztest.RSA(), at.Now())

			h.says(c.answer)
			at.advance(time.Minute)
			err := s.Try(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("Try = %v, want an error that says %q", err, c.says)
			}
			if !errors.Is(last.Err, err) || last.Changed || last.Keys != 1 {
				t.Errorf("observed %+v", last)
			}
			if after := wantKey(t, s, authztest.RSA(), at.Now()); after != before {
				t.Errorf("generation %d became %d", before, after)
			}
			if ok, text := s.Health(); ok || !strings.Contains(text, "serving 1 keys that are 1m0s old") || !strings.Contains(text, c.says) {
				t.Errorf("Health = %v, %q", ok, text)
			}

			h.says(serve(authztest.JWKS(authztest.EC())))
			mustTry(t, s)
			if after := wantKey(t, s, authztest.EC(), at.Now()); after == before {
				t.Error("another set has the same generation")
			}
			wantErr(t, s, "rsa-1", at.Now(), authz.ErrUnknownKey)
			if ok, text := s.Health(); !ok {
				t.Errorf("Health = %v, %q after a good answer", ok, text)
			}
		})
	}
	if n := elsewhere.fetches.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	block := []byte(strings.Repeat(" ", 64<<10))
	for sent := 0; sent < 1<<30 && r.Context().Err() == nil; sent += len(block) {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"keys":[`))
}

func drip(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte("{"))
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// A key that the issuer took back dies with the next refresh, and so does one that changed under its name.
func TestRemovedAndReplacedKeys(t *testing.T) {
	h, at := newHost(t, serve(authztest.JWKS(authztest.RSA(), authztest.EC()))), newClock()
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now})
	mustTry(t, s)
	first := wantKey(t, s, authztest.RSA(), at.Now())

	h.says(serve(authztest.JWKS(authztest.EC(), authztest.RSA())))
	mustTry(t, s)
	if again := wantKey(t, s, authztest.RSA(), at.Now()); again != first {
		t.Error("the same keys in another order have another generation")
	}

	h.says(serve(authztest.JWKS(authztest.EC(), authztest.OtherRSA())))
	mustTry(t, s)
	if replaced := wantKey(t, s, authztest.OtherRSA(), at.Now()); replaced == first {
		t.Error("another key under the same name has the same generation")
	}

	h.says(serve(authztest.JWKS(authztest.EC())))
	mustTry(t, s)
	wantErr(t, s, "rsa-1", at.Now(), authz.ErrUnknownKey)
	if s.Stats().Generation == first {
		t.Error("a smaller set has the first generation")
	}
}

// The last good set serves for max_stale and not a moment longer.
func TestMaxStale(t *testing.T) {
	h, at := newHost(t, serve(authztest.JWKS(authztest.RSA()))), newClock()
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now, MaxStale: time.Hour})
	mustTry(t, s)
	h.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	at.advance(time.Hour)
	if s.Try(t.Context()) == nil {
		t.Fatal("a 503 was taken for an answer")
	}
	wantKey(t, s, authztest.RSA(), at.Now())
	at.advance(time.Second)
	wantErr(t, s, "rsa-1", at.Now(), authz.ErrKeysUnavailable)
	if ok, text := s.Health(); ok || !strings.Contains(text, "max_stale") {
		t.Errorf("Health = %v, %q", ok, text)
	}
	h.says(serve(authztest.JWKS(authztest.RSA())))
	mustTry(t, s)
	wantKey(t, s, authztest.RSA(), at.Now())
}

// 304 confirms the set that is in service, and only that one.
func TestNotModified(t *testing.T) {
	tagged := func(body []byte, tag string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", tag)
			if r.Header.Get("If-None-Match") == tag {
				w.WriteHeader(304)
				return
			}
			_, _ = w.Write(body)
		}
	}
	h, at := newHost(t, tagged(authztest.JWKS(authztest.RSA()), `"a"`)), newClock()
	var last Attempt
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now, MaxStale: time.Hour, Observe: func(a Attempt) { last = a }})
	mustTry(t, s)
	if !last.Changed {
		t.Error("the first set is no change")
	}
	first := wantKey(t, s, authztest.RSA(), at.Now())
	at.advance(50 * time.Minute)
	mustTry(t, s)
	at.advance(50 * time.Minute)
	if again := wantKey(t, s, authztest.RSA(), at.Now()); again != first || last.Changed {
		t.Errorf("generation %d became %d, changed %v", first, again, last.Changed)
	}

	// The tag of an answer that was not a good set is not sent back: it would confirm the old set as if it were the new one.
	h.says(tagged([]byte("{}"), `"b"`))
	if s.Try(t.Context()) == nil {
		t.Fatal("an empty object was taken for a set")
	}
	if s.Try(t.Context()) == nil {
		t.Fatal("the tag of a bad answer confirmed the set")
	}
}

// A rotation names the keys that came and went, the first set all of its keys, and an unchanged one none.
func TestRotationNamesKids(t *testing.T) {
	h, at := newHost(t, serve(authztest.JWKS(authztest.RSA()))), newClock()
	var last Attempt
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now, Observe: func(a Attempt) { last = a }})
	for _, step := range []struct {
		keys           []*authztest.Key
		added, removed string
	}{
		{[]*authztest.Key{authztest.RSA()}, "rsa-1", ""},
		{[]*authztest.Key{authztest.RSA(), authztest.EC()}, "ec-1", ""},
		{[]*authztest.Key{authztest.RSA(), authztest.EC()}, "", ""},
		{[]*authztest.Key{authztest.EC()}, "", "rsa-1"},
	} {
		h.says(serve(authztest.JWKS(step.keys...)))
		mustTry(t, s)
		if strings.Join(last.Added, " ") != step.added || strings.Join(last.Removed, " ") != step.removed {
			t.Errorf("%d keys: added %q, removed %q", len(step.keys), last.Added, last.Removed)
		}
		at.advance(time.Hour)
	}
}

// Cache-Control is followed within bounds, and what forbids caching says nothing about how long keys live.
func TestStay(t *testing.T) {
	s := New(fromURL("https://issuer.test/jwks"), authztest.Issuer, Options{})
	for field, want := range map[string]time.Duration{
		"":                                     5 * time.Minute,
		"public":                               5 * time.Minute,
		"max-age=600":                          10 * time.Minute,
		"public, Max-Age=60, must-revalidate":  time.Minute,
		"max-age=1":                            5 * time.Second,
		"max-age=0":                            5 * time.Minute,
		"no-cache":                             5 * time.Minute,
		"no-cache, no-store, max-age=0":        5 * time.Minute,
		"max-age=600, no-store":                5 * time.Minute,
		"max-age=86400":                        time.Hour,
		"max-age=99999999999999999999999999":   5 * time.Minute,
		"max-age=-1":                           5 * time.Minute,
		"max-age=abc":                          5 * time.Minute,
		"s-maxage=10":                          5 * time.Minute,
		"max-age":                              5 * time.Minute,
		"private, max-age=120, immutable, x=y": 2 * time.Minute,
	} {
		if got := s.stay(maxAge([]string{field})); got != want {
			t.Errorf("Cache-Control %q: stay %s, want %s", field, got, want)
		}
	}
	for range 1000 {
		if got := early(100 * time.Second); got < 90*time.Second || got > 100*time.Second {
			t.Fatalf("early(100s) = %s", got)
		}
	}
}

// The next attempt is due when the answer said, and soon after a failure: one second, doubling, at most thirty.
func TestDue(t *testing.T) {
	h, at := newHost(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=100")
		_, _ = w.Write(authztest.JWKS(authztest.RSA()))
	}), newClock()
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now})
	if got := s.wait(); got != 0 {
		t.Errorf("the first attempt waits %s", got)
	}
	mustTry(t, s)
	if got := s.wait(); got < 90*time.Second || got > 100*time.Second {
		t.Errorf("after max-age=100 the next attempt is due in %s", got)
	}
	h.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		if s.Try(t.Context()) == nil {
			t.Fatal("a 500 was taken for an answer")
		}
		want *= time.Second
		if got := s.wait(); got < want*9/10 || got > want {
			t.Errorf("after another failure the next attempt is due in %s, want about %s", got, want)
		}
	}
	if stats := s.Stats(); stats.Attempts != 9 || stats.Failures != 8 || stats.Streak != 8 || stats.Keys != 1 || !stats.Fetched.Equal(authztest.Now) {
		t.Errorf("Stats = %+v", stats)
	}
}

// running starts Run and returns the attempts that it makes.
func running(t *testing.T, s *Set) <-chan Attempt {
	attempts := make(chan Attempt, 16)
	s.opt.Observe = func(a Attempt) { attempts <- a }
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return attempts
}

// A flood of invented kids makes one fetch, disturbs no known key, and is answered at once when that fetch has shown that there is no
// such key. A real new key is served after the one fetch.
func TestUnknownKids(t *testing.T) {
	h, at := newHost(t, serve(authztest.JWKS(authztest.RSA()))), newClock()
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now})
	attempts := running(t, s)
	<-attempts

	// Within the cooldown of a good fetch: unknown, at once.
	wantErr(t, s, "ec-1", at.Now(), authz.ErrUnknownKey)
	at.advance(defaultCooldown)

	release := make(chan struct{})
	h.says(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = w.Write(authztest.JWKS(authztest.RSA(), authztest.EC()))
	})
	for i := range 100_000 {
		wantErr(t, s, fmt.Sprint("invented-", i), at.Now(), authz.ErrKeysUnavailable)
		if i%1000 == 0 {
			wantKey(t, s, authztest.RSA(), at.Now())
		}
	}
	close(release)
	<-attempts
	wantKey(t, s, authztest.EC(), at.Now())
	for i := range 100_000 {
		wantErr(t, s, fmt.Sprint("invented-", i), at.Now(), authz.ErrUnknownKey)
	}
	if got := h.fetches.Load(); got != 2 {
		t.Errorf("%d fetches, want the first and one more", got)
	}

	// A known kid for another algorithm never asks.
	at.advance(defaultCooldown)
	if _, _, err := s.Key("rsa-1", "ES256", at.Now()); !errors.Is(err, authz.ErrUnknownKey) {
		t.Errorf("a known kid for another algorithm: %v", err)
	}

	// A fetch that fails has shown nothing: 503, and no further fetch on behalf of clients until the cooldown is over.
	h.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	wantErr(t, s, "new", at.Now(), authz.ErrKeysUnavailable)
	if a := <-attempts; a.Err == nil {
		t.Error("a 500 was taken for an answer")
	}
	wantErr(t, s, "new", at.Now(), authz.ErrKeysUnavailable)
	wantKey(t, s, authztest.RSA(), at.Now())
}

// Clients ask for a refresh once per cooldown, a failed one included: a host that is down is not asked more often because they are many.
func TestCooldownAfterAFailure(t *testing.T) {
	h, at := newHost(t, serve(authztest.JWKS(authztest.RSA()))), newClock()
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now})
	mustTry(t, s)
	h.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	at.advance(defaultCooldown)
	if s.Try(t.Context()) == nil {
		t.Fatal("a 500 was taken for an answer")
	}
	wantErr(t, s, "ec-1", at.Now(), authz.ErrKeysUnavailable)
	if len(s.wake) != 0 {
		t.Error("a refresh was asked for within the cooldown of a failed one")
	}
	at.advance(defaultCooldown)
	for range 10 {
		wantErr(t, s, "ec-1", at.Now(), authz.ErrKeysUnavailable)
	}
	if len(s.wake) != 1 {
		t.Error("no refresh was asked for after the cooldown")
	}
}

// A clock that was set back an hour does not silence refreshes for an hour.
func TestClockSetBack(t *testing.T) {
	h, at := newHost(t, serve(authztest.JWKS(authztest.RSA()))), newClock()
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now})
	attempts := running(t, s)
	<-attempts
	at.advance(-time.Hour)
	wantErr(t, s, "ec-1", at.Now(), authz.ErrKeysUnavailable)
	<-attempts
}

// Run reads a file again every few seconds and stops with its context.
func TestRunFollowsAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "jwks.json")
		write := func(body []byte) {
			if err := os.WriteFile(path, body, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(authztest.JWKS(authztest.RSA()))
		s := New(policy.KeySource{File: path}, authztest.Issuer, Options{})
		running(t, s)
		synctest.Wait()
		wantKey(t, s, authztest.RSA(), time.Now())

		write(authztest.JWKS(authztest.EC()))
		<-time.After(5 * time.Second)
		synctest.Wait()
		wantKey(t, s, authztest.EC(), time.Now())
		wantErr(t, s, "rsa-1", time.Now(), authz.ErrUnknownKey)

		write([]byte("half a fi"))
		<-time.After(5 * time.Second)
		synctest.Wait()
		wantKey(t, s, authztest.EC(), time.Now())
		if ok, _ := s.Health(); ok {
			t.Error("half a file is healthy")
		}
	})
}

func TestFilesThatAreNone(t *testing.T) {
	folder := t.TempDir()
	big := filepath.Join(folder, "big")
	if err := os.WriteFile(big, make([]byte, maxDocument+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder, big, filepath.Join(folder, "absent"), os.DevNull} {
		if err := New(policy.KeySource{File: path}, "", Options{}).Try(t.Context()); err == nil {
			t.Errorf("%s was read as a key set", path)
		}
	}
	if err := New(policy.KeySource{}, "", Options{}).Try(t.Context()); err == nil {
		t.Error("an issuer without a source has keys")
	}
}

// Which addresses may be connected to: the check is on the resolved address.
func TestGuard(t *testing.T) {
	corp := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.0/8")}
	for _, c := range []struct {
		address string
		guard   guard
		ok      bool
	}{
		// A host on the internet.
		{"93.184.216.34:443", guard{}, true},
		{"[2606:4700::1111]:443", guard{}, true},
		{"[::ffff:93.184.216.34]:443", guard{}, true},
		// This machine, the network around it, the cloud's metadata.
		{"127.0.0.1:443", guard{}, false},
		{"127.8.8.8:443", guard{}, false},
		{"[::1]:443", guard{}, false},
		{"[::ffff:127.0.0.1]:443", guard{}, false},
		{"0.0.0.0:443", guard{}, false},
		{"[::]:443", guard{}, false},
		{"10.1.2.3:443", guard{}, false},
		{"172.16.0.1:443", guard{}, false},
		{"172.32.0.1:443", guard{}, true},
		{"192.168.1.1:443", guard{}, false},
		{"100.64.0.1:443", guard{}, false},
		{"169.254.169.254:80", guard{}, false},
		{"[fe80::1%eth0]:443", guard{}, false},
		{"[fd00:ec2::254]:80", guard{}, false},
		{"[::ffff:10.1.2.3]:443", guard{}, false},
		{"[64:ff9b::a01:203]:443", guard{}, false},
		{"[2002:a01:203::]:443", guard{}, false},
		{"224.0.0.1:443", guard{}, false},
		{"255.255.255.255:443", guard{}, false},
		{"nonsense", guard{}, false},
		// A private range that the policy names, and no other; this machine is never one.
		{"10.1.2.3:443", guard{networks: corp}, true},
		{"[::ffff:10.1.2.3]:443", guard{networks: corp}, true},
		{"[fd00::1]:443", guard{networks: corp}, true},
		{"192.168.1.1:443", guard{networks: corp}, false},
		{"127.0.0.1:443", guard{networks: corp}, false},
		{"93.184.216.34:443", guard{networks: corp}, true},
		// A URL that names this machine reaches this machine only.
		{"127.0.0.1:443", guard{loopback: true}, true},
		{"[::1]:443", guard{loopback: true}, true},
		{"93.184.216.34:443", guard{loopback: true}, false},
		{"10.1.2.3:443", guard{loopback: true, networks: corp}, false},
	} {
		if err := c.guard.admit(c.address); (err == nil) != c.ok {
			t.Errorf("admit(%s) with %+v = %v, want ok %v", c.address, c.guard, err, c.ok)
		}
	}
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.1.2.3": true, "::1": true, "::ffff:127.0.0.1": true, "localhost": true,
		"": false, "127.1": false, "2130706433": false, "localhost.example.com": false, "LOCALHOST.": false, "10.0.0.1": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %v", host, got)
		}
	}
}

// rebound is a resolver for which every name is this machine.
func rebound() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			for answerDNS(theirs) == nil {
			}
		}()
		return ours, nil
	}}
}

// answerDNS answers one question over a stream (RFC 1035 4.2.2): A is 127.0.0.1, anything else has no data.
func answerDNS(conn net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	question := query[12 : end+5]
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	if question[len(question)-3] == 1 {
		reply[7] = 1
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
	return err
}

// A name that resolves to this machine is refused when connecting, whatever the policy says of private networks.
func TestRebinding(t *testing.T) {
	h := newHost(t, serve(authztest.JWKS(authztest.RSA())))
	_, port, _ := net.SplitHostPort(h.Listener.Addr().String())
	source := policy.KeySource{URL: "http://keys.example:" + port, PlainHTTP: true, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	s := New(source, authztest.Issuer, Options{})
	s.resolver = rebound()
	if err := s.Try(t.Context()); err == nil || !strings.Contains(err.Error(), "refused to connect to 127.0.0.1") {
		t.Errorf("Try = %v", err)
	}
	if h.fetches.Load() != 0 {
		t.Error("the connection was made")
	}
}

// Addresses that are refused before anything is resolved.
func TestURLs(t *testing.T) {
	for _, u := range []string{
		"http://keys.example/jwks", "ftp://127.0.0.1/jwks", "file:///etc/passwd", "//127.0.0.1/jwks", "https://", "", "https://user:pw@keys.example/",
		"http://127.0.0.1.example/jwks", "http://[::1", "gopher://127.0.0.1/", "http://127.0.0.1@keys.example/",
	} {
		if got, err := New(fromURL(u), "", Options{}).checkURL(u, true); err == nil {
			t.Errorf("%q is taken as %s", u, got)
		}
	}
	for _, u := range []string{"https://keys.example/jwks", "http://127.0.0.1:9000/jwks", "http://[::1]:9000/", "http://localhost:9000/"} {
		if _, err := New(fromURL(u), "", Options{}).checkURL(u, true); err != nil {
			t.Errorf("%q: %v", u, err)
		}
	}
	if _, err := New(policy.KeySource{PlainHTTP: true}, "", Options{}).checkURL("http://keys.example/jwks", true); err != nil {
		t.Errorf("plain_http: %v", err)
	}
	if _, err := New(policy.KeySource{}, "", Options{}).checkURL("http://127.0.0.1/jwks", false); err == nil {
		t.Error("an issuer elsewhere sent us to this machine by http")
	}
}

// The roots that are trusted are the policy's, read anew each time; a file of roots that is lost or garbled trusts nobody.
func TestCAFile(t *testing.T) {
	server := httptest.NewUnstartedServer(serve(authztest.JWKS(authztest.RSA())))
	server.Config.ErrorLog = nil
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)

	err := New(fromURL(server.URL), authztest.Issuer, Options{}).Try(t.Context())
	if err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("with the system's roots: %v", err)
	}

	roots := filepath.Join(t.TempDir(), "roots.pem")
	write := func(text []byte) {
		if err := os.WriteFile(roots, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	s := New(policy.KeySource{URL: server.URL, CAFile: roots}, authztest.Issuer, Options{})
	mustTry(t, s)
	write([]byte("garbled"))
	if err := s.Try(t.Context()); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("with a garbled file of roots: %v", err)
	}
	if err := os.Remove(roots); err != nil {
		t.Fatal(err)
	}
	if s.Try(t.Context()) == nil {
		t.Error("without the file of roots the host was trusted")
	}
	wantKey(t, s, authztest.RSA(), time.Now())
}

// Discovery believes metadata only of the very issuer that was asked.
func TestDiscovery(t *testing.T) {
	const oauth, oidc = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	for _, c := range []struct {
		name string
		// issuer and metadata may hold HOST, which is the server's own URL; pages maps paths to metadata.
		issuer string
		pages  map[string]string
		ok     bool
	}{
		{"RFC 8414", "HOST", map[string]string{oauth: `{"issuer":"HOST","jwks_uri":"HOST/keys"}`}, true},
		{"OpenID Connect", "HOST", map[string]string{oidc: `{"issuer":"HOST","jwks_uri":"HOST/keys"}`}, true},
		{"the other answers for another", "HOST", map[string]string{oauth: `{"issuer":"HOST/","jwks_uri":"HOST/keys"}`, oidc: `{"issuer":"HOST","jwks_uri":"HOST/keys"}`}, true},
		{"RFC 8414 with a path", "HOST/tenant", map[string]string{oauth + "/tenant": `{"issuer":"HOST/tenant","jwks_uri":"HOST/keys"}`}, true},
		{"OpenID Connect with a path", "HOST/tenant/", map[string]string{"/tenant" + oidc: `{"issuer":"HOST/tenant/","jwks_uri":"HOST/keys"}`}, true},
		{"no metadata", "HOST", nil, false},
		{"another tenant", "HOST/tenant", map[string]string{oauth: `{"issuer":"HOST","jwks_uri":"HOST/keys"}`}, false},
		{"a final slash", "HOST", map[string]string{oauth: `{"issuer":"HOST/","jwks_uri":"HOST/keys"}`}, false},
		{"no issuer", "HOST", map[string]string{oauth: `{"jwks_uri":"HOST/keys"}`}, false},
		{"issuer a list", "HOST", map[string]string{oauth: `{"issuer":["HOST"],"jwks_uri":"HOST/keys"}`}, false},
		{"two issuers", "HOST", map[string]string{oauth: `{"issuer":"x","issuer":"HOST","jwks_uri":"HOST/keys"}`}, false},
		{"no jwks_uri", "HOST", map[string]string{oauth: `{"issuer":"HOST"}`}, false},
		{"keys in a file", "HOST", map[string]string{oauth: `{"issuer":"HOST","jwks_uri":"file:///etc/jwks.json"}`}, false},
		{"keys by plain http elsewhere", "HOST", map[string]string{oauth: `{"issuer":"HOST","jwks_uri":"http://keys.example/"}`}, false},
		{"keys on the metadata service", "HOST", map[string]string{oauth: `{"issuer":"HOST","jwks_uri":"https://169.254.169.254/keys"}`}, false},
		{"a password", "HOST", map[string]string{oauth: `{"issuer":"HOST","jwks_uri":"http://u:p@127.0.0.1/keys"}`}, false},
		{"HTML", "HOST", map[string]string{oauth: `<html>`}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, nil)
			h.says(func(w http.ResponseWriter, r *http.Request) {
				page, ok := c.pages[r.URL.Path]
				switch {
				case r.URL.Path == "/keys":
					_, _ = w.Write(authztest.JWKS(authztest.RSA()))
				case ok:
					_, _ = io.WriteString(w, strings.ReplaceAll(page, "HOST", h.URL))
				default:
					http.NotFound(w, r)
				}
			})
			s := New(policy.KeySource{Discovery: true}, strings.ReplaceAll(c.issuer, "HOST", h.URL), Options{})
			if err := s.Try(t.Context()); (err == nil) != c.ok {
				t.Fatalf("Try = %v, want ok %v", err, c.ok)
			}
			if !c.ok {
				return
			}
			wantKey(t, s, authztest.RSA(), time.Now())
			asked := h.fetches.Load()
			mustTry(t, s)
			if got := h.fetches.Load() - asked; got != 1 {
				t.Errorf("the second attempt asked %d times, want once", got)
			}
		})
	}
}

// Keys that move are found again.
func TestDiscoveryFollowsAMove(t *testing.T) {
	h := newHost(t, nil)
	keysAt := "/old"
	h.says(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case keysAt:
			_, _ = w.Write(authztest.JWKS(authztest.RSA()))
		case "/.well-known/oauth-authorization-server":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, h.URL, h.URL+keysAt)
		default:
			http.NotFound(w, r)
		}
	})
	s := New(policy.KeySource{Discovery: true}, h.URL, Options{})
	mustTry(t, s)
	keysAt = "/new"
	if s.Try(t.Context()) == nil {
		t.Fatal("the old place answered")
	}
	mustTry(t, s)
}

// An attempt that waits for its turn gives up with its context.
func TestTryGivesUp(t *testing.T) {
	s := New(fromURL("http://127.0.0.1:1/"), authztest.Issuer, Options{})
	s.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Try(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Try = %v", err)
	}
}

// An attempt that was called off, as at the end of the process, is no failure of the source and is not reported as one.
func TestTryCalledOff(t *testing.T) {
	asked := make(chan struct{})
	h := newHost(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	s := New(fromURL(h.URL), authztest.Issuer, Options{Observe: func(a Attempt) { t.Errorf("observed %+v", a) }})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if err := s.Try(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Try = %v", err)
	}
	if stats := s.Stats(); stats.Failures != 0 {
		t.Errorf("Stats = %+v", stats)
	}
}

// Readers and refreshes do not disturb each other; the race detector is the judge.
func TestConcurrentUse(t *testing.T) {
	h, at := newHost(t, serve(authztest.JWKS(authztest.RSA()))), newClock()
	s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now})
	mustTry(t, s)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 200 {
				if _, _, err := s.Key("rsa-1", "RS256", at.Now()); err != nil {
					t.Errorf("a known key: %v", err)
				}
				_, _, _ = s.Key(fmt.Sprint(i), "RS256", at.Now())
				s.Stats()
				s.Health()
				at.advance(time.Second)
			}
		})
	}
	for i := range 20 {
		h.says(serve(authztest.JWKS([]*authztest.Key{authztest.RSA(), authztest.EC()}[:1+i%2]...)))
		_ = s.Try(t.Context())
	}
	group.Wait()
}

func BenchmarkKey(b *testing.B) {
	path := filepath.Join(b.TempDir(), "jwks.json")
	if err := os.WriteFile(path, authztest.JWKS(authztest.RSA(), authztest.EC(), authztest.Ed25519()), 0o600); err != nil {
		b.Fatal(err)
	}
	s := New(policy.KeySource{File: path}, "", Options{})
	if err := s.Try(context.Background()); err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct{ name, kid string }{{"known", "ec-1"}, {"no kid", ""}, {"unknown", "invented"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = s.Key(c.kid, "ES256", now)
			}
		})
	}
}

// No two sets of the process have one number: an issuer that leaves and comes back must not meet what was remembered about its first.
func TestGenerationsAreTheProcesss(t *testing.T) {
	at := newClock()
	var seen []uint64
	for _, key := range []*authztest.Key{authztest.RSA(), authztest.OtherRSA()} {
		h := newHost(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(authztest.JWKS(key)) })
		s := New(fromURL(h.URL), authztest.Issuer, Options{Now: at.Now})
		mustTry(t, s)
		seen = append(seen, wantKey(t, s, key, at.Now()))
	}
	if seen[0] == seen[1] {
		t.Errorf("two sets are generation %d", seen[0])
	}
}
