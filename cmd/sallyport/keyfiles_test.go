package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/clientkey"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/webhook"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

const (
	hookSecret   = "a secret that a sender and a gate share"
	otherSecret  = "another secret that they share from now on"
	secretOfFile = "sk_a-key-that-a-partner-was-given-once"
)

// replace puts a file in the place of another, as those do who change keys under a running gate.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".next", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// keyedPolicy names two files of one webhook's keys, and a file of API keys.
func keyedPolicy(t *testing.T, dir string) *policy.Policy {
	t.Helper()
	text := strings.ReplaceAll(`version: 1
issuers: {shop: {issuer: "https://shop.example", audiences: [a]}}
services:
  - name: a
    hosts: [a.example]
    rules:
      - {name: hook, match: POST /hook, public: true, signed_by: {hmac_sha256: x-s, key_files: [DIR/new.key, DIR/old.key]}}
      - {name: feed, match: GET /feed, client_key: {header: x-api-key, keys_file: DIR/clients.keys}}
`, "DIR", dir)
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	return p
}

// Keys are read before a policy comes into force, and again when they change; a bad version leaves the last good one, and is told once, without
// a byte of it.
func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	p := keyedPolicy(t, dir)
	var log bytes.Buffer
	d := &daemon.Daemon{Log: slog.New(slog.NewTextHandler(&log, nil)), Status: daemon.NewStatus(time.Now)}
	k := newKeyFiles(d, "")

	_, err := k.take(p)
	for _, want := range []string{"policy.yaml:7:", "policy.yaml:8:", "new.key", "old.key", "clients.keys", "no such file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without a file, the error does not say %q: %v", want, err)
		}
	}

	hash, _ := clientkey.HashOf(secretOfFile)
	replace(t, filepath.Join(dir, "new.key"), hookSecret+"\n")
	replace(t, filepath.Join(dir, "old.key"), "short\n")
	replace(t, filepath.Join(dir, "clients.keys"), clientkey.Line("partner", hash, "", ""))
	if _, err := k.take(p); err == nil || !strings.Contains(err.Error(), "fewer than 16 bytes") || strings.Contains(err.Error(), "short") {
		t.Errorf("a short key: %v", err)
	}
	replace(t, filepath.Join(dir, "old.key"), "the old secret that they share\n")
	held, err := k.take(p)
	if err != nil {
		t.Fatal(err)
	}
	k.keep(held)
	var bundle authz.Bundle
	held.into(&bundle)

	signed := func(secret string) string {
		key, err := webhook.NewKey([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		m := &webhook.Message{Body: []byte("{}")}
		m.Signature = (&webhook.Form{}).Sign(m, key, time.Time{})
		keys := bundle.WebhookKeys[p.WebhookKeys()[0].Name].Keys()
		return fmt.Sprint((&webhook.Form{}).Verify(m, keys, time.Time{}) == webhook.Proved)
	}
	client := func(key string) string {
		hash, _ := clientkey.HashOf(key)
		name, err := bundle.ClientKeys[p.ClientKeys()[0].Name].Client(t.Context(), hash, time.Now())
		return fmt.Sprint(name, err)
	}
	state := func() string {
		return strings.Join([]string{signed(hookSecret), signed(otherSecret), signed("the old secret that they share"), client(secretOfFile)}, " ")
	}
	parts := func() int { return strings.Count(fmt.Sprint(d.Status.Report()), "keys:") }
	expect := func(step, want string, bad int) {
		t.Helper()
		k.look()
		if got := state(); got != want || parts() != bad {
			t.Errorf("%s: %s, %d files told as bad; want %s, %d", step, got, parts(), want, bad)
		}
	}
	expect("at first", "true false true partner<nil>", 0)
	replace(t, filepath.Join(dir, "old.key"), otherSecret)
	expect("a new key", "true true false partner<nil>", 0)
	replace(t, filepath.Join(dir, "old.key"), "tiny")
	replace(t, filepath.Join(dir, "clients.keys"), "partner "+secretOfFile)
	expect("bad files", "true true false partner<nil>", 2)
	told := strings.Count(log.String(), "could not be read")
	expect("bad files still", "true true false partner<nil>", 2)
	if again := strings.Count(log.String(), "could not be read"); told != 2 || again != told {
		t.Errorf("told %d times, then %d times", told, again)
	}
	replace(t, filepath.Join(dir, "clients.keys"), clientkey.Line("another", hash, "", ""))
	expect("one is mended", "true true false another<nil>", 1)

	// A reload of the policy that names the same keys keeps them, last good ones too.
	again, err := k.take(p)
	if err != nil {
		t.Fatal(err)
	}
	k.keep(again)
	again.into(&bundle)
	expect("after a reload", "true true false another<nil>", 1)
	k.keep(keySet{})
	if parts() != 0 {
		t.Error("a file that no rule names is still told as bad")
	}
	for _, secret := range []string{hookSecret, otherSecret, secretOfFile, "tiny"} {
		if strings.Contains(log.String(), secret) || strings.Contains(fmt.Sprint(d.Status.Report()), secret) {
			t.Errorf("%q is shown", secret)
		}
	}
}

// A key is shown once, with the line that knows it.
func TestClientKeyNew(t *testing.T) {
	var out, stderr bytes.Buffer
	if code := run(t.Context(), streams{out: &out, err: &stderr}, []string{"client-key", "new", "--client", "partner", "--until", "2027-01-15", "--label", "spring"}); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%s", out.String())
	}
	key, line := strings.Fields(lines[0])[1], strings.TrimSpace(strings.TrimPrefix(lines[1], "line"))
	set, err := clientkey.Parse([]byte(line))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	hash, ok := clientkey.HashOf(key)
	if client, known := set.Client(hash, time.Date(2027, 1, 14, 0, 0, 0, 0, time.UTC)); !ok || !known || client != "partner" {
		t.Errorf("%s does not name partner in %s", key, line)
	}
	if !strings.HasSuffix(line, " until=2027-01-15 # spring") {
		t.Error(line)
	}
	for _, args := range [][]string{{}, {"--client", "a b"}, {"--client", "a", "--until", "soon"}, {"--client", "a", "--label", "x\ny"}} {
		out.Reset()
		if code := run(t.Context(), streams{out: &out, err: &stderr}, append([]string{"client-key", "new"}, args...)); code != daemon.ExitUnable || out.Len() > 0 {
			t.Errorf("%v: exit %d, %s", args, code, out.String())
		}
	}
}
