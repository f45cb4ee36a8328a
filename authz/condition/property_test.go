package condition_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/condition"
)

// expressions draws well-typed expressions over the claims of shop, guarded or not.
func expressions(depth int) *rapid.Generator[string] {
	atoms := []string{
		`has(token.gty)`, `has(token.plan)`, `has(token.roles)`, `has(token.sub)`, `true`, `false`,
		`token.gty == "x"`, `token.plan != token.gty`, `token.sub == token.client_id`, `"admin" in token.roles`,
		`token.roles.exists(r, r == token.gty)`, `token.roles.all(r, has(token.plan) && r != token.plan)`, `token.admin`,
		`has(token.admin)`, `token.level > 2`, `token.plan.startsWith("g")`, `token.gty in ["x", token.plan]`,
	}
	atom := rapid.SampledFrom(atoms)
	if depth == 0 {
		return atom
	}
	return rapid.Custom(func(t *rapid.T) string {
		a, b, c := expressions(depth-1), expressions(depth-1), expressions(depth-1)
		switch rapid.IntRange(0, 4).Draw(t, "shape") {
		case 0:
			return "!(" + a.Draw(t, "a") + ")"
		case 1:
			return "(" + a.Draw(t, "a") + " && " + b.Draw(t, "b") + ")"
		case 2:
			return "(" + a.Draw(t, "a") + " || " + b.Draw(t, "b") + ")"
		case 3:
			return "(" + a.Draw(t, "a") + " ? " + b.Draw(t, "b") + " : " + c.Draw(t, "c") + ")"
		}
		return atom.Draw(t, "atom")
	})
}

// tokens draws tokens of shop: the two certain claims, and any of the others.
func tokens() *rapid.Generator[condition.Token] {
	texts := rapid.SampledFrom([]string{"", "x", "gold", "admin", "alice"})
	return rapid.Custom(func(t *rapid.T) condition.Token {
		values := map[string]any{"sub": texts.Draw(t, "sub"), "client_id": texts.Draw(t, "client_id")}
		optional := map[string]any{
			"gty": texts.Draw(t, "gty"), "plan": texts.Draw(t, "plan"), "admin": rapid.Bool().Draw(t, "admin"),
			"level": rapid.Int64().Draw(t, "level"), "roles": rapid.SliceOfN(texts, 0, 4).Draw(t, "roles"),
			"groups": rapid.SliceOfN(texts, 0, 4).Draw(t, "groups"),
		}
		for _, name := range []string{"gty", "plan", "admin", "level", "roles", "groups"} {
			if rapid.Bool().Draw(t, "has "+name) {
				values[name] = optional[name]
			}
		}
		return condition.NewToken(values)
	})
}

// What the guards let through never fails: a machine expression that loads answers every token, whatever is missing.
func TestGuardedExpressionsNeverFail(t *testing.T) {
	s := shop(t)
	loaded := 0
	rapid.Check(t, func(rt *rapid.T) {
		src := expressions(3).Draw(rt, "expression")
		p, errs := s.Compile(src, condition.Machine)
		if errs != nil {
			for _, e := range errs {
				if !strings.Contains(e.Msg, "may be absent") {
					rt.Fatalf("%s: %v", src, errs)
				}
			}
			return
		}
		loaded++
		for range 8 {
			if _, err := p.Eval(tokens().Draw(rt, "token"), ""); err != nil {
				rt.Fatalf("%s loads as a machine expression, and fails: %v", src, err)
			}
		}
	})
	if loaded == 0 {
		t.Error("no expression was ever guarded: the property says nothing")
	}
}

// FuzzCompile holds Compile to its promise: no source makes it panic, and a source gives a program or errors, each with a
// position in it, never both and never neither.
func FuzzCompile(f *testing.F) {
	for _, src := range []string{
		`token.sub == token.client_id`, `has(token.gty) && token.gty == "client-credentials"`, `"admin" in token.roles`,
		`token.roles.exists(r, r.matches("^a{1,3}$"))`, `caller.startsWith("spiffe://")`, `token{sub: "x"}.sub == ""`, `{1: 2}[1] == 2`,
		`((((((((((`, `[[[[[[`, "\x00\xff", "token.\n\n\tsub ==\r\n'é'", `b'\xff' == r"\"`, `-9223372036854775808 < token.level`, `1e400 == 2.0`,
		`token.sub.matches("(((((a*)*)*)*)*)")`, `"""a""" == 'b'`, `.token.sub == caller`, `has(token.x.y.z)`, `@result == 1`, `__result__`,
		"`a`.b", `token.roles.all(x, token.roles.all(x, x == x))`, `true ? false : true ? false : true`, `!!!!!!token.admin`, `a.b.c{d: e}`,
	} {
		f.Add(src, true)
		f.Add(src, false)
	}
	s := shop(f)
	f.Fuzz(func(t *testing.T, src string, machine bool) {
		use := condition.Unless
		if machine {
			use = condition.Machine
		}
		p, errs := s.Compile(src, use)
		if (p == nil) == (len(errs) == 0) {
			t.Fatalf("Compile(%q) = %v, %v", src, p, errs)
		}
		rows := strings.Count(src, "\n") + 1
		for _, e := range errs {
			if e.Line < 1 || e.Column < 1 || e.Line > rows || e.Msg == "" || strings.Contains(e.Msg, "cannot be compiled: ") {
				t.Fatalf("Compile(%q): error %+v", src, e)
			}
		}
		if p == nil {
			return
		}
		for _, token := range []condition.Token{alice, batch, odd, nobody} {
			if yes, err := p.Eval(token, frontend); yes && err != nil || err != nil && strings.Contains(err.Error(), "panic") {
				t.Fatalf("%s evaluates to %v, %v", src, yes, err)
			}
		}
	})
}

func BenchmarkEval(b *testing.B) {
	for _, bm := range []struct{ name, src string }{
		{"equal to a claim", `token.sub == token.client_id`},
		{"equal to a text", `token.plan == "gold"`},
		{"role", `"admin" in token.roles`},
		{"caller", `caller == "spiffe://cluster.local/ns/web/sa/frontend"`},
		{"two clauses", `has(token.gty) && token.gty == "client-credentials" || token.sub == token.client_id`},
		{"loop", `token.roles.exists(r, r.startsWith("adm"))`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			p := compile(b, bm.src, condition.Unless)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Eval(alice, frontend); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
