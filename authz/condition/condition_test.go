package condition_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/condition"
)

// shop is the schema of most tests: two claims that are in every token, and one of each type that may be missing.
func shop(t testing.TB) *condition.Schema {
	t.Helper()
	s, err := condition.NewSchema([]condition.Claim{
		{Name: "sub", Type: condition.String, Always: true},
		{Name: "client_id", Type: condition.String, Always: true},
		{Name: "gty", Type: condition.String},
		{Name: "plan", Type: condition.String},
		{Name: "roles", Type: condition.Strings},
		{Name: "groups", Type: condition.Strings},
		{Name: "admin", Type: condition.Bool},
		{Name: "level", Type: condition.Int},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func compile(t testing.TB, src string, use condition.Use) *condition.Program {
	t.Helper()
	p, errs := shop(t).Compile(src, use)
	if errs != nil {
		t.Fatalf("Compile(%q): %v", src, errs)
	}
	return p
}

func TestParseType(t *testing.T) {
	for _, name := range []string{"string", "strings", "bool", "int"} {
		typ, ok := condition.ParseType(name)
		if !ok || typ.String() != name {
			t.Errorf("ParseType(%q) = %v, %v", name, typ, ok)
		}
	}
	for _, name := range []string{"", "invalid", "String", "list", "float", "map"} {
		if typ, ok := condition.ParseType(name); ok || typ != 0 {
			t.Errorf("ParseType(%q) = %v, %v; want no type", name, typ, ok)
		}
	}
	if got := condition.Type(200).String(); got != "invalid" {
		t.Errorf("Type(200) is %q", got)
	}
}

func TestNewSchema(t *testing.T) {
	tests := []struct {
		claims []condition.Claim
		wrong  string // "" loads
	}{
		{nil, ""},
		{[]condition.Claim{{Name: "sub", Type: condition.String}}, ""},
		{[]condition.Claim{{Name: "_x9", Type: condition.Int}, {Name: "exists", Type: condition.Bool}}, ""},
		// A name that cannot stand after "token." would be a claim nobody can read.
		{[]condition.Claim{{Name: "", Type: condition.String}}, `"" is not a name`},
		{[]condition.Claim{{Name: "9x", Type: condition.String}}, `"9x" is not a name`},
		{[]condition.Claim{{Name: "realm.roles", Type: condition.String}}, `"realm.roles" is not a name`},
		{[]condition.Claim{{Name: "rôle", Type: condition.String}}, `"rôle" is not a name`},
		{[]condition.Claim{{Name: "in", Type: condition.String}}, `"in" is a reserved word`},
		{[]condition.Claim{{Name: "package", Type: condition.String}}, `"package" is a reserved word`},
		{[]condition.Claim{{Name: "sub", Type: condition.String}, {Name: "sub", Type: condition.Strings}}, `"sub" is declared twice`},
		// A forgotten type is no type.
		{[]condition.Claim{{Name: "sub"}}, `"sub" has no type`},
		{[]condition.Claim{{Name: "sub", Type: 9}}, `"sub" has no type`},
		// All that is wrong is said.
		{[]condition.Claim{{Name: "a-b", Type: condition.Int}, {Name: "x"}}, `"x" has no type`},
	}
	for _, tt := range tests {
		s, err := condition.NewSchema(tt.claims)
		if tt.wrong == "" {
			if err != nil || s == nil {
				t.Errorf("NewSchema(%v): %v", tt.claims, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.wrong) || s != nil {
			t.Errorf("NewSchema(%v) = %v, %v; want an error with %s", tt.claims, s, err, tt.wrong)
		}
	}
}

func TestSchemaType(t *testing.T) {
	s := shop(t)
	if typ, ok := s.Type("roles"); !ok || typ != condition.Strings {
		t.Errorf("Type(roles) = %v, %v", typ, ok)
	}
	if typ, ok := s.Type("nobody"); ok || typ != 0 {
		t.Errorf("Type(nobody) = %v, %v", typ, ok)
	}
}

// The zero Schema declares nothing: its expressions know the caller only.
func TestZeroSchema(t *testing.T) {
	var s condition.Schema
	p, errs := s.Compile(`caller == "spiffe://cluster.local/ns/ops/sa/root"`, condition.Unless)
	if errs != nil {
		t.Fatal(errs)
	}
	if yes, err := p.Eval(condition.Token{}, "spiffe://cluster.local/ns/ops/sa/root"); !yes || err != nil {
		t.Errorf("Eval = %v, %v", yes, err)
	}
	_, errs = s.Compile(`token.sub == caller`, condition.Unless)
	if len(errs) != 1 || errs[0].Error() != `1:1: claim "sub" is not declared; no claim is declared` {
		t.Errorf("errors are %v", errs)
	}
}

// What cannot be proved sound before the first request does not load, and the error stands where the mistake stands.
func TestCompileErrors(t *testing.T) {
	tests := []struct {
		src  string
		want []string // line:column: and the start of the text
	}{
		// Nothing to compile.
		{"", []string{"1:1: the expression is empty"}},
		{" \n\t", []string{"1:1: the expression is empty"}},
		{`caller == "` + strings.Repeat("a", 4096) + `"`, []string{"1:1: the expression is 4108 bytes long; the most is 4096"}},

		// Not an expression.
		{`token.sub ==`, []string{"1:13: Syntax error: mismatched input '<EOF>'"}},
		{`token.sub = "alice"`, []string{"1:11: Syntax error: token recognition error", "1:13: Syntax error"}},
		{"\xff", []string{"1:1: Syntax error", "1:2: Syntax error"}},
		{"token.sub == \"a\"\n  && )", []string{"2:6: Syntax error: mismatched input ')'"}},

		// Names nobody declared: the position is the name's, and the text says which exist.
		{`token.nope == "x"`, []string{`1:1: claim "nope" is not declared; declared are admin, client_id, groups, gty, level, plan, roles, sub`}},
		{`has(token.nope)`, []string{`1:5: claim "nope" is not declared`}},
		{"token.sub == \"a\" ||\n   token.x == token.y", []string{`2:4: claim "x"`, `2:15: claim "y"`}},
		{`token.sub == "é" && token.x == ""`, []string{`1:21: claim "x"`}}, // columns count characters
		{`token.roles.exists(r, r == token.nope)`, []string{`1:28: claim "nope"`}},
		{`.token.nope == "x"`, []string{`1:2: claim "nope"`}},
		{`tokn.sub == "x"`, []string{"1:1: undeclared reference to 'tokn'"}},
		{`request.path == "/"`, []string{"1:1: undeclared reference to 'request'"}},
		{`path == "/"`, []string{"1:1: undeclared reference to 'path'"}},

		// The token has no value of its own, and no element can take its name.
		{`token == token`, []string{"1:1: the token is read claim by claim", "1:10: the token is read claim by claim"}},
		{`(true ? token : token).sub == "x"`, []string{"1:9: the token is read", "1:17: the token is read"}},
		{`[token].exists(t, t.sub == "x")`, []string{"1:2: the token is read"}},
		{`token["sub"] == "x"`, []string{"1:6: picking one element"}},
		{`token.roles.exists(token, token.sub == "x")`, []string{"1:19: token cannot name an element"}},
		{`token.roles.all(caller, caller == "x")`, []string{"1:16: caller cannot name an element"}},
		{`token{sub: "x"}.sub == caller`, []string{"1:6: maps and messages"}},
		{`{"a": token.sub}.a == caller`, []string{"1:1: maps and messages"}},

		// Not a yes or no.
		{`token.sub`, []string{"1:1: the expression is a string; it must be true or false"}},
		{`token.roles`, []string{"1:1: the expression is a list(string)"}},
		{`token.admin ? token.sub : caller`, []string{"1:1: the expression is a string"}},
		{`token.level`, []string{"1:1: the expression is a int"}},
		{`null`, []string{"1:1: the expression is a null"}},

		// Types that cannot be compared are not compared: a list that is no list would contain anything.
		{`token.sub == token.roles`, []string{"1:11: == does not work on (string, list(string))"}},
		{`token.roles == "admin"`, []string{"1:13: == does not work on"}},
		{`token.sub == null`, []string{"1:11: == does not work on (string, null)"}},
		{`token.level == "3"`, []string{"1:13: == does not work on (int, string)"}},
		{`token.level < 3u`, []string{"1:13: < does not work on (int, uint)"}},
		{`"admin" in token.sub`, []string{"1:9: in does not work on (string, string)"}},
		{`token.sub in ["a", 1]`, []string{"1:20: expected type 'string' but found 'int'"}},
		{`token.sub && true`, []string{"1:6: expected type 'bool' but found 'string'"}},
		{`token.sub.nick == "x"`, []string{"1:10: type 'string' does not support field selection"}},
		{`token.roles.exists(r, r.name == "x")`, []string{"1:24: type 'string' does not support field selection"}},

		// Functions that could fail, or that look at the world, do not exist.
		{`token.roles[0] == "admin"`, []string{"1:12: picking one element"}},
		{`dyn(token.sub) == 1`, []string{"1:1: function dyn is not offered here"}},
		{`type(token.sub) == string`, []string{"1:1: function type is not offered here"}},
		{`int(token.sub) > 3`, []string{"1:1: function int is not offered here"}},
		{`timestamp("2026-01-01T00:00:00Z") < timestamp("2027-01-01T00:00:00Z")`, []string{"1:1: function timestamp", "1:37: function timestamp"}},
		{`now() == now()`, []string{"1:1: function now", "1:10: function now"}},
		{`token.level / 0 == 1`, []string{"1:13: operator / is not offered here"}},
		{`token.level + 1 == 2`, []string{"1:13: + does not work on (int, int)"}},
		{`-token.level == 1`, []string{"1:1: operator - is not offered here"}},
		{`token.roles.map(r, r) == []`, []string{"1:13: function map is not offered here"}},
		{`token.roles.filter(r, true) == []`, []string{"1:13: function filter is not offered here"}},
		{`token.roles.exists_one(r, true)`, []string{"1:13: function exists_one is not offered here"}},
		{`token.?sub == "x"`, []string{"1:6: unsupported syntax '.?'"}},
		{`has(caller)`, []string{"1:5: invalid argument to has() macro"}},
		{`token.roles.exists(r.x, true)`, []string{"1:21: argument must be a simple name"}},

		// A pattern is compiled now or not at all.
		{`token.sub.matches("[")`, []string{"1:19: the pattern of matches() does not compile (RE2): missing closing ]: `[`"}},
		{`matches(token.sub, "(?=x)")`, []string{"1:20: the pattern of matches() does not compile"}},
		{`token.sub.matches(token.client_id)`, []string{"1:19: the pattern of matches() must be one constant text"}},
		{`token.sub.matches("a" + caller)`, []string{"1:23: the pattern of matches() must be one constant text"}},
		{`token.sub.matches("a{1,2000}")`, []string{"1:19: the pattern of matches() does not compile"}},
		{`token.sub.matches()`, []string{"1:18: matches does not work on string.()"}},

		// An answer that is always the same is no condition.
		{`true`, []string{"1:1: the expression reads neither the token nor the caller"}},
		{`"a" in ["a"]`, []string{"1:1: the expression reads neither the token nor the caller"}},
	}
	s := shop(t)
	for _, tt := range tests {
		p, errs := s.Compile(tt.src, condition.Unless)
		if p != nil || !startLike(errs, tt.want) {
			t.Errorf("Compile(%q) = %v, errors\n  %v\nwant\n  %v", tt.src, p, lines(errs), strings.Join(tt.want, "\n  "))
		}
	}
}

// A use that was forgotten compiles nothing.
func TestCompileWithoutUse(t *testing.T) {
	for _, use := range []condition.Use{0, 77} {
		p, errs := shop(t).Compile(`token.sub == "x"`, use)
		if p != nil || !startLike(errs, []string{"1:1: an expression with no use"}) {
			t.Errorf("use %d: %v, %v", use, p, errs)
		}
	}
}

// Whether a token is a machine's must not hang on an evaluation error: what may be absent is guarded, from the left.
func TestMachineGuards(t *testing.T) {
	unguarded := func(at, claim string) string {
		return at + ": token." + claim + " may be absent: write has(token." + claim + ") && ... before it; in every token are only client_id, sub"
	}
	tests := []struct {
		src  string
		want []string // none: compiles
	}{
		// Claims of every token need no guard, but may have one.
		{`token.sub == token.client_id`, nil},
		{`has(token.sub) && token.sub == "x"`, nil},
		{`has(token.gty)`, nil},
		{`!has(token.gty)`, nil},
		{`true`, nil},

		// has() && ..., in any nesting.
		{`has(token.gty) && token.gty == "client-credentials"`, nil},
		{`has(token.gty) && has(token.plan) && token.gty == token.plan`, nil},
		{`(has(token.gty) && token.sub == "x") && token.gty == "y"`, nil},
		{`has(token.gty) && (token.gty == "a" || token.gty == "b")`, nil},
		{`has(token.roles) && token.roles.exists(r, r == "bot")`, nil},
		{`has(token.roles) && has(token.gty) && token.roles.exists(r, r == token.gty)`, nil},
		{`has(token.roles) && token.roles.exists(r, has(token.gty) && token.gty == r)`, nil},
		{`has(token.admin) && !token.admin`, nil},
		{`has(token.admin) && token.admin && token.sub == "x"`, nil},
		{`has(token.gty) && token.gty in ["a", "b"]`, nil},
		{`(has(token.gty) || has(token.gty)) && token.gty == "x"`, nil},

		// !has() || ..., and De Morgan.
		{`!has(token.gty) || token.gty == "x"`, nil},
		{`!(has(token.gty) && true) || token.sub == "x"`, nil},
		{`!(!has(token.gty) || token.sub == "x") && token.gty == "y"`, nil},
		{`!has(token.gty) || !has(token.plan) || token.gty == token.plan`, nil},

		// has() ? a : b
		{`has(token.gty) ? token.gty == "x" : token.sub == token.client_id`, nil},
		{`!has(token.gty) ? token.sub == token.client_id : token.gty == "x"`, nil},
		{`(has(token.gty) ? has(token.plan) : false) && token.plan == "x"`, nil},
		{`(has(token.gty) ? has(token.plan) : true) && token.plan == "x"`, []string{unguarded("1:46", "plan")}},
		{`(has(token.gty) ? true : has(token.plan)) || token.plan == "x"`, []string{unguarded("1:46", "plan")}},
		{`(has(token.gty) ? !has(token.plan) : true) || token.plan == "x"`, nil},
		{`(has(token.gty) ? has(token.plan) : has(token.plan)) && token.plan == "x"`, nil},

		// Not guarded.
		{`token.gty == "x"`, []string{unguarded("1:1", "gty")}},
		{`token.admin`, []string{unguarded("1:1", "admin")}},
		{`!token.admin`, []string{unguarded("1:2", "admin")}},
		{`token.gty == "x" && has(token.gty)`, []string{unguarded("1:1", "gty")}},
		{`has(token.plan) && token.gty == "x"`, []string{unguarded("1:20", "gty")}},
		{`has(token.gty) || token.gty == "x"`, []string{unguarded("1:19", "gty")}},
		{`!has(token.gty) && token.gty == "x"`, []string{unguarded("1:20", "gty")}},
		{`(has(token.gty) || token.sub == "x") && token.gty == "x"`, []string{unguarded("1:41", "gty")}},
		{`has(token.gty) ? token.sub == "x" : token.gty == "x"`, []string{unguarded("1:37", "gty")}},
		{`has(token.gty) == true && token.gty == "x"`, []string{unguarded("1:27", "gty")}},
		{`["x"].exists(e, has(token.gty)) && token.gty == "x"`, []string{unguarded("1:36", "gty")}},
		{`["x", token.gty].exists(e, e == "x")`, []string{unguarded("1:7", "gty")}},
		{`token.sub.startsWith(token.gty)`, []string{unguarded("1:22", "gty")}},
		{`token.roles.exists(r, r == token.gty)`, []string{unguarded("1:1", "roles"), unguarded("1:28", "gty")}},

		// A machine is known by its token, not by the connection it came on.
		{`caller == "spiffe://cluster.local/ns/a/sa/b"`, []string{"1:1: caller cannot be read here"}},
	}
	s := shop(t)
	for _, tt := range tests {
		p, errs := s.Compile(tt.src, condition.Machine)
		if (p != nil) != (tt.want == nil) || !startLike(errs, tt.want) {
			t.Errorf("Compile(%q) = %v, errors\n  %v\nwant\n  %v", tt.src, p, lines(errs), strings.Join(tt.want, "\n  "))
		}
	}
}

// If nothing is in every token, the error does not pretend otherwise.
func TestMachineGuardWithoutCertainClaims(t *testing.T) {
	s, err := condition.NewSchema([]condition.Claim{{Name: "gty", Type: condition.String}})
	if err != nil {
		t.Fatal(err)
	}
	_, errs := s.Compile(`token.gty == "x"`, condition.Machine)
	if !startLike(errs, []string{"1:1: token.gty may be absent: write has(token.gty) && ... before it; no claim is in every token"}) {
		t.Errorf("errors are %v", errs)
	}
}

// One evaluation is bounded by the largest token there can be.
func TestCost(t *testing.T) {
	tests := []struct {
		src string
		ok  bool
	}{
		{`token.sub == token.plan`, true},
		{`caller.startsWith("spiffe://cluster.local/ns/batch/")`, true},
		{`token.sub.contains(token.plan)`, true},
		{`"admin" in token.roles`, true},
		{`token.roles.exists(r, r in ["admin", "support"])`, true},
		{`token.roles.exists(r, r in token.groups)`, true},
		{`token.roles.all(r, r.startsWith("shop-"))`, true},
		{`token.sub.matches("^[a-z0-9.-]{1,63}@example\\.com$")`, true},
		{`token.roles.exists(r, r.matches("^[a-z]{1,20}-admin$"))`, true},

		// Every pair of two lists, read letter by letter.
		{`token.roles.exists(r, token.groups.exists(g, g == r))`, false},
		{`token.roles.exists(r, token.groups.exists(g, token.roles.exists(q, q == g)))`, false},
		// A short pattern can be a long program.
		{`token.sub.matches("((a{1,30}){1,30})*")`, false},
		{`matches(token.sub, "((a{1,30}){1,30})*")`, false},
		{`token.roles.exists(r, r.matches("((a{1,30}){1,30})*"))`, false},
		// A loop that is hidden in a branch counts.
		{`token.admin || token.roles.all(r, token.groups.all(g, g != r))`, false},
	}
	s := shop(t)
	for _, tt := range tests {
		_, errs := s.Compile(tt.src, condition.Unless)
		if tt.ok != (errs == nil) || !tt.ok && !strings.HasPrefix(errs[0].Error(), "1:1: one evaluation may cost ") {
			t.Errorf("Compile(%q): errors %v; want affordable %v", tt.src, errs, tt.ok)
		}
	}
}

var (
	alice = condition.NewToken(map[string]any{
		"sub": "alice", "client_id": "web", "plan": "gold", "roles": []string{"reader", "admin"}, "groups": []string{},
		"admin": true, "level": int64(3),
	})
	batch = condition.NewToken(map[string]any{"sub": "batch", "client_id": "batch", "gty": "client-credentials"})
	// odd holds every claim in a type that the schema does not declare, and some that no schema can.
	odd = condition.NewToken(map[string]any{
		"sub": []string{"alice"}, "client_id": nil, "plan": true, "roles": map[string]any{"admin": false}, "groups": "admin",
		"admin": "true", "level": 3.0, "gty": []any{"x"},
	})
	nobody = condition.Token{}
)

const frontend = "spiffe://cluster.local/ns/web/sa/frontend"

func TestEval(t *testing.T) {
	tests := []struct {
		src    string
		token  condition.Token
		caller string
		want   string // yes, no, or a part of the error
	}{
		// Equality is of bytes.
		{`token.sub == "alice"`, alice, "", "yes"},
		{`token.sub == "Alice"`, alice, "", "no"},
		{`token.sub != "alice"`, alice, "", "no"},
		{`token.sub == token.client_id`, alice, "", "no"},
		{`token.sub == token.client_id`, batch, "", "yes"},
		{`.token.sub == "alice"`, alice, "", "yes"},
		{`token.sub < "bob" && token.sub >= "alice"`, alice, "", "yes"},

		// Lists, bools, numbers.
		{`"admin" in token.roles`, alice, "", "yes"},
		{`"adm" in token.roles`, alice, "", "no"},
		{`"" in token.groups`, alice, "", "no"},
		{`token.roles.exists(r, r.startsWith("adm"))`, alice, "", "yes"},
		{`token.roles.all(r, r in ["reader", "writer"])`, alice, "", "no"},
		{`token.groups.all(g, false)`, alice, "", "yes"},
		{`token.groups == []`, alice, "", "yes"},
		{`size(token.roles) == 2 && token.sub.size() == 5`, alice, "", "yes"},
		{`token.admin`, alice, "", "yes"},
		{`!token.admin`, alice, "", "no"},
		{`token.level >= 3 && token.level < 4 && token.level > -1`, alice, "", "yes"},
		{`token.plan in ["gold", "silver"]`, alice, "", "yes"},

		// Texts.
		{`token.plan.contains("ol") && token.plan.endsWith("d")`, alice, "", "yes"},
		{`token.sub.matches("^al.*e$")`, alice, "", "yes"},
		{`token.sub.matches("^li")`, alice, "", "no"},
		{`token.sub + "@" + token.plan == "alice@gold"`, alice, "", "yes"},
		{`token.admin ? token.sub == "alice" : false`, alice, "", "yes"},

		// The caller.
		{`caller == "spiffe://cluster.local/ns/web/sa/frontend"`, nobody, frontend, "yes"},
		{`caller == "spiffe://cluster.local/ns/" + token.plan + "/sa/x"`, alice, "spiffe://cluster.local/ns/gold/sa/x", "yes"},
		{`caller in ["a", "b"]`, nobody, frontend, "no"},

		// Nobody is not somebody else: where there is no caller, it cannot be read.
		{`caller != "spiffe://cluster.local/ns/web/sa/frontend"`, alice, "", "reads the caller, and there is none"},
		{`!caller.startsWith("spiffe://other/")`, alice, "", "reads the caller, and there is none"},
		{`!(caller in ["a"])`, alice, "", "reads the caller, and there is none"},
		{`caller == ""`, alice, "", "reads the caller, and there is none"},
		{`token.sub == "alice" || caller == "x"`, alice, "", "yes"},
		{`caller == "x" || token.sub == "alice"`, alice, "", "yes"},
		{`caller != ""`, alice, frontend + strings.Repeat("x", condition.MaxCaller), "longer than a SPIFFE ID"},

		// An absent claim is false under has() and an error when read, whatever is asked of it.
		{`has(token.gty)`, alice, "", "no"},
		{`has(token.gty)`, batch, "", "yes"},
		{`has(token.plan)`, batch, "", "no"},
		{`token.gty == "x"`, alice, "", `claim "gty" is not in the token`},
		{`token.gty != "x"`, alice, "", `claim "gty" is not in the token`},
		{`!(token.gty == "x")`, alice, "", `claim "gty" is not in the token`},
		{`!("admin" in token.roles)`, batch, "", `claim "roles" is not in the token`},
		{`token.roles.all(r, r != "admin")`, batch, "", `claim "roles" is not in the token`},
		{`!token.admin`, batch, "", `claim "admin" is not in the token`},
		{`token.level < 100`, batch, "", `claim "level" is not in the token`},
		{`token.sub == "x"`, nobody, "", `claim "sub" is not in the token`},
		{`has(token.sub)`, nobody, "", "no"},
		{`has(token.gty) && token.gty == "x"`, alice, "", "no"},
		{`!has(token.gty) || token.gty == "x"`, alice, "", "yes"},
		{`token.sub == "alice" || token.gty == "x"`, alice, "", "yes"},

		// A claim of another type is not there either: no text is read as a list, no number as a whole one.
		{`has(token.sub) || has(token.client_id) || has(token.plan) || has(token.roles) || has(token.groups) || has(token.admin) || has(token.level) || has(token.gty)`, odd, "", "no"},
		{`token.sub == "alice"`, odd, "", `claim "sub" is not in the token`},
		{`"admin" in token.roles`, odd, "", `claim "roles" is not in the token`},
		{`"admin" in token.groups`, odd, "", `claim "groups" is not in the token`},
		{`token.admin`, odd, "", `claim "admin" is not in the token`},
		{`token.level == 3`, odd, "", `claim "level" is not in the token`},
	}
	for _, tt := range tests {
		yes, err := compile(t, tt.src, condition.Unless).Eval(tt.token, tt.caller)
		if got := verdict(yes, err); got != tt.want && (err == nil || yes || !strings.Contains(got, tt.want)) {
			t.Errorf("%s is %q; want %q", tt.src, got, tt.want)
		}
	}
}

func verdict(yes bool, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case yes:
		return "yes"
	}
	return "no"
}

// The estimate is a bound because what exceeds it is not read: has() is true, reading is an error, and what is not an
// expression still gets the whole value.
func TestOversizedClaims(t *testing.T) {
	full, long := make([]string, condition.MaxList), make([]string, condition.MaxList+1)
	heavy := []string{strings.Repeat("x", condition.MaxText/2), strings.Repeat("y", condition.MaxText/2), "z"}
	tests := []struct {
		name  string
		roles []string
		ok    bool
	}{
		{"as many elements as there may be", full, true},
		{"one more", long, false},
		{"as many bytes as there may be", heavy[:2], true},
		{"one byte more", heavy, false},
	}
	for _, tt := range tests {
		token := condition.NewToken(map[string]any{"roles": tt.roles})
		_, err := compile(t, `"a" in token.roles`, condition.Unless).Eval(token, "")
		if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), `claim "roles" is too large`) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if yes, err := compile(t, `has(token.roles)`, condition.Unless).Eval(token, ""); !yes || err != nil {
			t.Errorf("%s: has() is %v, %v", tt.name, yes, err)
		}
		if list, ok := token.List("roles"); !ok || len(list) != len(tt.roles) {
			t.Errorf("%s: List has %d elements, %v", tt.name, len(list), ok)
		}
	}

	token := condition.NewToken(map[string]any{"sub": strings.Repeat("x", condition.MaxText+1), "plan": strings.Repeat("x", condition.MaxText)})
	if _, err := compile(t, `token.sub != ""`, condition.Unless).Eval(token, ""); err == nil {
		t.Error("a text over MaxText was read")
	}
	if yes, err := compile(t, `token.plan != ""`, condition.Unless).Eval(token, ""); !yes || err != nil {
		t.Errorf("a text of MaxText: %v, %v", yes, err)
	}
}

func TestReads(t *testing.T) {
	tests := []struct {
		src  string
		want []string
	}{
		{`token.sub == "x"`, []string{"sub"}},
		{`token.sub == token.plan || token.plan == token.sub`, []string{"plan", "sub"}},
		{`has(token.gty)`, []string{"gty"}},
		{`token.roles.exists(r, r == token.plan && caller != r)`, []string{"plan", "roles"}},
		{`caller == "x"`, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, compile(t, tt.src, condition.Unless).Reads()); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", tt.src, diff)
		}
	}
}

func TestToken(t *testing.T) {
	tests := []struct {
		token condition.Token
		name  string
		want  any // what Value says; nil: unset
	}{
		{alice, "sub", "alice"},
		{alice, "roles", []string{"reader", "admin"}},
		{alice, "admin", true},
		{alice, "level", int64(3)},
		{alice, "gty", nil},
		{odd, "client_id", nil}, // null
		{odd, "roles", nil},     // a map
		{odd, "gty", nil},       // a mixed list
		{odd, "level", nil},     // a number with a fraction
		{nobody, "sub", nil},
	}
	for _, tt := range tests {
		v, ok := tt.token.Value(tt.name)
		if ok != (tt.want != nil) || ok && !cmp.Equal(v, tt.want) {
			t.Errorf("Value(%s) = %v, %v; want %v", tt.name, v, ok, tt.want)
		}
		text, isText := tt.want.(string)
		if got, ok := tt.token.Text(tt.name); got != text || ok != isText {
			t.Errorf("Text(%s) = %q, %v", tt.name, got, ok)
		}
		list, isList := tt.want.([]string)
		if got, ok := tt.token.List(tt.name); !cmp.Equal(got, list) || ok != isList {
			t.Errorf("List(%s) = %q, %v", tt.name, got, ok)
		}
	}
}

// Deny is the zero value: no program is no yes.
func TestZeroProgram(t *testing.T) {
	var none *condition.Program
	for _, p := range []*condition.Program{none, {}} {
		if yes, err := p.Eval(alice, frontend); yes || err == nil {
			t.Errorf("a program that is none says %v, %v", yes, err)
		}
	}
}

// One program serves every request at once; the race detector watches.
func TestConcurrentEval(t *testing.T) {
	p := compile(t, `token.roles.exists(r, r.matches("^adm")) && caller.contains("web")`, condition.Unless)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if yes, err := p.Eval(alice, frontend); !yes || err != nil {
					t.Errorf("Eval = %v, %v", yes, err)
				}
			}
		})
	}
	wg.Wait()
}

// startLike tells whether errs are, in order, the errors that want begins.
func startLike(errs []*condition.Error, want []string) bool {
	if len(errs) != len(want) {
		return false
	}
	for i, e := range errs {
		if !strings.HasPrefix(e.Error(), want[i]) {
			return false
		}
	}
	return true
}

func lines(errs []*condition.Error) string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return strings.Join(out, "\n  ")
}
