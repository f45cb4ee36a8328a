package strictyaml

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func mustParse(t *testing.T, source string) *Document {
	t.Helper()
	doc, errs := Parse("f.yaml", []byte(source))
	if errs != nil {
		t.Fatalf("Parse(%q): %v", source, errs)
	}
	return doc
}

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth+1)
	var indented strings.Builder
	for i := range MaxDepth + 1 {
		fmt.Fprintf(&indented, "%sk:\n", strings.Repeat(" ", i))
	}
	for _, tt := range []struct{ name, source, want string }{
		// What is not there.
		{"empty", "", "f.yaml:1:1: the file is empty"},
		{"blank", "\n\n", "f.yaml:1:1: the file is empty"},
		{"comments only", "# nothing\n", "f.yaml:1:1: the file is empty"},
		{"a header only", "---\n", "f.yaml:1:1: the file is empty"},

		// What is there twice.
		{"duplicate key", "a: 1\nb: 2\na: 3\n", `f.yaml:3:1: duplicate key "a" (first on line 1)`},
		{"duplicate key, quoted", "a: 1\n\"a\": 3\n", `f.yaml:2:1: duplicate key "a" (first on line 1)`},
		{"duplicate key, escaped", "a: 1\n\"\\x61\": 3\n", `f.yaml:2:1: duplicate key "a" (first on line 1)`},
		{"duplicate key, nested in flow", "x: {a: 1, b: 2, a: 3}\n", `f.yaml:1:17: duplicate key "a" (first on line 1)`},
		{"second document", "a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document"},
		{"second document, empty", "a: 1\n---\n", "f.yaml:2:1: a second document"},
		{"second document after an end", "a: 1\n...\nb: 2\n", "f.yaml:3:1: a second document"},
		{"two headers", "---\n---\na: 1\n", "f.yaml:2:1: a second document"},

		// What changes the meaning of something elsewhere.
		{"anchor", "a: &x 1\n", "f.yaml:1:4: an anchor"},
		{"alias", "a: *x\n", "f.yaml:1:4: an alias"},
		{"merge key", "<<: {a: 1}\n", "f.yaml:1:1: a merge key (<<)"},
		{"tag", "a: !!str 5\n", "f.yaml:1:4: a tag (!!str)"},
		{"local tag", "a: !secret x\n", "f.yaml:1:4: a tag (!secret)"},
		{"directive", "%YAML 1.1\n---\na: 1\n", "f.yaml:1:1: a YAML directive"},
		{"explicit key", "? a\n: b\n", `f.yaml:1:1: an explicit key ("?")`},

		// What the library reads in its own way, and other readers in another.
		{"tag at the end of the file", "a: !t", "f.yaml:1:4: a tag (!t)"},
		{"colon without a space, map", "a: {b:c}\n", "f.yaml:1:6: {a:b} and [a:b] are a map to some YAML readers and text to others"},
		{"colon before a brace", "a: {b:}\n", "f.yaml:1:6: {a:b} and [a:b] are a map to some YAML readers and text to others"},
		{"item left empty before a key", "a:\n-\nb: 1\n", "f.yaml:2:1: a list item without a value"},
		{"item left empty before an item", "- a\n- # why\n- b\n", "f.yaml:2:1: a list item without a value"},
		{"colon on the next line", "a #\n: b\n", "f.yaml:2:1: a colon without its key"},
		{"explicit key on its own line", "a:\n?\n", `f.yaml:2:1: an explicit key ("?")`},
		{"plain text on two lines", "a: b\n  c\n", "f.yaml:1:4: plain text on several lines"},

		// Keys that are not text.
		{"number key", "1: a\n", "f.yaml:1:1: config error, key is not of type string: 1 is not text"},
		{"boolean key", "true: a\n", "f.yaml:1:1: config error, key is not of type string: true is not text"},
		{"1.1 boolean key", "no: a\n", "f.yaml:1:1: config error, key is not of type string: no is not text"},
		{"null key", "~: a\n", "f.yaml:1:1: config error, key is not of type string: ~ is not text"},
		{"list key", "[a]: 1\n", "f.yaml:1:4: found an invalid key for this map"},

		// Bytes that hide.
		{"byte order mark", "\ufeffa: 1\n", "f.yaml:1:1: a byte order mark"},
		{"invalid UTF-8", "a: é\xff\n", "f.yaml:1:5: invalid UTF-8"},
		{"NUL", "a: \x00\n", "f.yaml:1:4: a control character"},
		{"lone carriage return", "a: b\rc: d\n", "f.yaml:1:5: a control character"},
		{"escape byte", "a: \x1b[0m\n", "f.yaml:1:4: a control character"},
		{"bidi override", "a: \u202eb\n", "f.yaml:1:4: a control character"},
		{"zero width space", "a: b\u200b\n", "f.yaml:1:5: a control character"},
		{"tab indentation", "a:\n\tb: 1\n", "f.yaml:2:1: a tab"},
		{"tab in text", "a: b\tc\n", "f.yaml:1:5: a tab"},
		{"escaped NUL", `a: "\0"`, "f.yaml:1:4: an escaped control character"},
		{"escaped CR", `a: "x\r\nset-cookie: y"`, "f.yaml:1:4: an escaped control character"},

		// What cannot be read.
		{"half a list", "a: [1, 2\n", "f.yaml:1:4: sequence end token ']' not found"},
		{"half a quote", "a: 'x\n", "f.yaml:1:4: could not find end character of single-quoted text"},
		{"map after list", "- a\nb: c\n", "f.yaml:2:1: value is not allowed in this context"},

		// What is too much.
		{"too deep, flow", deep, fmt.Sprintf("f.yaml:1:%d: nested more than 64 deep", MaxDepth+1)},
		{"too deep, dashes", strings.Repeat("- ", MaxDepth+1) + "a", fmt.Sprintf("f.yaml:1:%d: nested more than 64 deep", 2*MaxDepth+1)},
		{"too deep, indented", indented.String(), fmt.Sprintf("f.yaml:%d:%d: nested more than 64 deep", MaxDepth+1, MaxDepth+2)},
		{"too large", strings.Repeat("#", MaxBytes+1), "f.yaml:1:1: file is larger than 1048576 bytes"},
		{"long key", strings.Repeat("k", MaxKeyBytes+1) + ": 1\n", "f.yaml:1:1: a key of more than 1024 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, errs := Parse("f.yaml", []byte(tt.source))
			if doc != nil || len(errs) == 0 {
				t.Fatalf("Parse = %v, %v; want an error", doc, errs)
			}
			if got := errs[0].Error(); got != tt.want {
				t.Errorf("first error\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Every duplicate, every refused construct: one run shows them all.
func TestParseCollects(t *testing.T) {
	_, errs := Parse("f.yaml", []byte("a: &x 1\nb: !t 2\nc: *x\n"))
	if len(errs) != 3 {
		t.Errorf("constructs: %d errors, want 3:\n%v", len(errs), errs)
	}
	_, errs = Parse("f.yaml", []byte("a: 1\na: 1\nb: {c: 1, c: 2}\n1: 2\n"))
	if len(errs) != 3 {
		t.Errorf("keys: %d errors, want 3:\n%v", len(errs), errs)
	}
	_, errs = Parse("f.yaml", []byte(strings.Repeat("a: 1\n", 5000)))
	if len(errs) != maxErrors {
		t.Errorf("many: %d errors, want %d", len(errs), maxErrors)
	}
}

// What the YAML library would turn into something else stays as it is written.
func TestSourceIsExact(t *testing.T) {
	doc := mustParse(t, "- 1.10\n- 012\n- 0x10\n- 1_000\n- 1e3\n- yes\n- ~\n- null\n- .inf\n- 2001-01-01\n- +5\n- True\n- 1.2.3\n- 10.0.0.0/8\n- '012'\n- \"a\\u0041\"\n- |\n  one\n   two\n- >-\n  one\n  two\n- 5m\n- .5\n- 1.\n- 99999999999999999999\n- - 1\n")
	type scalar struct {
		Kind Kind
		Text string
	}
	var got []scalar
	for _, n := range doc.Root.items {
		got = append(got, scalar{n.Kind(), SourceText(n)})
	}
	want := []scalar{
		{Float, "1.10"}, {Int, "012"}, {Int, "0x10"}, {Int, "1_000"}, {Float, "1e3"}, {String, "yes"}, {Null, ""}, {Null, ""},
		{Float, ".inf"}, {String, "2001-01-01"}, {Int, "+5"}, {Bool, "True"}, {String, "1.2.3"}, {String, "10.0.0.0/8"}, {String, "012"}, {String, "aA"},
		{String, "one\n two\n"}, {String, "one two"}, {String, "5m"}, {Float, ".5"}, {Float, "1."}, {Int, "99999999999999999999"},
		{List, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What people write every day stays what it looks like.
func TestTextKeepsItsMeaning(t *testing.T) {
	for source, want := range map[string]string{
		"- read:orders": "read:orders", "- http://x:80/y": "http://x:80/y", "- GET /a/{b}:cancel": "GET /a/{b}:cancel", "- GET,HEAD /x/{r...}": "GET,HEAD /x/{r...}",
		"- token.a == 'b' && c": "token.a == 'b' && c", "- e#f": "e#f", "- a # b": "a", "- spiffe://a/*": "spiffe://a/*",
		"[read:orders]": "read:orders", "[https://x/y]": "https://x/y", "[token.a == 'b']": "token.a == 'b'",
		"- | # why\n  one\n  two\n": "one\ntwo\n", "- >-\n  one\n  two\n": "one two", "- 'one\n  two'": "one two",
	} {
		doc := mustParse(t, source)
		if got, _ := NewDecoder(doc).Texts(doc.Root); len(got) != 1 || got[0] != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}

func TestPositions(t *testing.T) {
	doc := mustParse(t, "# c\r\né: {x: 1, \"y\": [a, é, q]}\r\nb:\r\n- c\r\n-   d: 1\r\n    e: |\r\n      x\r\nf:\r\nz: 'it''s'\r\n")
	d := NewDecoder(doc)
	top := d.OpenMap(doc.Root)
	var got []Pos
	for _, k := range top.Keys() {
		got = append(got, top.Pos(k), top.Get(k).Pos())
	}
	flow := d.OpenMap(top.Get("é"))
	got = append(got, flow.Pos("y"), flow.Get("y").Pos(), flow.Get("y").items[2].Pos())
	spaced := mustParse(t, "a: é5   \n")
	got = append(got, spaced.Root.entries[0].value.Pos())
	second := d.OpenMap(top.Get("b").items[1])
	got = append(got, second.Node().Pos(), second.Pos("e"), second.Get("e").Pos(), second.Pos("absent"))
	want := []Pos{
		{2, 1}, {2, 4}, {3, 1}, {4, 1}, {8, 1}, {8, 3}, {9, 1}, {9, 4},
		{2, 11}, {2, 16}, {2, 23},
		{1, 4},
		{5, 5}, {6, 5}, {6, 8}, {5, 5},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecode(t *testing.T) {
	const source = `name: orders
plain_yes: yes
octal: 012
five: 5
nothing:
tilde: ~
truth: true
loud: TRUE
wait: 15m
bare: 15
list: [a, "b"]
mixed: [a, 1]
word: hello
map: {a: 1}
big: 300
`
	doc := mustParse(t, source)
	for _, tt := range []struct {
		name string
		read func(d *Decoder, m *Mapping) any
		want any
		err  string
		hint string
	}{
		// Text is text.
		{"text", func(d *Decoder, m *Mapping) any { s, _ := d.Text(m.Get("name")); return s }, "orders", "", ""},
		{"text from yes", func(d *Decoder, m *Mapping) any { s, _ := d.Text(m.Get("plain_yes")); return s }, "", "f.yaml:2:12: yes is a boolean to some YAML readers, not text", `write it in quotes: "yes"`},
		{"text from 012", func(d *Decoder, m *Mapping) any { s, _ := d.Text(m.Get("octal")); return s }, "", "f.yaml:3:8: 012 is a whole number where text is meant", `write it in quotes: "012"`},
		{"text from 5", func(d *Decoder, m *Mapping) any { s, _ := d.Text(m.Get("five")); return s }, "", "f.yaml:4:7: 5 is a whole number where text is meant", `write it in quotes: "5"`},
		{"text from nothing", func(d *Decoder, m *Mapping) any { s, _ := d.Text(m.Get("nothing")); return s }, "", "f.yaml:5:9: text is missing", "write the value, or remove the key"},
		{"text from ~", func(d *Decoder, m *Mapping) any { s, _ := d.Text(m.Get("tilde")); return s }, "", "f.yaml:6:8: ~ is null where text is meant", `write it in quotes: "~"`},
		{"text from a map", func(d *Decoder, m *Mapping) any { s, _ := d.Text(m.Get("map")); return s }, "", "f.yaml:14:6: this is a map where text is meant", "quote text that holds braces or a colon and a space"},
		{"text from absent", func(d *Decoder, m *Mapping) any { s, ok := d.Text(m.Get("absent")); return s == "" && !ok }, true, "", ""},
		{"texts", func(d *Decoder, m *Mapping) any { s, _ := d.Texts(m.Get("list")); return s }, []string{"a", "b"}, "", ""},
		{"texts with a number", func(d *Decoder, m *Mapping) any { _, ok := d.Texts(m.Get("mixed")); return ok }, false, "f.yaml:12:12: 1 is a whole number where text is meant", `write it in quotes: "1"`},
		{"texts from text", func(d *Decoder, m *Mapping) any { _, ok := d.Texts(m.Get("word")); return ok }, false, `f.yaml:13:7: "hello" is text where a list of text is meant`, "write [hello]"},

		// A switch is true or false.
		{"bool", func(d *Decoder, m *Mapping) any { b, _ := d.Bool(m.Get("truth")); return b }, true, "", ""},
		{"bool from TRUE", func(d *Decoder, m *Mapping) any { b, _ := d.Bool(m.Get("loud")); return b }, false, "f.yaml:8:7: TRUE is true or false where true or false is meant", "write true or false"},
		{"bool from yes", func(d *Decoder, m *Mapping) any { b, _ := d.Bool(m.Get("plain_yes")); return b }, false, `f.yaml:2:12: "yes" is text where true or false is meant`, "write true or false"},
		{"bool from nothing", func(d *Decoder, m *Mapping) any { b, _ := d.Bool(m.Get("nothing")); return b }, false, "f.yaml:5:9: true or false is missing", "write the value, or remove the key"},
		{"bool11 from yes", func(d *Decoder, m *Mapping) any { b, _ := d.Bool11(m.Get("plain_yes")); return b }, true, "", ""},

		// A number is plain and in range.
		{"int", func(d *Decoder, m *Mapping) any { i, _ := d.Int(m.Get("five"), 0, 9); return i }, int64(5), "", ""},
		{"int from 012", func(d *Decoder, m *Mapping) any { i, _ := d.Int(m.Get("octal"), 0, 99); return i }, int64(0), "f.yaml:3:8: 012 means different numbers to different YAML readers", "write it in plain decimal, like 12"},
		{"int over", func(d *Decoder, m *Mapping) any { i, _ := d.Int(m.Get("big"), 0, 299); return i }, int64(0), "f.yaml:15:6: 300 is out of range", "0 to 299"},
		{"int at the bound", func(d *Decoder, m *Mapping) any { i, _ := d.Int(m.Get("big"), 0, 300); return i }, int64(300), "", ""},

		// A length of time has its unit.
		{"duration", func(d *Decoder, m *Mapping) any { w, _ := d.Duration(m.Get("wait"), 0, time.Hour); return w }, 15 * time.Minute, "", ""},
		{"duration, bare", func(d *Decoder, m *Mapping) any { w, _ := d.Duration(m.Get("bare"), 0, time.Hour); return w }, time.Duration(0), "f.yaml:10:7: a length of time needs its unit", "write the unit: 15s, 15m or 15h"},
		{"duration over", func(d *Decoder, m *Mapping) any {
			w, _ := d.Duration(m.Get("wait"), 0, time.Minute)
			return w
		}, time.Duration(0), "f.yaml:9:7: 15m is out of range", "0s to 1m0s"},

		// Maps and lists.
		{"map from text", func(d *Decoder, m *Mapping) any { return len(d.Map(m.Get("word"), "a").Keys()) }, 0, `f.yaml:13:7: "hello" is text where a map is meant`, ""},
		{"unknown key", func(d *Decoder, m *Mapping) any { return d.Map(m.Get("map"), "b", "c").OK() }, true, `f.yaml:14:7: unknown key "a"`, "did you mean \"b\"?"},
		{"missing key", func(d *Decoder, m *Mapping) any { return d.Require(m, "issuer", "write issuer: https://...") == nil }, true, `f.yaml:1:1: missing key "issuer"`, "write issuer: https://..."},
		{"list from text", func(d *Decoder, m *Mapping) any { return len(d.List(m.Get("word"))) }, 0, `f.yaml:13:7: "hello" is text where a list is meant`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder(doc)
			got := tt.read(d, d.OpenMap(doc.Root))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			errs := d.Errors()
			if tt.err == "" {
				if errs != nil {
					t.Errorf("unexpected: %v", errs)
				}
				return
			}
			if len(errs) != 1 || errs[0].Error() != tt.err || errs[0].Hint != tt.hint {
				t.Fatalf("errors\n got %v (hint %q)\nwant %s (hint %q)", errs, errs[0].Hint, tt.err, tt.hint)
			}
		})
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"issuer", "audiences", "requests_per_unit", "match"}
	for key, want := range map[string]string{
		"isuer":             `did you mean "issuer"?`,
		"audience":          `did you mean "audiences"?`,
		"requests-per-unit": `did you mean "requests_per_unit"?`,
		"Match":             `did you mean "match"?`,
		"macth":             `did you mean "match"?`,
		"zzz":               "one of: issuer, audiences, requests_per_unit, match",
	} {
		if got := Suggest(key, known); got != want {
			t.Errorf("Suggest(%q) = %s, want %s", key, got, want)
		}
	}
}

func TestPretty(t *testing.T) {
	doc := mustParse(t, "version: 1\nééé: {isuer: x}\n")
	d := NewDecoder(doc)
	d.Map(d.OpenMap(doc.Root).Get("ééé"), "issuer")
	want := "f.yaml:2:7: unknown key \"isuer\"\n" +
		"    2 | ééé: {isuer: x}\n" +
		"      |       ^\n" +
		"      = did you mean \"issuer\"?"
	if got := d.Errors()[0].Pretty(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	long := &Error{File: "f", Pos: Pos{1, 5000}, Msg: "m", Line: strings.Repeat("x", 10_000)}
	if got := len(long.Pretty()); got > 500 {
		t.Errorf("a long line is shown whole: %d bytes", got)
	}
}

// A format that is not ours may share values between places; the bounds hold with the copies counted.
func TestAliases(t *testing.T) {
	parse := func(s string) (*Document, Errors) { return ParseWith("f.yaml", []byte(s), Options{Aliases: true}) }
	doc, errs := parse("base: &b {unit: minute, n: 5}\none: *b\ntwo:\n  <<: *b\n  n: 6\nlist:\n  <<: [*b, {m: 1}]\ntabbed: x\t# here\n")
	if errs != nil {
		t.Fatal(errs)
	}
	d := NewDecoder(doc)
	top := d.OpenMap(doc.Root)
	one, two, list := d.OpenMap(top.Get("one")), d.OpenMap(top.Get("two")), d.OpenMap(top.Get("list"))
	got := []string{SourceText(one.Get("n")), SourceText(two.Get("n")), SourceText(two.Get("unit")), SourceText(list.Get("m")), SourceText(list.Get("n")), SourceText(top.Get("tabbed"))}
	if diff := cmp.Diff([]string{"5", "6", "minute", "1", "5", "x"}, got); diff != "" {
		t.Error(diff)
	}

	bomb := "a0: &a0 [x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 20; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	tower := "a0: &a0 [x]\n"
	for i := 1; i < 100; i++ {
		tower += fmt.Sprintf("a%d: &a%d [*a%d]\n", i, i, i-1)
	}
	for name, tt := range map[string]struct{ source, want string }{
		"unknown":     {"a: *b\n", `no anchor is called "b"`},
		"itself":      {"a: &a [*a]\n", `no anchor is called "a"`},
		"bomb":        {bomb, "the aliases of this file expand to more than 1048576 values"},
		"tower":       {tower, "nested more than 64 deep"},
		"merged text": {"<<: x\n", "a merge key (<<) takes a map or a list of maps"},
		"two anchors": {"a: &a &b x\n", "two anchors on one value"},
		"a tag":       {"a: !!str 5\n", "a tag (!!str)"},
		"twice":       {"a: 1\na: 2\n", `duplicate key "a" (first on line 1)`},
	} {
		if _, errs := parse(tt.source); len(errs) == 0 || errs[0].Msg != tt.want {
			t.Errorf("%s: got %v, want %s", name, errs, tt.want)
		}
	}
}

// Text that is quoted by any writer comes back unchanged, and a key's position is where its first byte stands.
func TestQuotedTextSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune(`aé"'\:#{}[],&*!|>%@- 0`)), 0, 12, -1), 1, 8).Draw(t, "values")
		var b strings.Builder
		for i, v := range values {
			fmt.Fprintf(&b, "k%d:   '%s'\n", i, strings.ReplaceAll(v, "'", "''"))
		}
		doc, errs := Parse("f.yaml", []byte(b.String()))
		if errs != nil {
			t.Fatalf("%q: %v", b.String(), errs)
		}
		d := NewDecoder(doc)
		m := d.OpenMap(doc.Root)
		for i, v := range values {
			k := fmt.Sprintf("k%d", i)
			if got, _ := d.Text(m.Get(k)); got != v || m.Pos(k) != (Pos{i + 1, 1}) || m.Get(k).Pos() != (Pos{i + 1, 7}) {
				t.Fatalf("%s: got %q at %v and %v, want %q", k, got, m.Pos(k), m.Get(k).Pos(), v)
			}
		}
	})
}

// hostile inputs are as large as a file may be; each must be answered without a cost that grows faster than the file.
func hostile() map[string]string {
	const n = MaxBytes
	fill := func(head, body, tail string) string {
		return head + strings.Repeat(body, (n-len(head)-len(tail))/len(body)) + tail
	}
	return map[string]string{
		"brackets":    fill("", "[", ""),
		"braces":      fill("", "{", ""),
		"mixed":       fill("", "[{", ""),
		"closed":      fill("", "[]", ""),
		"dashes":      fill("", "- ", ""),
		"questions":   fill("", "? ", ""),
		"colons":      fill("", "a: ", ""),
		"bare colons": fill("", ": ", ""),
		"nulls":       fill("", "ab:\n", ""),
		"keys":        fill("", "a: 1\n", ""),
		"list":        fill("", "- a\n", ""),
		"null list":   fill("", "-\n", ""),
		"flow list":   fill("[", "a,", "]"),
		"flow map":    fill("{", "a,", "}"),
		"flow pairs":  fill("[", "a: b,", "]"),
		"flow commas": fill("[", ",", "]"),
		"tags":        fill("a: ", "! ", "x"),
		"anchors":     fill("a: ", "&a ", "x"),
		"aliases":     fill("a: [&x y", ",*x", "]"),
		"documents":   fill("", "---\n", ""),
		"ends":        fill("", "...\n", ""),
		"comments":    fill("", "#\n", "a: 1"),
		"newlines":    fill("", "\n", ""),
		"spaces":      fill("", " ", "a"),
		"plain":       fill("a: ", "b", ""),
		"plain lines": fill("a: b\n", " b\n", ""),
		"quote lines": fill("a: \"b\n", " b\n", "\""),
		"escapes":     fill("a: \"", `\u00e9`, "\""),
		"quotes":      fill("a: ", "'", ""),
		"literal":     fill("a: |\n", " b\n", ""),
		"folded":      fill("a: >\n", " b\n", ""),
		"literals":    fill("", "- |\n b\n", ""),
		"long path":   fill(strings.Repeat("k", 1000)+":\n", " - a\n", ""),
		"long key":    fill("", "k", ": 1"),
		"merges":      fill("a: &a {b: 1, c: 1, d: 1, e: 1}\nl:\n", "- <<: *a\n", ""),
		"one line":    fill("{a: [", "'x', \"\", ", "]}"),
		"indents":     fill("a:\n", " b:\n  c:\n", ""),
		"junk":        fill("", "%@`|>!&*", ""),
	}
}

func TestHostileInputIsAnswered(t *testing.T) {
	for name, source := range hostile() {
		t.Run(name, func(t *testing.T) {
			// The generous reading does everything that the strict one does, and more.
			if doc, errs := ParseWith("f.yaml", []byte(source), Options{Aliases: true}); (doc == nil) == (len(errs) == 0) {
				t.Errorf("document %v and %d errors", doc != nil, len(errs))
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: 1\n", "- {a: [b, c]}\n", "a: |\n  x\nb: \"\\u0041\"\n", "x: &a {b: 1}\ny: {<<: *a}\n", "? a\n", "[{", "---\n...\n", "a:\n- b\n-\n", "%YAML 1.1\n---\n", "a: !!map {}\n", "\"a\": 'b'\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, opts := range []Options{{}, {Aliases: true}} {
			doc, errs := ParseWith("f.yaml", data, opts)
			if (doc == nil) == (len(errs) == 0) {
				t.Fatalf("document %v and %d errors", doc != nil, len(errs))
			}
			for _, e := range errs {
				if e.Pos.Line < 1 || e.Pos.Column < 1 || strings.Contains(e.Error(), "\n") {
					t.Fatalf("bad error %q", e.Error())
				}
				_ = e.Pretty()
			}
			if doc != nil {
				walk(t, NewDecoder(doc), doc.Root, 0)
			}
		}
	})
}

// walk reads every node as everything.
func walk(t *testing.T, d *Decoder, n *Node, depth int) {
	if depth > MaxDepth+1 {
		t.Fatal("deeper than promised")
	}
	if n.Kind() == Absent || n.Pos().Line < 1 || n.Pos().Column < 1 {
		t.Fatalf("node %v at %v", n.Kind(), n.Pos())
	}
	d.Text(n)
	d.Bool(n)
	d.Bool11(n)
	d.Int(n, -5, 5)
	d.Duration(n, 0, time.Hour)
	_ = SourceText(n)
	for _, item := range n.items {
		walk(t, d, item, depth+1)
	}
	for _, e := range n.entries {
		walk(t, d, e.value, depth+1)
	}
}

func BenchmarkParse(b *testing.B) {
	source := []byte(strings.Repeat("- name: read-order\n  match: GET,HEAD /orders/{order_id}\n  scopes: [\"read:orders\"]\n  owner: {of: path.order_id, is: token.sub}\n", 1000))
	b.SetBytes(int64(len(source)))
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := Parse("f.yaml", source); errs != nil {
			b.Fatal(errs)
		}
	}
}

// What files in a format that is not ours may say, each by its own option and by no other.
func TestOptionsLiftOneThingEach(t *testing.T) {
	read := func(source string, opts Options) (*Mapping, error) {
		doc, errs := ParseWith("f.yaml", []byte(source), opts)
		if errs != nil {
			return nil, errs
		}
		return NewDecoder(doc).OpenMap(doc.Root), nil
	}
	lines := Options{PlainLines: true}
	for _, tt := range []struct {
		name, source string
		opts         Options
		want         string
	}{
		{"a number as a key", "200: ok\n", Options{NumberKeys: true}, "200"},
		{"plain text on several lines", "a: one\n  two\n\n  three\nb: 1\n", lines, "one two\nthree"},
		{"plain text below its key", "a:\n  one\n  two # why\n", lines, "one two"},
		{"a large file", "a: " + strings.Repeat("x", MaxBytes) + "\n", Options{MaxBytes: 2 * MaxBytes}, strings.Repeat("x", MaxBytes)},
	} {
		if _, err := read(tt.source, Options{}); err == nil {
			t.Errorf("%s: read without the option", tt.name)
		}
		m, err := read(tt.source, tt.opts)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := m.Keys()[0]; tt.opts.NumberKeys && got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
		if got := SourceText(m.Get("a")); !tt.opts.NumberKeys && got != tt.want {
			t.Errorf("%s: %.80q, want %.80q", tt.name, got, tt.want)
		}
	}
	for _, source := range []string{"0200: a\n", "0x10: a\n", "1_0: a\n", "1.5: a\n", "200: a\n\"200\": b\n"} {
		if _, err := read(source, Options{NumberKeys: true}); err == nil {
			t.Errorf("%q was read", source)
		}
	}
}
