package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/authz/jwks"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{"100MB": 100_000_000, "1GiB": 1 << 30, "5kB": 5000, "7KiB": 7168, "2000000000GB": 2e18, "0MB": 0} {
		if got, err := byteSize(text); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "100", "MB", "-1MB", "1.5GB", "1 MB", "1mb", "1MBB", "99999999999GB", "1TB"} {
		if got, err := byteSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

// A gate that is told nothing makes pseudonyms, with a key that dies with it; two gates share them by one file.
func TestPseudonymsByDefault(t *testing.T) {
	f := auditFlags{destination: "stdout", allows: "all", subjects: auditPseudonym}
	one, err := f.read()
	if err != nil || one.key == nil || !strings.HasPrefix(one.key.ID(), "run:") {
		t.Fatalf("%v, %v", one.key, err)
	}
	if other, _ := f.read(); other.key.ID() == one.key.ID() {
		t.Error("two runs have one key")
	}
	f.subjects = auditPlain
	if plain, err := f.read(); err != nil || plain.key != nil {
		t.Errorf("plain: %v, %v", plain.key, err)
	}
	secret := strings.Repeat("s", 32)
	a, err := readKey([]byte(secret + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := readKey([]byte(secret))
	if err != nil || a.ID() != b.ID() || strings.Contains(a.ID(), "s") {
		t.Errorf("%s and %s, %v", a.ID(), b.ID(), err)
	}
}

// The audit log is told of a key set when it changes, when it can be had no more, and when it can again; not of each attempt.
func TestKeysEvent(t *testing.T) {
	away := errors.New("connection refused")
	for name, test := range map[string]struct {
		attempt jwks.Attempt
		well    bool
		outcome string // "" is not worth an event
	}{
		"a rotation":           {jwks.Attempt{Changed: true, Added: []string{"b"}, Removed: []string{"a"}, Keys: 1}, true, outcomeOK},
		"nothing new":          {jwks.Attempt{Keys: 1}, true, ""},
		"the first failure":    {jwks.Attempt{Err: away}, true, outcomeFailed},
		"the next failure":     {jwks.Attempt{Err: away}, false, ""},
		"there again":          {jwks.Attempt{Keys: 1}, false, outcomeRecovered},
		"there again, changed": {jwks.Attempt{Changed: true, Keys: 1}, false, outcomeRecovered},
	} {
		e, worth := keysEvent("shop", test.attempt, test.well)
		if worth != (test.outcome != "") || worth && (e.Outcome != test.outcome || e.Part != "shop" || e.Name != audit.EventKeys) {
			t.Errorf("%s: %v, %+v", name, worth, e)
		}
	}
}

// A load that is good in part is neither good nor bad. It names the files that it brought into force: not the data beside them, and no file
// that was refused, which its detail names.
func TestLoadEvent(t *testing.T) {
	refused := strictyaml.Errors{{File: "c.yaml", Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: "no"}}
	files := []fileState{
		{Name: "dir/a.yaml"}, {Name: "dir/b.yml"}, {Name: "dir/c.yaml", Errors: refused}, {Name: "dir/d.yaml", Errors: refused, LastGood: true},
		{Name: "dir/order.schema.json"}, {Name: "dir/shop.openapi.yaml"}, {Name: "dir/shop.binpb"}, {Name: "dir/office" + policy.NetworksSuffix},
	}
	for outcome, err := range map[string]error{outcomeOK: nil, outcomePartly: daemon.Partly(errors.New("b.yaml:1:1: no")), outcomeFailed: errors.New("no")} {
		e := loadEvent(files, "dir", err, policy.Beside()...)
		if e.Outcome != outcome || e.Time.After(time.Now()) || (err == nil) != (e.Detail == "") {
			t.Errorf("%s: %+v", outcome, e)
		}
		if diff := cmp.Diff([]string{"dir/a.yaml", "dir/b.yml"}, e.Files); diff != "" || e.Count != 2 {
			t.Errorf("%s: %d files: %s", outcome, e.Count, diff)
		}
	}
}

// In strict mode an allow is written by the witness alone, and each denial that takes one back has a line, however alike they are.
func TestStrictDecisions(t *testing.T) {
	var out bytes.Buffer
	log := audit.New(&out, audit.Options{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- log.Run(ctx) }()
	d, r := decisions{log, true}, &authz.Request{Headers: authz.Headers{Fields: []authz.Field{{Name: "x-forwarded-for", Value: "192.0.2.1"}}}}
	principal := &authz.Principal{KeyID: "k", Algorithm: "ES256", Confirmation: authz.Confirmation{Bound: true}}
	allow := &authz.Decision{Verdict: authz.Allow, Reason: authz.Allowed, ID: "d-1", Principal: principal}
	if err := d.Witness(t.Context(), allow, r); err != nil {
		t.Fatal(err)
	}
	d.Record(allow, r)
	for _, reason := range []authz.Reason{authz.AuditUnavailable, authz.Cancelled, authz.Panicked} {
		for range 3 {
			d.Record(&authz.Decision{Reason: reason, Witnessed: true}, r)
		}
	}
	for range 3 { // nobody was going to allow these
		d.Record(&authz.Decision{Reason: authz.NoToken}, r)
		d.Record(&authz.Decision{Reason: authz.Cancelled, Detail: "early"}, r)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for part, want := range map[string]int{
		`"verdict":"allow"`: 1, `"token_kid":"k","token_alg":"ES256","token_cnf":"x5t#S256"`: 1, `"forwarded":true`: 14,
		`"reason":"audit_unavailable"`: 3, `"reason":"cancelled"`: 5, `"detail":"early"`: 2, `"reason":"panic"`: 3, `"reason":"no_token"`: 2,
	} {
		if got := strings.Count(text, part); got != want {
			t.Errorf("%d times %s, want %d", got, part, want)
		}
	}
	if (decisions{log, false}).witness() != nil {
		t.Error("bounded has a witness")
	}
}

// A time that is too short to fold anything is a typing error.
func TestLeastFold(t *testing.T) {
	for fold, good := range map[time.Duration]bool{0: true, 1: false, 99 * time.Millisecond: false, 100 * time.Millisecond: true, -time.Second: false} {
		f := auditFlags{destination: "stdout", allows: "all", subjects: auditPlain, fold: fold}
		if _, err := f.read(); (err == nil) != good {
			t.Errorf("%s: %v", fold, err)
		}
	}
}

// A random key may end in what looks like the end of a line.
func TestKeyEndsInALineFeed(t *testing.T) {
	random := strings.Repeat("s", 31)
	ids := map[string]bool{}
	for _, text := range []string{random + "\n", random + "\r", random + "\n\n", random + "\n\r\n"} {
		k, err := readKey([]byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		ids[k.ID()] = true
	}
	if len(ids) != 2 {
		t.Errorf("%d keys, want 2", len(ids))
	}
	if _, err := readKey([]byte(random)); err == nil {
		t.Error("a key of 31 bytes")
	}
}

// A flag that the others leave without a meaning is an error, from the command line as from the environment.
func TestUnusedAuditFlags(t *testing.T) {
	for line, says := range map[string]string{
		"": "", "--audit=off": "", "--audit=a.jsonl --audit-rotate=1MB --audit-keep=3": "",
		"--audit=a.jsonl --audit-mode=strict --audit-reserve=10MB":   "",
		"--audit=off --audit-pseudonym-key-file=missing":             "--audit is off",
		"--audit=off --audit-mode=bounded":                           "--audit is off",
		"--audit=off --audit-allows=all":                             "--audit is off",
		"--audit=off --audit-fold=10s":                               "--audit is off",
		"--audit=off --audit-subjects=plain":                         "--audit is off",
		"--audit=off --audit-keep=5":                                 "--audit is off",
		"--audit=off --audit-rotate=1MB":                             "--audit is off",
		"--audit=off --audit-reserve=1MB":                            "--audit is off",
		"--audit=a.jsonl --audit-keep=5":                             "without --audit-rotate",
		"--audit=a.jsonl --audit-reserve=1GB":                        "only --audit-mode strict",
		"--audit=a.jsonl --audit-mode=strict --audit-reserve=1kB":    "at least 1MB",
		"--audit=a.jsonl --audit-mode=strict --audit-reserve=plenty": "at least 1MB",
	} {
		var f auditFlags
		flags := pflag.NewFlagSet("authz", pflag.ContinueOnError)
		f.bind(flags)
		f.bindMode(flags)
		if err := flags.Parse(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		_, err := f.read()
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", line, err, says)
		}
	}
}
