package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/revocation"
	"github.com/sallyport-dev/sallyport/cmd/internal/adminapi"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
)

// What the flags of revocation may not say together.
func TestRevocationFlags(t *testing.T) {
	for name, test := range map[string]struct {
		flags revocationFlags
		says  string // "" for flags that are right
	}{
		"none":                        {revocationFlags{}, ""},
		"a server":                    {revocationFlags{store: "redis://127.0.0.1:6379", dial: redisdial.Options{Username: "u", PasswordFile: "/p"}}, ""},
		"a server and the admin API":  {revocationFlags{store: "redis://127.0.0.1:6379", adminAPI: "unix:/run/admin.sock"}, ""},
		"a file for one":              {revocationFlags{store: "file:///var/revoked", replicas: 1}, ""},
		"a file for nobody knows":     {revocationFlags{store: "file:///var/revoked"}, "--replicas 1"},
		"a file for two":              {revocationFlags{store: "file:///var/revoked", replicas: 2}, "--replicas 1"},
		"a relative file":             {revocationFlags{store: "file://revoked", replicas: 1}, "absolute path"},
		"a password of no server":     {revocationFlags{dial: redisdial.Options{PasswordFile: "/p"}}, "belong to a redis:// URL"},
		"a password of a file":        {revocationFlags{store: "file:///var/revoked", replicas: 1, dial: redisdial.Options{PasswordFile: "/p"}}, "belong to a redis:// URL"},
		"the admin API with no store": {revocationFlags{adminAPI: "unix:/run/admin.sock"}, ""},
		"denials nobody can ask for":  {revocationFlags{why: 100}, "denials are asked about over --admin-api"},
		"fewer denials than none":     {revocationFlags{why: -1, adminAPI: "unix:/run/admin.sock"}, "cannot be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.flags.check()
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// Without a policy that asks for revocation there is nothing to revoke.
func TestRevokeWhereItIsOff(t *testing.T) {
	if _, err := (&authzGate{}).Revoke(context.Background(), adminapi.Request{Issuer: "shop", Kind: adminapi.WholeIssuer}); !errors.Is(err, adminapi.ErrOff) {
		t.Errorf("got %v", err)
	}
}

// An entry outlives every token that it speaks of, and every reload that lets tokens live longer.
func TestLastOf(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	short, long := &policy.Issuer{MaxLifetime: time.Minute}, &policy.Issuer{MaxLifetime: 48 * time.Hour, Leeway: time.Second}
	for name, test := range map[string]struct {
		issuers []*policy.Issuer
		kind    adminapi.Kind
		want    time.Time
	}{
		"tokens of a minute":         {[]*policy.Issuer{short}, adminapi.Subject, now.Add(-time.Hour + keptAtLeast)},
		"tokens of two days":         {[]*policy.Issuer{long}, adminapi.Subject, now.Add(-time.Hour + 48*time.Hour + 3*time.Second)},
		"two names of one issuer":    {[]*policy.Issuer{short, long}, adminapi.Session, now.Add(-time.Hour + 48*time.Hour + 3*time.Second)},
		"one token, whenever issued": {[]*policy.Issuer{long}, adminapi.Token, now.Add(48*time.Hour + 3*time.Second)},
	} {
		if got := lastOf(test.issuers, adminapi.Request{Kind: test.kind}, now.Add(-time.Hour), now); !got.Equal(test.want) {
			t.Errorf("%s: until %v, want %v", name, got, test.want)
		}
	}
}

// Before the store was asked nothing is known; after it, a view that could not be read is as old as can be, which a policy may allow.
func TestStartView(t *testing.T) {
	var tried atomic.Bool
	v := startView{revocation.NewView(nil), &tried}
	if _, age := v.Revoked(&authz.Principal{}, time.Now()); age != authz.NeverKnown {
		t.Errorf("before the store was asked: %v", age)
	}
	tried.Store(true)
	if _, age := v.Revoked(&authz.Principal{}, time.Now()); age == authz.NeverKnown || age < 24*time.Hour {
		t.Errorf("after it: %v", age)
	}
}
