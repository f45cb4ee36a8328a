package policy

import (
	"strings"
	"testing"
)

// Whatever a file holds, it is a whole policy or it is errors with places, never both and never a panic. A folder takes the same file
// as its only one, beside a good one, and in place of a good one.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", shop, services, base, serviceFile("a", "issuer: idp"), "[", "a: &b [*b]", "version: 1\nservices: [{rules: [{owner: {of: 1}}]}]",
		"version: 1\nissuers: {a: {jwks: {networks: [x]}}}", "version: 1\npeers: envoy\nprobes: [{callers: []}]", strings.Replace(shop, "token.sub == token.client_id", "token.sub.all(x, true)", 1),
		withService(`    cors: {origins: ["https://*.example.com:8443", "http://[::1]"], methods: [GET], headers: [a], credentials: true, max_age: 1h}
    security_headers: {cache-control: none}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, errs := Parse([]File{{Name: "a.yaml", Data: []byte(text)}})
		if (p == nil) != (len(errs) > 0) {
			t.Fatalf("a policy %v beside %d errors", p != nil, len(errs))
		}
		for _, err := range errs {
			if err.File != "a.yaml" || err.Pos.Line < 1 || err.Pos.Column < 1 || err.Msg == "" {
				t.Errorf("an error without a place: %+v", err)
			}
		}
		first := Load(nil, folder("0.yaml", base, "a.yaml", serviceFile("a", "issuer: idp")))
		second := Load(first, folder("0.yaml", base, "a.yaml", text))
		if second.Policy == nil || len(second.Files) != 2 {
			t.Fatal("a folder without a policy")
		}
		if !second.Files[1].OK() && second.Policy.Service("a") == nil {
			t.Error("a bad file took its last good version with it")
		}
	})
}
