package pattern_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
)

func TestPrefixCovers(t *testing.T) {
	const both, forgiving, never = "both", "forgiving", "never"
	tests := []struct{ prefix, path, want string }{
		// Whole segments, with or without a final slash.
		{"/assets/private/", "/assets/private", both},
		{"/assets/private/", "/assets/private/", both},
		{"/assets/private/", "/assets/private/a/b", both},
		{"/assets/private", "/assets/private", both},
		{"/assets/private", "/assets/private/a", both},
		{"/assets/private/", "/assets/privateer", never},
		{"/assets/private/", "/assets", never},
		{"/assets/private/", "/assets/", never},
		{"/assets/private/", "/private", never},
		{"/assets/private/", "/x/assets/private", never},
		{"/assets/private/", "/", never},
		// Case.
		{"/assets/private/", "/assets/Private/a", forgiving},
		{"/Assets/private/", "/assets/private", forgiving},
		// An extension, at the end of both only.
		{"/assets/private/", "/assets/private.html", forgiving},
		{"/assets/private/", "/assets/PRIVATE.html/", forgiving},
		{"/assets/private/", "/assets/private.html/a", never},
		{"/assets/private/", "/assets.html/private", never},
		{"/assets/key.pem", "/assets/key.pem", both},
		{"/assets/key.pem", "/assets/key", forgiving},
		{"/assets/key.pem", "/assets/key.txt", forgiving},
		{"/assets/key.pem", "/assets/keys", never},
		{"/.git", "/.git/config", both},
		{"/.git", "/.github", never},
		// Decoded, however it was spelled.
		{"/a/@me é", "/a/@me%20%C3%A9", both},
		{"/a/@me", "/a/%40me/x", both},
	}
	for _, tt := range tests {
		p, err := pattern.ParsePrefix(tt.prefix)
		if err != nil || p.String() != tt.prefix {
			t.Fatalf("ParsePrefix(%q) = %q, %v", tt.prefix, p, err)
		}
		tg, err := target.Parse("GET", "h", tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Covers(&tg, pattern.Forgiving); got != (tt.want != never) {
			t.Errorf("%q covers %q, forgiving: %v", tt.prefix, tt.path, got)
		}
		if got := p.Covers(&tg, pattern.Exact); got != (tt.want == both) {
			t.Errorf("%q covers %q, exact: %v", tt.prefix, tt.path, got)
		}
	}
	// The zero value and an absent target are covered: an exception keeps people out.
	if !(pattern.Prefix{}).Covers(&target.Target{}, pattern.Exact) || !(pattern.Prefix{}).Covers(nil, pattern.Exact) {
		t.Error("the zero prefix does not cover")
	}
}

func TestParsePrefixErrors(t *testing.T) {
	tests := []struct {
		in     string
		offset int
		says   string
	}{
		{"", 0, "begins with `/`"},
		{"assets/", 0, "begins with `/`"},
		{"GET /assets", 0, "without methods"},
		{"/", 0, "every path"},
		{"//", 1, "`//`"},
		{"/a//b", 3, "`//`"},
		{"/a/{x}", 3, "literal"},
		{"/a/*", 3, "wildcard"},
		{"/a/../b", 3, "`..`"},
		{"/a/b%20c", 4, "decoded"},
		{"/a;b", 2, "`;`"},
		{"/" + strings.Repeat("a", 4096), 0, "4096"},
	}
	for _, tt := range tests {
		_, err := pattern.ParsePrefix(tt.in)
		var fault *pattern.ParseError
		if !errors.As(err, &fault) || fault.Offset != tt.offset || !strings.Contains(fault.Msg, tt.says) {
			t.Errorf("ParsePrefix(%q) = %v, want byte %d, %q", tt.in, err, tt.offset, tt.says)
		}
	}
}
