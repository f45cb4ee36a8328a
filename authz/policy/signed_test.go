package policy

import (
	"fmt"
	"strings"
	"testing"
)

// hook is a policy of one public rule that is signed as text says.
func hook(text string) string {
	return "version: 1\nservices:\n  - name: a\n    hosts: [a.example]\n    rules:\n      - name: r\n        match: POST /r\n        public: true\n        signed_by: " + text + "\n"
}

// What nobody could sign, or anybody could, does not load.
func TestSignedByRefused(t *testing.T) {
	for name, test := range map[string]struct{ text, want, hint string }{
		"no key":                     {"{hmac_sha256: x-s}", "the rule does not say where the key is", "write `key_file: hook.key`"},
		"no header":                  {"{key_file: k}", `missing key "hmac_sha256"`, "x-hub-signature-256"},
		"two ways to name keys":      {"{hmac_sha256: x-s, key_file: k, key_files: [l]}", "`key_file` and `key_files` are both there", "write them into `key_files`"},
		"no keys":                    {"{hmac_sha256: x-s, key_files: []}", "`key_files` is empty", "[new.key, old.key]"},
		"a key twice":                {"{hmac_sha256: x-s, key_files: [k, k]}", "`key_files` holds an empty or repeated value", ""},
		"a secret in the policy":     {"{hmac_sha256: x-s, key: secret}", `unknown key "key"`, "key_file"},
		"a header in capitals":       {"{hmac_sha256: X-S, key_file: k}", `"X-S" is no header name`, "in lower case"},
		"a header with _":            {"{hmac_sha256: x_s, key_file: k}", `"x_s" is no header name`, "in lower case"},
		"a credential":               {"{hmac_sha256: authorization, key_file: k}", "header authorization holds a credential", "name another header"},
		"a header of HTTP's own":     {"{hmac_sha256: content-length, key_file: k}", "header content-length says how the message travels", "that the sender documents"},
		"a time of HTTP's own":       {`{hmac_sha256: x-s, key_file: k, timestamp: content-type, signed: "{timestamp}.{body}"}`, "header content-type says how the message travels", "that the sender documents"},
		"another encoding":           {"{hmac_sha256: x-s, key_file: k, encoding: base32}", `a signature cannot be written in "base32"`, "write hex, or base64"},
		"a key in hex":               {"{hmac_sha256: x-s, key_file: k, key_encoding: hex}", `a key cannot be written in "hex"`, "taken as it is written"},
		"a tolerance of nothing":     {"{hmac_sha256: x-s, key_file: k, tolerance: 1m}", "`tolerance` is how old a time may be", "write `timestamp:`"},
		"a tolerance of a day":       {`{hmac_sha256: x-s, key_file: k, timestamp: "t=", signed: "{timestamp}.{body}", tolerance: 24h}`, "1h", ""},
		"a time that is not signed":  {`{hmac_sha256: x-s, key_file: k, timestamp: x-t, signed: "v0:{body}"}`, "the time is not signed", `write "{timestamp}.{body}"`},
		"a time without what":        {"{hmac_sha256: x-s, key_file: k, timestamp: x-t}", "does not say how the time is `signed`", "as the sender documents it"},
		"a time from nowhere":        {`{hmac_sha256: x-s, key_file: k, signed: "{timestamp}.{body}"}`, "does not say where it stands", "write `timestamp:`"},
		"a time like a signature":    {`{hmac_sha256: x-s, key_file: k, prefix: "v1=", timestamp: "v1=", signed: "{timestamp}.{body}"}`, "cannot tell the time from a signature", `"t="`},
		"a time that takes all":      {`{hmac_sha256: x-s, key_file: k, prefix: "v=1=", timestamp: "v=", signed: "{timestamp}.{body}"}`, "cannot tell the time from a signature", `"t="`},
		"a comma between commas":     {`{hmac_sha256: x-s, key_file: k, prefix: "v1,", timestamp: "t=", signed: "{timestamp}.{body}"}`, `no element of the header begins with "v1,": they stand between commas`, "what stands before one signature"},
		"a time with a comma":        {`{hmac_sha256: x-s, key_file: k, prefix: "v1=", timestamp: "a,t=", signed: "{timestamp}.{body}"}`, `begins with "a,t=": they stand between commas`, "what stands before one signature"},
		"a space between spaces":     {`{hmac_sha256: x-s, key_file: k, prefix: "v1 ="}`, `begins with "v1 =": they stand between spaces`, "what stands before one signature"},
		"a space that is cut":        {`{hmac_sha256: x-s, key_file: k, prefix: " v1=", timestamp: "t=", signed: "{timestamp}.{body}"}`, `begins with " v1=": spaces around one are cut`, "take the space out"},
		"a prefix beyond ASCII":      {`{hmac_sha256: x-s, key_file: k, prefix: "vé="}`, "no header holds", "visible ASCII"},
		"a time in the signature":    {`{hmac_sha256: x-s, key_file: k, timestamp: x-s, signed: "{timestamp}.{body}"}`, "header x-s holds the signature, and is no time", "where it is an element"},
		"a signature of itself":      {`{hmac_sha256: x-s, key_file: k, signed: "{header.x-s}.{body}"}`, "which cannot sign itself", "take it out"},
		"a body that is not signed":  {`{hmac_sha256: x-s, key_file: k, signed: "{header.x-id}"}`, "does not end in {body}", "write {body}"},
		"a credential that is":       {`{hmac_sha256: x-s, key_file: k, signed: "{header.cookie}.{body}"}`, `"cookie" is no header that is signed`, "{header.webhook-id}"},
		"two values that touch":      {`{hmac_sha256: x-s, key_file: k, timestamp: "t=", signed: "{timestamp}{body}"}`, "two values touch", ""},
		"text":                       {"x-hub-signature-256", "a map is meant", ""},
		"an upgrade beside it":       {"{hmac_sha256: x-s, key_file: k}\n        upgrades: [websocket]", "Envoy buffers no body of an upgrade", "remove one"},
		"an issuer's name beside it": {"{hmac_sha256: x-s, key_file: k}\n        issuer: shop", "a public rule asks nobody who they are", ""},
	} {
		p, errs := Parse([]File{{Name: "p.yaml", Data: []byte(hook(test.text))}})
		if p != nil || !strings.Contains(errs.Pretty(), test.want) || !strings.Contains(errs.Pretty(), test.hint) {
			t.Errorf("%s: loads %v:\n%s", name, p != nil, errs.Pretty())
		}
	}
}

// A signature says who sends. Beside a token, a refusal or a choice of credentials it is an error, and beside a caller it is one more demand.
func TestSignedByBesideCredentials(t *testing.T) {
	const signed = "signed_by: {hmac_sha256: x-s, key_file: k}"
	for name, test := range map[string]struct{ rule, want string }{
		"a token":  {"issuer: shop, " + signed, "the rule asks for a token, and the sender of a webhook has none"},
		"a denial": {"deny: 403, " + signed, "a `deny` rule refuses everybody and asks nothing"},
		"a choice": {"either: [{issuer: shop}, {token: none, callers: [web/x]}], " + signed, "`either` says in its branches who may come"},
		"a caller": {"token: none, callers: [web/x], " + signed, ""},
		"nobody":   {"public: true, " + signed, ""},
	} {
		text := "version: 1\ntrust_domain: t\npeers: envoy\nissuers: {shop: {issuer: \"https://shop.example\", audiences: [a]}}\nservices:\n" +
			"  - {name: a, hosts: [a.example], rules: [{name: r, match: POST /r, " + test.rule + "}]}\n"
		if _, errs := parse(text); (errs == "") != (test.want == "") || !strings.Contains(errs, test.want) {
			t.Errorf("%s: %s", name, errs)
		}
	}
	warned := mustParse(t, strings.Replace(hook("{hmac_sha256: x-s, key_file: k}"), "POST /r", "GET /r", 1)).Warnings
	if len(warned) != 1 || !strings.Contains(warned[0].Msg, "clients send GET and HEAD without one") {
		t.Errorf("a GET that is signed: %v", warned)
	}
}

// The forms that docs/requests.md has for known senders, and rules that share keys.
func TestSignedByForms(t *testing.T) {
	read := func(text string) *SignedBy { return mustParse(t, hook(text)).Services[0].Rules[0].SignedBy }
	for text, want := range map[string]string{
		"{hmac_sha256: x-hub-signature-256, key_file: hook.key}":                                                                           `x-hub-signature-256 0 "" timed false "" "" [hook.key] false`,
		`{hmac_sha256: x-s, prefix: "v0=", timestamp: x-t, signed: "v0:{timestamp}:{body}", key_files: [a, b]}`:                            `x-s 0 "v0=" timed true "" "x-t" [a b] false`,
		`{hmac_sha256: s-s, prefix: "v1=", timestamp: "t=", signed: "{timestamp}.{body}", key_file: a, tolerance: 1m}`:                     `s-s 0 "v1=" timed true "t=" "" [a] false`,
		`{hmac_sha256: w, prefix: "v1,", encoding: base64, key_encoding: base64, timestamp: t, signed: "{timestamp}.{body}", key_file: a}`: `w 1 "v1," timed true "" "t" [a] true`,
	} {
		s := read(text)
		got := fmt.Sprintf("%s %d %q timed %v %q %q %v %v", s.Header, s.Form.Encoding, s.Form.Prefix, s.Form.Timed, s.Form.Timestamp, s.Timestamp, s.Keys.Files, s.Keys.Base64)
		if got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	a, same, other := read("{hmac_sha256: x, key_file: k}"), read("{hmac_sha256: y, key_file: k}"), read("{hmac_sha256: x, key_file: k, key_encoding: base64}")
	if a.Keys.Name != same.Keys.Name || a.Keys.Name == other.Keys.Name {
		t.Errorf("names of keys: %s, %s, %s", a.Keys.Name, same.Keys.Name, other.Keys.Name)
	}
}
