package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/audit"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("CET", 3600))

// allow is a record that nothing folds.
var allow = audit.Record{Verdict: "allow"}

// full is a record with every field set.
func full() audit.Record {
	return audit.Record{
		Time: noon, Instance: "gate-1", DecisionID: "d-1", Verdict: "allow", Reason: "allowed", Detail: "none", Service: "orders",
		Rule: "read-order", PolicyDigest: "sha256:aa", Method: "GET", Host: "orders.shop", Route: "GET /orders/{order_id}",
		Issuer: "shop", Subject: "alice", Kind: "person", ClientID: "web", TokenID: "jti-1", Caller: "spiffe://cluster.local/ns/web/sa/frontend",
		TokenKey: "2026-11", Algorithm: "ES256", Confirmation: "x5t#S256", Address: "192.0.2.1", Forwarded: true, Object: "17", RequestID: "r-1", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Status: 200, Latency: 1234567 * time.Nanosecond,
	}
}

// logged runs a log over records until it is flushed, and returns what was written.
func logged(t *testing.T, opt audit.Options, records ...audit.Record) string {
	t.Helper()
	var out bytes.Buffer
	opt.Run = "run-1"
	l := audit.New(&out, opt)
	for _, r := range records {
		l.Record(r)
	}
	stop(t, l)
	if l.Dropped() != 0 || l.WriteErrors() != 0 {
		t.Fatalf("dropped %d, write errors %d", l.Dropped(), l.WriteErrors())
	}
	return out.String()
}

// stop runs a log whose time is over: what is queued is written, then Run returns.
func stop(t *testing.T, l *audit.Log) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

// parse reads lines of JSON objects, each on one line, and nothing else.
func parse(t *testing.T, text string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("line %q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

// What a trial came to stands in the same line.
func TestShadowInTheLine(t *testing.T) {
	got := logged(t, audit.Options{}, audit.Record{Verdict: "allow", Reason: "shadow", ShadowVerdict: "deny", ShadowReason: "owner", ShadowDetail: "not_there", ShadowRule: "read", ShadowPolicy: "bb"})
	if want := `"shadow_verdict":"deny","shadow_reason":"owner","shadow_detail":"not_there","shadow_rule":"read","shadow_policy":"bb","latency_us":0}`; !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
}

// The line as a reader finds it, whole.
func TestRecordLine(t *testing.T) {
	const want = `{"v":1,"time":"2026-03-01T11:00:00.123456789Z","instance":"gate-1","run":"run-1",` +
		`"event_id":"019ca90e-1bfb-7adc-b92d-07f7cfa2165e","sequence":1,"decision_id":"d-1","verdict":"allow",` +
		`"reason":"allowed","detail":"none","status":200,"service":"orders","rule":"read-order","policy":"sha256:aa","method":"GET",` +
		`"host":"orders.shop","route":"GET /orders/{order_id}","issuer":"shop","subject":"alice","kind":"person","client_id":"web",` +
		`"token_id":"ac0a235246886acf9b90c6441ccf13dc4defb84e9af8c54bd45a5ccf0b1183d4","token_kid":"2026-11","token_alg":"ES256","token_cnf":"x5t#S256",` +
		`"caller":"spiffe://cluster.local/ns/web/sa/frontend","address":"192.0.2.1","forwarded":true,"object":"17","request_id":"r-1",` +
		`"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","latency_us":1234}` + "\n"
	if diff := cmp.Diff(want, logged(t, audit.Options{}, full())); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// A record of nothing is a denial, and has what every line has.
func TestEmptyRecord(t *testing.T) {
	const want = `{"v":1,"time":"0001-01-01T00:00:00Z","instance":"gate-2","run":"run-1","event_id":"00000000-0000-7adc-b92d-07f7cfa2165e","sequence":1,"verdict":"deny","latency_us":0}` + "\n"
	if diff := cmp.Diff(want, logged(t, audit.Options{Instance: "gate-2"}, audit.Record{Latency: -1, Status: -1})); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// The sequence is the log's own: a caller cannot repeat or skip a number.
func TestSequence(t *testing.T) {
	var got []any
	for _, m := range parse(t, logged(t, audit.Options{Fold: -1}, audit.Record{Sequence: 9}, audit.Record{Sequence: 9}, audit.Record{})) {
		got = append(got, m["sequence"])
	}
	if diff := cmp.Diff([]any{1.0, 2.0, 3.0}, got); diff != "" {
		t.Errorf("sequences (-want +got):\n%s", diff)
	}
}

// No text of a request can end its line, its string or its terminal, or be read in another direction than it is written.
func TestLogInjection(t *testing.T) {
	tests := []struct{ name, in, raw, read string }{
		{"line feed", "a\n{\"v\":1}", `a\u000a{\"v\":1}`, "a\n{\"v\":1}"},
		{"carriage return", "a\rb", `a\u000db`, "a\rb"},
		{"end of string", `a","verdict":"allow`, `a\",\"verdict\":\"allow`, `a","verdict":"allow`},
		{"backslash", `a\`, `a\\`, `a\`},
		{"NUL", "a\x00b", `a\u0000b`, "a\x00b"},
		{"ANSI colour", "\x1b[31mred", `\u001b[31mred`, "\x1b[31mred"},
		{"delete", "a\x7f", `a\u007f`, "a\x7f"},
		{"C1 control", "a\u009bb", `a\u009bb`, "a\u009bb"},
		{"line separator", "a\u2028b", `a\u2028b`, "a\u2028b"},
		{"right to left", "a\u202eb", `a\u202eb`, "a\u202eb"},
		{"isolate", "a\u2066b", `a\u2066b`, "a\u2066b"},
		{"zero width", "a\u200bb\ufeff", `a\u200bb\ufeff`, "a\u200bb\ufeff"},
		{"no UTF-8", "a\xff\xc3b", "a\ufffd\ufffdb", "a\ufffd\ufffdb"},
		{"surrogate bytes", "\xed\xa0\x80", "\ufffd\ufffd\ufffd", "\ufffd\ufffd\ufffd"},
		{"honest letters", "Zoë 注文 🙂", "Zoë 注文 🙂", "Zoë 注文 🙂"},
	}
	for _, tt := range tests {
		out := logged(t, audit.Options{}, audit.Record{Host: tt.in})
		if !strings.Contains(out, `"host":"`+tt.raw+`"`) || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %q", tt.name, out)
		}
		if got := parse(t, out)[0]["host"]; got != tt.read {
			t.Errorf("%s: read back %q, want %q", tt.name, got, tt.read)
		}
	}
}

// A field is cut to 256 bytes, between characters.
func TestLongFields(t *testing.T) {
	tests := []struct{ in, want string }{
		{strings.Repeat("a", 256), strings.Repeat("a", 256)},
		{strings.Repeat("a", 257), strings.Repeat("a", 253) + "…"},
		{strings.Repeat("a", 1<<20), strings.Repeat("a", 253) + "…"},
		{strings.Repeat("é", 200), strings.Repeat("é", 126) + "…"},
		{"a" + strings.Repeat("🙂", 100), "a" + strings.Repeat("🙂", 63) + "…"},
		{strings.Repeat("\x80", 300), strings.Repeat("\ufffd", 249) + "…"},
	}
	for _, tt := range tests {
		if got := parse(t, logged(t, audit.Options{}, audit.Record{RequestID: tt.in}))[0]["request_id"]; got != tt.want {
			t.Errorf("%d bytes %.8q...: got %q, want %q", len(tt.in), tt.in, got, tt.want)
		}
	}
}

const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"

// A canary in every place where a secret could stand: a token never leaves, whoever wrote it where, and a token's
// identifier leaves as a digest only.
func TestCanaries(t *testing.T) {
	places := map[string]func(*audit.Record, string){
		"instance": func(r *audit.Record, s string) { r.Instance = s }, "decision_id": func(r *audit.Record, s string) { r.DecisionID = s },
		"verdict": func(r *audit.Record, s string) { r.Verdict = s }, "reason": func(r *audit.Record, s string) { r.Reason = s },
		"detail": func(r *audit.Record, s string) { r.Detail = s }, "place": func(r *audit.Record, s string) { r.Place = s },
		"keyword": func(r *audit.Record, s string) { r.Keyword = s }, "service": func(r *audit.Record, s string) { r.Service = s },
		"rule": func(r *audit.Record, s string) { r.Rule = s }, "policy": func(r *audit.Record, s string) { r.PolicyDigest = s },
		"method": func(r *audit.Record, s string) { r.Method = s }, "host": func(r *audit.Record, s string) { r.Host = s },
		"route": func(r *audit.Record, s string) { r.Route = s }, "issuer": func(r *audit.Record, s string) { r.Issuer = s },
		"subject": func(r *audit.Record, s string) { r.Subject = s }, "kind": func(r *audit.Record, s string) { r.Kind = s },
		"client_id": func(r *audit.Record, s string) { r.ClientID = s }, "client": func(r *audit.Record, s string) { r.Client = s }, "caller": func(r *audit.Record, s string) { r.Caller = s },
		"address": func(r *audit.Record, s string) { r.Address = s }, "object": func(r *audit.Record, s string) { r.Object = s },
		"request_id": func(r *audit.Record, s string) { r.RequestID = s }, "traceparent": func(r *audit.Record, s string) { r.Traceparent = s },
	}
	for name, put := range places {
		for _, s := range []string{jwt, "Bearer " + jwt, "x" + jwt + "\n", jwt + strings.Repeat("z", 1000),
			"Bearer opaque", "id=bearer+opaque", "ewogICJhbGciOiAiRVMyNTYiCn0." + jwt[20:], strings.ReplaceAll(jwt, ".", "%2E"), strings.ReplaceAll(jwt, "eyJ", "e%2579%254a")} {
			r := full()
			put(&r, s)
			out := logged(t, audit.Options{}, r)
			if strings.Contains(out, "eyJ") || strings.Contains(out, "c2lnbmF0dXJl") || parse(t, out)[0][name] != "[token]" {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
	for _, opt := range []audit.Options{{}, {Pseudonymise: key(t, "k1", 1)}} {
		for _, s := range []string{jwt, "canary-jti-5a1b"} {
			out := logged(t, opt, audit.Record{TokenID: s})
			digest, _ := parse(t, out)[0]["token_id"].(string)
			if strings.Contains(out, s) || strings.Contains(out, "eyJ") || len(digest) != 64 {
				t.Errorf("token id %s: %s", s, out)
			}
		}
	}
}

func key(t *testing.T, id string, fill byte) *audit.Key {
	t.Helper()
	k, err := audit.NewKey(id, bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Under a key a person is a pseudonym: the same one every time, another under another key, issuer or role, and the key's id
// says which key to ask.
func TestPseudonyms(t *testing.T) {
	line := func(opt audit.Options, r audit.Record) map[string]any { return parse(t, logged(t, opt, r))[0] }
	k1, k2 := audit.Options{Pseudonymise: key(t, "k1", 1)}, audit.Options{Pseudonymise: key(t, "k2", 2)}
	alice := audit.Record{Issuer: "shop", Subject: "alice", Object: "alice", TokenID: "alice"}

	first := line(k1, alice)
	if first["key_id"] != "k1" || line(k2, alice)["key_id"] != "k2" {
		t.Errorf("key ids are missing: %v", first)
	}
	if diff := cmp.Diff(first, line(k1, alice)); diff != "" {
		t.Errorf("one record, two lines:\n%s", diff)
	}
	others := map[string]any{
		"object": first["object"], "token": first["token_id"], "other key": line(k2, alice)["subject"],
		"other issuer": line(k1, audit.Record{Issuer: "staff", Subject: "alice"})["subject"],
		"other person": line(k1, audit.Record{Issuer: "shop", Subject: "bob"})["subject"],
		"shifted":      line(k1, audit.Record{Issuer: "shopa", Subject: "lice"})["subject"],
		"no key":       line(audit.Options{}, alice)["token_id"],
	}
	seen := map[any]string{first["subject"]: "subject"}
	for name, p := range others {
		if s, _ := p.(string); len(s) != 64 || seen[p] != "" {
			t.Errorf("%s: %v is no pseudonym of its own (also %s)", name, p, seen[p])
		}
		seen[p] = name
	}
	if plain := line(audit.Options{}, alice); plain["subject"] != "alice" || plain["object"] != "alice" || plain["key_id"] != nil {
		t.Errorf("without a key: %v", plain)
	}
	if empty := line(k1, audit.Record{}); empty["subject"] != nil || empty["object"] != nil || empty["token_id"] != nil {
		t.Errorf("nobody has a pseudonym: %v", empty)
	}
}

func TestNewKey(t *testing.T) {
	secret := make([]byte, 32)
	for _, tt := range []struct {
		id     string
		secret []byte
		ok     bool
	}{{"k1", secret, true}, {"k1", secret[:31], false}, {"k1", nil, false}, {"", secret, false}} {
		if k, err := audit.NewKey(tt.id, tt.secret); (err == nil) != tt.ok || (k != nil) != tt.ok {
			t.Errorf("NewKey(%q, %d bytes): %v", tt.id, len(tt.secret), err)
		}
	}
}

// gate is a writer that blocks until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	out  bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.out.Write(p)
}

// A writer that blocks stops no request: what does not fit is counted exactly, told in the log, and the numbers add up.
func TestBlockedWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		l := audit.New(g, audit.Options{Queue: 8, Run: "run-1", Now: func() time.Time { return noon }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()

		l.Record(allow)
		synctest.Wait() // the first record is in the writer's hands
		for range 8 + 5 {
			l.Record(allow)
		}
		if got := l.Dropped(); got != 5 {
			t.Errorf("dropped %d, want 5", got)
		}
		close(g.open)
		synctest.Wait()
		l.Record(allow)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := l.Dropped(); got != 5 {
			t.Errorf("dropped %d after the writer came back, want 5", got)
		}
		// 1 was in the writer's hands, 2 to 9 were queued, 10 to 14 were lost, 15 came later.
		lines := parse(t, g.out.String())
		want := []any{1.0, "gap", 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 15.0}
		if diff := cmp.Diff(want, shape(lines)); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		const gap = `{"v":1,"time":"2026-03-01T11:00:00.123456789Z","run":"run-1","event_id":"019ca90e-1bfb-7adc-b92d-07f7cfa2165f","event":"gap","lost":5,"lost_total":5,"after":1,"first_sequence":10,"last_sequence":14}`
		if !strings.Contains(g.out.String(), gap+"\n") {
			t.Errorf("no gap record %s in\n%s", gap, g.out.String())
		}
	})
}

// shape is a log in short: a record's sequence, or "gap".
func shape(lines []map[string]any) []any {
	var out []any
	for _, m := range lines {
		if m["event"] != nil {
			out = append(out, m["event"])
		} else {
			out = append(out, m["sequence"])
		}
	}
	return out
}

// When Run ends, everything queued is written, and what comes later is counted as lost.
func TestFlushOnStop(t *testing.T) {
	var out bytes.Buffer
	l := audit.New(&out, audit.Options{Queue: 5000})
	for range 5000 {
		l.Record(full())
	}
	stop(t, l)
	if got := len(parse(t, out.String())); got != 5000 {
		t.Errorf("%d records were written, want 5000", got)
	}
	l.Record(full())
	if got := l.Dropped(); got != 1 {
		t.Errorf("dropped %d after the end, want 1", got)
	}
}

// A loss that no record follows is told at the end.
func TestGapAtStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := audit.New(d, audit.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.Record(allow)
		synctest.Wait() // the record is lost
		d.room = 1 << 20
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if diff := cmp.Diff([]any{"gap"}, shape(parse(t, d.out.String()))); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

// disk is a writer with room for so many bytes.
type disk struct {
	room int
	out  bytes.Buffer
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	d.out.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// A full disk loses records, one by one and counted; when there is room again the log goes on, says what it lost, and the
// line that was torn spoils no other.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: 300}
		l := audit.New(d, audit.Options{Now: func() time.Time { return noon }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		record := func() {
			l.Record(audit.Record{Time: noon, Verdict: "allow"})
			synctest.Wait()
		}

		record() // fits
		record() // is torn
		record() // does not fit at all, nor does the gap record
		if l.Dropped() != 2 || l.WriteErrors() != 3 {
			t.Errorf("dropped %d, write errors %d; want 2 and 3", l.Dropped(), l.WriteErrors())
		}
		d.room = 1 << 20
		record()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		lines := strings.Split(strings.TrimSuffix(d.out.String(), "\n"), "\n")
		if len(lines) != 4 || json.Valid([]byte(lines[1])) {
			t.Fatalf("lines are\n%s", d.out.String())
		}
		sound := parse(t, lines[0]+"\n"+lines[2]+"\n"+lines[3]+"\n")
		if diff := cmp.Diff([]any{1.0, "gap", 4.0}, shape(sound)); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if sound[1]["lost"] != 2.0 || l.Dropped() != 2 {
			t.Errorf("the gap record is %v, dropped %d", sound[1], l.Dropped())
		}
	})
}

// Of a batch that fits in part, the lines that arrived are not counted as lost.
func TestHalfABatch(t *testing.T) {
	var one bytes.Buffer
	l := audit.New(&one, audit.Options{})
	l.Record(allow)
	stop(t, l)

	d := &disk{room: 3*one.Len() + 10}
	l = audit.New(d, audit.Options{})
	for range 8 {
		l.Record(allow)
	}
	stop(t, l)
	if l.Dropped() != 5 || strings.Count(d.out.String(), "\n") != 3 {
		t.Errorf("dropped %d of 8, and wrote\n%s", l.Dropped(), d.out.String())
	}
}

// The observer hears of every batch that fails, as a whole, and of the first that does not, and of nothing else.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcomes := []error{nil, nil, syscall.ENOSPC, syscall.ENOSPC, nil, nil, nil, io.ErrShortWrite, nil}
		next := 0
		disk := writerFunc(func(p []byte) (int, error) {
			err := outcomes[next]
			next++
			switch {
			case err == nil:
				return len(p), nil
			case errors.Is(err, io.ErrShortWrite):
				return 0, nil // breaks the contract of io.Writer
			}
			return 0, err
		})
		var heard []error
		l := audit.New(disk, audit.Options{Observe: func(err error) { heard = append(heard, err) }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		for next < len(outcomes) {
			l.Record(allow)
			synctest.Wait()
			if next == len(outcomes)-1 {
				break // the gap record of the end is the last write
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if diff := cmp.Diff([]error{syscall.ENOSPC, syscall.ENOSPC, nil, io.ErrShortWrite, nil}, heard, cmp.Comparer(errors.Is)); diff != "" {
			t.Error(diff)
		}
	})
}

// A writer that breaks the contract of io.Writer breaks nothing here.
func TestLyingWriter(t *testing.T) {
	for _, n := range []int{-5, 0, 1 << 30} {
		l := audit.New(writerFunc(func([]byte) (int, error) { return n, errors.New("lie") }), audit.Options{})
		l.Record(allow)
		stop(t, l)
		if l.WriteErrors() == 0 {
			t.Errorf("a writer that returns %d: no write error", n)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A log that is off is nil, and harmless.
func TestNilLog(t *testing.T) {
	var l *audit.Log
	l.Record(full())
	stop(t, l)
	if l.Dropped() != 0 || l.WriteErrors() != 0 {
		t.Error("a log that is off has lost something")
	}
}

// Whatever comes from many goroutines is written or counted, nothing twice; the race detector watches.
func TestConcurrentRecords(t *testing.T) {
	var out bytes.Buffer
	l := audit.New(&out, audit.Options{Queue: 16})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				l.Record(full())
			}
		})
	}
	wg.Wait()
	cancel()
	<-done
	seen, told := map[any]bool{}, 0.0
	for _, m := range parse(t, out.String()) {
		if m["event"] == "gap" {
			told += m["lost"].(float64)
			continue
		}
		if seen[m["sequence"]] {
			t.Errorf("record %v was written twice", m["sequence"])
		}
		seen[m["sequence"]] = true
	}
	if lost := l.Dropped(); uint64(len(seen))+lost != 1600 || told != float64(lost) {
		t.Errorf("%d written, %d dropped, %v told; 1600 were recorded", len(seen), lost, told)
	}
}

// A long text is cut before it waits, and a token in it is seen first, wherever it is cut.
func TestLongTextsAreBounded(t *testing.T) {
	for _, before := range []int{0, 200, 250, 255, 300, 5000} {
		out := logged(t, audit.Options{}, audit.Record{Host: strings.Repeat("h", before) + "eyJ" + strings.Repeat("a", 400) + ".x"})
		if got := parse(t, out)[0]["host"]; got != "[token]" {
			t.Errorf("%d bytes before a token: %v", before, got)
		}
	}
}

// FuzzRecord: whatever stands in a record, it is one line of valid JSON in valid UTF-8, without raw control characters.
func FuzzRecord(f *testing.F) {
	f.Add("alice", "shop", "17")
	f.Add("a\n\"b", "\x00\x1b[0m", "\xff\u202e"+jwt)
	f.Fuzz(func(t *testing.T, subject, issuer, object string) {
		out := logged(t, audit.Options{}, audit.Record{Subject: subject, Issuer: issuer, Object: object, TokenID: subject, Host: object + issuer})
		parse(t, out)
		if strings.Count(out, "\n") != 1 || strings.ContainsFunc(out[:len(out)-1], func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("line %q", out)
		}
	})
}

// What a request pays: a copy into the queue.
func BenchmarkRecord(b *testing.B) {
	l := audit.New(io.Discard, audit.Options{})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	r := full()
	b.ReportAllocs()
	for b.Loop() {
		l.Record(r)
	}
	cancel()
	<-done
}
