package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func key(t testing.TB, secret string) *Key {
	t.Helper()
	k, err := NewKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func template(t testing.TB, text string) Template {
	t.Helper()
	parsed, err := ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func slack(t testing.TB) *Form {
	t.Helper()
	return &Form{Prefix: "v0=", Timed: true, Timestamp: "x-slack-request-timestamp", Tolerance: DefaultTolerance, Signed: template(t, "v0:{timestamp}:{body}")}
}

func stripe(t testing.TB) *Form {
	t.Helper()
	return &Form{Prefix: "v1=", Timed: true, Timestamp: "t=", Tolerance: DefaultTolerance, Signed: template(t, "{timestamp}.{body}")}
}

func standard(t testing.TB) *Form {
	t.Helper()
	return &Form{
		Prefix: "v1,", Encoding: Base64, Timed: true, Timestamp: "webhook-timestamp", Tolerance: DefaultTolerance,
		Signed: template(t, "{header.webhook-id}.{timestamp}.{body}"),
	}
}

// The examples that the senders publish themselves.
func TestPublishedExamples(t *testing.T) {
	standardKey, err := ReadKey([]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), true)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		form    *Form
		key     *Key
		message Message
		now     int64
	}{
		"GitHub": {&Form{}, key(t, "It's a Secret to Everybody"), Message{
			Signature: "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", Body: []byte("Hello, World!"),
		}, 0},
		"Slack": {slack(t), key(t, "8f742231b10e8888abcd99yyyzzz85a5"), Message{
			Signature: "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503", Timestamp: "1531420618",
			Body: []byte("token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA" +
				"&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN" +
				"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"),
		}, 1531420618},
		"Standard Webhooks": {standard(t), standardKey, Message{
			Signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", Timestamp: "1614265330",
			Values: []string{"msg_p5jXN8AQM9LWM0D4loKWxJek"}, Body: []byte(`{"test": 2432232314}`),
		}, 1614265330},
	} {
		if got := test.form.Verify(&test.message, []*Key{test.key}, time.Unix(test.now, 0)); got != Proved {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// hexMAC is the MAC of a text by the secret that the table below uses.
func hexMAC(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

const (
	oldSecret = "an old secret of many bytes"
	newSecret = "a new secret of many bytes!"
)

// Each form of header, and how each can be wrong.
func TestVerify(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }
	body := `{"paid":true}`
	plain, good := hexMAC(newSecret, body), func(prefix, text string) string { return prefix + hexMAC(newSecret, text) }
	raw, _ := hex.DecodeString(plain)
	based := base64.StdEncoding.EncodeToString(raw)
	inHeader := func(time string, signatures ...string) Message {
		return Message{Signature: strings.Join(append([]string{"t=" + time}, signatures...), ","), Body: []byte(body)}
	}
	ownHeader := func(time, signature string) Message {
		return Message{Signature: signature, Timestamp: time, Body: []byte(body)}
	}
	id := func(id, time, signature string) Message {
		return Message{Signature: signature, Timestamp: time, Values: []string{id}, Body: []byte(body)}
	}
	standardMAC := func(secret, text string) string {
		raw, _ := hex.DecodeString(hexMAC(secret, text))
		return "v1," + base64.StdEncoding.EncodeToString(raw)
	}
	for name, test := range map[string]struct {
		form    *Form
		message Message
		want    Refusal
	}{
		"GitHub's":                    {&Form{}, ownHeader("", "sha256="+plain), Proved},
		"plain hex":                   {&Form{}, ownHeader("", plain), Proved},
		"hex in capitals":             {&Form{}, ownHeader("", strings.ToUpper(plain)), Proved},
		"base64":                      {&Form{Encoding: Base64}, ownHeader("", based), Proved},
		"the old key":                 {&Form{}, ownHeader("", hexMAC(oldSecret, body)), Proved},
		"another's key":               {&Form{}, ownHeader("", hexMAC("another secret of many bytes", body)), Mismatch},
		"another body":                {&Form{}, ownHeader("", hexMAC(newSecret, body+" ")), Mismatch},
		"none":                        {&Form{}, ownHeader("", ""), Malformed},
		"one digit too few":           {&Form{}, ownHeader("", plain[1:]), Malformed},
		"one digit too many":          {&Form{}, ownHeader("", plain+"0"), Malformed},
		"no digit":                    {&Form{}, ownHeader("", "g"+plain[1:]), Malformed},
		"twice":                       {&Form{}, ownHeader("", plain+" "+plain), Malformed},
		"twice, joined by Envoy":      {&Form{}, ownHeader("", plain+","+plain), Malformed},
		"SHA-1, which GitHub sends":   {&Form{}, ownHeader("", "sha1="+plain[:40]), Malformed},
		"hex where base64 is meant":   {&Form{Encoding: Base64}, ownHeader("", plain), Malformed},
		"base64 without its padding":  {&Form{Encoding: Base64}, ownHeader("", strings.TrimRight(based, "=")), Malformed},
		"base64 of another ending":    {&Form{Encoding: Base64}, ownHeader("", based[:42]+string(based[42]+1)+"="), Malformed},
		"base64 with a line break":    {&Form{Encoding: Base64}, ownHeader("", based[:20]+"\n"+based[21:]), Malformed},
		"a header value of no header": {&Form{}, id("x", "", plain), Malformed},

		"Slack's":                   {slack(t), ownHeader(at(0), good("v0=", "v0:"+at(0)+":"+body)), Proved},
		"Slack's, a little old":     {slack(t), ownHeader(at(-5*time.Minute), good("v0=", "v0:"+at(-5*time.Minute)+":"+body)), Proved},
		"Slack's, a little early":   {slack(t), ownHeader(at(5*time.Minute), good("v0=", "v0:"+at(5*time.Minute)+":"+body)), Proved},
		"Slack's, too old":          {slack(t), ownHeader(at(-301*time.Second), good("v0=", "v0:"+at(-301*time.Second)+":"+body)), Untimely},
		"Slack's, too early":        {slack(t), ownHeader(at(301*time.Second), good("v0=", "v0:"+at(301*time.Second)+":"+body)), Untimely},
		"Slack's, of another time":  {slack(t), ownHeader(at(time.Second), good("v0=", "v0:"+at(0)+":"+body)), Mismatch},
		"Slack's, without the time": {slack(t), ownHeader("", good("v0=", "v0::"+body)), Malformed},
		"Slack's, with a sign":      {slack(t), ownHeader("+"+at(0), good("v0=", "v0:+"+at(0)+":"+body)), Malformed},
		"Slack's, with a zero":      {slack(t), ownHeader("0"+at(0), good("v0=", "v0:0"+at(0)+":"+body)), Malformed},
		"Slack's, in milliseconds":  {slack(t), ownHeader(at(0)+"000", good("v0=", "v0:"+at(0)+"000:"+body)), Malformed},
		"Slack's, without a prefix": {slack(t), ownHeader(at(0), good("", "v0:"+at(0)+":"+body)), Malformed},

		"Stripe's":                       {stripe(t), inHeader(at(0), good("v1=", at(0)+"."+body)), Proved},
		"Stripe's, by two keys":          {stripe(t), inHeader(at(0), "v1="+hexMAC(strings.Repeat("k", 32), at(0)+"."+body), good("v1=", at(0)+"."+body)), Proved},
		"Stripe's, with another version": {stripe(t), inHeader(at(0), good("v1=", at(0)+"."+body), "v0="+plain, "x"), Proved},
		"Stripe's, another version only": {stripe(t), inHeader(at(0), good("v0=", at(0)+"."+body)), Malformed},
		"Stripe's, with spaces":          {stripe(t), Message{Signature: "t=" + at(0) + ", " + good("v1=", at(0)+"."+body), Body: []byte(body)}, Proved},
		"Stripe's, two times":            {stripe(t), inHeader(at(0), good("v1=", at(0)+"."+body), "t="+at(1)), Malformed},
		"Stripe's, one time twice":       {stripe(t), inHeader(at(0), good("v1=", at(0)+"."+body), "t="+at(0)), Malformed},
		"Stripe's, too old":              {stripe(t), inHeader(at(-time.Hour), good("v1=", at(-time.Hour)+"."+body)), Untimely},
		"Stripe's, without the time":     {stripe(t), Message{Signature: good("v1=", "."+body), Body: []byte(body)}, Malformed},
		"Stripe's, one of wrong length":  {stripe(t), inHeader(at(0), good("v1=", at(0)+"."+body), "v1=00"), Malformed},
		"Stripe's, sixteen":              {stripe(t), inHeader(at(0), strings.Repeat("v1="+plain+",", 15)+good("v1=", at(0)+"."+body)), Proved},
		"Stripe's, seventeen":            {stripe(t), inHeader(at(0), strings.Repeat("v1="+plain+",", 16)+good("v1=", at(0)+"."+body)), Malformed},

		"a standard one":                {standard(t), id("msg_1", at(0), standardMAC(newSecret, "msg_1."+at(0)+"."+body)), Proved},
		"a standard one, by two keys":   {standard(t), id("msg_1", at(0), standardMAC("x", "y")+" "+standardMAC(oldSecret, "msg_1."+at(0)+"."+body)), Proved},
		"a standard one, asymmetric":    {standard(t), id("msg_1", at(0), "v1a,AAAA"), Malformed},
		"a standard one, of another id": {standard(t), id("msg_2", at(0), standardMAC(newSecret, "msg_1."+at(0)+"."+body)), Mismatch},
		"a standard one, without an id": {standard(t), id("", at(0), standardMAC(newSecret, "."+at(0)+"."+body)), Malformed},
		"an id that holds what ends it": {standard(t), id("msg."+at(0), at(0), standardMAC(newSecret, "msg."+at(0)+"."+at(0)+"."+body)), Malformed},
		"no value for the id":           {standard(t), ownHeader(at(0), standardMAC(newSecret, "msg_1."+at(0)+"."+body)), Malformed},
	} {
		test.message.Body = []byte(body)
		keys := []*Key{key(t, newSecret), key(t, oldSecret)}
		if got := test.form.Verify(&test.message, keys, now); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
		if got := test.form.Verify(&test.message, nil, now); got == Proved {
			t.Errorf("%s: proved by no key at all", name)
		}
	}
	if Refusal(0) == Proved {
		t.Error("what was never decided is proved")
	}
}

// What can be signed, and what cannot.
func TestParseTemplate(t *testing.T) {
	for text, want := range map[string]string{
		"{body}":                                 "",
		"v0:{timestamp}:{body}":                  "",
		"{header.webhook-id}.{timestamp}.{body}": "",
		"":                                       "does not end in {body}",
		"v0":                                     "does not end in {body}",
		"{timestamp}":                            "does not end in {body}",
		"{body}.":                                "does not end in {body}",
		"{body}.{timestamp}":                     "something stands behind {body}",
		"{body}.{body}":                          "{body} stands there twice",
		"{timestamp}{body}":                      "two values touch",
		"{timestamp}0{body}":                     "a digit stands behind {timestamp}",
		"{timestamp}.{timestamp}.{body}":         "{timestamp} stands there twice",
		"{header.x}.{header.x}.{body}":           "{header.x} stands there twice",
		"{header.X}.{body}":                      "write the header's name in lower case",
		"{header.}.{body}":                       "write the header's name in lower case",
		"{url}.{body}":                           "{url} is nothing that is signed",
		"{timestamp.{body}":                      "is nothing that is signed",
		"{body":                                  "a { without its }",
		"}{body}":                                "a } without its {",
	} {
		_, err := ParseTemplate(text)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %q", text, got, want)
		}
	}
	timed, plain := template(t, "{timestamp}.{body}"), Template{}
	if !timed.Timed() || plain.Timed() {
		t.Error("which template holds the time is mistaken")
	}
	named := template(t, "{header.b}.{header.a}.{body}")
	if got := strings.Join(named.Headers(), " "); got != "b a" {
		t.Errorf("headers %s", got)
	}
}

// A key is long, one line, and shows nothing of itself, not even in what is said of one that is wrong.
func TestReadKey(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		encoded bool
		want    string
	}{
		"a key":                       {"0123456789abcdef", false, ""},
		"a key and a line break":      {"0123456789abcdef\r\n", false, ""},
		"a short key":                 {"0123456789abcde\n", false, "fewer than 16 bytes"},
		"nothing":                     {"", false, "fewer than 16 bytes"},
		"two lines":                   {"0123456789abcdef\n0123456789abcdef\n", false, "more than one line"},
		"base64":                      {"MDEyMzQ1Njc4OWFiY2RlZg==", true, ""},
		"base64 of Standard Webhooks": {"whsec_MDEyMzQ1Njc4OWFiY2RlZg==", true, ""},
		"base64 of a short key":       {"MDEyMzQ1Njc4OWFiY2Rl", true, "fewer than 16 bytes"},
		"no base64":                   {"0123456789abcdef!", true, "is not base64"},
	} {
		k, err := ReadKey([]byte(test.text), test.encoded)
		if got := fmt.Sprint(err); (k == nil) == (test.want == "") || test.want != "" && !strings.Contains(got, test.want) || strings.Contains(got, "0123456789") {
			t.Errorf("%s: %v, %s", name, k, got)
		}
	}
	k := key(t, newSecret)
	for _, verb := range []string{"%v", "%s", "%+v", "%#v"} {
		if got := fmt.Sprintf(verb, k); strings.Contains(got, "secret") || got != "webhook.Key" {
			t.Errorf("%s shows %s", verb, got)
		}
	}
	// Base64 or not decides what the key is: Stripe's begin as Standard Webhooks' do, and are taken as they are.
	text := "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
	asIs, err := ReadKey([]byte(text), false)
	if err != nil {
		t.Fatal(err)
	}
	if got := (&Form{}).Verify(&Message{Signature: hexMAC(text, "x"), Body: []byte("x")}, []*Key{asIs}, time.Time{}); got != Proved {
		t.Errorf("a key that is taken as it is: %d", got)
	}
}

// forms are those that the properties below are asked about.
func forms(t testing.TB) []*Form {
	t.Helper()
	return []*Form{{}, {Encoding: Base64}, {Prefix: "v0="}, slack(t), stripe(t), standard(t)}
}

// What a sender signs is proved, and what differs in one byte, or in its time, is not.
func TestSignedIsProved(t *testing.T) {
	all := forms(t)
	k := key(t, newSecret)
	rapid.Check(t, func(r *rapid.T) {
		form := rapid.SampledFrom(all).Draw(r, "form")
		at := time.Unix(rapid.Int64Range(1, 9_999_999_999).Draw(r, "at"), 0)
		m := Message{Body: []byte(rapid.String().Draw(r, "body"))}
		for range form.Signed.Headers() {
			m.Values = append(m.Values, rapid.StringMatching(`[a-z0-9_-]{1,20}`).Draw(r, "id"))
		}
		if form.Timed && form.Timestamp != "t=" {
			m.Timestamp = strconv.FormatInt(at.Unix(), 10)
		}
		m.Signature = form.Sign(&m, k, at)
		if got := form.Verify(&m, []*Key{k}, at); got != Proved {
			r.Fatalf("%+v by %+v: %d", m, form, got)
		}
		changed := m
		changed.Body = append([]byte{}, m.Body...)
		if len(changed.Body) == 0 || rapid.Bool().Draw(r, "longer") {
			changed.Body = append(changed.Body, 'x')
		} else {
			changed.Body[rapid.IntRange(0, len(changed.Body)-1).Draw(r, "place")] ^= 1 << rapid.IntRange(0, 7).Draw(r, "bit")
		}
		if got := form.Verify(&changed, []*Key{k}, at); got != Mismatch {
			r.Fatalf("a changed body by %+v: %d", form, got)
		}
		if form.Timed {
			if got := form.Verify(&m, []*Key{k}, at.Add(form.Tolerance+time.Second)); got != Untimely {
				r.Fatalf("late by %+v: %d", form, got)
			}
		}
	})
}

// FuzzVerify: no header that was not signed is proved, and none makes a panic.
func FuzzVerify(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	for _, seed := range []string{"", "sha256=", "t=1700000000,v1=00", "v1,AAAA v1,BBBB", "v0=" + hexMAC(oldSecret, "x"), strings.Repeat("v1=,", 20)} {
		f.Add(seed, "1700000000", "msg_1", []byte("body"))
	}
	all := forms(f)
	k := key(f, newSecret)
	f.Fuzz(func(t *testing.T, signature, at, id string, body []byte) {
		for _, form := range all {
			m := Message{Signature: signature, Timestamp: at, Body: body}
			for range form.Signed.Headers() {
				m.Values = append(m.Values, id)
			}
			if form.Verify(&m, []*Key{k}, now) == Proved {
				t.Errorf("%q is proved by %+v", signature, form)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	form, k := stripe(b), key(b, newSecret)
	now := time.Unix(1_700_000_000, 0)
	for _, size := range []int{1 << 10, 64 << 10} {
		m := Message{Body: []byte(strings.Repeat("x", size))}
		m.Signature = form.Sign(&m, k, now)
		b.Run(strconv.Itoa(size>>10)+"KiB", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if form.Verify(&m, []*Key{k}, now) != Proved {
					b.Fatal("not proved")
				}
			}
		})
	}
}
