package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

func mustParse(t testing.TB, s string) strictjson.Value {
	t.Helper()
	v, err := strictjson.Parse([]byte(s), strictjson.Limits{})
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return v
}

func TestRefused(t *testing.T) {
	tests := []struct{ in, why string }{
		// Duplicate names, at every depth: the last wins in encoding/json, the first elsewhere (Vault CVE-2020-16250).
		{`{"sub":"a","sub":"b"}`, "an object has a name twice"},
		{`{"a":{"b":1,"b":1}}`, "an object has a name twice"},
		{`[{"b":1,"c":2,"b":1}]`, "an object has a name twice"},
		{`{"sub":"a","s\u0075b":"b"}`, "an object has a name twice"},
		// Names that encoding/json takes for each other: case, U+017F (long s), U+212A (Kelvin).
		{`{"sub":"a","SUB":"b"}`, "an object has two names that differ only by case"},
		{`{"sub":"a","ſub":"b"}`, "an object has two names that differ only by case"},
		{`{"kid":"a","\u212aid":"b"}`, "an object has two names that differ only by case"},
		{`{"a":{"role":1,"Role":2}}`, "an object has two names that differ only by case"},
		{`{"σ":1,"ς":2}`, "an object has two names that differ only by case"},
		// Encodings.
		{"\xef\xbb\xbf{}", "the document begins with a byte order mark"},
		{"\xff\xfe{\x00}\x00", "the document is not UTF-8"},
		{"{\x00\"a\":1}", "the document is not JSON"},
		{"\"a\xff\"", "the document is not UTF-8"},
		{"\"\xc0\xae\"", "the document is not UTF-8"},
		{"\"\xed\xa0\x80\"", "the document is not UTF-8"},
		{"{\"a\xff\":1}", "the document is not UTF-8"},
		{`"\ud800"`, "the document is not JSON"},
		{`"\udc00x"`, "the document is not JSON"},
		{`"\ud800\ud800"`, "the document is not JSON"},
		{`{"\ud800":1}`, "the document is not JSON"},
		// NUL and controls.
		{`"a\u0000"`, "a string holds NUL"},
		{`{"a\u0000":1}`, "a string holds NUL"},
		{`{"a":["\u0000"]}`, "a string holds NUL"},
		{"\"a\x00\"", "the document is not JSON"},
		{"\"a\nb\"", "the document is not JSON"},
		// Anything after the value.
		{`{} {}`, "something follows the value"},
		{`{}x`, "something follows the value"},
		{`1 2`, "something follows the value"},
		{`"a"]`, "something follows the value"},
		{"{}\x00", "something follows the value"},
		// No value, half a value, other dialects.
		{``, "the document ends too early"},
		{`  `, "the document ends too early"},
		{`{`, "the document ends too early"},
		{`{"a":`, "the document ends too early"},
		{`[1,`, "the document ends too early"},
		{`"a`, "the document ends too early"},
		{`[1,]`, "the document is not JSON"},
		{`{"a":1,}`, "the document is not JSON"},
		{`{a:1}`, "the document is not JSON"},
		{`{'a':1}`, "the document is not JSON"},
		{`{1:2}`, "the document is not JSON"},
		{`/**/1`, "the document is not JSON"},
		{`01`, "something follows the value"},
		{`[01]`, "the document is not JSON"},
		{`[+1]`, "the document is not JSON"},
		{`[1.]`, "the document is not JSON"},
		{`[.1]`, "the document is not JSON"},
		{`[0x1]`, "the document is not JSON"},
		{`[NaN]`, "the document is not JSON"},
		{`True`, "the document is not JSON"},
		{`]`, "the document is not JSON"},
	}
	for _, tt := range tests {
		v, err := strictjson.Parse([]byte(tt.in), strictjson.Limits{})
		var refusal *strictjson.Error
		if !errors.As(err, &refusal) || refusal.Why != tt.why {
			t.Errorf("Parse(%q) = %v, %v, want %s", tt.in, v, err, tt.why)
			continue
		}
		if refusal.Offset < 0 || refusal.Offset > len(tt.in) || v.Kind() != strictjson.Invalid {
			t.Errorf("Parse(%q): offset %d, kind %v", tt.in, refusal.Offset, v.Kind())
		}
	}
}

func TestErrorsQuoteNothing(t *testing.T) {
	for _, in := range []string{`{"s3cret":1,"s3cret":2}`, `{"s3cret":1,"S3CRET":2}`, `["s3cret\ud800"]`, `s3cret`, `{"s3cret":s3cret}`, `"s3cret" s3cret`} {
		_, err := strictjson.Parse([]byte(in), strictjson.Limits{})
		if err == nil || strings.Contains(strings.ToLower(err.Error()), "s3cret") {
			t.Errorf("Parse(%q) = %v", in, err)
		}
	}
	_, err := strictjson.Parse([]byte(`[1,x]`), strictjson.Limits{})
	if err.Error() != "strictjson: the document is not JSON at byte 3" {
		t.Errorf("Error() = %q", err)
	}
}

func TestLimits(t *testing.T) {
	object := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"n%d":0`, i)
		}
		return "{" + strings.TrimPrefix(b.String(), ",") + "}"
	}
	array := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("0,", n), ",") + "]" }
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	var defaults strictjson.Limits
	small := strictjson.Limits{Bytes: 10, Depth: 2, Members: 2, Elements: 2}
	tests := []struct {
		in  string
		lim strictjson.Limits
		why string
	}{
		{`"` + strings.Repeat("a", 64<<10-2) + `"`, defaults, ""},
		{`"` + strings.Repeat("a", 64<<10-1) + `"`, defaults, "the document is too long"},
		{`[123456789]`, small, "the document is too long"},
		{`[12345678]`, small, ""},
		{nested(32), defaults, ""},
		{nested(33), defaults, "the document is nested too deeply"},
		{strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33), defaults, "the document is nested too deeply"},
		{`[{}]`, small, ""},
		{`[[{}]]`, small, "the document is nested too deeply"},
		{`1`, strictjson.Limits{Depth: -1}, ""},
		{`[]`, strictjson.Limits{Depth: -1}, "the document is nested too deeply"},
		{object(1000), defaults, ""},
		{object(1001), defaults, "an object has too many members"},
		{array(1000), defaults, ""},
		{array(1001), defaults, "an array has too many elements"},
		// Each object and each array has its own count.
		{`[[1,2],[3]]`, strictjson.Limits{Elements: 2}, ""},
		{`[[1,2,3]]`, strictjson.Limits{Elements: 2}, "an array has too many elements"},
		{`{"a":{"b":1,"c":2}}`, strictjson.Limits{Members: 2}, ""},
		{`{"a":{"b":1,"c":2,"d":3}}`, strictjson.Limits{Members: 2}, "an object has too many members"},
		// Refused while reading: what follows the limit is never looked at.
		{strings.Repeat("[", 60_000), defaults, "the document is nested too deeply"},
		{`[0,0,0,not json`, strictjson.Limits{Elements: 2}, "an array has too many elements"},
	}
	for _, tt := range tests {
		_, err := strictjson.Parse([]byte(tt.in), tt.lim)
		var refusal *strictjson.Error
		why := ""
		if errors.As(err, &refusal) {
			why = refusal.Why
		}
		if why != tt.why || (err == nil) != (tt.why == "") {
			t.Errorf("Parse(%.40q, %+v) = %v, want %q", tt.in, tt.lim, err, tt.why)
		}
	}
}

// Many names are compared in another way than few, with the same answer.
func TestFoldedNamesInLargeObjects(t *testing.T) {
	for n := range 20 {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"name%d":0,`, i)
		}
		for _, pair := range [][2]string{{"sub", "SUB"}, {"kid", "\u212aID"}, {"ſ", "S"}, {"straße", "STRAßE"}, {"İ", "i"}, {"ÿ", "Ÿ"}, {"a", "b"}} {
			between := fmt.Sprintf(`{"%s":0,%s"%s":0}`, pair[0], b.String(), pair[1])
			before := fmt.Sprintf(`{%s"%s":0,"%s":0}`, b.String(), pair[0], pair[1])
			for _, in := range []string{between, before} {
				_, err := strictjson.Parse([]byte(in), strictjson.Limits{})
				if (err != nil) != strings.EqualFold(pair[0], pair[1]) {
					t.Errorf("Parse(%s) = %v", in, err)
				}
			}
		}
	}
}

func TestAccessors(t *testing.T) {
	v := mustParse(t, ` {"s":"é\ud83d\ude00\n","n":9007199254740993,"b":true,"f":false,"z":null,"list":["a","b"],"o":{"p":{"q":"deep"}},"mixed":["a",1],"none":[]} `)
	member := func(names ...string) strictjson.Value {
		t.Helper()
		m, ok := v.Path(names...)
		if !ok {
			t.Fatalf("Path(%q) is absent", names)
		}
		return m
	}
	if text, ok := member("s").Text(); text != "é😀\n" || !ok {
		t.Errorf("Text = %q, %v", text, ok)
	}
	if number, ok := member("n").Number(); number != "9007199254740993" || !ok {
		t.Errorf("Number = %q, %v", number, ok)
	}
	if b, ok := member("b").Bool(); !b || !ok {
		t.Errorf("Bool of true = %v, %v", b, ok)
	}
	if b, ok := member("f").Bool(); b || !ok {
		t.Errorf("Bool of false = %v, %v", b, ok)
	}
	if text, ok := member("o", "p", "q").Text(); text != "deep" || !ok {
		t.Errorf("Path = %q, %v", text, ok)
	}
	if list, ok := member("list").Strings(); !reflect.DeepEqual(list, []string{"a", "b"}) || !ok {
		t.Errorf("Strings = %q, %v", list, ok)
	}
	if list, ok := member("none").Strings(); len(list) != 0 || !ok {
		t.Errorf("Strings of [] = %q, %v", list, ok)
	}
	if n := len(member("list").Elements()); n != 2 {
		t.Errorf("%d elements", n)
	}
	names := ""
	for _, m := range v.Members() {
		names += m.Name + ":" + m.Value.Kind().String() + " "
	}
	if names != "s:string n:number b:bool f:bool z:null list:array o:object mixed:array none:array " {
		t.Errorf("members are %s", names)
	}
	if self, ok := v.Path(); !ok || self.Kind() != strictjson.Object {
		t.Error("Path without names is not the value itself")
	}
}

// No accessor converts: a string "true" is no boolean, a number no string, a string no list.
func TestAccessorsConvertNothing(t *testing.T) {
	values := []strictjson.Value{{}}
	for _, in := range []string{`null`, `true`, `1`, `"true"`, `["a",1]`, `{"a":"b"}`} {
		values = append(values, mustParse(t, in))
	}
	for _, v := range values {
		kind := v.Kind()
		if _, ok := v.Text(); ok != (kind == strictjson.String) {
			t.Errorf("Text of %v: %v", kind, ok)
		}
		if _, ok := v.Number(); ok != (kind == strictjson.Number) {
			t.Errorf("Number of %v: %v", kind, ok)
		}
		if _, ok := v.Int64(); ok != (kind == strictjson.Number) {
			t.Errorf("Int64 of %v: %v", kind, ok)
		}
		if b, ok := v.Bool(); ok != (kind == strictjson.Bool) || b && !ok {
			t.Errorf("Bool of %v: %v, %v", kind, b, ok)
		}
		if list, ok := v.Strings(); ok || list != nil {
			t.Errorf("Strings of %v: %v", kind, list)
		}
		if (v.Elements() != nil) != (kind == strictjson.Array) || (v.Members() != nil) != (kind == strictjson.Object) {
			t.Errorf("Elements or Members of %v", kind)
		}
		if _, ok := v.Member("a"); ok != (kind == strictjson.Object) {
			t.Errorf("Member of %v: %v", kind, ok)
		}
		if _, ok := v.Path("a", "b"); ok {
			t.Errorf("Path of %v goes through a string", kind)
		}
		if _, ok := v.Path(); ok != (kind != strictjson.Invalid) {
			t.Errorf("Path of %v: %v", kind, ok)
		}
	}
	if _, ok := mustParse(t, `{"sub":"a"}`).Member("SUB"); ok {
		t.Error("Member folds case")
	}
}

func TestInt64(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "7": 7, "-7": -7, "9007199254740993": 9007199254740993, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63} {
		if n, ok := mustParse(t, in).Int64(); n != want || !ok {
			t.Errorf("Int64 of %s = %d, %v", in, n, ok)
		}
	}
	for _, in := range []string{"7.0", "7e0", "7E2", "1.5", "-0", "0.0", "1e400", "9223372036854775808", "-9223372036854775809", "1e18"} {
		if n, ok := mustParse(t, in).Int64(); ok {
			t.Errorf("Int64 of %s = %d, %v", in, n, ok)
		}
		if text, ok := mustParse(t, in).Number(); text != in || !ok {
			t.Errorf("Number of %s = %s", in, text)
		}
	}
}

// plain turns a Value into what encoding/json makes of the same document with UseNumber.
func plain(v strictjson.Value) any {
	switch v.Kind() {
	case strictjson.Bool:
		b, _ := v.Bool()
		return b
	case strictjson.Number:
		n, _ := v.Number()
		return json.Number(n)
	case strictjson.String:
		s, _ := v.Text()
		return s
	case strictjson.Array:
		list := []any{}
		for _, e := range v.Elements() {
			list = append(list, plain(e))
		}
		return list
	case strictjson.Object:
		object := map[string]any{}
		for _, m := range v.Members() {
			object[m.Name] = plain(m.Value)
		}
		return object
	}
	return nil
}

// checkAgainstStd holds the parser to encoding/json: whatever is accepted, encoding/json reads in the same way.
func checkAgainstStd(t interface{ Fatalf(string, ...any) }, data []byte) bool {
	v, err := strictjson.Parse(data, strictjson.Limits{})
	if err != nil {
		var refusal *strictjson.Error
		if !errors.As(err, &refusal) || refusal.Offset < 0 || refusal.Offset > len(data) {
			t.Fatalf("Parse(%q) = %#v", data, err)
		}
		return false
	}
	var want any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&want); err != nil {
		t.Fatalf("Parse accepts %q, encoding/json says %v", data, err)
	}
	if got := plain(v); !reflect.DeepEqual(got, want) {
		t.Fatalf("Parse(%q) = %v, encoding/json reads %v", data, got, want)
	}
	return true
}

func TestAgreesWithEncodingJSON(t *testing.T) {
	accepted := 0
	piece := rapid.SampledFrom([]string{`{`, `}`, `[`, `]`, `,`, `:`, `"a"`, `"A"`, `"b"`, `"\u00e9"`, `"é"`, `"\ud83d\ude00"`, `"\ud800"`, `"\u0000"`, `1`, `-0`, `1e9`,
		`{"a":1}`, `{"a":1,"b":[2]}`, `[1,2]`, `null`, `true`, ` `, "\n", `"a":`, `"b":`, `,"c":`})
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			if checkAgainstStd(t, []byte(strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "pieces"), ""))) {
				accepted++
			}
		}
	})
	if accepted < 50 {
		t.Errorf("only %d documents accepted: the generator misses the point", accepted)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"A":2}`, `{"a":[1,{"b":null}]}`, `"\ud800"`, `"\u0000"`, "\xef\xbb\xbf1", `1e400`, `-0`, `[1] 2`, `{"ſ":1,"s":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkAgainstStd(t, data) })
}

func BenchmarkParseClaims(b *testing.B) {
	claims := []byte(`{"iss":"https://auth.example.com","sub":"8f14e45f","aud":["orders-api"],"exp":1764000900,"iat":1764000000,"jti":"c9f0f895fb98ab91",` +
		`"client_id":"web","scope":"openid read:orders write:orders","realm_access":{"roles":["user","admin"]}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(claims)))
	for b.Loop() {
		if _, err := strictjson.Parse(claims, strictjson.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
