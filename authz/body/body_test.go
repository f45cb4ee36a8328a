package body_test

import (
	"errors"
	"fmt"
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
	for _, name := range []string{"", "a b", "a[0]", "a&b", "[*]"} {
		if _, err := body.Form([]string{name}); err == nil && name != "[*]" {
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

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"id":"a"}`, `{"items":[{"id":1}]}`, `{"ID":1}`, "\xff", `[`} {
		f.Add([]byte(seed))
	}
	plan, err := body.JSON([]string{"id", "items[*].id"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if values, err := plan.Read(data); err != nil && (values.At(0).State != body.Missing || values.At(1).State != body.Missing) {
			t.Error("a refused body gives values")
		}
	})
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"id=a", "id=a&id=b", "id=%2c", "ids=a,b;c"} {
		f.Add([]byte(seed))
	}
	plan, err := body.Form([]string{"id", "id[*]", "ids[,]"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := plan.Read(data)
		if err == nil && values.At(0).State == body.One && values.At(1).Values[0] != values.At(0).Values[0] {
			t.Error("one reading differs from the other")
		}
	})
}
