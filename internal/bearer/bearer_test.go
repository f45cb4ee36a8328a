package bearer_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/internal/bearer"
)

const token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"

func TestIn(t *testing.T) {
	spaced := base64.RawURLEncoding.EncodeToString([]byte("{\n  \"alg\": \"ES256\"\n}"))
	for text, want := range map[string]bool{
		token:                                   true,
		"before" + token + "behind":             true,
		token[:30]:                              true, // cut off behind the first dot
		token[8:]:                               true, // or before it: the payload is an object too
		spaced + ".e30.":                        true,
		"\"Bearer opaque\"":                     true,
		"bearer+opaque":                         true,
		"id=BEARER%20opaque":                    true,
		strings.ReplaceAll(token, ".", "%2e"):   true,
		strings.ReplaceAll(token, ".", "%252E"): true,
		strings.ReplaceAll(token, "eyJ", "e%79%4a"): true,
		"a" + "%" + strings.Repeat("25", 6) + "2E":  true, // more layers than anybody writes
		"":                             false,
		"bearer":                       false,
		"forbearer":                    false,
		"/files/eyJx.html":             false, // shorter than any header
		"/lists/ewok.txt":              false,
		"eyelevel and elephants. e. e": false,
		"100%":                         false,
		"100%zz of a%2Eb":              false,
		"2Z5TNQJX7FQ3VHZ2C4YF6W3A5M":   false,
	} {
		if got := bearer.In(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// However often a token is escaped, up to what anybody writes, and whatever stands around it, it is found.
func TestInIsNotFooledByEscapes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z=&/. ]{0,12}`).Draw(t, "before") + rapid.SampledFrom([]string{token, "Bearer opaque"}).Draw(t, "token") +
			rapid.StringMatching(`[a-z=&/. ]{0,12}`).Draw(t, "behind")
		for range rapid.IntRange(0, 8).Draw(t, "layers") {
			text = url.QueryEscape(text)
		}
		if !bearer.In(text) {
			t.Fatalf("%q holds none", text)
		}
	})
}

// A client that writes the beginning of a token all over buys no more time with it than with anything else.
func TestInIsLinear(t *testing.T) {
	for _, text := range []string{strings.Repeat("eyJ", 400_000), strings.Repeat("eyJ", 400_000) + "%25", strings.Repeat("eyJ.", 300_000)} {
		began := time.Now()
		if bearer.In(text) {
			t.Errorf("a token in %.20s…", text)
		}
		if took := time.Since(began); took > 2*time.Second { // minutes, if every beginning were followed to the end
			t.Errorf("%.20s… takes %s", text, took)
		}
	}
	if !bearer.In(strings.Repeat("eyJ", 400_000) + ".") {
		t.Error("a long header is none")
	}
}

// The audit log asks for every text that it writes.
func TestInAllocatesNothing(t *testing.T) {
	text := "GET /orders/{order_id} of a reader. The Bearer, everywhere"
	if got := testing.AllocsPerRun(100, func() { bearer.In(text) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkIn(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		bearer.In("GET /orders/{order_id}/lines/{line_id}")
	}
}
