package authz_test

import "testing"

// A header that a rule reads must not be there in a second spelling: CGI, WSGI and PHP read X_Account, and some any other byte that is
// no letter or digit, as X-Account, and which of the two values they take is theirs to say.
func TestHeaderInAnotherSpelling(t *testing.T) {
	mine := func(options ...option) []option { return append([]option{as("alice"), header("x-account", "alice")}, options...) }
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
