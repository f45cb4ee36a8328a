package body_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/body"
)

// show writes what stands at a place as a person reads it.
func show(l body.List) string {
	text := [...]string{"missing", "one", "many", "empty", "null", "no list"}[l.State]
	for _, v := range l.Values {
		text += " " + [...]string{"none", "string", "number", "other"}[v.Kind] + ":" + v.Text
	}
	return text
}

// kindOf is how a body was refused.
func kindOf(t *testing.T, err error) string {
	t.Helper()
	var refused *body.Error
	if !errors.As(err, &refused) {
		t.Fatalf("%v is no *body.Error", err)
	}
	return [...]string{"malformed", "ambiguous", "too large"}[refused.Kind]
}

// An id in a JSON body is the one text that every reader finds, or none is found.
func TestJSON(t *testing.T) {
	for _, test := range []struct{ path, document, want string }{
		{"user_id", `{"user_id":"alice"}`, "one string:alice"},
		{"user_id", `{"user_id":7}`, "one number:7"},
		{"user_id", `{"user_id":007}`, "malformed"},
		{"user_id", `{"user_id":+7}`, "malformed"},
		{"user_id", `{"user_id":7.0}`, "one number:7.0"},
		{"user_id", `{"user_id":1e400}`, "one number:1e400"},
		{"user_id", `{"user_id":["alice","bob"]}`, "one other:"},
		{"user_id", `{"user_id":{"$ne":null}}`, "one other:"},
		{"user_id", `{"user_id":null}`, "one other:"},
		{"user_id", `{"other":"alice"}`, "missing"},
		{"user_id", `[{"user_id":"alice"}]`, "missing"},
		{"user_id", `{"user_id":"alice","user_id":"bob"}`, "ambiguous"},
		{"user_id", `{"user_id":"alice","\u0075ser_id":"bob"}`, "ambiguous"},
		{"user_id", `{"user_id":"alice","USER_ID":"bob"}`, "ambiguous"},
		{"user_id", `{"User_Id":"bob"}`, "ambiguous"},
		{"user_id", "{\"u\u017fer_id\":\"bob\"}", "ambiguous"},
		{"kind_id", "{\"\u212aind_id\":\"bob\"}", "ambiguous"},
		{"user_id", `{"\u0075ser_id":"alice"}`, "one string:alice"},
		{"user_id", `{"\u0055ser_id":"bob"}`, "ambiguous"},
		{"user_id", `{"user_id":9007199254740993}`, "one number:9007199254740993"},
		{"user_id", `{"user_id":-0}`, "one number:-0"},
		{"user_id", `{"user_id":true}`, "one other:"},
		{"user_id", `{"user_id":"a\u0308lice"}`, "one string:a\u0308lice"}, // no other normal form
		{"a.user_id", `{"a":{"user_id":"alice","x":{"USER_ID":"bob"}}}`, "one string:alice"},
		{"a.user_id", `{"A":{"user_id":"bob"}}`, "ambiguous"},
		{"a.user_id", `{"a":{"user_id":"alice"},"b":[{"x":1,"x":2}]}`, "ambiguous"},
		{"a.user_id", `{"a":"alice"}`, "missing"},
		{"a.user_id", `{"a":[{"user_id":"alice"}]}`, "missing"},
		{"user_id", "{\x00\"\x00u\x00", "malformed"},
		{"user_id", "\xff\xfe{\x00}\x00", "malformed"},
		{"user_id", "user_id=alice", "malformed"},
		{"user_id", `{"user_id":"alice"} {"user_id":"bob"}`, "malformed"},
		{"user_id", `{"user_id":"alice"`, "malformed"},
		{"user_id", `{'user_id':'alice'}`, "malformed"},
		{"user_id", `{"user_id":"alice",}`, "malformed"},
		{"user_id", `/**/{"user_id":"alice"}`, "malformed"},
		{"user_id", "\xef\xbb\xbf" + `{"user_id":"alice"}`, "malformed"},
		{"user_id", "{\"user_id\":\"al\xffice\"}", "malformed"},
		{"user_id", `{"user_id":"\ud800"}`, "malformed"},
		{"user_id", `{"user_id":"alice\u0000"}`, "malformed"},
		{"user_id", ``, "malformed"},
		{"user_id", strings.Repeat("[", 65) + strings.Repeat("]", 65), "too large"},
		{"user_id", `{"user_id":"` + strings.Repeat("a", body.MaxBytes) + `"}`, "too large"},
		{"ids[*]", `{"ids":["a","b"]}`, "many string:a string:b"},
		{"ids[*]", `{"ids":[]}`, "empty"},
		{"ids[*]", `{"ids":null}`, "null"},
		{"ids[*]", `{"ids":"a"}`, "no list"},
		{"items[*].id", `{"items":[{"id":"a"},{}]}`, "many string:a none:"},
		{"items[*].id", `{"items":[{"id":"a"},{"ID":"b"}]}`, "ambiguous"},
		{"items[*].id", `{"items":[{"id":"a"},null,7,["b"],{"id":null}]}`, "many string:a none: none: none: other:"},
		{"items[*].id", `{"items":{"0":{"id":"a"}}}`, "no list"},
		{"a[*].b[*]", `{"a":[{"b":["x","y"]},{"b":[]},{},{"b":"z"}]}`, "many string:x string:y none: none: none:"},
		{"a[*][*]", `{"a":[["x"],[]]}`, "many string:x none:"},
		{"ids[*]", `{"ids":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 1001), ",") + `],"ids":[]}`, "ambiguous"},
		{"ids[*]", `{"ids":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 1001), ",") + `]}`, "too large"},
	} {
		plan, err := body.JSON([]string{test.path})
		if err != nil {
			t.Fatal(err)
		}
		values, err := plan.Read([]byte(test.document))
		got := show(values.At(0))
		if err != nil {
			got = kindOf(t, err)
		}
		if got != test.want {
			t.Errorf("%s in %.60s: %s, want %s", test.path, test.document, got, test.want)
		}
	}
}

func TestForm(t *testing.T) {
	for _, test := range []struct{ name, form, want string }{
		{"user_id", "user_id=alice&x=1", "one string:alice"},
		{"user_id", "user_id=alice%40example.com", "one string:alice@example.com"},
		{"user_id", "user_id=", "one string:"},
		{"user_id", "x=1", "missing"},
		{"user_id", "", "missing"},
		{"user_id", "user_id=alice&user_id=bob", "ambiguous"},
		{"user_id", "user_id=alice&user%5Fid=bob", "ambiguous"},
		{"user_id", "user_id=alice&user_id[]=bob", "ambiguous"},
		{"user_id", "user_id=alice&USER_ID=bob", "ambiguous"},
		{"user_id", "user_id=alice&user.id=bob", "ambiguous"},
		{"user_id", "user_id=alice;user_id=bob", "ambiguous"},
		{"user_id", "user_id=al%ice", "ambiguous"},
		{"user_id", "user_id=%ff", "ambiguous"},
		{"user_id", "user_id=" + strings.Repeat("a", body.MaxBytes), "too large"},
		{"id[*]", "id=a&x=1&id=b", "many string:a string:b"},
		{"id[*]", "x=1", "missing"},
		{"id[*]", "id=a&id[]=b", "ambiguous"},
		{"ids[,]", "ids=a,b", "many string:a string:b"},
		{"ids[,]", "ids=a,", "many string:a string:"},
		{"ids[,]", "ids=a%2Cb", "ambiguous"},
		{"ids[,]", "ids=a,+b", "ambiguous"},
		{"ids[,]", "ids=a&ids=b", "ambiguous"},
		{"ids[,]", "x=1", "missing"},
		{"ids[,]", "ids=", "many string:"}, // an empty id, which is nobody's, and no empty list
		{"user_id", "user_id=a,b", "one string:a,b"},
		{"user_id", "user_id=alice&_method=DELETE", "ambiguous"},
		{"user_id", `{"user_id":"alice"}`, "missing"},
		// No more than a thousand, and what comes to nothing is not counted.
		{"id[*]", strings.Repeat("id=&", 1000) + "x=a&idx=b", "many" + strings.Repeat(" string:", 1000)},
		{"id[*]", strings.Repeat("id&", 1001), "too large"},
		{"ids[,]", "ids=" + strings.Repeat(",", 999), "many" + strings.Repeat(" string:", 1000)},
		{"ids[,]", "ids=" + strings.Repeat(",", 1000), "too large"},
		{"ids[,]", "ids=a&idx=" + strings.Repeat(",", 1000), "many string:a"},
		{"user_id", "user_id=alice" + strings.Repeat("&", 9_999), "one string:alice"},
		{"user_id", "user_id=alice" + strings.Repeat("&", 10_000), "too large"},
	} {
		plan, err := body.Form([]string{test.name})
		if err != nil {
			t.Fatal(err)
		}
		values, err := plan.Read([]byte(test.form))
		got := show(values.At(0))
		if err != nil {
			got = kindOf(t, err)
		}
		if got != test.want {
			t.Errorf("%s in %.40s: %s, want %s", test.name, test.form, got, test.want)
		}
	}
	for _, name := range []string{"", "a b", "a[0]", "a[]", "a&b", "a;b", "%61", "é", "[*]", "[,]", "a[*][,]", "a[*].b"} {
		if _, err := body.Form([]string{name}); err == nil {
			t.Errorf("a field named %q is read", name)
		}
	}
}

// A place that no plan has holds nothing.
func TestNoSuchPlace(t *testing.T) {
	var none body.Values
	for _, i := range []int{-1, 0, 1} {
		if got := show(none.At(i)); got != "missing" {
			t.Errorf("%d: %s", i, got)
		}
	}
}

// No part of a body may reach a log by an error.
func TestErrorsHoldNothingOfTheBody(t *testing.T) {
	plan, err := body.JSON([]string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range []string{`{"id":"canary`, `{"canary":1,"canary":2}`, `{"ID":"canary"}`, `canary`} {
		if _, err := plan.Read([]byte(document)); err == nil || strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("%s: %v", document, err)
		}
	}
}

// What is allocated for a form depends on what is found, and the form itself is copied once.
func TestFormAllocates(t *testing.T) {
	plan, err := body.Form([]string{"user_id", "id[*]"})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"user_id=alice", "user_id=alice&" + strings.Repeat("x="+strings.Repeat("1", 90)+"&", 9_000), "user_id=alice&" + strings.Repeat("id=1&", 1000)} {
		if n := testing.AllocsPerRun(10, func() {
			if _, err := plan.Read([]byte(form)); err != nil {
				t.Fatal(err)
			}
		}); n > 20 { // a list grows in about a dozen steps
			t.Errorf("%.20s...: %v allocations", form, n)
		}
	}
	// What is refused for its length is refused before a list of it is made.
	long := []byte(strings.Repeat("id=1&", 9_000))
	if n := testing.AllocsPerRun(10, func() {
		if _, err := plan.Read(long); err == nil {
			t.Fatal("9,000 ids are read")
		}
	}); n > 10 {
		t.Errorf("%v allocations to refuse a list", n)
	}
}

func TestJSONRefusesPaths(t *testing.T) {
	for path, want := range map[string]string{
		"": `"", at byte 1:`, "a..b": `"a..b", at byte 3:`, "a[0]": `"a[0]", at byte 2:`, "[*].id": `"[*].id", at byte 1:`, "a[*]b": `"a[*]b", at byte 2:`,
	} {
		if _, err := body.JSON([]string{path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", path, err, want)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"id":"a"}`, `{"items":[{"id":1}]}`, `{"ID":1}`, `{"\u0069d":"\u0061"}`, `{"id":"a","id":"b"}`, `{"items":[null,{}]}`, "\xff", `[`} {
		f.Add([]byte(seed))
	}
	plan, err := body.JSON([]string{"id", "items[*].id"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := plan.Read(data)
		if err != nil {
			kindOf(t, err)
			if values.At(0).State != body.Missing || values.At(1).State != body.Missing {
				t.Error("a refused body gives values")
			}
			return
		}
		// encoding/json reads the same, whose names fold and whose last of two wins.
		var other struct {
			ID    any
			Items any
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		if err := decoder.Decode(&other); err != nil && values.At(0).State == body.One {
			t.Fatalf("read, and encoding/json says %v", err)
		}
		if got := values.At(0); got.State == body.One && got.Values[0].Kind != body.Other && fmt.Sprint(other.ID) != got.Values[0].Text || got.State == body.Missing && other.ID != nil {
			t.Errorf("id: %s, and encoding/json reads %v", show(got), other.ID)
		}
		if list, _ := other.Items.([]any); len(list) != len(values.At(1).Values) {
			t.Errorf("%s, and encoding/json reads %d", show(values.At(1)), len(list))
		}
	})
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"id=a", "id=a&id=b", "id=%2c", "ids=a,b;c", "ids=a,b&id=", "ids=a%2Cb", "i%64=a", "id[]=a", "id=a+b&ids=a,,b"} {
		f.Add([]byte(seed))
	}
	var plans []*body.FormPlan
	for _, name := range []string{"id", "id[*]", "ids[,]"} {
		plan, err := body.Form([]string{name})
		if err != nil {
			f.Fatal(err)
		}
		plans = append(plans, plan)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, parseErr := url.ParseQuery(string(data))
		read := func(plan *body.FormPlan) (body.List, bool) {
			values, err := plan.Read(data)
			if err != nil {
				kindOf(t, err)
				return body.List{}, false
			}
			if parseErr != nil {
				t.Errorf("read, and net/url says %v", parseErr)
			}
			return values.At(0), true
		}
		one, oneRead := read(plans[0])
		if each, ok := read(plans[1]); ok {
			if want := parsed["id"]; !slices.Equal(texts(each), want) {
				t.Errorf("%q, and net/url reads %q", texts(each), want)
			}
			if oneRead && (len(each.Values) > 1 || !slices.Equal(texts(each), texts(one))) {
				t.Errorf("%s, and alone %s", show(each), show(one))
			}
		} else if oneRead && one.State == body.One {
			t.Error("one is read, and each is not")
		}
		if list, ok := read(plans[2]); ok && list.State == body.Many && parsed.Get("ids") != strings.Join(texts(list), ",") {
			t.Errorf("%s, and net/url reads %q", show(list), parsed["ids"])
		}
	})
}

func texts(l body.List) []string {
	var all []string
	for _, v := range l.Values {
		all = append(all, v.Text)
	}
	return all
}

// order is a JSON body of 8 KB.
func order() []byte {
	var b bytes.Buffer
	b.WriteString(`{"user_id":"alice","items":[`)
	for i := 0; b.Len() < 8000; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"order-%d","quantity":%d,"price":{"amount":"12.50","currency":"EUR"},"tags":["a","b","c"],"gift":false}`, i, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// The scan beside which this is measured is strictjson's BenchmarkPlainScan.
func BenchmarkJSON(b *testing.B) {
	data := order()
	for name, path := range map[string]string{"one": "user_id", "each": "items[*].id"} {
		b.Run(name, func(b *testing.B) {
			plan, err := body.JSON([]string{path})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := plan.Read(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkForm(b *testing.B) {
	data := []byte("page=2&sort=created&user_id=8f14e45f&limit=50&" + strings.Repeat("field=a+value&", 100))
	plan, err := body.Form([]string{"user_id"})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := plan.Read(data); err != nil {
			b.Fatal(err)
		}
	}
}
