package target_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/target"
)

func query(t *testing.T, raw string) target.Query {
	t.Helper()
	got, err := parsePath("/a?" + raw)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return got.Query()
}

func TestQueryOne(t *testing.T) {
	tests := []struct{ raw, value string }{
		{"user_id=alice", "alice"},
		{"page=2&user_id=alice&sort=asc", "alice"},
		{"user_id=", ""},
		{"user_id", ""},
		{"&&user_id=alice&", "alice"},
		// '+' is a space, escapes are decoded once, only the first '=' parts name and value.
		{"user_id=alice+b%20c", "alice b c"},
		{"user_id=a%2Bb", "a+b"},
		{"user_id=a=b", "a=b"},
		{"user_id=%2561", "%61"},
		{"user_id=caf%C3%A9", "café"},
		{"user_id=a?b/c", "a?b/c"},
		// Names that only contain it are others.
		{"user_ids=bob&user_id=alice&xuser_id=eve&user-id=mallory", "alice"},
		{"filter[user_id]=bob&user_id=alice", "alice"},
	}
	for _, tt := range tests {
		value, present, err := query(t, tt.raw).One("user_id")
		if value != tt.value || !present || err != nil {
			t.Errorf("One(%q) = %q, %v, %v, want %q", tt.raw, value, present, err, tt.value)
		}
	}
	for _, raw := range []string{"", "page=2", "user_ids=7", "x=user_id", "x=%26user_id=7"} {
		value, present, err := query(t, raw).One("user_id")
		if value != "" || present || err != nil {
			t.Errorf("One(%q) = %q, %v, %v, want absent", raw, value, present, err)
		}
	}
}

func TestQueryOneRefuses(t *testing.T) {
	tests := []string{
		// Twice.
		"user_id=alice&user_id=bob",
		"user_id=alice&user_id=alice",
		"user_id&user_id",
		// Spelled otherwise: case, escapes, Unicode folds (U+017F is a long s).
		"USER_ID=bob",
		"user_id=alice&User_Id=bob",
		"user%5Fid=bob",
		"user_id=alice&u%73er_id=bob",
		"user_id=alice&u%C5%BFer_id=bob",
		// Lists and objects of frameworks.
		"user_id[]=bob",
		"user_id=alice&user_id[]=bob",
		"user_id=alice&user_id%5B0%5D=bob",
		"user_id=alice&user_id.x=bob",
		"user_id=alice&USER_ID[x]=bob",
		// PHP: dots, spaces and an open bracket become '_', spaces before and all after a NUL go.
		"user_id=alice&user.id=bob",
		"user_id=alice&user+id=bob",
		"user_id=alice&user%20id=bob",
		"user_id=alice&user[id=bob",
		"user_id=alice&+user_id=bob",
		"user_id=alice&user_id%00x=bob",
		// A second question mark that some readers drop.
		"?user_id=bob",
		// White space, controls and a closing bracket around a name, which some readers trim.
		"user_id=alice&user_id%20=bob",
		"user_id=alice&user_id+=bob",
		"user_id=alice&user_id%0a=bob",
		"user_id=alice&%09user_id=bob",
		"user_id=alice&user_id%C2%A0=bob",
		"user_id=alice&%EF%BB%BFuser_id=bob",
		"user_id=alice&user_id%E2%80%8B=bob",
		"user_id=alice&user_id%7f=bob",
		"user_id=alice&user_id]=bob",
		"user_id=alice&user_id%20[]=bob",
		"user_id=alice&User_Id%20%0d=bob",
		// Another separator, whichever parameter holds it.
		"user_id=alice;user_id=bob",
		"x=1;user_id=bob&user_id=alice",
		// Malformed escapes, whichever parameter holds them.
		"user_id=a%zz",
		"user_id=a%",
		"x=%2&user_id=alice",
		"%zzuser_id=bob&user_id=alice",
		// Not UTF-8.
		"user_id=%c0%ae",
		"user_id=\xff",
		"user_id=alice&user_id%ff=bob",
	}
	for _, raw := range tests {
		value, present, err := query(t, raw).One("user_id")
		if value != "" || present || err == nil {
			t.Errorf("One(%q) = %q, %v, %v, want an error", raw, value, present, err)
			continue
		}
		if part, _ := refusedPart(t, err); part != "query" {
			t.Errorf("One(%q) refused the %s", raw, part)
		}
	}
}

// A repeated parameter is a list, in its order, as long as every occurrence is spelled as it is read.
func TestQueryAll(t *testing.T) {
	for _, test := range []struct {
		raw  string
		want []string
	}{
		{"id=a", []string{"a"}},
		{"id=a&x=1&id=b&id=a", []string{"a", "b", "a"}},
		{"id&id=", []string{"", ""}},
		{"id=a+b&id=%2c&id=a,b", []string{"a b", ",", "a,b"}},
		{"ids=c&id=a&xid=d", []string{"a"}},
		{"x=id", nil},
		{"", nil},
	} {
		got, err := query(t, test.raw).All("id", nil)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("All(%q) = %q, %v, want %q", test.raw, got, err, test.want)
		}
	}
	if got, err := query(t, "id=a").All("id", []string{"before"}); err != nil || !slices.Equal(got, []string{"before", "a"}) {
		t.Errorf("All does not append: %q, %v", got, err)
	}
	for _, raw := range []string{
		"id[]=a", "id=a&id[]=b", "id[0]=a&id[1]=b", "id=a&id%5B%5D=b", "id=a&id.0=b", "id=a&ID=b", "id=a&i%64=b", "id=a&%C4%B1d[]=x&id%00=b", "id=a&+id=b", "id=a&id%20=b",
		"id=a;id=b", "id=a&x=1;2", "id=%zz", "x=%&id=a", "id=%ff", "id=a&%ff=b",
	} {
		if got, err := query(t, raw).All("id", nil); err == nil {
			t.Errorf("All(%q) = %q", raw, got)
		} else if part, _ := refusedPart(t, err); part != "query" {
			t.Errorf("All(%q) refused the %s", raw, part)
		}
	}
}

// A list between commas is one occurrence, and splits in the same places before and after it is decoded.
func TestQueryComma(t *testing.T) {
	for _, test := range []struct {
		raw  string
		want []string
	}{
		{"ids=a", []string{"a"}},
		{"ids=a,b,a&x=1,2", []string{"a", "b", "a"}},
		{"ids=a%40b,c", []string{"a@b", "c"}},
		{"ids=a%20b,c", []string{"a b", "c"}},
		// A part that is empty is a value, which nothing equals: it does not make the list shorter.
		{"ids=a,", []string{"a", ""}},
		{"ids=,a", []string{"", "a"}},
		{"ids=a,,b", []string{"a", "", "b"}},
		{"ids=", []string{""}},
		{"ids", []string{""}},
		{"x=a,b", nil},
		{"", nil},
	} {
		got, err := query(t, test.raw).Comma("ids", nil)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("Comma(%q) = %q, %v, want %q", test.raw, got, err, test.want)
		}
	}
	for _, raw := range []string{
		"ids=a%2Cb", "ids=a,b%2c", "ids=a%2C", "ids=a, b", "ids=a,+b", "ids=a+,b", "ids=a,%09b", "ids=a%C2%A0,b", "ids=a%E2%80%8B,b",
		"ids=a&ids=b", "ids=a,b&ids=", "ids=a&ids[]=b", "ids[]=a", "ids=a&IDS=b", "ids=a&id%73=b", "ids=a&id%C5%BF=b", "ids=a,b;c", "ids=a,%zz", "ids=a,%ff",
	} {
		raw = strings.ReplaceAll(raw, " ", "%20")
		if got, err := query(t, raw).Comma("ids", nil); err == nil {
			t.Errorf("Comma(%q) = %q", raw, got)
		} else if part, _ := refusedPart(t, err); part != "query" {
			t.Errorf("Comma(%q) refused the %s", raw, part)
		}
	}
}

// A name with a bracket or a dot can be read, and then every sibling resembles it.
func TestQueryOneNestedName(t *testing.T) {
	if value, present, err := query(t, "filter[user]=7&page=1").One("filter[user]"); value != "7" || !present || err != nil {
		t.Errorf("got %q, %v, %v", value, present, err)
	}
	for _, raw := range []string{"filter[user]=7&filter[user][]=8", "filter[user]=7&filter=8", "filter[user]=7&filter.user=8"} {
		if _, _, err := query(t, raw).One("filter[user]"); err == nil {
			t.Errorf("One(%q) accepted it", raw)
		}
	}
}

// A name that cannot stand raw is never read, and its escaped spelling is refused, not overlooked.
func TestQueryUnreadableName(t *testing.T) {
	for _, name := range []string{"", "a b", "a+b", "a%b", "a&b", "a=b", "a;b", "a#b", "é", "a\x00", "a\xff", "a?"} {
		if target.ReadableName(name) {
			t.Errorf("ReadableName(%q)", name)
		}
		if _, present, _ := target.ParseForm(name + "=7").One(name); present {
			t.Errorf("One(%q) read it raw", name)
		}
		if name == "" || name == "a\x00" || name == "a\xff" {
			continue
		}
		if _, _, err := target.ParseForm(url.QueryEscape(name) + "=7").One(name); err == nil {
			t.Errorf("One(%q) overlooked the escaped name", name)
		}
	}
	for _, name := range []string{"user_id", "user-id", "filter[user]", "user.id", "$top", "ids[]"} {
		if !target.ReadableName(name) {
			t.Errorf("ReadableName(%q) is false", name)
		}
	}
}

func TestQueryHas(t *testing.T) {
	present := []string{
		"access_token=x", "access_token", "a=1&access_token=x", "ACCESS_TOKEN=x", "access%5Ftoken=x", "%61ccess_token=x", "acce%C5%BFs_token=x",
		"access_token[]=x", "access.token=x", "access+token=x", "a=1;access_token=x", "?access_token=x", "+access_token=x",
		"access_token%20=x", "access_token%00=x", "access_token%C2%A0=x",
		// What else is malformed changes nothing.
		"a=%zz&access_token=x", "a=%ff&access_token=x", "a=50%&b;access_token=x",
		// A name that is malformed itself, and that a reader may mend to this one.
		"access_token%zz=x", "access%zz_token=x", "access%_token=x", "%ffaccess_token=x", "acce%ffss_token=x", "%u0061ccess_token=x", "access%u005Ftoken=x",
		"ACCESS_TOKEN%=x", "access.token%=x", "acce%C5%BFs_token%z", "x_access_token%zz",
	}
	for _, raw := range present {
		if !query(t, raw).Has("access_token") {
			t.Errorf("Has(%q) overlooked it", raw)
		}
	}
	absent := []string{
		"", "a=access_token", "access_tokens=x", "xaccess_token=x", "accesstoken=x", "a=%zz", "a=1;b=2", "&&", "a=%ff",
		// A value is no name, however the rest is spelled.
		"a=%zzAccess_Token", "a=%ff&x=access_token", "sort=a;b&q=access_token", "q=%E9t%E9&f=access_token", "q=50%&f=the_access_token_docs", "50%&f=access_token", "%u0062=access_token",
	}
	for _, raw := range absent {
		if query(t, raw).Has("access_token") {
			t.Errorf("Has(%q) is true", raw)
		}
	}
	if !query(t, "_METHOD=DELETE").Has("_method") {
		t.Error("Has overlooked _METHOD")
	}
	for _, raw := range []string{"sort=a;b&q=http_method", "q=%E9t%E9&f=http_method", "http_method;x"} {
		if query(t, raw).Has("_method") {
			t.Errorf("Has(%q) is true", raw)
		}
	}
}

// What One returns is what a reader that takes the first and one that takes the last of a name both see.
func TestQueryAgreesWithOtherReaders(t *testing.T) {
	piece := rapid.SampledFrom([]string{"id", "ID", "i%64", "id[]", "id.x", "x", "=", "=", "&", "&", "+", "%20", "%41", "%zz", ";", "7", "é", "%ff", "%26", "%3d"})
	rapid.Check(t, func(t *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(piece, 0, 10).Draw(t, "pieces"), "")
		value, present, err := target.ParseForm(raw).One("id")
		if err != nil {
			return
		}
		parsed, parseErr := url.ParseQuery(raw)
		if parseErr != nil {
			t.Fatalf("One accepts %q, net/url says %v", raw, parseErr)
		}
		seen := map[string][]string{}
		for name, values := range parsed {
			key := strings.TrimSpace(strings.ToLower(strings.Split(strings.Split(name, "[")[0], ".")[0]))
			seen[key] = append(seen[key], values...)
		}
		if !present && len(seen["id"]) != 0 || present && (len(seen["id"]) != 1 || seen["id"][0] != value) {
			t.Fatalf("One(%q) = %q, %v; others see %q", raw, value, present, seen["id"])
		}
		if present && !target.ParseForm(raw).Has("id") {
			t.Fatalf("One reads what Has overlooks in %q", raw)
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"id=7", "id=7&id=8", "ID=7", "i%64=7", "id[]=7", "a;id=7", "%zz", "id=%ff", "id=7,8", "id=7%2C8", "id=7,", "id=7,+8"} {
		f.Add(seed, "id")
	}
	f.Fuzz(func(t *testing.T, raw, name string) {
		q := target.ParseForm(raw)
		value, present, err := q.One(name)
		if err != nil && (value != "" || present) {
			t.Fatalf("an error with a value: %q, %v, %v", value, present, err)
		}
		if present && !q.Has(name) {
			t.Fatalf("One(%q, %q) is present, Has is not", raw, name)
		}
		all, allErr := q.All(name, nil)
		switch {
		case err == nil && (allErr != nil || present && !slices.Equal(all, []string{value}) || !present && len(all) != 0):
			t.Fatalf("One(%q, %q) = %q, %v, and All = %q, %v", raw, name, value, present, all, allErr)
		case err != nil && allErr == nil && len(all) < 2: // One refuses only what is there twice
			t.Fatalf("One(%q, %q) says %v, and All = %q", raw, name, err, all)
		}
		parts, commaErr := q.Comma(name, nil)
		if err != nil && commaErr == nil || commaErr == nil && present && strings.Join(parts, ",") != value || commaErr == nil && !present && len(parts) != 0 {
			t.Fatalf("One(%q, %q) = %q, %v, and Comma = %q, %v", raw, name, value, err, parts, commaErr)
		}
	})
}

func BenchmarkQueryOne(b *testing.B) {
	q := target.ParseForm("page=2&sort=created&user_id=8f14e45f&limit=50")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := q.One("user_id"); err != nil {
			b.Fatal(err)
		}
	}
}

// Names that somebody could read otherwise are an error, wherever they stand; what is yielded stands in the query byte for byte.
func TestQueryNames(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "a=1&b=2&a=3": "a b a", "a&b=": "a b", "a=1&": "a", "&&a": "a", "a=%2f+": "a",
		"a=1&%62=2": "!", "a=1;b=2": "!", "a=%zz": "!", "=1": "!", "a=1&b c=2": "!", "a=1&é=2": "!",
	} {
		var names []string
		err := (target.Target{RawQuery: query}).Query().Names(func(name string) bool {
			names = append(names, name)
			return true
		})
		got := strings.Join(names, " ")
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
	n := 0
	if err := target.ParseForm("a&b&%zz").Names(func(string) bool { n++; return false }); err == nil {
		t.Error("what is malformed behind the last name that was wanted is not seen")
	}
	if err := target.ParseForm("a&b").Names(func(string) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%v after %d names", err, n)
	}
}
