package authz_test

import (
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
)

// A header that a rule reads must not be there in a second spelling: CGI, WSGI and PHP read X_Account, and some any other byte that is
// no letter or digit, as X-Account, and which of the two values they take is theirs to say.
func TestHeaderInAnotherSpelling(t *testing.T) {
	mine := func(options ...option) []option {
		return append([]option{as("alice"), header("x-account", "alice")}, options...)
	}
	judge(t, gate(t, shop), verdict, []line{
		{"alone", get("/inbox", mine()...), "200 allowed inbox"},
		{"an underscore", get("/inbox", mine(header("x_account", "bob"))...), "400 bad_parameter inbox"},
		{"an underscore, the same value", get("/inbox", mine(header("x_account", "alice"))...), "400 bad_parameter inbox"},
		{"an underscore alone", get("/inbox", as("alice"), header("x_account", "alice")), "400 bad_parameter inbox"},
		{"a dot", get("/inbox", mine(header("x.account", "bob"))...), "400 bad_parameter inbox"},
		{"a tilde", get("/inbox", mine(header("x~account", "bob"))...), "400 bad_parameter inbox"},
		{"another name", get("/inbox", mine(header("x_accounts", "bob"), header("xxaccount", "bob"), header("x_agcount", "bob"))...), "200 allowed inbox"},
		{"where it is not read", get("/me", as("alice"), header("x_account", "bob")), "200 allowed me"},
	})
}

// What may not stand in a query is a name. Honest requests hold the same words in their values, beside what is malformed.
func TestForbiddenQueryNames(t *testing.T) {
	judge(t, gate(t, shop), detail, []line{
		{"a method in a value", get("/assets/app.js?sort=a;b&q=http_method"), "200 public assets"},
		{"Latin-1 beside it", get("/assets/app.js?q=%E9t%E9&f=http_method"), "200 public assets"},
		{"a lone percent sign beside it", get("/assets/app.js?q=50%&f=the_access_token_docs"), "200 public assets"},
		{"a token behind a semicolon", get("/assets/app.js?q=50%;access_token=x"), "400 invalid_request none (token_in_query)"},
		{"a token in a malformed name", get("/assets/app.js?access%_token=x"), "400 invalid_request none (token_in_query)"},
		{"a method in a padded name", get("/assets/app.js?_method%20=PUT"), "400 bad_target none"},
	})
}

// A GET that names a type and says no length may have a body in chunks, which Envoy does not show: only a length of zero is no body.
func TestBodyOfUnknownLength(t *testing.T) {
	form := header("content-type", "application/x-www-form-urlencoded")
	judge(t, gate(t, shop), verdict, []line{
		{"no length", get("/search?user=alice", as("alice"), form), "400 bad_parameter search"},
		{"a length of zero", get("/search?user=alice", as("alice"), form, header("content-length", "0")), "200 allowed search"},
		{"no type", get("/search?user=alice", as("alice")), "200 allowed search"},
		{"kept apart by the upstream", get("/report?user=alice", as("alice"), form), "200 allowed report"},
	})
}

// In map mode Envoy writes `!` for a byte that is no UTF-8, in the path too, where such a byte is refused: an upstream may decode it to
// a dot. So a `!` is refused there, and in a parameter that a rule reads; elsewhere in a query it is a character like any other.
func TestLossyTarget(t *testing.T) {
	a := gate(t, shop)
	for _, l := range []struct {
		name        string
		ask         *authz.Request
		raw, mapped string
	}{
		{"an owner in the path", get("/folders/al!ce", as("shout")), "200 allowed folder", "400 bad_target none"},
		{"an owner in the path, escaped", get("/folders/al%21ce", as("shout")), "200 allowed folder", "200 allowed folder"},
		{"an owner in the query", get("/search?user=al!ce", as("shout")), "200 allowed search", "400 bad_parameter search"},
		{"a capture that nobody reads", get("/catalogue/hey!", as("alice")), "200 allowed item", "400 bad_target none"},
		{"a public path", get("/assets/hey!.js"), "200 public assets", "400 bad_target none"},
		{"a parameter that nobody reads", get("/search?q=hey!&user=alice", as("alice")), "200 allowed search", "200 allowed search"},
		{"a byte in the path", get("/folders/al\xffce", as("shout")), "400 bad_target none", "400 bad_target none"},
		{"overlong dots in the path", get("/assets/\xc0\xae\xc0\xae/me"), "400 bad_target none", "400 bad_target none"},
		{"a byte in the query", get("/search?user=al\xffce", as("shout")), "400 bad_parameter search", "400 bad_parameter search"},
	} {
		if got := verdict(a.Check(t.Context(), l.ask)); got != l.raw {
			t.Errorf("%s: %q, want %q", l.name, got, l.raw)
		}
		if got := verdict(a.Check(t.Context(), joined(l.ask))); got != l.mapped {
			t.Errorf("%s, in map mode: %q, want %q", l.name, got, l.mapped)
		}
	}
}
