// Package starter writes a policy to start from, made of an OpenAPI document: a rule for each operation, closed wherever the document
// does not say who may do what, with a comment beside whatever its author has to decide. It is its own room because it is pure, a
// document in and text out, and the one promise that matters, that the text loads, is worth testing without a command.
package starter

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/sallyport-dev/sallyport/authz/openapi"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// Options are what a document does not say. Each may be empty.
type Options struct {
	// Service is the service's name, made of [a-z0-9-]+; left out, it is made of the document's title.
	Service string
	// Host is what clients call it; left out, the document's servers.
	Host string
	// Issuer is the exact `iss` of the tokens; left out, what the document's security schemes let guess, or a placeholder.
	Issuer string
	// Audience is the `aud` of the tokens; left out, the service's name as a placeholder.
	Audience string
}

// Write writes the policy. The same document and options give the same bytes.
func Write(d *openapi.Document, o Options) []byte {
	w := &writer{d: d, o: o}
	w.service = Name(o.Service)
	if w.service == "" {
		w.service = Name(d.Title)
	}
	if w.service == "" {
		w.service = "api"
	}
	w.issuers = issuers(d, o)
	w.names()
	w.exact()
	w.head()
	w.policy()
	return []byte(w.b.String())
}

// writer collects the text of one policy.
type writer struct {
	d       *openapi.Document
	o       Options
	b       strings.Builder
	service string
	issuers []*issuer
	rules   []*rule
	// spelling says that rules meet whatever is said of their extensions.
	spelling bool
}

// rule is one operation that becomes a rule, or only a comment.
type rule struct {
	op   *openapi.Operation
	name string
	// left says why there is no rule.
	left string
	// extension says that the rule needs `extension: exact`.
	extension bool
}

func (w *writer) line(indent int, format string, args ...any) {
	w.b.WriteString(strings.Repeat(" ", indent) + fmt.Sprintf(format, args...) + "\n")
}

// comment writes a sentence, over several lines where it is long. What it quotes of the document cannot end it.
func (w *writer) comment(indent int, format string, args ...any) {
	const most = 118
	line := ""
	for _, word := range strings.Fields(printable(fmt.Sprintf(format, args...))) {
		if line != "" && indent+len(line)+len(word) > most {
			w.line(indent, "#%s", line)
			line = ""
		}
		line += " " + word
	}
	w.line(indent, "#%s", line)
}

// printable replaces what does not show, or reorders what shows around it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == ' ' {
			return r
		}
		return '?'
	}, s)
}

// text writes a string as YAML: as it is where no reader takes it for anything else, in quotes with escapes otherwise.
func text(s string) string {
	plain := s != "" && !strings.HasSuffix(s, ":")
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		plain = plain && (letter || i > 0 && (c >= '0' && c <= '9' || strings.IndexByte("/._-:{}$, ", c) >= 0))
	}
	if plain && !ambiguous[strings.ToLower(s)] && !strings.HasSuffix(s, " ") && !strings.Contains(s, ": ") {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// ambiguous are words that some YAML reader takes for something other than text.
var ambiguous = map[string]bool{"y": true, "n": true, "yes": true, "no": true, "on": true, "off": true, "true": true, "false": true, "null": true}

// list writes strings as a YAML list on one line.
func list(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		if quoted[i] = text(item); strings.ContainsAny(item, ":,{}") && quoted[i] == item {
			quoted[i] = strconv.QuoteToASCII(item)
		}
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// maxName leaves room for a number behind a name; a policy's name has at most 128 bytes.
const maxName = 100

// Name makes a name of a policy's own, [a-z0-9-]+, of any text: words in lower case with a hyphen between. It may be empty.
func Name(s string) string {
	var b []byte
	var last rune
	for _, r := range s {
		lower := unicode.ToLower(r)
		switch {
		case lower >= 'a' && lower <= 'z' || r >= '0' && r <= '9':
			if unicode.IsUpper(r) && (unicode.IsLower(last) || unicode.IsDigit(last)) {
				b = append(b, '-')
			}
			b = append(b, byte(lower))
		case len(b) > 0 && b[len(b)-1] != '-':
			b = append(b, '-')
		}
		last = r
	}
	return strings.Trim(string(b[:min(len(b), maxName)]), "-")
}

// names gives each rule its own.
func (w *writer) names() {
	taken := map[string]bool{"": true, "probe": true, "none": true} // what metadata calls the lack of a rule
	for _, op := range w.d.Operations {
		r := &rule{op: op}
		base := Name(op.ID)
		if base == "" {
			base = Name(op.Method + " " + op.Path)
		}
		r.name = base
		for n := 2; taken[r.name]; n++ {
			r.name = base + "-" + strconv.Itoa(n)
		}
		taken[r.name] = true
		if len(op.Pattern.Methods()) == 0 {
			r.left = "no pattern of a rule can say its path"
		}
		w.rules = append(w.rules, r)
	}
}

func (w *writer) head() {
	w.comment(0, "A policy to start from, made of %s (%s %s) by `sallyport policy import`. Where the document does not say who may do what, it is closed: decide at each comment, and ask `sallyport policy check`.", w.d.File, w.d.Title, w.d.Version)
	var left []string
	for _, r := range w.rules {
		if r.left != "" {
			left = append(left, fmt.Sprintf("line %d, %s %s: %s; no rule, so it is denied", r.op.Pos.Line, r.op.Method, r.op.Path, r.left))
		}
	}
	for _, u := range w.d.Unsupported {
		left = append(left, fmt.Sprintf("line %d, %s: %s", u.Pos.Line, u.Place, u.What))
	}
	if len(left) > 0 {
		w.line(0, "#")
		w.comment(0, "What the document says and this policy does not:")
		for _, sentence := range left {
			w.comment(0, "- %s", sentence)
		}
	}
}

func (w *writer) policy() {
	w.line(0, "version: 1")
	w.line(0, "issuers:")
	for _, i := range w.issuers {
		w.issuer(i)
	}
	w.line(0, "services:")
	w.line(2, "- name: %s", w.service)
	w.hosts()
	if w.spelling {
		w.comment(4, "Paths of this document differ in case, in a final slash or in an extension alone. This says that the upstream tells them apart, byte by byte; if it does not, put them into one rule and remove this line.")
		w.line(4, "spelling: exact")
	}
	w.line(4, "rules:")
	for _, r := range w.rules {
		if r.left == "" {
			w.rule(r)
		}
	}
	if !slices.ContainsFunc(w.rules, func(r *rule) bool { return r.left == "" }) {
		w.comment(6, "The document has no operation that a rule can say.")
		w.line(6, "- name: nothing")
		w.line(8, "match: GET /{rest...}")
		w.line(8, "deny: 404")
	}
}

func (w *writer) issuer(i *issuer) {
	w.line(2, "%s:", i.name)
	for _, note := range i.notes {
		w.comment(4, "%s", note)
	}
	w.line(4, "issuer: %s", text(i.url))
	if w.o.Audience != "" {
		w.line(4, "audiences: %s", list([]string{w.o.Audience}))
		return
	}
	w.comment(4, "A placeholder: what the issuer writes as `aud` for this API.")
	w.line(4, "audiences: %s", list([]string{w.service}))
}

func (w *writer) hosts() {
	var hosts []string
	for _, host := range append([]string{w.o.Host}, w.d.Hosts...) {
		if host == "" || w.o.Host != "" && host != w.o.Host {
			continue
		}
		if canonical, err := target.ParseHost(host); err == nil && canonical == host {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		w.comment(4, "A placeholder: the names that clients call it by.")
		hosts = []string{w.service + ".example"}
	}
	w.line(4, "hosts: %s", list(hosts))
}

// issuer is one issuer of the policy.
type issuer struct {
	name, url string
	notes     []string
	schemes   []string
}

// placeholder loads and is nobody's: RFC 2606.
const placeholder = "https://issuer.example"

// issuers guesses who issues the tokens of each scheme. Schemes of one issuer share it.
func issuers(d *openapi.Document, o Options) []*issuer {
	var out []*issuer
	taken := map[string]bool{"": true}
	for _, s := range d.Schemes {
		if !bearsToken(s) {
			continue
		}
		url, note := guess(s)
		if o.Issuer != "" {
			url, note = o.Issuer, ""
		}
		i := slices.IndexFunc(out, func(i *issuer) bool { return i.url == url })
		if i < 0 {
			name := Name(s.Name)
			for n := 2; taken[name]; n++ {
				name = strings.TrimPrefix(Name(s.Name)+"-"+strconv.Itoa(n), "-")
			}
			taken[name] = true
			out = append(out, &issuer{name: name, url: url})
			i = len(out) - 1
			if note != "" {
				out[i].notes = append(out[i].notes, note)
			}
		}
		out[i].schemes = append(out[i].schemes, s.Name)
	}
	if len(out) == 0 {
		only := &issuer{name: "main", url: o.Issuer}
		if o.Issuer == "" {
			only.url, only.notes = placeholder, []string{"A placeholder: the document says nothing of tokens. Write the exact `iss` of yours."}
		}
		out = append(out, only)
	}
	return out
}

// bearsToken says that a scheme is about tokens that an issuer signs.
func bearsToken(s openapi.Scheme) bool {
	return s.Type == "oauth2" || s.Type == "openIdConnect" || s.Type == "http" && s.HTTP == "bearer"
}

// guess is the issuer that a scheme points to, and what to say about it.
func guess(s openapi.Scheme) (string, string) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Opaque != "" {
		return placeholder, fmt.Sprintf("A placeholder: the document does not say who issues the tokens of `%s`. Write their exact `iss`.", s.Name)
	}
	if base, ok := strings.CutSuffix(s.URL, "/.well-known/openid-configuration"); ok && s.Type == "openIdConnect" {
		return base, fmt.Sprintf("From the openIdConnectUrl of `%s`; it must be the exact `iss` of its tokens.", s.Name)
	}
	return "https://" + u.Host, fmt.Sprintf("A guess from %s of `%s`. Write the exact `iss` of its tokens, and `jwks: URL` if it has no discovery document.", s.URL, s.Name)
}
