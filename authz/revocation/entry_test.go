package revocation

import (
	"strings"
	"testing"
	"time"
)

const good = `{"issuer":"shop","kind":"jti","value":"t1","at":"2030-01-02T12:00:00.000Z","until":"2030-01-02T13:00:00.000Z"}`

func TestDecode(t *testing.T) {
	e, err := decode([]byte(good))
	want := Entry{Issuer: "shop", Kind: JTI, Value: "t1", At: noon, Until: noon.Add(time.Hour)}
	if err != nil || e != want {
		t.Errorf("%+v, %v", e, err)
	}
	if got := string(encode(want)); got != good {
		t.Errorf("encoded as %s", got)
	}
	// As a person would write it.
	for _, text := range []string{
		` { "kind": "jti", "issuer": "shop", "value": "t1", "at": "2030-01-02T12:00:00Z", "until": "2030-01-02T14:00:00+01:00" } `,
		strings.Replace(good, `"t1"`, `"\u0074\u0031"`, 1),
	} {
		if e, err := decode([]byte(text)); err != nil || !e.At.Equal(want.At) || !e.Until.Equal(want.Until) || e.Value != "t1" {
			t.Errorf("%s: %+v, %v", text, e, err)
		}
	}
}

// Whatever could be read in two ways, or says more than is understood, is refused.
func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            ``,
		"no object":          `[]`,
		"half":               good[:len(good)-1],
		"two":                good + good,
		"a name twice":       strings.Replace(good, `"kind"`, `"value":"t2","kind"`, 1),
		"a name in capitals": strings.Replace(good, `"value"`, `"Value"`, 1),
		"a name more":        strings.Replace(good, `"kind"`, `"node":"x","kind"`, 1),
		"no issuer":          strings.Replace(good, `"issuer":"shop",`, ``, 1),
		"no value":           strings.Replace(good, `"value":"t1",`, ``, 1),
		"unknown kind":       strings.Replace(good, `"jti"`, `"role"`, 1),
		"empty kind":         strings.Replace(good, `"jti"`, `""`, 1),
		"kind in capitals":   strings.Replace(good, `"jti"`, `"JTI"`, 1),
		"a number":           strings.Replace(good, `"t1"`, `1`, 1),
		"null":               strings.Replace(good, `"t1"`, `null`, 1),
		"bad UTF-8":          strings.Replace(good, `t1`, "t\xff", 1),
		"NUL":                strings.Replace(good, `t1`, `\u0000`, 1),
		"issuer with value":  strings.Replace(good, `"jti"`, `"issuer"`, 1),
		"a date":             strings.Replace(good, `2030-01-02T12:00:00.000Z`, `2030-01-02`, 1),
		"seconds":            strings.Replace(good, `2030-01-02T12:00:00.000Z`, `1893585600`, 1),
		"year 1":             strings.Replace(good, `2030-01-02T12:00:00.000Z`, `0001-01-01T00:00:00Z`, 1),
		"too long":           strings.Replace(good, `t1`, strings.Repeat("x", MaxName+1), 1),
		"far too long":       strings.Repeat(" ", maxLine) + good,
	} {
		if e, err := decode([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		} else if strings.Contains(err.Error(), "t1") {
			t.Errorf("%s: the error quotes the entry: %v", name, err)
		}
	}
}

// The longest entry that may be written can be read.
func TestEncodeLongest(t *testing.T) {
	e := Entry{Issuer: strings.Repeat("\x01", MaxName), Kind: Session, Value: strings.Repeat("<", MaxName), At: noon, Until: noon.Add(time.Hour)}
	if got, err := decode(encode(e)); err != nil || got != e {
		t.Errorf("%v", err)
	}
}

// Times are rounded up: an entry never covers less than was asked for.
func TestEncodeRoundsUp(t *testing.T) {
	e := Entry{Issuer: "shop", Kind: Issuer, At: noon.Add(time.Nanosecond), Until: noon.Add(time.Hour - time.Nanosecond)}
	got, err := decode(encode(e))
	if err != nil || !got.At.Equal(noon.Add(time.Millisecond)) || !got.Until.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is read is valid, and means the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, `"jti","value":"t1"`, `"issuer"`, 1)))
	f.Add([]byte(strings.Replace(good, `t1`, `\ud83d\ude00\u2028<&`, 1)))
	f.Add([]byte(strings.Replace(good, `12:00:00.000Z`, `23:59:60.999999999+23:59`, 1)))
	f.Add([]byte(`{"issuer":1}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decode(data)
		if err != nil {
			return
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("read as an invalid entry: %v", err)
		}
		again, err := decode(encode(e))
		if err != nil {
			t.Fatalf("written as what cannot be read: %v", err)
		}
		k, m := e.mark()
		if k2, m2 := again.mark(); k2 != k || m2 != m {
			t.Fatalf("%+v %+v became %+v %+v", k, m, k2, m2)
		}
	})
}
