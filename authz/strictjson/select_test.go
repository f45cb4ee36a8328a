package strictjson_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

func selection(t testing.TB, paths ...string) *strictjson.Selection {
	t.Helper()
	s, err := strictjson.NewSelection(paths)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// show writes a place as a person reads it.
func show(p strictjson.Place) string {
	state := [...]string{"missing", "one", "many", "empty", "null", "no list"}[p.State]
	for _, v := range p.Values {
		state += fmt.Sprintf(" %s:%s", v.Kind, v.Text)
	}
	return state
}

// What stands where a rule looks, and what only seems to.
func TestSelect(t *testing.T) {
	for _, test := range []struct{ path, document, want string }{
		{"id", `{"id":"alice"}`, "one string:alice"},
		{"id", `{ "other" : [ {"id":"bob"} ] , "id" : "alice" }`, "one string:alice"},
		{"id", `{"\u0069d":"alice"}`, "one string:alice"},
		{"id", `{"id":"\u0061lice"}`, "one string:alice"},
		{"id", `{"id":"a\"b"}`, `one string:a"b`},
		{"id", `{"id":""}`, "one string:"},
		{"id", `{"id":9007199254740993}`, "one number:9007199254740993"},
		{"id", `{"id":7.0}`, "one number:7.0"},
		{"id", `{"id":null}`, "one null:"},
		{"id", `{"id":true}`, "one bool:"},
		{"id", `{"id":["alice"]}`, "one array:"},
		{"id", `{"id":{"id":"alice"}}`, "one object:"},
		{"id", `{}`, "missing"},
		{"id", `[]`, "missing"},
		{"id", `[{"id":"alice"}]`, "missing"},
		{"id", `"id"`, "missing"},
		{"id", `null`, "missing"},
		{"a.b", `{"a":{"b":"x"}}`, "one string:x"},
		{"a.b", `{"a":"b"}`, "missing"},
		{"a.b", `{"a":[{"b":"x"}]}`, "missing"},
		{"a.b", `{"a.b":"x"}`, "missing"},
		{"a.b", `{"b":"x"}`, "missing"},
		// Lists: every element counts, and one that does not hold the place is seen.
		{"ids[*]", `{"ids":["a","b"]}`, "many string:a string:b"},
		{"ids[*]", `{"ids":["a",null,7,["c"],{"d":1}]}`, "many string:a null: number:7 array: object:"},
		{"ids[*]", `{"ids":[]}`, "empty"},
		{"ids[*]", `{"ids":null}`, "null"},
		{"ids[*]", `{"ids":"a"}`, "no list"},
		{"ids[*]", `{"ids":{"0":"a"}}`, "no list"},
		{"ids[*]", `{}`, "missing"},
		{"items[*].id", `{"items":[{"id":"a"},{"id":"b","more":[1]}]}`, "many string:a string:b"},
		{"items[*].id", `{"items":[{"id":"a"},{}]}`, "many string:a invalid:"},
		{"items[*].id", `{"items":[{"id":"a"},"b",null,[{"id":"c"}]]}`, "many string:a invalid: invalid: invalid:"},
		{"items[*].id", `{"items":[]}`, "empty"},
		{"items[*].id", `{"items":{"id":"a"}}`, "no list"},
		{"items[*].id", `{"items":null}`, "null"},
		{"a[*].b[*]", `{"a":[{"b":["x","y"]},{"b":["z"]}]}`, "many string:x string:y string:z"},
		{"a[*].b[*]", `{"a":[{"b":["x"]},{"b":[]}]}`, "many string:x invalid:"},
		{"a[*].b[*]", `{"a":[{"b":["x"]},{"b":null}]}`, "many string:x invalid:"},
		{"a[*].b[*]", `{"a":[{"b":["x"]},{}]}`, "many string:x invalid:"},
		{"a[*].b[*]", `{"a":[]}`, "empty"},
		{"a[*][*]", `{"a":[["x"],["y"]]}`, "many string:x string:y"},
		{"a[*][*]", `{"a":[["x"],"y"]}`, "many string:x invalid:"},
		{"a.b[*]", `{"a":[{"b":["x"]}]}`, "no list"},
		{"a.b[*]", `{"a":{"b":["x"]}}`, "many string:x"},
	} {
		places, err := strictjson.Select([]byte(test.document), strictjson.Limits{}, selection(t, test.path))
		if err != nil {
			t.Errorf("%s in %s: %v", test.path, test.document, err)
			continue
		}
		if got := show(places[0]); got != test.want {
			t.Errorf("%s in %s: %s, want %s", test.path, test.document, got, test.want)
		}
	}
}

// Several places are read in one go, each as if it stood alone.
func TestSelectSeveral(t *testing.T) {
	s := selection(t, "id", "a.b", "a.c[*]", "a", "list[*].x", "list[*].y.z")
	places, err := strictjson.Select([]byte(`{"a":{"c":[1,2],"b":"B"},"list":[{"x":"1","y":{"z":"2"}},{"x":"3"}],"id":"I"}`), strictjson.Limits{}, s)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range places {
		got = append(got, show(p))
	}
	want := []string{"one string:I", "one string:B", "many number:1 number:2", "one object:", "many string:1 string:3", "many string:2 invalid:"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A name that only seems to be the one that is read is refused: some reader takes it for that.
func TestSelectRefusesFoldedNames(t *testing.T) {
	for _, document := range []string{
		`{"ID":"bob"}`, `{"Id":"bob"}`, `{"\u0049D":"bob"}`, `{"id":"alice","ID":"bob"}`, `{"a":[{"x":1,"X":2}],"id":"a"}`, `{"id":"a","K":1,"\u212a":2}`,
	} {
		if _, err := strictjson.Select([]byte(document), strictjson.Limits{}, selection(t, "id")); err == nil {
			t.Errorf("%s is read", document)
		}
	}
	if _, err := strictjson.Select([]byte(`{"u\u017ferId":"bob"}`), strictjson.Limits{}, selection(t, "userId")); err == nil {
		t.Error("a long s passes for an s")
	}
	// Elsewhere another case is another name.
	if _, err := strictjson.Select([]byte(`{"x":{"ID":"bob"},"id":"alice"}`), strictjson.Limits{}, selection(t, "id")); err != nil {
		t.Error(err)
	}
}

func TestSelectionRefuses(t *testing.T) {
	for _, test := range []struct{ path, want string }{
		{"", `"", at byte 1: a name is missing`},
		{"a..b", `"a..b", at byte 3: a name is missing`},
		{".a", `a name is missing`}, {"a.", `a name is missing`}, {"[*]", `a name is missing`},
		{"a[0]", `at byte 2: all elements are written [*]`}, {"a[*", `all elements`}, {"a[]", `all elements`}, {"a[*]b", `all elements`},
		{"a]", `not a name`}, {"*", `not a name`}, {"a b", `not a name`},
	} {
		_, err := strictjson.NewSelection([]string{test.path})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.path, err, test.want)
		}
	}
	if _, err := strictjson.NewSelection([]string{"a", "a"}); err == nil {
		t.Error("a path is read twice")
	}
}

// No more than a thousand values are read at one place, wherever they come from. Each place has its own count.
func TestSelectBoundsValues(t *testing.T) {
	list := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"a",`, n), ",") }
	for _, test := range []struct {
		document string
		ok       bool
	}{
		{`{"a":[` + list(1000) + `]}`, true},
		{`{"a":[` + list(1001) + `]}`, false},
		{`{"b":[[` + list(501) + `],[` + list(500) + `]]}`, false},
		{`{"b":[[` + list(500) + `],[` + list(500) + `]]}`, true},
		{`{"a":[` + list(1000) + `],"b":[[` + list(500) + `],[` + list(500) + `]]}`, true},
		{`{"c":[` + strings.TrimSuffix(strings.Repeat(`{},`, 1000), ",") + `]}`, true},
		{`{"c":[` + strings.TrimSuffix(strings.Repeat(`{},`, 1001), ",") + `]}`, false},
	} {
		_, err := strictjson.Select([]byte(test.document), strictjson.Limits{Elements: 5000}, selection(t, "a[*]", "b[*][*]", "c[*].d"))
		if (err == nil) != test.ok {
			t.Errorf("%.20s...: %v", test.document, err)
		}
	}
}

// naive finds a place in a parsed document: the definition.
func naive(v strictjson.Value, ok bool, steps []string, many bool, into *strictjson.Place) {
	add := func(kind strictjson.Kind, text string) {
		into.State = strictjson.One
		if many {
			into.State = strictjson.Many
		}
		into.Values = append(into.Values, strictjson.Found{Kind: kind, Text: text})
	}
	switch {
	case !ok && many:
		add(strictjson.Invalid, "")
	case !ok:
		into.State = strictjson.Missing
	case len(steps) == 0:
		text, isText := v.Text()
		if !isText {
			text, _ = v.Number()
		}
		add(v.Kind(), text)
	case steps[0] == "[*]" && v.Kind() == strictjson.Array && len(v.Elements()) > 0:
		for _, e := range v.Elements() {
			naive(e, true, steps[1:], true, into)
		}
	case steps[0] == "[*]" && many:
		add(strictjson.Invalid, "")
	case steps[0] == "[*]" && v.Kind() == strictjson.Array:
		into.State = strictjson.EmptyList
	case steps[0] == "[*]" && v.Kind() == strictjson.Null:
		into.State = strictjson.NullList
	case steps[0] == "[*]":
		into.State = strictjson.NoList
	case v.Kind() != strictjson.Object && !many && slices.Contains(steps, "[*]"):
		into.State = strictjson.NoList
	default:
		next, found := v.Member(steps[0])
		naive(next, found, steps[1:], many, into)
	}
}

func steps(path string) []string {
	return strings.Split(strings.ReplaceAll(path, "[*]", ".[*]"), ".")
}

// agree holds Select to Parse and the definition above.
func agree(t *testing.T, document []byte, paths []string) {
	t.Helper()
	lim := strictjson.Limits{Bytes: 4096, Depth: 6, Members: 20, Elements: 20}
	value, parsed := strictjson.Parse(document, lim)
	places, err := strictjson.Select(document, lim, selection(t, paths...))
	if parsed != nil {
		if err == nil {
			t.Errorf("%q is read, and Parse says %v", document, parsed)
		}
		return
	}
	built, builtErr := selection(t, paths...).Of(value)
	if (builtErr != nil) != (err != nil) || !slices.EqualFunc(built, places, func(a, b strictjson.Place) bool { return show(a) == show(b) }) {
		t.Errorf("%q: of the document %v %v, of its bytes %v %v", document, built, builtErr, places, err)
	}
	if err != nil {
		if e, ok := errors.AsType[*strictjson.Error](err); !ok || !e.Folded {
			t.Errorf("%q is refused: %v", document, err)
		}
		return
	}
	for i, path := range paths {
		var want strictjson.Place
		naive(value, true, steps(path), false, &want)
		if show(places[i]) != show(want) {
			t.Errorf("%s in %s: %s, want %s", path, document, show(places[i]), show(want))
		}
	}
}

var twinPaths = []string{"a", "a.b", "a[*]", "a[*].b", "b.a[*].b[*]", "b", "a.k", "b[*][*]"}

func TestSelectAgreesWithParse(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{`"a"`, `"b"`, `"k"`, `"A"`, `"\u0061"`, `"s"`, `"ſ"`, `"K"`, `"é"`, `"\u00c9"`, `"x\u0000"`}
	var value func(depth int) string
	value = func(depth int) string {
		switch n := random.IntN(12); {
		case n < 4 && depth < 7:
			var members []string
			for range random.IntN(4) {
				members = append(members, names[random.IntN(len(names))]+" : "+value(depth+1))
			}
			return "{" + strings.Join(members, ",") + "}"
		case n < 7 && depth < 7:
			var elements []string
			for range random.IntN(4) {
				elements = append(elements, value(depth+1))
			}
			return "[" + strings.Join(elements, " , ") + "]"
		}
		return []string{`"x"`, `"\\\""`, "7", "-0.5e3", "null", "true", `"\ud800"`, "1e400", "tru"}[random.IntN(9)]
	}
	for range 20000 {
		agree(t, []byte(value(0)), twinPaths)
	}
}

func FuzzSelect(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":"x"}}`, `{"a":[{"b":1},{}]}`, `{"b":{"a":[{"b":[]}]}}`, `{"a":1,"A":2}`, `{"a":"\u0000"}`, "\xef\xbb\xbf{}", `{"a":"\ud83d\ude00"} x`, `[[[[[[[[]]]]]]]]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) { agree(t, document, twinPaths) })
}

// A document that breaks at its very end costs no more memory than one that is good.
func TestSelectBuildsNothingOfWhatIsBroken(t *testing.T) {
	s := selection(t, "id")
	broken := []byte(strings.Repeat("["+strings.TrimSuffix(strings.Repeat("[],", 900), ",")+"],", 100))
	broken = append(append([]byte("["), broken...), `"end]`...)
	if n := testing.AllocsPerRun(3, func() {
		if _, err := strictjson.Select(broken, strictjson.Limits{Bytes: 1 << 20}, s); err == nil {
			t.Fatal("it is read")
		}
	}); n > 100 {
		t.Errorf("%v allocations for %d bytes that are no document", n, len(broken))
	}
	for document, ambiguous := range map[string]bool{`{"a":1,"a":2}`: true, `{"a":1}{"a":1}`: false, `{"a"`: false, "\"\xff\"": false} {
		_, err := strictjson.Select([]byte(document), strictjson.Limits{}, s)
		if e, ok := errors.AsType[*strictjson.Error](err); !ok || e.Ambiguous != ambiguous {
			t.Errorf("%s: %v", document, err)
		}
	}
}

// Many names are told apart in another way than few, with the same answer, wherever the two stand and however they are written.
func TestSelectFoldedNamesInLargeObjects(t *testing.T) {
	for n := range 20 {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"name%d":{"Name":0},`, i)
		}
		for _, pair := range [][2]string{{"sub", "SUB"}, {`s\u0075b`, "sUb"}, {"sub", `\u0073\u0055b`}, {"kid", "\u212aID"}, {"kid", `\u212aID`}, {"ſ", "S"},
			{"straße", "STRAßE"}, {"İ", "i"}, {"ÿ", "Ÿ"}, {"a", "b"}, {"sub", "sub\u200b"}, {"aa", "a"}} {
			between := fmt.Sprintf(`{"%s":0,%s"%s":0}`, pair[0], b.String(), pair[1])
			before := fmt.Sprintf(`{%s"%s":0,"%s":0}`, b.String(), pair[0], pair[1])
			behind := fmt.Sprintf(`{"%s":0,"%s":0,%s"x":0}`, pair[0], pair[1], b.String())
			for _, in := range []string{between, before, behind} {
				_, parsed := strictjson.Parse([]byte(in), strictjson.Limits{})
				if _, err := strictjson.Select([]byte(in), strictjson.Limits{}, selection(t, "id")); (err != nil) != (parsed != nil) {
					t.Errorf("Select(%s) = %v, Parse says %v", in, err, parsed)
				}
			}
		}
	}
}

// A string of nothing but escapes is read once, not once more for each of them: were it otherwise, this test would not end in time.
func TestSelectReadsEscapesOnce(t *testing.T) {
	for _, escape := range []string{`\n`, `\\`, `\"`, `\\\"`, `\u006b`} {
		text := strings.Repeat(escape, 8<<20/len(escape))
		for _, document := range []string{`{"x":"` + text + `","id":"alice"}`, `{"` + text + `":0,"id":"alice"}`} {
			places, err := strictjson.Select([]byte(document), strictjson.Limits{Bytes: 32 << 20}, selection(t, "id"))
			if err != nil || show(places[0]) != "one string:alice" {
				t.Errorf("%.20s...: %v, %v", document, places, err)
			}
		}
	}
}

// body8K is an order of 8 KB with the ids among much else.
func body8K() []byte {
	var b bytes.Buffer
	b.WriteString(`{"user_id":"alice","note":"` + strings.Repeat("a day at the sea ", 20) + `","items":[`)
	for i := 0; b.Len() < 8000; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"order-%d","quantity":%d,"price":{"amount":"12.50","currency":"EUR"},"tags":["a","b","c"],"gift":false}`, i, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkPlainScan(b *testing.B) {
	data := body8K()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if !jsontext.Value(data).IsValid() {
			b.Fatal("not JSON")
		}
	}
}

func BenchmarkSelect(b *testing.B) {
	data := body8K()
	for name, paths := range map[string][]string{"one": {"user_id"}, "each": {"items[*].id"}} {
		b.Run(name, func(b *testing.B) {
			s := selection(b, paths...)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := strictjson.Select(data, strictjson.Limits{}, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What is allocated depends on what is found, not on how long the document is or how its names are written.
func TestSelectAllocates(t *testing.T) {
	const name = "a_name_that_is_longer_than_thirty-two_bytes"
	s := selection(t, "user_id", name)
	order := body8K()
	long := []byte(`{"user_id":"alice","x":[` + strings.TrimSuffix(strings.Repeat(string(order)+",", 100), ",") + `]}`)
	escaped := []byte(`{"\u0075ser_id":"\u0061lice","` + strings.Repeat(`\n`, 10_000) + `":"` + strings.Repeat(`\n`, 10_000) + `"}`)
	for what, document := range map[string][]byte{"8 KB": order, "800 KB": long, "escapes": escaped} {
		if n := testing.AllocsPerRun(10, func() {
			if _, err := strictjson.Select(document, strictjson.Limits{Bytes: 1 << 20, Elements: 10_000}, s); err != nil {
				t.Fatal(err)
			}
		}); n > 20 { // 3 or 4, and what the race detector costs, which empties pools
			t.Errorf("%s: %v allocations to find one value", what, n)
		}
	}
}
