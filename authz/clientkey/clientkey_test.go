package clientkey

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func hash(t testing.TB, key string) Hash {
	t.Helper()
	h, ok := HashOf(key)
	if !ok {
		t.Fatalf("%q can be no key", key)
	}
	return h
}

const (
	first  = "first-key-of-partner"
	second = "second-key-of-partner"
)

// A file of keys, and which application each key names.
func TestParse(t *testing.T) {
	a, b := hash(t, first).String(), hash(t, second).String()
	set, err := Parse([]byte("# partners\n\npartner sha256:" + a + " # until they have the next\r\n\tpartner\tsha256:" + strings.ToUpper(b) + " until=2026-11-21\nold.one sha256:" + strings.Repeat("00", 32) + " until=2026-11-20"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{first: "partner", second: "partner", first + "x": "", second[1:]: ""} {
		if client, ok := set.Client(hash(t, key), now); client != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", key, client, ok)
		}
	}
	if _, ok := set.Client(Hash{}, now); ok {
		t.Error("a key is taken on the day from which it is not")
	}
	if _, ok := set.Client(hash(t, second), now.Add(12*time.Hour)); ok {
		t.Error("a key is taken after its end")
	}
	if set.Len() != 3 {
		t.Errorf("%d keys", set.Len())
	}
	var none *Set
	if _, ok := none.Client(hash(t, first), now); ok || none.Len() != 0 {
		t.Error("no set knows a key")
	}
}

// What is no file of keys is no part of one, and what is said of it shows nothing of it.
func TestParseRefuses(t *testing.T) {
	a := hash(t, first).String()
	for name, test := range map[string]struct{ text, want string }{
		"nothing":                {"", "it names no key"},
		"comments":               {"# partner sha256:" + a, "it names no key"},
		"a key as it is":         {"partner " + first, "line 1: there is no hash of a key"},
		"a name alone":           {"\npartner", "line 2: it is no key"},
		"a hash of another kind": {"partner md5:" + a, "there is no hash of a key"},
		"a hash too short":       {"partner sha256:" + a[2:], "there is no hash of a key"},
		"a hash too long":        {"partner sha256:" + a + "00", "there is no hash of a key"},
		"no hexadecimal digit":   {"partner sha256:g" + a[1:], "there is no hash of a key"},
		"a name with a comma":    {"part,ner sha256:" + a, "the client's name"},
		"a name with a line":     {"a|b sha256:" + a, "the client's name"},
		"a long name":            {strings.Repeat("a", 129) + " sha256:" + a, "the client's name"},
		"no day":                 {"partner sha256:" + a + " until=soon", "the day until which"},
		"another word":           {"partner sha256:" + a + " forever", "the day until which"},
		"four words":             {"partner sha256:" + a + " until=2027-01-15 x", "it is no key"},
		"one key of two clients": {"partner sha256:" + a + "\nother sha256:" + a, "line 2: the key of line 1 stands here again"},
		"one key twice":          {"partner sha256:" + a + "\npartner sha256:" + a, "line 2: the key of line 1 stands here again"},
		"several":                {"partner\npartner sha256:" + a + "\nx y", "line 1: it is no key: " + lineForm + "\nline 3: "},
	} {
		set, err := Parse([]byte(test.text))
		if got := fmt.Sprint(err); set != nil || !strings.Contains(got, test.want) || strings.Contains(got, first) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if _, err := Parse([]byte(strings.Repeat("x\n", 1000))); strings.Count(err.Error(), "\n")+1 != maxComplaints {
		t.Errorf("%d lines of complaint", strings.Count(err.Error(), "\n")+1)
	}
}

// What a client can send as a key.
func TestHashOf(t *testing.T) {
	for key, want := range map[string]bool{
		strings.Repeat("k", 20): true, strings.Repeat("k", 19): false, strings.Repeat("k", 512): true, strings.Repeat("k", 513): false,
		"": false, "twenty letters, spaces": false, "twenty-letters-and-\x00": false, "twenty-letters-and-é": false,
	} {
		if _, ok := HashOf(key); ok != want {
			t.Errorf("%q: %v", key, ok)
		}
	}
	if got := hash(t, "abcdefghijklmnopqrstuvwxyz").String(); got != "71c480df93d6ae2f1efad1447c66c9525e316218cf51fc8d9ed832f2daf18b73" { // FIPS 180-2's alphabet
		t.Error(got)
	}
}

// A key that is made is one, and its line names its client.
func TestNew(t *testing.T) {
	key := New()
	if key == New() || len(key) != 46 || !strings.HasPrefix(key, "sk_") {
		t.Errorf("%s", key)
	}
	line := Line("partner", hash(t, key), "2027-01-15", "the one of the spring")
	set, err := Parse([]byte(line + "\n" + Line("other", hash(t, first), "", "")))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if client, ok := set.Client(hash(t, key), now); !ok || client != "partner" {
		t.Errorf("%s names %q", line, client)
	}
	if strings.Contains(line, key) {
		t.Errorf("the line holds the key: %s", line)
	}
}

// FuzzParse: whatever a file holds, it is read whole or refused, and what is said of it holds no word of it that could be a key.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "partner sha256:" + strings.Repeat("ab", 32), "a b\nc d e f", "partner sha256:zz until=2027-01-15 # x", "\x00\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Parse([]byte(text))
		if (set == nil) == (err == nil) {
			t.Errorf("%v and %v", set, err)
		}
		for word := range strings.FieldsSeq(text) {
			if err != nil && len(word) >= MinBytes && strings.Contains(err.Error(), word) && !strings.Contains(lineForm, word) {
				t.Errorf("the error shows %q", word)
			}
		}
	})
}

func BenchmarkClient(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		h := hash(b, fmt.Sprintf("key-number-%020d", i))
		text.WriteString(Line("partner", h, "", "") + "\n")
	}
	set, err := Parse([]byte(text.String()))
	if err != nil {
		b.Fatal(err)
	}
	key := fmt.Sprintf("key-number-%020d", 77)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := set.Client(hash(b, key), now); !ok {
			b.Fatal("unknown")
		}
	}
}
