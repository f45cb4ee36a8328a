package audit

import (
	"bytes"
	"regexp"
	"testing"
	"time"
)

func sample() Record {
	return Record{
		Time: time.Unix(1772366400, 0), Instance: "gate-1", DecisionID: "01926f3e-7b1c-7d3a-9f6e-0b1f2a3c4d5e", Verdict: "allow", Reason: "allowed",
		Service: "orders", Rule: "read-order", PolicyDigest: "sha256:0123456789abcdef", Method: "GET", Host: "orders.shop.svc.cluster.local",
		Route: "GET /orders/{order_id}", Issuer: "shop", Subject: "alice", Kind: "person", ClientID: "web", TokenID: "jti-1",
		Caller: "spiffe://cluster.local/ns/web/sa/frontend", Address: "192.0.2.1", Object: "17", RequestID: "6f1c7b0e-0f0a-4a5e-9d0e-1a2b3c4d5e6f", Status: 200,
	}
}

// Encoding allocates nothing, with a key and without: the writer keeps up with the gate.
func TestEncodeAllocatesNothing(t *testing.T) {
	k, err := NewKey("k1", bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, opt := range []Options{{}, {Pseudonymise: k}} {
		e, r := newEncoder(opt), sample()
		var once repeats
		buf := e.record(nil, &r, &once)
		if n := testing.AllocsPerRun(100, func() { buf = e.record(buf[:0], &r, &once) }); n != 0 {
			t.Errorf("key %v: %v allocations a record", e.key != nil, n)
		}
	}
}

// Names of lines are UUIDs of version 7, in the order of their lines, and no two runs have one.
func TestEventIDs(t *testing.T) {
	shape := regexp.MustCompile(`^019ca945-0a00-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for _, run := range []string{"one", "two"} {
		ids, last := newEventIDs(run), ""
		for range 1000 {
			id := string(ids.append(nil, time.Unix(1772366400, 0)))
			if !shape.MatchString(id) || seen[id] || id <= last {
				t.Fatalf("run %s: %s after %s", run, id, last)
			}
			seen[id], last = true, id
		}
	}
	ids := newEventIDs("one")
	if id := string(ids.append(nil, time.Time{})); id[:15] != "00000000-0000-7" {
		t.Errorf("before 1970: %s", id)
	}
}

func BenchmarkEncode(b *testing.B) {
	e, r := newEncoder(Options{}), sample()
	var buf []byte
	var once repeats
	b.ReportAllocs()
	for b.Loop() {
		buf = e.record(buf[:0], &r, &once)
	}
}
