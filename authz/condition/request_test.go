package condition

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// names are what the rule of these tests offers.
var names = Names{Captures: []string{"user_id", "order"}, Object: true, Token: true}

func mustCondition(t testing.TB, src string) *Program {
	t.Helper()
	p, errs := plainSchema(t).CompileCondition(src, names)
	if errs != nil {
		t.Fatalf("%s: %v", src, errs)
	}
	return p
}

// values are the request's, by reference; what is not among them is absent.
func values(p *Program, in map[Reference]Value) []Value {
	var all []Value
	for _, ref := range p.References() {
		v, ok := in[ref]
		if !ok {
			v = Value{State: Absent}
		}
		all = append(all, v)
	}
	return all
}

// A condition reads the request, the caller, the token and the object, and what it cannot read in one way denies.
func TestDecide(t *testing.T) {
	request := map[Reference]Value{
		{Path, "user_id"}: {"x", Set}, {Query, "page"}: {"1", Set}, {Query, "dry-run"}: {"yes", Set}, {Header, "x-tenant"}: {"blue", Set},
		{Query, "twice"}: {"", Unreadable}, {Query, "empty"}: {"", Set}, {Query, "long"}: {strings.Repeat("a", MaxText+1), Set},
	}
	for _, test := range []struct {
		src  string
		want string
	}{
		{`request.method == "GET"`, "yes"},
		{`request.method in ["GET", "HEAD"]`, "yes"},
		{`request.host == "orders.example"`, "yes"},
		{`request.path.startsWith("/users/")`, "yes"},
		{`path.user_id == token.a`, "yes"},
		{`path.user_id in token.l`, "yes"},
		{`path.order == "7"`, "path.order is not in the request"},
		{`query.page == "1"`, "yes"},
		{`query["page"] == "1"`, "yes"},
		{`query["dry-run"] == "yes"`, "yes"},
		{`has(query.page) && query.page == "1"`, "yes"},
		{`!has(query.other)`, "yes"},
		{`has(query.other) && query.other == "1"`, "no"},
		{`query.other == "1"`, "query.other is not in the request"},
		{`query.other != "1"`, "query.other is not in the request"},
		{`query.empty == ""`, "yes"},
		{`query.long != ""`, "query.long is too large"},
		{`header["x-tenant"] == "blue"`, "yes"},
		{`"x-tenant" in header && header["x-tenant"] == "blue"`, "yes"},
		{`!("x-other" in header)`, "yes"},
		{`object == "o-1"`, "yes"},
		{`object.startsWith("o-") && token.t`, "yes"},
		{`caller == "spiffe://x/y" || token.a == "x"`, "yes"},
		{`["a", "b"].exists(p, p == query.page)`, "no"},
		// What could be one thing to us and another to the upstream decides nothing, not even by its absence.
		{`query.twice == ""`, "in more than one way"},
		{`!has(query.twice)`, "in more than one way"},
		{`token.a == "x" || query.twice == "1"`, "in more than one way"},
	} {
		p := mustCondition(t, test.src)
		in := &Input{
			Token: NewToken(map[string]any{"a": "x", "l": []string{"x", "y"}, "t": true}), Caller: "spiffe://x/y", Method: "GET", Host: "orders.example",
			Path: "/users/x/orders", Object: "o-1", Values: values(p, request),
		}
		got := "no"
		yes, err := p.Decide(in)
		if yes {
			got = "yes"
		}
		if err != nil {
			got = err.Error()
			if yes {
				t.Errorf("%s: an error and a yes", test.src)
			}
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, want %s", test.src, got, test.want)
		}
	}
}

// Who gives too little gets no yes.
func TestDecideNeedsItsInput(t *testing.T) {
	for _, src := range []string{`object != "x"`, `query.page != "x"`, `path.user_id != "x" && request.method != ""`} {
		p := mustCondition(t, src)
		for name, in := range map[string]*Input{"no input": nil, "an empty one": {}, "no values": {Method: "GET", Object: ""}} {
			if yes, err := p.Decide(in); yes || err == nil {
				t.Errorf("%s, %s: %v, %v", src, name, yes, err)
			}
		}
		if yes, err := p.Eval(Token{}, "x"); yes || err == nil {
			t.Errorf("%s without a request: %v, %v", src, yes, err)
		}
	}
	var none *Program
	if yes, err := none.Decide(&Input{}); yes || err == nil || none.ReadsObject() {
		t.Errorf("no program: %v, %v", yes, err)
	}
}

func TestConditionRefuses(t *testing.T) {
	noToken := Names{Captures: []string{"id"}}
	for _, test := range []struct {
		src   string
		names Names
		want  string
	}{
		{`path.nope == "x"`, names, `1:1: the rule captures no "nope"; it captures user_id, order`},
		{"query.x == \"1\" &&\n  path.nope == \"x\"", names, `2:3: the rule captures no "nope"`},
		{`path.id == path.x`, noToken, `1:12: the rule captures no "x"; it captures id`},
		{`token.a == "x"`, noToken, `1:1: the rule asks for no token`},
		{`object == "x"`, noToken, `1:1: the rule names no one object: write owner:`},
		{`header.authorization == "x"`, names, `1:1: header authorization holds a credential`},
		{`header["cookie"] == "x"`, names, `header cookie holds a credential`},
		{`header["X-Tenant"] == "x"`, names, `"X-Tenant" is no name of a header`},
		{`header[":path"] == "x"`, names, `":path" is no name of a header`},
		{`header == "x"`, names, `header is read value by value: write header.<name>, or header["a-name"]`},
		{`query[path.user_id] == "x"`, names, `picking one element`},
		{`request.body == "x"`, names, `there is no request.body`},
		{`request == "x"`, names, `request is read value by value`},
		{`query.page == 1`, names, `== does not work on`},
		{`token.nope == "x"`, names, `claim "nope" is not declared`},
		{`"x" == "x"`, names, `the expression reads neither the request nor who sends it`},
		{`token.l.exists(query, query == "x")`, names, `query cannot name an element of a list`},
		{`query.page.matches(query.other)`, names, `must be one constant text`},
		{`query.x`, names, `the expression is a string; it must be true or false`},
		{`["x"].exists(a, ["y"].exists(b, query.p.contains(query.q) || header.h.contains(query.q) || path.order.contains(query.r) || request.path.contains(query.z) || object.contains(query.y)))`, names, ``},
		{`query.p.matches("(a{1,100}){1,9}b")`, names, `may cost`},
	} {
		p, errs := plainSchema(t).CompileCondition(test.src, test.names)
		if test.want == "" {
			continue
		}
		if p != nil || len(errs) == 0 {
			t.Errorf("%s loads", test.src)
			continue
		}
		if !strings.Contains(errs[0].Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.src, errs[0], test.want)
		}
	}
	// Elsewhere there is no request.
	for _, use := range []Use{Machine, Unless} {
		for _, src := range []string{`request.method == "GET"`, `object == token.a`, `query.x == token.a`, `header["x"] == token.a`} {
			if p, errs := plainSchema(t).Compile(src, use); p != nil || len(errs) == 0 {
				t.Errorf("%s loads as use %d", src, use)
			}
		}
	}
}

func TestReferences(t *testing.T) {
	p := mustCondition(t, `query.b == header["x-a"] && query.b != path.order && has(query.c) && "x-d" in header && request.method == object`)
	want := []Reference{{Query, "b"}, {Header, "x-a"}, {Path, "order"}, {Query, "c"}, {Header, "x-d"}}
	if !slices.Equal(p.References(), want) || !p.ReadsObject() {
		t.Errorf("%v, reads the object: %v", p.References(), p.ReadsObject())
	}
	if mustCondition(t, `query.b == "object"`).ReadsObject() {
		t.Error("a text that says object is none")
	}
}

// The closures answer as the engine does, with the same errors.
func TestQuickConditionsAgreeWithTheEngine(t *testing.T) {
	texts := rapid.SampledFrom([]string{
		`request.method`, `request.host`, `request.path`, `path.user_id`, `path.order`, `query.p`, `query["q-r"]`, `header["x-t"]`, `object`, `caller`,
		`token.a`, `token.b`, `"x"`, `""`,
	})
	atoms := rapid.Custom(func(t *rapid.T) string {
		a, b := texts.Draw(t, "left"), texts.Draw(t, "right")
		return rapid.SampledFrom([]string{
			a + " == " + b, a + " != " + b, a + " in token.l", `has(query.p)`, `has(path.order)`, `"x-t" in header`, `"q-r" in query`, `has(token.b)`, `token.t`,
		}).Draw(t, "atom")
	})
	var expressions func(depth int) *rapid.Generator[string]
	expressions = func(depth int) *rapid.Generator[string] {
		if depth == 0 {
			return atoms
		}
		return rapid.Custom(func(t *rapid.T) string {
			a, b := expressions(depth-1).Draw(t, "a"), expressions(depth-1).Draw(t, "b")
			return rapid.SampledFrom([]string{"!(" + a + ")", "(" + a + " && " + b + ")", "(" + a + " || " + b + ")"}).Draw(t, "shape")
		})
	}
	s := plainSchema(t)
	quick, yeses, failures := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		src := expressions(2).Draw(rt, "expression")
		p, errs := s.CompileCondition(src, names)
		if errs != nil {
			for _, e := range errs {
				if !strings.Contains(e.Msg, "reads neither") {
					rt.Fatalf("%s: %v", src, errs)
				}
			}
			return
		}
		if p.quick == nil {
			rt.Fatalf("%s is not plain", src)
		}
		quick++
		some := rapid.SampledFrom([]string{"x", "y", "", strings.Repeat("x", MaxText+1)})
		for range 8 {
			in := &Input{
				Token: plainTokens().Draw(rt, "token"), Caller: rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "caller"), Method: some.Draw(rt, "method"),
				Host: some.Draw(rt, "host"), Path: some.Draw(rt, "path"), Object: some.Draw(rt, "object"),
			}
			for range p.References() {
				in.Values = append(in.Values, Value{some.Draw(rt, "value"), rapid.SampledFrom([]ValueState{Absent, Set}).Draw(rt, "state")})
			}
			yes, err := p.Decide(in)
			wantYes, wantErr := p.engine(&vars{token: in.Token, caller: in.Caller, request: in, references: p.references})
			if yes != wantYes || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				rt.Fatalf("%s is %v, %v; the engine says %v, %v", src, yes, err, wantYes, wantErr)
			}
			if yes {
				yeses++
			}
			if err != nil {
				failures++
			}
		}
	})
	if quick == 0 || yeses == 0 || failures == 0 {
		t.Errorf("%d expressions, %d yeses, %d errors: the property says too little", quick, yeses, failures)
	}
}

func TestQuickConditionsAllocateNothing(t *testing.T) {
	for _, src := range []string{`request.method == "GET" && path.user_id == token.a`, `object in token.l`, `has(query.p) && query.p == "x" || header["x-t"] != caller`} {
		p := mustCondition(t, src)
		in := &Input{Token: NewToken(map[string]any{"a": "x", "l": []string{"x"}}), Caller: "x", Method: "GET", Object: "x", Values: make([]Value, len(p.References()))}
		for i := range in.Values {
			in.Values[i] = Value{"x", Set}
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = p.Decide(in) }); n != 0 {
			t.Errorf("%s: %v allocations", src, n)
		}
	}
}

func FuzzCompileCondition(f *testing.F) {
	for _, src := range []string{`query["a"] == header.b`, `"a" in header`, `has(path.order)`, `object[0]`, `request.method.matches("^G")`, `header[""] == ""`, `query.a.b.c`, `"x" in path && path["order"] == ""`} {
		f.Add(src)
	}
	s := plainSchema(f)
	f.Fuzz(func(t *testing.T, src string) {
		p, errs := s.CompileCondition(src, names)
		if (p == nil) == (len(errs) == 0) {
			t.Fatalf("CompileCondition(%q) = %v, %v", src, p, errs)
		}
		if p == nil {
			return
		}
		in := &Input{Method: "GET", Object: "x", Values: make([]Value, len(p.References()))}
		for i := range in.Values {
			in.Values[i].State = Set
		}
		if yes, err := p.Decide(in); yes && err != nil || err != nil && strings.Contains(err.Error(), "panic") {
			t.Fatalf("%s evaluates to %v, %v", src, yes, err)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	for name, src := range map[string]string{"quick": `path.user_id == token.a && request.method == "GET"`, "engine": `request.path.startsWith("/users/") && path.user_id == token.a`} {
		b.Run(name, func(b *testing.B) {
			p := mustCondition(b, src)
			in := &Input{Token: NewToken(map[string]any{"a": "x"}), Method: "GET", Path: "/users/x", Values: []Value{{"x", Set}}}
			b.ReportAllocs()
			for b.Loop() {
				if yes, err := p.Decide(in); !yes || err != nil {
					b.Fatal(yes, err)
				}
			}
		})
	}
}
