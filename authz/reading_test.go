package authz_test

import "testing"

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
