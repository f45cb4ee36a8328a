package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
)

// recorded is the audit line of what happens in record.
func recorded(t *testing.T, record func(*audit.Log)) map[string]any {
	t.Helper()
	var out bytes.Buffer
	log := audit.New(&out, audit.Options{})
	record(log)
	ended, end := context.WithCancel(context.Background())
	end()
	if err := log.Run(ended); err != nil {
		t.Fatal(err)
	}
	line := map[string]any{}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	return line
}

// A refusal that the limiter never saw has a line, as any other.
func TestUnjudgedIsAudited(t *testing.T) {
	req := ratelimit.Request{Domain: "mesh", Descriptors: []ratelimit.Descriptor{{Entries: []limits.Entry{{Key: "who", Value: "user|shop|alice"}}}}}
	line := recorded(t, func(log *audit.Log) { audited{log: log}.unjudged(req, "panic") })
	for key, want := range map[string]string{"verdict": "deny", "reason": "unjudged", "detail": "panic", "service": "ratelimit", "host": "mesh", "issuer": "shop", "subject": "alice"} {
		if line[key] != want {
			t.Errorf("%s is %v, want %s", key, line[key], want)
		}
	}
	audited{}.unjudged(req, "panic") // an audit log that is off
}

// The limiter's own errors have a line too.
func TestErrorIsAudited(t *testing.T) {
	line := recorded(t, func(log *audit.Log) {
		if _, err := (audited{ratelimit.New(ratelimit.Options{}), log}).Spend(context.Background(), ratelimit.Request{}); !errors.Is(err, ratelimit.ErrNoDomain) {
			t.Errorf("got %v", err)
		}
	})
	if line["verdict"] != "deny" || line["reason"] != "error" || line["detail"] != ratelimit.ErrNoDomain.Error() {
		t.Errorf("got %v", line)
	}
}

// What passes only in shadow mode says so, and which rule would have refused it.
func TestShadowModeIsAudited(t *testing.T) {
	file, errs := limits.Decode("l.yaml", []byte("domain: mesh\ndescriptors: [{key: who, rate_limit: {requests_per_unit: 0, unit: day}}]\n"))
	if errs != nil {
		t.Fatal(errs)
	}
	table, errs := limits.Build([]*limits.File{file})
	if errs != nil {
		t.Fatal(errs)
	}
	limiter := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{}), ShadowMode: true})
	limiter.Use(table)
	line := recorded(t, func(log *audit.Log) {
		req := ratelimit.Request{Domain: "mesh", Descriptors: []ratelimit.Descriptor{{Entries: []limits.Entry{{Key: "who", Value: "user|shop|alice"}}}}}
		if resp, err := (audited{limiter, log}).Spend(context.Background(), req); err != nil || resp.Code != ratelimit.OK {
			t.Errorf("got %+v, %v", resp, err)
		}
	})
	for key, want := range map[string]string{"verdict": "allow", "reason": "over_limit", "detail": "shadow_mode", "rule": "mesh.who", "subject": "alice"} {
		if line[key] != want {
			t.Errorf("%s is %v, want %s", key, line[key], want)
		}
	}
}

// The log of a panic holds nothing that a request could have held.
func TestPanicText(t *testing.T) {
	if got := panicText("secret"); got != "a value of type string" {
		t.Errorf("got %q", got)
	}
	defer func() {
		if got := panicText(recover()); !strings.Contains(got, "index out of range") {
			t.Errorf("got %q", got)
		}
	}()
	_ = strings.Fields("")[0]
}
