package http_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport-dev/sallyport/authz"
	ownerhttp "github.com/sallyport-dev/sallyport/authz/owner/http"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

func template(t testing.TB, text string) policy.Template {
	t.Helper()
	made, why := policy.ParseTemplate(text)
	if why != "" {
		t.Fatal(why)
	}
	return made
}

// service is a team's own: it knows facts, and answers one object or many.
type service struct {
	facts []ownertest.Fact
	calls atomic.Int64
}

func (s *service) owners(tenant, relation, id string) ([]string, bool) {
	for _, f := range s.facts {
		if f.Tenant == tenant && f.Relation == relation && f.Object == id {
			return f.Owners, true
		}
	}
	return nil, false
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost {
		var asked struct {
			IDs              []string
			Relation, Tenant string
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		out := []any{}
		for _, id := range asked.IDs {
			if owners, ok := s.owners(asked.Tenant, asked.Relation, id); ok {
				out = append(out, map[string]any{"id": id, "owner": owners})
			}
		}
		_ = json.NewEncoder(w).Encode(out)
		return
	}
	q := r.URL.Query()
	if owners, ok := s.owners(q.Get("tenant"), q.Get("relation"), r.PathValue("id")); ok {
		_ = json.NewEncoder(w).Encode(map[string]any{"owner": owners})
		return
	}
	http.NotFound(w, r)
}

// serve serves /owners/{id} and /owners, whatever is escaped in the id.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if escaped, ok := strings.CutPrefix(r.URL.EscapedPath(), "/owners/"); ok && !strings.Contains(escaped, "/") {
			if id, err := url.PathUnescape(escaped); err == nil {
				r.SetPathValue("id", id)
			}
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func open(t *testing.T, l *policy.HTTPLookup) *ownerhttp.Backend {
	t.Helper()
	b, err := ownerhttp.New(l, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// upward reports whether an id is, or holds, a way up in somebody's reading of paths.
func upward(id string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(id, func(r rune) bool { return r == '/' || r == '\\' }), func(part string) bool {
		return part == "." || part == ".." || strings.HasPrefix(part, ".;") || strings.HasPrefix(part, "..;")
	})
}

// What a service of the team's own knows is what the rules mean: asked one by one, and all at once.
func TestHTTPConforms(t *testing.T) {
	for name, batch := range map[string]string{"one by one": "", "in batches": "/owners"} {
		t.Run(name, func(t *testing.T) {
			ownertest.Run(t, ownertest.Traits{Refuses: func(text string) bool {
				return upward(text) || !utf8.ValidString(text) || strings.ContainsRune(text, 0)
			}}, func(t *testing.T, facts []ownertest.Fact) ownertest.World {
				s := &service{facts: facts}
				at := serve(t, s)
				l := &policy.HTTPLookup{URL: template(t, at+"/owners/{id}?tenant={tenant}&relation={relation}"), Owner: []string{"owner"}}
				world := ownertest.World{}
				if batch != "" {
					l.Batch = at + batch
					world.Trips = func() int { return int(s.calls.Load()) }
				}
				world.Lookup = open(t, l)
				return world
			})
		})
	}
}

// answerWith is a service that always says the same.
func answerWith(status int, kind, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

// What a service may answer, and what it means; of one object and, in a batch of two, of the first.
func TestAnswers(t *testing.T) {
	const kind = "application/json"
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	for _, test := range []struct {
		name         string
		status       int
		kind, body   string
		want         authz.Standing
		batch        string
		wantBatch    authz.Standing
		err, errMany error
	}{
		{"hers", 200, kind, `{"o":{"id":"alice"}}`, authz.Theirs, `[{"id":"x","o":{"id":"alice"}}]`, authz.Theirs, nil, nil},
		{"with a charset", 200, kind + "; charset=utf-8", `{"o":{"id":"alice"}}`, authz.Theirs, `[{"id":"x","o":{"id":"alice"}}]`, authz.Theirs, nil, nil},
		{"among others", 200, kind, `{"o":{"id":["bob","alice"]}}`, authz.Theirs, `[{"id":"x","o":{"id":["bob","alice"]}}]`, authz.Theirs, nil, nil},
		{"his", 200, kind, `{"o":{"id":"bob"}}`, authz.NotTheirs, `[{"id":"x","o":{"id":"bob"}}]`, authz.NotTheirs, nil, nil},
		{"nobody's", 200, kind, `{"o":{"id":null}}`, authz.NotThere, `[{"id":"x","o":{"id":null}}]`, authz.NotThere, nil, nil},
		{"no owner", 200, kind, `{"o":{}}`, authz.NotThere, `[{"id":"x","o":{}}]`, authz.NotThere, nil, nil},
		{"null on the way", 200, kind, `{"o":null}`, authz.NotThere, `[{"id":"x","o":null}]`, authz.NotThere, nil, nil},
		{"an empty list", 200, kind, `{"o":{"id":[]}}`, authz.NotThere, `[{"id":"x","o":{"id":[]}}]`, authz.NotThere, nil, nil},
		{"an empty name", 200, kind, `{"o":{"id":""}}`, authz.NotThere, `[{"id":"x","o":{"id":""}}]`, authz.NotThere, nil, nil},
		{"absent from the batch", 200, kind, `{}`, authz.NotThere, `[]`, authz.NotThere, nil, nil},
		{"told twice", 200, kind, `{}`, authz.NotThere, `[{"id":"x","o":{"id":"bob"}},{"id":"x","o":{"id":"alice"}}]`, 0, nil, authz.ErrLookupAnswer},
		{"told by no name", 200, kind, `{}`, authz.NotThere, `[{"o":{"id":"alice"}}]`, 0, nil, authz.ErrLookupAnswer},
		{"an object, as it once was", 200, kind, `{}`, authz.NotThere, `{"x":{"o":{"id":"alice"}}}`, 0, nil, authz.ErrLookupAnswer},
		{"a number", 200, kind, `{"o":{"id":7}}`, 0, `[{"id":"x","o":{"id":7}}]`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"a list of lists", 200, kind, `{"o":{"id":[["alice"]]}}`, 0, `[{"id":"x","o":{"id":[["alice"]]}}]`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"a text on the way", 200, kind, `{"o":"alice"}`, 0, `[{"id":"x","o":"alice"}]`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"two owners of one name", 200, kind, `{"o":{"id":"bob","id":"alice"}}`, 0, `[{"id":"x","o":{"id":"bob","id":"alice"}}]`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"an object that nobody asked about", 200, kind, `{"o":{"id":"alice"}}`, authz.Theirs, `[{"id":"z","o":{"id":"alice"}}]`, 0, nil, authz.ErrLookupAnswer},
		{"no JSON", 200, kind, `alice`, 0, `alice`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"a page", 200, "text/html", `{"o":{"id":"alice"}}`, 0, `[{"id":"x","o":{"id":"alice"}}]`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"no type", 200, "", `{"o":{"id":"alice"}}`, 0, `[{"id":"x","o":{"id":"alice"}}]`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"nothing at all", 200, kind, ``, 0, ``, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"too deep", 200, kind, deep, 0, deep, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"too long", 200, kind, `{"x":"` + strings.Repeat("a", 70<<10) + `"}`, 0, `{"x":"` + strings.Repeat("a", 2<<20) + `"}`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"not there", 404, kind, `{}`, authz.NotThere, `{}`, 0, nil, authz.ErrLookupUnavailable},
		{"gone", 410, kind, `{}`, authz.NotThere, `{}`, 0, nil, authz.ErrLookupUnavailable},
		{"created", 201, kind, `{"o":{"id":"alice"}}`, 0, `{}`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"no content", 204, kind, ``, 0, ``, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"not changed", 304, kind, ``, 0, ``, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"a bad id", 400, kind, `{}`, 0, `{}`, 0, authz.ErrLookupAnswer, authz.ErrLookupAnswer},
		{"our credentials", 401, kind, `{}`, 0, `{}`, 0, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"we may not", 403, kind, `{"o":{"id":"alice"}}`, 0, `{}`, 0, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"too many", 429, kind, `{}`, 0, `{}`, 0, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"its bad day", 500, kind, `{"o":{"id":"alice"}}`, 0, `[{"id":"x","o":{"id":"alice"}}]`, 0, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
		{"its worse day", 503, kind, `{}`, 0, `{}`, 0, authz.ErrLookupUnavailable, authz.ErrLookupUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := serve(t, answerWith(test.status, test.kind, test.body))
			b := open(t, &policy.HTTPLookup{URL: template(t, at+"/owners/{id}"), Owner: []string{"o", "id"}})
			answers := make([]authz.Standing, 1)
			err := b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{"x"}}, answers)
			if !errors.Is(err, test.err) || err == nil && answers[0] != test.want || err != nil && strings.Contains(err.Error(), at) {
				t.Errorf("one: %s, %v", answers[0], err)
			}
			at = serve(t, answerWith(test.status, test.kind, test.batch))
			b = open(t, &policy.HTTPLookup{URL: template(t, at+"/owners/{id}"), Batch: at + "/owners", Owner: []string{"o", "id"}})
			answers = make([]authz.Standing, 2)
			err = b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{"x", "y"}}, answers)
			if !errors.Is(err, test.errMany) || err == nil && (answers[0] != test.wantBatch || answers[1] != authz.NotThere) {
				t.Errorf("many: %v, %v", answers, err)
			}
		})
	}
}

// Nobody but the policy chooses who answers: no redirect is followed, no proxy of the environment asked.
func TestOnlyWhoIsNamedAnswers(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"o":"alice"}`))
	}))
	defer other.Close()
	t.Setenv("HTTP_PROXY", other.URL)
	t.Setenv("http_proxy", other.URL)
	at := serve(t, http.RedirectHandler(other.URL, http.StatusFound))
	b := open(t, &policy.HTTPLookup{URL: template(t, at+"/owners/{id}"), Owner: []string{"o"}})
	err := b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{"x"}}, make([]authz.Standing, 1))
	if !errors.Is(err, authz.ErrLookupAnswer) || elsewhere.Load() != 0 {
		t.Errorf("%v, %d asked elsewhere", err, elsewhere.Load())
	}
}

// An id reaches the service as the id that it is, in its one place.
func TestIDsStayInTheirPlace(t *testing.T) {
	var seen []string
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.PathValue("id"))
		http.NotFound(w, r)
	}))
	b := open(t, &policy.HTTPLookup{URL: template(t, at+"/owners/{id}"), Owner: []string{"o"}})
	ids := []string{"a/b", "a?b=c", "a#b", "a%2Fb", "a b", "ä", "a\r\nb", "a+b", "a;b", "...", ".a", "a\\b", "{id}", "a..", "a/..b", "%2e%2e", "a;..", "?.."}
	for _, id := range ids {
		if err := b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{id}}, make([]authz.Standing, 1)); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	if !slices.Equal(seen, ids) {
		t.Errorf("the service saw %q", seen)
	}
	seen = nil
	for _, id := range []string{".", "..", "../x", "x/../y", "x/..", "x/./y", "..\\x", "..;x", "x/..;y/z", "\xff", "a\x00", strings.Repeat("a", 9000)} {
		answers := make([]authz.Standing, 1)
		if err := b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{id}}, answers); err != nil || answers[0] != authz.NotThere {
			t.Errorf("%.10q: %s, %v", id, answers[0], err)
		}
	}
	if len(seen) != 0 {
		t.Errorf("the service was asked about %q", seen)
	}
}

// A token and a certificate are read again when they change, and a token goes in the clear to no other machine.
func TestCredentials(t *testing.T) {
	var seen atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"o":"alice"}`))
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	b := open(t, &policy.HTTPLookup{URL: template(t, "https://127.0.0.1:"+port+"/{id}"), Owner: []string{"o"}, CAFile: ca, TokenFile: token})
	ask := func() error {
		return b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{"x"}}, make([]authz.Standing, 1))
	}
	if err := ask(); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("without the token's file: %v", err)
	}
	for _, secret := range []string{"first", "second-one"} {
		if err := os.WriteFile(token, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ask(); err != nil || seen.Load() != "Bearer "+secret {
			t.Errorf("%v, the service saw %v", err, seen.Load())
		}
	}
	strange := open(t, &policy.HTTPLookup{URL: template(t, "https://127.0.0.1:"+port+"/{id}"), Owner: []string{"o"}})
	if err := strange.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{"x"}}, make([]authz.Standing, 1)); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
	for name, l := range map[string]*policy.HTTPLookup{
		"plain":                          {URL: template(t, "http://owners.example/{id}")},
		"plain with a token":             {URL: template(t, "http://owners.example/{id}"), PlainHTTP: true, TokenFile: token},
		"a plain batch":                  {URL: template(t, "https://owners.example/{id}"), Batch: "http://owners.example/"},
		"no host":                        {URL: template(t, "https:///{id}")},
		"an id for a host":               {URL: template(t, "https://{id}/x")},
		"an id that is never sent":       {URL: template(t, "https://owners.example/mine#{id}")},
		"an id behind the host":          {URL: template(t, "https://owners.example#{id}")},
		"a host that ends in a question": {URL: template(t, "https://owners.example?{id}")},
		"a query behind the host":        {URL: template(t, "https://owners.example?x=/{id}")},
		"a batch with a fragment":        {URL: template(t, "https://owners.example/{id}"), Batch: "https://owners.example/all#x"},
		"no port":                        {URL: template(t, "https://owners.example:x/{id}")},
		"a port alone":                   {URL: template(t, "https://:443/{id}")},
		"a user":                         {URL: template(t, "https://u:hunter2@owners.example/{id}")},
		"a way up":                       {URL: template(t, "https://owners.example/a/../{id}")},
		"another scheme":                 {URL: template(t, "ftp://owners.example/{id}")},
		"no template":                    {},
		"half a pair":                    {URL: template(t, "https://owners.example/{id}"), CertFile: "x"},
	} {
		if _, err := ownerhttp.New(l, 0); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ownerhttp.New(&policy.HTTPLookup{URL: template(t, "http://owners.example/{id}"), PlainHTTP: true}, 0); err != nil {
		t.Error(err)
	}
}

// certificate writes a pair of files that says who we are.
func certificate(t *testing.T, name, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, made, made, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The service is shown the certificate of the files, as they are when it connects.
func TestClientCertificate(t *testing.T) {
	var seen atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.TLS.PeerCertificates[0].Subject.CommonName)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"o":"alice"}`))
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(b *ownerhttp.Backend) error {
		return b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{"x"}}, make([]authz.Standing, 1))
	}
	l := policy.HTTPLookup{URL: template(t, server.URL+"/{id}"), Owner: []string{"o"}, CAFile: ca}
	if err := ask(open(t, &l)); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("without a certificate: %v", err)
	}
	l.CertFile, l.KeyFile = cert, key
	b := open(t, &l)
	if err := ask(b); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("without the files: %v", err)
	}
	for _, name := range []string{"first", "second-one"} {
		certificate(t, name, cert, key)
		server.CloseClientConnections()
		if err := ask(b); err != nil || seen.Load() != name {
			t.Errorf("%v, the service saw %v", err, seen.Load())
		}
	}
}

// Without a batch a few objects are asked about at a time, each once, and nothing that the service wants kept is brought back.
func TestAFewAtATime(t *testing.T) {
	const few, many = 8, 100
	arrived, leave := make(chan string, many), make(chan struct{})
	var together, most, cookies atomic.Int64
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for n := together.Add(1); ; {
			if before := most.Load(); n <= before || most.CompareAndSwap(before, n) {
				break
			}
		}
		cookies.Add(int64(len(r.Cookies())))
		arrived <- r.PathValue("id")
		select {
		case <-leave:
		case <-r.Context().Done():
		}
		together.Add(-1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Set-Cookie", "a=b; Path=/")
		_, _ = w.Write([]byte(`{"o":"` + r.PathValue("id") + `"}`))
	}))
	b := open(t, &policy.HTTPLookup{URL: template(t, at+"/owners/{id}"), Owner: []string{"o"}})
	var ids []string
	for i := range many {
		ids = append(ids, strconv.Itoa(i))
	}
	answers := make([]authz.Standing, many)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // only ends a test that has failed
	defer cancel()
	asked := make(chan error, 1)
	go func() { asked <- b.Ask(ctx, &authz.Question{Subject: "7", Objects: ids}, answers) }()
	seen := map[string]int{}
	for i := range many {
		if i >= few {
			leave <- struct{}{} // who leaves makes room for one
		}
		select {
		case id := <-arrived:
			seen[id]++
		case <-ctx.Done():
			t.Fatalf("%d were asked about, and %d left", i, max(0, i-few))
		}
	}
	close(leave)
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	for i, standing := range answers {
		if want := map[bool]authz.Standing{true: authz.Theirs, false: authz.NotTheirs}[i == 7]; standing != want || seen[ids[i]] != 1 {
			t.Errorf("%s: %s after %d questions", ids[i], standing, seen[ids[i]])
		}
	}
	if most.Load() != few || cookies.Load() != 0 {
		t.Errorf("%d were asked about at once, %d cookies came back", most.Load(), cookies.Load())
	}
}

// The first that fails ends the others: nobody waits for an answer that nobody will believe, and the error is the one that counts.
func TestTheFirstFailureEndsAll(t *testing.T) {
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "bad" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		<-r.Context().Done()
	}))
	b := open(t, &policy.HTTPLookup{URL: template(t, at+"/owners/{id}"), Owner: []string{"o"}})
	ids := []string{"a", "b", "c", "bad", "d", "e", "f", "g", "h", "i", "j"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := b.Ask(ctx, &authz.Question{Subject: "alice", Objects: ids}, make([]authz.Standing, len(ids)))
	if !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "status 500") || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}

// A service that is away, breaks off or is mute is unavailable, within the caller's time.
func TestOutages(t *testing.T) {
	mute := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	cut := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"o":"alice"`))
		panic(http.ErrAbortHandler)
	}))
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, at := range map[string]string{"mute": mute, "cut": cut, "gone": gone.URL} {
		b := open(t, &policy.HTTPLookup{URL: template(t, at+"/owners/{id}"), Owner: []string{"o"}})
		for _, objects := range [][]string{{"x"}, {"x", "y"}} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			if err := b.Ask(ctx, &authz.Question{Subject: "alice", Objects: objects}, make([]authz.Standing, len(objects))); !errors.Is(err, authz.ErrLookupUnavailable) {
				t.Errorf("%s, %d: %v", name, len(objects), err)
			}
			cancel()
		}
	}
}

type served struct{}

// A service that lets a connection go while we speak on it again costs a new connection and no answer, for a batch as for one object:
// both are questions, and change nothing.
func TestAConnectionThatTheServiceLetGo(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(served{}).(*atomic.Int64).Add(1) > 1 {
			panic(http.ErrAbortHandler) // the end of a connection that it had given up already
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			_, _ = w.Write([]byte(`[{"id":"x","o":"alice"}]`))
			return
		}
		_, _ = w.Write([]byte(`{"o":"alice"}`))
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, served{}, new(atomic.Int64))
	}
	server.Start()
	t.Cleanup(server.Close)
	for name, objects := range map[string][]string{"one": {"x"}, "many": {"x", "y"}} {
		b := open(t, &policy.HTTPLookup{URL: template(t, server.URL+"/{id}"), Batch: server.URL, Owner: []string{"o"}})
		for range 3 {
			answers := make([]authz.Standing, len(objects))
			if err := b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: objects}, answers); err != nil || answers[0] != authz.Theirs {
				t.Errorf("%s: %v, %v", name, answers, err)
			}
		}
	}
}

// What speaks no HTTP is quoted to nobody: it can be what we asked, or what a service would only tell us.
func TestErrorsQuoteNothing(t *testing.T) {
	const secret = "order-77"
	for name, answer := range map[string]string{
		"no status line":         secret + "\r\n\r\n",
		"no status":              "HTTP/1.1 " + secret + "\r\n\r\n",
		"a version":              "HTTP/" + secret + " 200 OK\r\n\r\n",
		"a header without colon": "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n",
		"a length":               "HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n",
		"two lengths":            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: " + secret + "\r\n\r\n",
		"an encoding":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"a chunk":                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n\r\n",
		"a trailer":              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n2\r\n{}\r\n0\r\n" + secret + "\r\n\r\n",
		"a type":                 "HTTP/1.1 200 OK\r\nContent-Type: " + secret + "\r\nContent-Length: 2\r\n\r\n{}",
		"a place":                "HTTP/1.1 302 Found\r\nLocation: http://" + secret + "/\r\nContent-Length: 0\r\n\r\n",
		"a place that is none":   "HTTP/1.1 302 Found\r\nLocation: http://" + secret + ":x/%zz\r\nContent-Length: 0\r\n\r\n",
		"a reason":               "HTTP/1.1 500 " + secret + "\r\nContent-Length: 0\r\n\r\n",
		"a body":                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n" + secret,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(c))
				_, _ = c.Write([]byte(answer))
				c.Close()
			}
		}()
		b := open(t, &policy.HTTPLookup{URL: template(t, "http://"+l.Addr().String()+"/{id}"), Owner: []string{"o"}})
		err = b.Ask(t.Context(), &authz.Question{Subject: "alice", Objects: []string{secret}}, make([]authz.Standing, 1))
		if !errors.Is(err, authz.ErrLookupUnavailable) && !errors.Is(err, authz.ErrLookupAnswer) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
		l.Close()
		<-done
	}
}

func BenchmarkHTTP(b *testing.B) {
	s := &service{facts: []ownertest.Fact{{Object: "x", Owners: []string{"alice"}}}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { r.SetPathValue("id", "x"); s.ServeHTTP(w, r) }))
	defer server.Close()
	backend, err := ownerhttp.New(&policy.HTTPLookup{URL: template(b, server.URL+"/{id}"), Owner: []string{"owner"}}, 0)
	if err != nil {
		b.Fatal(err)
	}
	answers := make([]authz.Standing, 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := backend.Ask(b.Context(), &authz.Question{Subject: "alice", Objects: []string{"x"}}, answers); err != nil || answers[0] != authz.Theirs {
			b.Fatal(answers, err)
		}
	}
}
