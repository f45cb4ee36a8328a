package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lookedUp = `version: 1
issuers:
  shop: {issuer: "https://auth.example.com", jwks: "https://auth.example.com/jwks.json", audiences: [orders-api], claims: {tenant: string}}
lookups:
  orders: LOOKUP
services:
  - name: orders
    hosts: [orders.example]
    tenant: {of: header.x-tenant, is: token.tenant}
    rules: [{name: read, match: "GET /orders/{id}", owner: {of: path.id, lookup: orders, is: token.sub}}]
`

// A lookup that no gate could open is told by the check, at its line, and one that lacks nothing but this machine's files is not.
func TestCheckOpensLookups(t *testing.T) {
	for lookup, want := range map[string]string{
		`{redis: {url: "redis://db:6379/0", key: "o:{id}", password_file: /nowhere, username: u}}`:                                        "",
		`{redis: {url: "redis://db:6379/x", key: "o:{id}"}}`:                                                                              "the lookup `orders` cannot be opened",
		`{sql: {url: "postgres://u@db/d?sslmode=verify-full", query: "SELECT id, owner FROM o WHERE id = ANY(@ids)", ca_file: /nowhere}}`: "",
		`{sql: {url: "postgres://u@db/d", query: "SELECT id, owner FROM o WHERE id = ANY(@ids)"}}`:                                        "write sslmode=verify-full",
		`{sql: {url: "postgres://u@localhost/d", query: "SELECT id, owner FROM o WHERE id = ANY(@ids); DROP TABLE o"}}`:                   "one statement only",
		`{http: {url: "https://o.example/{id}", owner: owner, token_file: /nowhere}}`:                                                     "",
		`{http: {url: "http://o.example/{id}", owner: owner, token_file: /nowhere, plain_http: true}}`:                                    "carries no token",
		`{grpc: {address: "owners:9300", ca_file: /nowhere}}`:                                                                             "",
		`{static: {o-1: alice}}`: "",
	} {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(path, []byte(strings.Replace(lookedUp, "LOOKUP", lookup, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cmd := newPolicyCheck(streams{out: &out, err: io.Discard})
		cmd.SetArgs([]string{path})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.ExecuteContext(context.Background())
		if (err == nil) != (want == "") || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v\n%s", lookup, err, out.String())
		}
		if err != nil && !strings.Contains(out.String(), ":5:11: ") {
			t.Errorf("%s: it does not say where:\n%s", lookup, out.String())
		}
	}
}
