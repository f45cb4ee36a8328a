package fields_test

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/fields"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// profile is what a person may write of themselves, what support may, and what an admin may.
func profile(t testing.TB) *fields.Writable {
	t.Helper()
	w, err := fields.New(
		[]string{"name", "email", "address.*", "phones[*].number", "tags[*]", "prefs.theme", "a/b", "m~n"},
		map[string][]string{"admin": {"role", "prefs"}, "support": {"phones", "limits.*"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func parse(t testing.TB, text string) strictjson.Value {
	t.Helper()
	v, err := strictjson.Parse([]byte(text), strictjson.Limits{})
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// told is a refusal in a few characters: the pointer, ! where the body is none of its format, * where the client chose a name.
func told(r *fields.Refusal) string {
	switch {
	case r == nil:
		return "ok"
	case r.Malformed:
		return r.Pointer + "!"
	case !r.Named:
		return r.Pointer + "*"
	}
	return r.Pointer
}

// Rows 74 and 2e of the security contract: what else a client may try to write.
func TestJSON(t *testing.T) {
	w := profile(t)
	for name, c := range map[string]struct {
		body  string
		roles []string
		want  string
	}{
		"nothing":                      {`{}`, nil, "ok"},
		"what everyone may":            {`{"name":"a","email":null,"address":{"street":"b","geo":{"lat":1}}}`, nil, "ok"},
		"Alice makes herself admin":    {`{"name":"a","role":"admin"}`, nil, "/role"},
		"an admin does":                {`{"role":"admin"}`, []string{"x", "admin"}, "ok"},
		"another role does not":        {`{"role":"admin"}`, []string{"support", "administrator"}, "/role"},
		"in capitals":                  {`{"Role":"admin"}`, nil, "/Role*"},
		"a name in capitals":           {`{"NAME":"a"}`, nil, "/NAME*"},
		"one nobody knows":             {`{"isAdmin":true}`, []string{"admin", "support"}, "/isAdmin*"},
		"nested":                       {`{"prefs":{"theme":"dark","admin":true}}`, nil, "/prefs/admin*"},
		"nested and listed":            {`{"prefs":{"theme":"dark"}}`, nil, "ok"},
		"the object around it":         {`{"prefs":"dark"}`, nil, "/prefs"},
		"the object emptied":           {`{"prefs":{}}`, nil, "/prefs"},
		"the object removed":           {`{"prefs":null}`, nil, "/prefs"},
		"the object, by an admin":      {`{"prefs":null}`, []string{"admin"}, "ok"},
		"all in an object, emptied":    {`{"address":{}}`, nil, "ok"},
		"all in an object, not itself": {`{"address":null}`, nil, "/address"},
		"an object made a list":        {`{"address":[{"street":"b"}]}`, nil, "/address"},
		"an element's field":           {`{"phones":[{"number":"1"},{"number":"2"}]}`, nil, "ok"},
		"another field of an element":  {`{"phones":[{"number":"1"},{"number":"2","verified":true}]}`, nil, "/phones/1/verified*"},
		"a list emptied":               {`{"phones":[]}`, nil, "/phones"},
		"a list emptied, by support":   {`{"phones":[]}`, []string{"support"}, "ok"},
		"an object for a list":         {`{"phones":{"number":"1"}}`, nil, "/phones/number*"},
		"an object with an index":      {`{"phones":{"0":{"number":"1"}}}`, nil, "/phones/0*"},
		"whole elements":               {`{"tags":["a",{"b":1}]}`, nil, "ok"},
		"a list of whole elements":     {`{"tags":[]}`, nil, "ok"},
		"a text for a list":            {`{"tags":"a"}`, nil, "/tags"},
		"a path for a name":            {`{"prefs.admin":true}`, nil, "/prefs.admin*"},
		"a path in brackets":           {`{"prefs[admin]":true}`, nil, "/prefs[admin]*"},
		"an operator":                  {`{"$set":{"role":"admin"}}`, nil, "/$set*"},
		"an operator where all may be": {`{"address":{"$set":{"role":"admin"}}}`, nil, "/address/$set*"},
		"a path where all may be":      {`{"address":{"a":[{"b.c":1}]}}`, nil, "/address/a/0/b.c*"},
		"a prototype":                  {`{"__proto__":{"role":"admin"}}`, nil, "/__proto__*"},
		"a prototype where all may be": {`{"address":{"x":{"__proto__":{"role":"admin"}}}}`, nil, "/address/x/__proto__*"},
		"a constructor":                {`{"name":{"constructor":{"prototype":{}}}}`, nil, "/name/constructor*"},
		"a control byte":               {`{"address":{"role\u0001":1}}`, nil, "/address/role\x01*"},
		"an empty name":                {`{"address":{"":1}}`, nil, "/address/*"},
		"a list for the root":          {`[{"name":"a"}]`, nil, ""},
		"a text for the root":          {`"name"`, nil, ""},
		"null for the root":            {`null`, nil, ""},
		"the first that is wrong":      {`{"x":1,"role":2}`, nil, "/x*"},
	} {
		if got := told(w.JSON(parse(t, c.body), w.For(c.roles))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Each operation of a JSON Patch, on a place that is listed, partly listed, and not.
func TestPatch(t *testing.T) {
	w := profile(t)
	for name, c := range map[string]struct {
		patch string
		roles []string
		want  string
	}{
		"nothing":                         {`[]`, nil, "ok"},
		"a member":                        {`[{"op":"replace","path":"/name","value":"a"}]`, nil, "ok"},
		"in an object":                    {`[{"op":"add","path":"/address/street","value":"a"}]`, nil, "ok"},
		"deep in an object":               {`[{"op":"add","path":"/address/a/b/0/c","value":"a"}]`, nil, "ok"},
		"the object of them":              {`[{"op":"replace","path":"/address","value":{"street":"a"}}]`, nil, "/address"},
		"what is not listed":              {`[{"op":"add","path":"/role","value":"admin"}]`, nil, "/role"},
		"by an admin":                     {`[{"op":"add","path":"/role","value":"admin"}]`, []string{"admin"}, "ok"},
		"the second of two":               {`[{"op":"test","path":"/name","value":"a"},{"op":"remove","path":"/role"}]`, nil, "/role"},
		"the root":                        {`[{"op":"replace","path":"","value":{"name":"a"}}]`, nil, ""},
		"the root, by an admin":           {`[{"op":"replace","path":"","value":{"role":"a"}}]`, []string{"admin"}, ""},
		"a parent of what is listed":      {`[{"op":"replace","path":"/prefs","value":{"theme":"a"}}]`, nil, "/prefs"},
		"an element":                      {`[{"op":"add","path":"/phones/0/number","value":"1"}]`, nil, "ok"},
		"a new element, partly listed":    {`[{"op":"add","path":"/phones/-","value":{"number":"1"}}]`, nil, "/phones/-*"},
		"a new element, listed whole":     {`[{"op":"add","path":"/tags/-","value":"a"}]`, nil, "ok"},
		"an element by another spelling":  {`[{"op":"add","path":"/tags/00","value":"a"}]`, nil, "/tags/00*"},
		"an element by a negative index":  {`[{"op":"add","path":"/tags/-1","value":"a"}]`, nil, "/tags/-1*"},
		"an escaped slash":                {`[{"op":"add","path":"/a~1b","value":"a"}]`, nil, "ok"},
		"an escaped tilde":                {`[{"op":"add","path":"/m~0n","value":"a"}]`, nil, "ok"},
		"an escape of nothing":            {`[{"op":"add","path":"/m~2n","value":"a"}]`, nil, "!"},
		"a tilde at the end":              {`[{"op":"add","path":"/name~","value":"a"}]`, nil, "!"},
		"no slash":                        {`[{"op":"add","path":"name","value":"a"}]`, nil, "!"},
		"moved from what is not listed":   {`[{"op":"move","from":"/role","path":"/name"}]`, nil, "/role"},
		"moved to what is not listed":     {`[{"op":"move","from":"/name","path":"/role"}]`, nil, "/role"},
		"copied from what is not listed":  {`[{"op":"copy","from":"/secret","path":"/name"}]`, nil, "/secret*"},
		"copied":                          {`[{"op":"copy","from":"/name","path":"/email"}]`, nil, "ok"},
		"from the root":                   {`[{"op":"copy","from":"","path":"/name"}]`, nil, ""},
		"a test, which tells what is":     {`[{"op":"test","path":"/role","value":"admin"}]`, nil, "/role"},
		"an operator within the value":    {`[{"op":"add","path":"/name","value":{"$ne":1}}]`, nil, "/name/$ne*"},
		"a prototype in the path":         {`[{"op":"add","path":"/address/__proto__/role","value":1}]`, nil, "/address/__proto__*"},
		"a path in a name":                {`[{"op":"add","path":"/address/a.b","value":1}]`, nil, "/address/a.b*"},
		"no operation":                    {`[{"path":"/name","value":1}]`, nil, "!"},
		"an unknown operation":            {`[{"op":"merge","path":"/name","value":1}]`, nil, "!"},
		"an operation in capitals":        {`[{"op":"Add","path":"/name","value":1}]`, nil, "!"},
		"no path":                         {`[{"op":"remove"}]`, nil, "!"},
		"no value":                        {`[{"op":"add","path":"/name"}]`, nil, "!"},
		"a null is a value":               {`[{"op":"add","path":"/name","value":null}]`, nil, "ok"},
		"no from":                         {`[{"op":"move","path":"/name"}]`, nil, "!"},
		"a from that nobody asked for":    {`[{"op":"add","path":"/name","value":1,"from":"/role"}]`, nil, "!"},
		"a path that is no text":          {`[{"op":"remove","path":["name"]}]`, nil, "!"},
		"an operation that is no object":  {`["remove"]`, nil, "!"},
		"an object that is no list":       {`{"op":"remove","path":"/name"}`, nil, "!"},
		"a member of the path in capital": {`[{"op":"remove","path":"/Role"}]`, []string{"admin"}, "/Role*"},
	} {
		if got := told(w.Patch(parse(t, c.patch), w.For(c.roles))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestForm(t *testing.T) {
	w := profile(t)
	for name, c := range map[string]struct {
		form  string
		roles []string
		want  string
	}{
		"nothing":                 {"", nil, "ok"},
		"what everyone may":       {"name=a&email=b%40c", nil, "ok"},
		"a last &":                {"name=a&", nil, "ok"},
		"what they may not":       {"name=a&role=admin", nil, "/role"},
		"an admin does":           {"role=admin", []string{"admin"}, "ok"},
		"twice":                   {"name=a&name=b", nil, "/name!"},
		"twice in two cases":      {"name=a&Name=b", nil, "/Name!"},
		"another case":            {"Name=b", nil, "/Name*"},
		"in an object":            {"address[street]=a", nil, "/address[street]*"},
		"in an object, by a dot":  {"address.street=a", nil, "/address.street*"},
		"an object":               {"address=a", nil, "/address"},
		"a list":                  {"tags[]=a", nil, "/tags[]*"},
		"an escaped name":         {"r%6fle=admin", []string{"admin"}, "!"},
		"another way to part":     {"name=a;role=admin", nil, "!"},
		"a malformed escape":      {"name=%zz", nil, "!"},
		"no name":                 {"=a", nil, "!"},
		"a method":                {"_method=DELETE", nil, "/_method*"},
		"a name without a value":  {"role", nil, "/role"},
		"a prototype":             {"__proto__=a", nil, "/__proto__*"},
		"a name with a null byte": {"role%00=a", nil, "!"},
	} {
		if got := told(w.Form(target.ParseForm(c.form), w.For(c.roles))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A list that cannot be meant does not load.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		all  []string
		role []string
		want string
	}{
		"no name":                  {[]string{"a..b"}, nil, `"a..b": "" is no name of a field`},
		"empty":                    {[]string{""}, nil, `"": "" is no name of a field`},
		"a star within":            {[]string{"a.*.b"}, nil, "only at the end"},
		"an index":                 {[]string{"a[0]"}, nil, `"a[0]" is no name of a field`},
		"a star in a name":         {[]string{"a*"}, nil, `"a*" is no name of a field`},
		"an operator":              {[]string{"$set"}, nil, `"$set" is no name of a field`},
		"a prototype":              {[]string{"a.__proto__"}, nil, `"__proto__" is no name of a field`},
		"twice":                    {[]string{"a", "a"}, nil, `"a" stands there already`},
		"for a role, and everyone": {[]string{"a.*"}, []string{"a.*"}, `"a.*" stands there already`},
		"a part of another":        {[]string{"a.b", "a"}, nil, `"a.b": another pattern lets the same writers write all of it`},
		"all in another":           {[]string{"a.*", "a"}, nil, `"a.*": another pattern`},
		"a part of all in another": {[]string{"a.*", "a.b.c"}, nil, `"a.b.c": another pattern`},
		"all beside another":       {[]string{"a", "*"}, nil, `"a": another pattern`},
		"an element of another":    {[]string{"a", "a[*].b"}, nil, `"a[*].b": another pattern`},
		"a role's of everyone's":   {[]string{"a"}, []string{"a.b"}, `"a.b": another pattern`},
		"a role's of its own":      {nil, []string{"a", "a.b"}, `"a.b": another pattern`},
		"twice for a role":         {nil, []string{"b", "b"}, `"b" stands there already`},
	} {
		w, err := fields.New(c.all, map[string][]string{"admin": c.role})
		if w != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// What a role may write more than everyone is no mistake; a field that is a list to one pattern and an object to another may be one.
func TestWider(t *testing.T) {
	for name, c := range map[string]struct {
		all, role []string
		mixed     string
	}{
		"the object around a field":     {[]string{"a.b"}, []string{"a"}, ""},
		"all around a field":            {[]string{"a.b", "c"}, []string{"*"}, ""},
		"the object, and all in it":     {[]string{"a.*"}, []string{"a"}, ""},
		"the list around a field":       {[]string{"a[*].b"}, []string{"a", "c[*]"}, ""},
		"a list that is an object":      {[]string{"a[*].b", "a.b"}, nil, "a"},
		"a list that is any object":     {[]string{"x.a[*].b", "x.a.*"}, nil, "x.a"},
		"elements of both kinds":        {[]string{"a[*].b", "a[*][*].c"}, nil, "a[*]"},
		"a list by a role, and a field": {[]string{"a[*].b"}, []string{"a.b"}, "a"},
	} {
		w, err := fields.New(c.all, map[string][]string{"admin": c.role})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(w.Mixed(), " "); got != c.mixed {
			t.Errorf("%s: %q, want %q", name, got, c.mixed)
		}
	}
}

// The zero value, and the zero writer, write nothing.
func TestNobodyWrites(t *testing.T) {
	none, w := &fields.Writable{}, profile(t)
	if none.JSON(parse(t, `{"name":1}`), none.For([]string{"admin"})) == nil || w.JSON(parse(t, `{"name":1}`), 0) == nil {
		t.Error("somebody does")
	}
}

// What a patch may write to one place, a document that holds nothing else may, and the reverse, but for the objects around it.
func FuzzPatchAgrees(f *testing.F) {
	f.Add("name")
	f.Add("address\x00street")
	f.Add("phones")
	f.Add("prefs\x00theme")
	f.Fuzz(func(t *testing.T, joined string) {
		w := profile(t)
		path := strings.Split(joined, "\x00")
		for _, name := range path {
			if strings.ContainsAny(name, "\"\\") || name != strings.ToValidUTF8(name, "") || strings.Trim(name, "0123456789-") == "" {
				return
			}
			for _, c := range name {
				if c < ' ' {
					return
				}
			}
		}
		escape := strings.NewReplacer("~", "~0", "/", "~1")
		pointer, document := "", "1"
		for _, name := range path {
			pointer += "/" + escape.Replace(name)
		}
		for i := len(path) - 1; i >= 0; i-- {
			document = `{"` + path[i] + `":` + document + `}`
		}
		if len(document) > 4096 || len(path) > 16 {
			return
		}
		patched := w.Patch(parse(t, `[{"op":"add","path":"`+pointer+`","value":1}]`), w.For(nil)) == nil
		if written := w.JSON(parse(t, document), w.For(nil)) == nil; patched != written {
			t.Errorf("%q: by a patch %v, by a document %v", joined, patched, written)
		}
	})
}
