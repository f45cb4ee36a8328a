package main

import (
	"context"
	"errors"
	"strings"
	"testing"

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
		"the admin API with no store": {revocationFlags{adminAPI: "unix:/run/admin.sock"}, "no --revocations"},
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
