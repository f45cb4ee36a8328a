package openfga

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner/openfga/openfgatest"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

func backend(t testing.TB, l policy.OpenFGALookup) *Backend {
	t.Helper()
	b, err := New(&l, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// documents are the settings for the documents of a server.
func documents(s *openfgatest.Server) policy.OpenFGALookup {
	return policy.OpenFGALookup{URL: s.URL, Store: s.Store, Model: s.Model, Type: "document", User: "user"}
}

func question(subject, relation string, objects ...string) *authz.Question {
	return &authz.Question{Issuer: "shop", Kind: authz.Person, Subject: subject, Relation: relation, Objects: objects}
}

func ask(t testing.TB, b *Backend, q *authz.Question) ([]authz.Standing, error) {
	t.Helper()
	answers := make([]authz.Standing, len(q.Objects))
	err := b.Ask(t.Context(), q, answers)
	return answers, err
}

// counting stands before a server and counts the calls.
func counting(t testing.TB, to string, calls *atomic.Int64) (address string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// What every lookup holds to, this one does too, by a real OpenFGA. A batch is one trip to a server that takes it.
func TestConforms(t *testing.T) {
	server := openfgatest.Start(t, "--max-checks-per-batch-check=1000")
	naming := &Backend{typ: "document", userType: "user"}
	traits := ownertest.Traits{
		NoTenants: true, NoAbsence: true, Relations: []string{"owner", "viewer", "editor"},
		Refuses: func(text string) bool { _, ok := naming.object(text); return !ok },
	}
	ownertest.Run(t, traits, func(t *testing.T, facts []ownertest.Fact) ownertest.World {
		store := server.NewStore(t)
		store.WriteModel(t, openfgatest.Documents)
		var tuples []openfgatest.Tuple
		for _, f := range facts {
			object, _ := naming.object(f.Object)
			for _, owner := range f.Owners {
				if user, ok := naming.user(owner); ok {
					tuples = append(tuples, openfgatest.Tuple{User: user, Relation: f.Relation, Object: object})
				}
			}
		}
		store.WriteTuples(t, tuples...)
		var calls atomic.Int64
		l := documents(store)
		l.URL, l.MaxChecks = counting(t, store.URL, &calls), 1000
		return ownertest.World{Lookup: backend(t, l), Trips: func() int { return int(calls.Load()) }}
	})
}

// The estate of the tests below: tuples as people write them.
var tuples = []openfgatest.Tuple{
	{User: "user:alice", Relation: "owner", Object: "document:1"},
	{User: "user:bob", Relation: "owner", Object: "document:2"},
	{User: "user:alice", Relation: "viewer", Object: "document:2"},
	{User: "user:*", Relation: "viewer", Object: "document:flyer"},
	{User: "user:carol", Relation: "member", Object: "group:staff"},
	{User: "group:staff#member", Relation: "editor", Object: "document:1"},
	{User: "user:auth0|5f7c8ec7c33c6c004bbafe82", Relation: "owner", Object: "document:0b6a6e1e-8f0a-4c3e-9a44-1f1f2d0c8b6e"},
	{User: "user:alice@example.com", Relation: "owner", Object: "document:2026/plan_v1.0~(final),+x=1"},
	{User: "user:José", Relation: "owner", Object: "document:用户"},
	{User: "user:mallory", Relation: "owner", Object: "document:42"},
}

func estate(t testing.TB, args ...string) *openfgatest.Server {
	t.Helper()
	s := openfgatest.Start(t, args...)
	s.WriteModel(t, openfgatest.Documents)
	s.WriteTuples(t, tuples...)
	return s
}

// Names that mean something to OpenFGA are the request's bytes and nothing more: not everybody, not a group, not an object of another type.
func TestNamesAgainstTheServer(t *testing.T) {
	b := backend(t, documents(estate(t)))
	for _, c := range []struct {
		subject, relation, object string
		want                      authz.Standing
	}{
		{"alice", "owner", "1", authz.Theirs},
		{"alice", "owner", "2", authz.NotTheirs},
		{"alice", "viewer", "2", authz.Theirs},
		{"bob", "owner", "2", authz.Theirs},
		{"carol", "editor", "1", authz.Theirs},
		{"carol", "owner", "1", authz.NotTheirs},
		{"anybody", "viewer", "flyer", authz.Theirs},
		{"auth0|5f7c8ec7c33c6c004bbafe82", "owner", "0b6a6e1e-8f0a-4c3e-9a44-1f1f2d0c8b6e", authz.Theirs},
		{"alice@example.com", "owner", "2026/plan_v1.0~(final),+x=1", authz.Theirs},
		{"José", "owner", "用户", authz.Theirs},
		{"mallory", "owner", "42", authz.Theirs},
		{"mallory", "owner", "042", authz.NotTheirs},

		{"*", "viewer", "2", authz.NotTheirs},
		{"*", "owner", "1", authz.NotTheirs},
		{"staff#member", "editor", "1", authz.NotTheirs},
		{"group:staff#member", "editor", "1", authz.NotTheirs},
		{"user:alice", "owner", "1", authz.NotTheirs},
		{"alice", "owner", "*", authz.NotTheirs},
		{"alice", "owner", "document:1", authz.NotTheirs},
		{"alice", "owner", "1#owner", authz.NotTheirs},
		{"alice", "owner", "1 ", authz.NotTheirs},
		{"alice\n", "owner", "1", authz.NotTheirs},
		{"alice", "owner", "%31", authz.NotTheirs},
		{"alice", "owner", "1\x00", authz.NotTheirs},
		{"Alice", "owner", "1", authz.NotTheirs},
		{"Jose\u0301", "owner", "用户", authz.NotTheirs},

		{"alice", "owner", strings.Repeat("1", 247), authz.NotTheirs}, // document: and this are 256 characters
		{"alice", "owner", strings.Repeat("1", 248), authz.NotThere},
		{"alice", "owner", strings.Repeat("用", 247), authz.NotTheirs},
		{strings.Repeat("a", 507), "owner", "1", authz.NotTheirs}, // user: and this are 512 bytes
		{strings.Repeat("a", 508), "owner", "1", authz.NotThere},
		{"", "owner", "1", authz.NotThere},
		{"alice", "owner", "", authz.NotThere},
	} {
		if answers, err := ask(t, b, question(c.subject, c.relation, c.object)); err != nil || answers[0] != c.want {
			t.Errorf("%.40q %s of %.40q: %v, %v, want %v", c.subject, c.relation, c.object, answers, err, c.want)
		}
		answers, err := ask(t, b, question(c.subject, c.relation, "nowhere", c.object))
		if err != nil || answers[1] != c.want || answers[0] == authz.Theirs {
			t.Errorf("%.40q %s of %.40q in a batch: %v, %v, want %v", c.subject, c.relation, c.object, answers, err, c.want)
		}
	}
}

// A server takes batches of fifty unless it was told otherwise, and this one was not.
func TestBatches(t *testing.T) {
	s := estate(t)
	for _, c := range []struct{ objects, max, calls int }{{1, 0, 1}, {2, 0, 1}, {50, 0, 1}, {51, 0, 2}, {100, 0, 2}, {1000, 0, 20}, {100, 25, 4}} {
		var calls atomic.Int64
		l := documents(s)
		l.URL, l.MaxChecks = counting(t, s.URL, &calls), c.max
		q := question("alice", "owner")
		for i := range c.objects {
			q.Objects = append(q.Objects, fmt.Sprint(1+i))
		}
		answers, err := ask(t, backend(t, l), q)
		if err != nil || int(calls.Load()) != c.calls {
			t.Errorf("%+v: %d calls, %v", c, calls.Load(), err)
		}
		for i, answer := range answers {
			if (answer == authz.Theirs) != (i == 0) || answer == authz.StandingUnknown {
				t.Errorf("%+v: %s is %v", c, q.Objects[i], answer)
			}
		}
	}
	l := documents(s)
	l.MaxChecks = 51
	q := question("alice", "owner")
	for i := range 51 {
		q.Objects = append(q.Objects, fmt.Sprint(i))
	}
	if _, err := ask(t, backend(t, l), q); !errors.Is(err, authz.ErrLookupAnswer) {
		t.Errorf("more than the server takes: %v", err)
	}
}

// The longest ids do not make a batch that the server refuses to read: it takes 600 KB, and a thousand of these are more.
func TestLongBatch(t *testing.T) {
	s := estate(t, "--max-checks-per-batch-check=1000")
	l := documents(s)
	l.MaxChecks = 1000
	q := question(strings.Repeat("用", 160), "owner")
	for i := range 1000 {
		q.Objects = append(q.Objects, strings.Repeat("用", 240)+fmt.Sprint(1000+i))
	}
	answers, err := ask(t, backend(t, l), q)
	if err != nil || slices.ContainsFunc(answers, func(s authz.Standing) bool { return s != authz.NotTheirs }) {
		t.Errorf("%v: %v", err, answers[:3])
	}
}

// What is wrong with the settings is told by Probe, and by the first question: a misspelt relation is one rule's trouble, everything else
// is that of all.
func TestWrongSettings(t *testing.T) {
	s := estate(t, "--authn-method=preshared", "--authn-preshared-keys=letmein")
	token := filepath.Join(t.TempDir(), "token")
	for _, c := range []struct {
		name        string
		over        func(*policy.OpenFGALookup)
		token       string
		probe       string // "": good
		unavailable bool
	}{
		{"all good", func(*policy.OpenFGALookup) {}, "letmein", "", false},
		{"the latest model", func(l *policy.OpenFGALookup) { l.Model = "" }, "letmein", "", false},
		{"another token", func(*policy.OpenFGALookup) {}, "letmeout", "token_file", true},
		{"no token", func(l *policy.OpenFGALookup) { l.TokenFile = "" }, "", "token_file", true},
		{"no file", func(l *policy.OpenFGALookup) { l.TokenFile += "-gone" }, "", "token-gone", true},
		{"another store", func(l *policy.OpenFGALookup) { l.Store, l.Model = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "" }, "letmein", "model_not_found", true},
		{"another model", func(l *policy.OpenFGALookup) { l.Model = "01ARZ3NDEKTSV4RRFFQ69G5FAV" }, "letmein", "model_not_found", true},
		{"another type", func(l *policy.OpenFGALookup) { l.Type = "doc" }, "letmein", `no type "doc"`, false},
		{"another user", func(l *policy.OpenFGALookup) { l.User = "person" }, "letmein", `no type "person"`, false},
	} {
		l := documents(s)
		l.TokenFile = token
		c.over(&l)
		if err := os.WriteFile(token, []byte(c.token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b := backend(t, l)
		if err := b.Probe(t.Context()); (err == nil) != (c.probe == "") || err != nil && !strings.Contains(err.Error(), c.probe) {
			t.Errorf("%s: Probe says %v, want %q", c.name, err, c.probe)
		}
		for _, objects := range [][]string{{"1"}, {"1", "2"}} {
			answers, err := ask(t, b, question("alice", "owner", objects...))
			switch {
			case c.probe == "" && (err != nil || answers[0] != authz.Theirs):
				t.Errorf("%s: %v, %v", c.name, answers, err)
			case c.probe != "" && (errors.Is(err, authz.ErrLookupUnavailable) != c.unavailable || errors.Is(err, authz.ErrLookupAnswer) == c.unavailable):
				t.Errorf("%s, %d objects: %v", c.name, len(objects), err)
			case err != nil && strings.Contains(err.Error(), "letme"):
				t.Errorf("%s: the token is in %v", c.name, err)
			}
		}
	}
	l := documents(s)
	l.TokenFile = token
	if err := os.WriteFile(token, []byte("letmein"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, relation := range []string{"auditor", "", "owner#x", "own er", strings.Repeat("r", 51)} {
		for _, objects := range [][]string{{"1"}, {"1", "2"}} {
			if answers, err := ask(t, backend(t, l), question("alice", relation, objects...)); !errors.Is(err, authz.ErrLookupAnswer) {
				t.Errorf("the relation %q: %v, %v", relation, answers, err)
			}
		}
	}
}

// A server that dies while it is asked, and before.
func TestServerGone(t *testing.T) {
	s := estate(t)
	b := backend(t, documents(s))
	if answers, err := ask(t, b, question("alice", "owner", "1")); err != nil || answers[0] != authz.Theirs {
		t.Fatal(answers, err)
	}
	s.Kill()
	for _, objects := range [][]string{{"1"}, {"1", "2"}} {
		if answers, err := ask(t, b, question("alice", "owner", objects...)); !errors.Is(err, authz.ErrLookupUnavailable) {
			t.Errorf("%v, %v", answers, err)
		}
	}
	if err := b.Probe(t.Context()); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("Probe says %v", err)
	}
}

// fake answers everything with one status and body.
func fake(t testing.TB, status int, kind, body string) policy.OpenFGALookup {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return policy.OpenFGALookup{URL: s.URL, Store: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: "document"}
}

// What a server answers that is not the OpenFGA which was meant: nothing of it is believed, and what is told to the client does not
// depend on the object where it is an outage.
func TestAnswers(t *testing.T) {
	const kind = "application/json"
	for _, c := range []struct {
		name           string
		status         int
		kind           string
		single, batch  string
		want, batchErr error // nil: good
	}{
		{"allowed", 200, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true},"1":{"allowed":true}}}`, nil, nil},
		{"nothing", 200, kind, `{}`, `{}`, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"no body", 200, kind, ``, ``, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"null", 200, kind, `{"allowed":null}`, `{"result":{"0":{"allowed":null},"1":{"allowed":true}}}`, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"text for a boolean", 200, kind, `{"allowed":"true"}`, `{"result":{"0":{"allowed":"true"},"1":{"allowed":true}}}`, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"half an answer", 200, kind, `{"allowed":true`, `{"result":{"0":{"allowed":true}`, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"one is missing", 200, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true}}}`, nil, authz.ErrLookupAnswer},
		{"one too many", 200, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true},"1":{"allowed":true},"2":{"allowed":true}}}`, nil, authz.ErrLookupAnswer},
		{"another instead", 200, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true},"7":{"allowed":true}}}`, nil, authz.ErrLookupAnswer},
		{"an error of one", 200, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true},"1":{"error":{"input_error":"validation_error"}}}}`, nil, authz.ErrLookupAnswer},
		{"an error beside an allow", 200, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true},"1":{"allowed":true,"error":{}}}}`, nil, authz.ErrLookupAnswer},
		{"no time for one", 200, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true},"1":{"error":{"internal_error":"deadline_exceeded"}}}}`, nil, authz.ErrLookupUnavailable},
		{"a web page", 200, "text/html", `<html>`, `<html>`, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"endless", 200, kind, `{"x":"` + strings.Repeat("x", 1<<20) + `","allowed":true}`, `{"x":"` + strings.Repeat("x", 1<<20) + `"}`, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"a bad question", 400, kind, `{"code":"validation_error"}`, `{"code":"validation_error"}`, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"no JSON in it", 400, kind, `nginx`, `nginx`, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"no model", 400, kind, `{"code":"latest_authorization_model_not_found"}`, `{"code":"authorization_model_not_found"}`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"a redirect", 302, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true},"1":{"allowed":true}}}`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"nobody's token", 401, kind, `{}`, `{}`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"not allowed", 403, kind, `{"allowed":true}`, `{}`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"no such call", 404, kind, `{"code":"undefined_endpoint"}`, `Not Found`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"throttled", 422, kind, `{"code":"throttled_timeout_error"}`, `{"code":"throttled_timeout_error"}`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"too many", 429, kind, `{}`, `{}`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"broken", 500, kind, `{"allowed":true}`, `{"result":{"0":{"allowed":true},"1":{"allowed":true}}}`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"away", 503, "text/plain", `away`, `away`, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
	} {
		check := func(n int, body string, want error) {
			t.Helper()
			answers, err := ask(t, backend(t, fake(t, c.status, c.kind, body)), question("alice", "owner", []string{"1", "2"}[:n]...))
			switch {
			case want == nil && (err != nil || slices.ContainsFunc(answers, func(s authz.Standing) bool { return s != authz.Theirs })):
				t.Errorf("%s, %d objects: %v, %v", c.name, n, answers, err)
			case want != nil && (!errors.Is(err, want) || errors.Is(err, authz.ErrLookupAnswer) && errors.Is(err, authz.ErrLookupUnavailable) || len(err.Error()) > 600):
				t.Errorf("%s, %d objects: %v, %v, want %v", c.name, n, answers, err, want)
			}
		}
		check(1, c.single, c.want)
		check(2, c.batch, c.batchErr)
	}
}

// A server that dies in the middle of its answer is an outage, and so is one of which nothing but the status came.
func TestCutOff(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"allowed":true`)
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	b := backend(t, policy.OpenFGALookup{URL: s.URL, Store: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: "document"})
	for _, objects := range [][]string{{"1"}, {"1", "2"}} {
		if answers, err := ask(t, b, question("alice", "owner", objects...)); !errors.Is(err, authz.ErrLookupUnavailable) {
			t.Errorf("%d objects: %v, %v", len(objects), answers, err)
		}
	}
}

// A failure is not tried again: the caller has no time, and the breaker must see it.
func TestNoSecondTry(t *testing.T) {
	var calls atomic.Int64
	l := fake(t, 500, "application/json", `{}`)
	l.URL = counting(t, l.URL, &calls)
	b := backend(t, l)
	for i, objects := range [][]string{{"1"}, {"1", "2"}} {
		if _, err := ask(t, b, question("alice", "owner", objects...)); !errors.Is(err, authz.ErrLookupUnavailable) || calls.Load() != int64(i+1) {
			t.Errorf("%d calls, %v", calls.Load(), err)
		}
	}
}

// A caller who leaves ends the call.
func TestCallerLeaves(t *testing.T) {
	entered := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does a server notice that the client went
		entered <- struct{}{}
		<-r.Context().Done()
	}))
	defer s.Close()
	b := backend(t, policy.OpenFGALookup{URL: s.URL, Store: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: "document"})
	for _, objects := range [][]string{{"1"}, {"1", "2"}} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-entered; cancel() }()
		if err := b.Ask(ctx, question("alice", "owner", objects...), make([]authz.Standing, len(objects))); !errors.Is(err, authz.ErrLookupUnavailable) {
			t.Errorf("%d objects: %v", len(objects), err)
		}
	}
}

// By https it is the roots that say who OpenFGA is.
func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"allowed":true}`)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	l := policy.OpenFGALookup{URL: s.URL, Store: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: "document", CAFile: ca}
	b := backend(t, l)
	if _, err := ask(t, b, question("alice", "owner", "1")); !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("no roots yet: %v", err)
	}
	if err := os.WriteFile(ca, pemOf(s.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	if answers, err := ask(t, b, question("alice", "owner", "1")); err != nil || answers[0] != authz.Theirs {
		t.Errorf("roots: %v, %v", answers, err)
	}
	l.CAFile = ""
	if _, err := ask(t, backend(t, l), question("alice", "owner", "1")); !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the system's roots: %v", err)
	}
}

// No proxy of the environment stands between.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	l := fake(t, 200, "application/json", `{"allowed":true}`)
	b := backend(t, l)
	if answers, err := ask(t, b, question("alice", "owner", "1")); err != nil || answers[0] != authz.Theirs {
		t.Error(answers, err)
	}
}

// Settings that cannot be meant are refused before anything is asked.
func TestSettings(t *testing.T) {
	const store = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	for _, c := range []struct {
		l    policy.OpenFGALookup
		want string // "": good
	}{
		{policy.OpenFGALookup{URL: "https://fga.internal", Store: store, Type: "document"}, ""},
		{policy.OpenFGALookup{URL: "https://fga.internal/fga/", Store: store, Model: store, Type: "document", User: "person", MaxChecks: 1000}, ""},
		{policy.OpenFGALookup{URL: "http://localhost:8080", Store: store, Type: "document", TokenFile: "t"}, ""},
		{policy.OpenFGALookup{URL: "http://[::1]:8080", Store: store, Type: "document"}, ""},
		{policy.OpenFGALookup{URL: "http://fga:8080", Store: store, Type: "document", PlainHTTP: true}, ""},

		{policy.OpenFGALookup{URL: "http://fga:8080", Store: store, Type: "document"}, "plain http"},
		{policy.OpenFGALookup{URL: "http://fga:8080", Store: store, Type: "document", PlainHTTP: true, TokenFile: "t"}, "can take it"},
		{policy.OpenFGALookup{URL: "http://localhost:8080", Store: store, Type: "document", CAFile: "ca"}, "https"},
		{policy.OpenFGALookup{URL: "fga:8080", Store: store, Type: "document"}, "URL"},
		{policy.OpenFGALookup{URL: "grpc://fga:8081", Store: store, Type: "document"}, "grpc"},
		{policy.OpenFGALookup{URL: "https://user:secret@fga", Store: store, Type: "document"}, "no password"},
		{policy.OpenFGALookup{URL: "https://fga?x=1", Store: store, Type: "document"}, "URL"},
		{policy.OpenFGALookup{URL: "https://fga#x", Store: store, Type: "document"}, "URL"},
		{policy.OpenFGALookup{URL: "", Store: store, Type: "document"}, "URL"},
		{policy.OpenFGALookup{URL: "https://fga", Store: "shop", Type: "document"}, "store"},
		{policy.OpenFGALookup{URL: "https://fga", Store: store, Model: "latest", Type: "document"}, "model"},
		{policy.OpenFGALookup{URL: "https://fga", Store: store}, "types"},
		{policy.OpenFGALookup{URL: "https://fga", Store: store, Type: "document:x"}, "types"},
		{policy.OpenFGALookup{URL: "https://fga", Store: store, Type: "document", User: "team#member"}, "types"},
		{policy.OpenFGALookup{URL: "https://fga", Store: store, Type: "document", MaxChecks: 1001}, "at most"},
	} {
		b, err := New(&c.l, 4)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.l, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%+v: %v, want %q", c.l, err, c.want)
		}
		if err == nil && b.Close() != nil {
			t.Error("Close fails")
		}
	}
}

// What a question costs with a real server on the loopback: one Check, and a batch that the server takes in one.
func BenchmarkAsk(b *testing.B) {
	s := estate(b, "--max-checks-per-batch-check=100")
	l := documents(s)
	l.MaxChecks = 100
	asker := backend(b, l)
	for _, n := range []int{1, 100} {
		q := question("alice", "owner")
		for i := range n {
			q.Objects = append(q.Objects, fmt.Sprint(1+i))
		}
		answers := make([]authz.Standing, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				clear(answers)
				if err := asker.Ask(b.Context(), q, answers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
