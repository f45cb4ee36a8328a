package condition

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func plainSchema(t testing.TB) *Schema {
	t.Helper()
	s, err := NewSchema([]Claim{
		{Name: "a", Type: String, Always: true}, {Name: "b", Type: String}, {Name: "l", Type: Strings}, {Name: "t", Type: Bool}, {Name: "n", Type: Int},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plainExpressions draws expressions of the shapes that are answered without the engine, and some that are nearly so.
func plainExpressions(depth int) *rapid.Generator[string] {
	atom := rapid.SampledFrom([]string{
		`has(token.a)`, `has(token.b)`, `has(token.l)`, `has(token.t)`, `has(token.n)`, `token.t`, `token.a == token.b`, `token.b != token.a`,
		`token.a == "x"`, `"x" != token.b`, `"x" in token.l`, `"" in token.l`, `caller == token.a`, `caller != "x"`, `"x" == caller`,
		`token.n == 1`, `token.b in token.l`, `token.a in ["x", "y"]`, `true`,
	})
	if depth == 0 {
		return atom
	}
	return rapid.Custom(func(t *rapid.T) string {
		part := plainExpressions(depth - 1)
		switch rapid.IntRange(0, 3).Draw(t, "shape") {
		case 0:
			return "!(" + part.Draw(t, "of") + ")"
		case 1:
			return "(" + part.Draw(t, "left") + " && " + part.Draw(t, "right") + ")"
		case 2:
			return "(" + part.Draw(t, "left") + " || " + part.Draw(t, "right") + ")"
		}
		return atom.Draw(t, "atom")
	})
}

// plainTokens draws tokens with claims that are there, absent, of another type and too large.
func plainTokens() *rapid.Generator[Token] {
	values := rapid.SampledFrom([]any{
		nil, "", "x", "y", []string{}, []string{"x"}, []string{"y", "", "x"}, true, false, int64(1), 1.5,
		strings.Repeat("x", MaxText+1), make([]string, MaxList+1),
	})
	return rapid.Custom(func(t *rapid.T) Token {
		if rapid.IntRange(0, 9).Draw(t, "nobody") == 0 {
			return Token{}
		}
		m := map[string]any{}
		for _, name := range []string{"a", "b", "l", "t", "n"} {
			if v := values.Draw(t, name); v != nil {
				m[name] = v
			}
		}
		return NewToken(m)
	})
}

// The engine is the definition: what is answered without it is answered the same, errors included.
func TestQuickEqualsEngine(t *testing.T) {
	s := plainSchema(t)
	callers := rapid.SampledFrom([]string{"", "x", "spiffe://cluster.local/ns/a/sa/b", strings.Repeat("x", MaxCaller+1)})
	compared, yeses, failures := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		src := plainExpressions(3).Draw(rt, "expression")
		p, errs := s.Compile(src, Unless)
		if errs != nil {
			if !strings.Contains(errs[0].Msg, "always the same") {
				rt.Fatalf("%s: %v", src, errs)
			}
			return
		}
		if p.quick == nil {
			return
		}
		for range 16 {
			token, caller := plainTokens().Draw(rt, "token"), callers.Draw(rt, "caller")
			yes, err := p.quick(token, caller, nil)
			wantYes, wantErr := p.engine(&vars{token: token, caller: caller})
			if yes != wantYes || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				rt.Fatalf("%s is %v, %v; the engine says %v, %v", src, yes, err, wantYes, wantErr)
			}
			compared++
			if yes {
				yeses++
			}
			if err != nil {
				failures++
			}
		}
	})
	if yeses == 0 || failures == 0 || yeses+failures == compared {
		t.Errorf("of %d answers %d were yes and %d errors: the property says too little", compared, yeses, failures)
	}
}

// Which shapes go which way.
func TestQuickShapes(t *testing.T) {
	tests := []struct {
		src   string
		quick bool
	}{
		{`token.a == token.b`, true},
		{`token.a == "x"`, true},
		{`"x" in token.l`, true},
		{`has(token.b) && token.b == "x" || token.a != "y" && !token.t`, true},
		{`caller == "x"`, true},
		{`token.n == 1`, false},
		{`token.b in token.l`, true},
		{`token.l.exists(r, r == caller)`, false},
		{`token.a == "x" || token.n == 1`, false},
		{`token.t ? token.a == "x" : token.a == "y"`, false},
		{`token.l == ["x"]`, false},
		{`token.a + "x" == "y"`, false},
	}
	s := plainSchema(t)
	for _, tt := range tests {
		p, errs := s.Compile(tt.src, Unless)
		if errs != nil || (p.quick != nil) != tt.quick {
			t.Errorf("%s: quick is %v, errors %v", tt.src, p != nil && p.quick != nil, errs)
		}
	}
}

// A plain condition allocates nothing, whether it answers or fails.
func TestQuickAllocatesNothing(t *testing.T) {
	s := plainSchema(t)
	token := NewToken(map[string]any{"a": "x", "l": []string{"x"}})
	for _, src := range []string{`token.a == "x"`, `token.a == token.b`, `"x" in token.l`, `caller == "x"`, `has(token.b) && token.b == "x" || token.a == "x"`} {
		p, errs := s.Compile(src, Unless)
		if errs != nil {
			t.Fatal(errs)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = p.Eval(token, "x") }); n != 0 {
			t.Errorf("%s: %v allocations", src, n)
		}
	}
}

// A panic within the engine is an error, not the end of the process.
func TestEnginePanics(t *testing.T) {
	s := plainSchema(t)
	p, errs := s.Compile(`token.n == 1`, Unless)
	if errs != nil {
		t.Fatal(errs)
	}
	p.run = nil
	if yes, err := p.engine(&vars{}); yes || err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("engine says %v, %v", yes, err)
	}
}
