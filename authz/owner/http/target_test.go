package http

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Whatever the id, its URL is of this host and these folders, and names this id alone: in our reading, in that of a server that resolves the
// path before it asks what is escaped, and of one that does after.
func FuzzTarget(f *testing.F) {
	for _, id := range []string{"x", "a/b", "..", ".", "../x", "x/..", `..\x`, "..;x", "%2e%2e", "%", "a?b", "a#b", "@host", "//host", "\r\n", "é", "\xff", "\x00", ":", "...", "a;b"} {
		f.Add(id)
	}
	template, why := policy.ParseTemplate("https://owners.example/v1/owners/{id}/who")
	if why != "" {
		f.Fatal(why)
	}
	b, err := New(&policy.HTTPLookup{URL: template}, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id string) {
		target, ok := b.target(&authz.Question{}, id)
		if !ok || id == "" {
			return
		}
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "owners.example" || u.User != nil || u.RawQuery != "" || u.ForceQuery {
			t.Fatalf("%q: %s: %v", id, target, err)
		}
		segments := strings.Split(u.EscapedPath(), "/")
		if len(segments) != 5 || segments[1] != "v1" || segments[2] != "owners" || segments[4] != "who" {
			t.Fatalf("%q: %s", id, target)
		}
		if named, err := url.PathUnescape(segments[3]); err != nil || named != id {
			t.Errorf("%q: %s names %q", id, target, named)
		}
		for _, read := range []string{u.EscapedPath(), u.Path, strings.ReplaceAll(u.Path, `\`, "/")} {
			if !strings.HasPrefix(path.Clean(read), "/v1/owners/") || !strings.HasSuffix(read, "/who") {
				t.Errorf("%q: %s is read as %q", id, target, path.Clean(read))
			}
		}
	})
}
