package audit

import (
	"bytes"
	"context"
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
		buf := e.record(nil, &r)
		if n := testing.AllocsPerRun(100, func() { buf = e.record(buf[:0], &r) }); n != 0 {
			t.Errorf("key %q: %v allocations a record", e.keyID, n)
		}
	}
}

// A record that slipped into the queue while Run was ending is not written, and so is counted.
func TestLateRecordIsCounted(t *testing.T) {
	l := New(&bytes.Buffer{}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	l.queue <- Record{} // past the check for the end, and too late
	if got := l.Dropped(); got != 1 {
		t.Errorf("dropped %d, want 1", got)
	}
}

func BenchmarkEncode(b *testing.B) {
	e, r := newEncoder(Options{}), sample()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.record(buf[:0], &r)
	}
}
