package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/webhook"
	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

var signedKeys = []string{"hmac_sha256", "key_file", "key_files", "key_encoding", "encoding", "prefix", "timestamp", "signed", "tolerance"}

// signedBy reads who must have signed the body of a rule that asks for no token.
func (r *ruleSource) signedBy() {
	n := r.m.Get("signed_by")
	if n == nil || r.rule.Credential == CredentialDeny {
		return // where it is refused already
	}
	if r.rule.Credential == CredentialToken {
		r.ErrorAt(r.m.Pos("signed_by"), "write `public: true`: the signature says who sends, or leave `signed_by` out", "the rule asks for a token, and the sender of a webhook has none")
	}
	if len(r.rule.Upgrades) > 0 {
		r.ErrorAt(r.m.Pos("upgrades"), "remove one", "the rule reads a body and hands the connection over: Envoy buffers no body of an upgrade")
	}
	m := r.Map(n, signedKeys...)
	s := &SignedBy{Form: webhook.Form{Tolerance: webhook.DefaultTolerance}}
	if header := r.Require(m, "hmac_sha256", "name the header that holds the signature: hmac_sha256: x-hub-signature-256"); header != nil {
		s.Header = headerName(r.source, header)
	}
	s.Form.Encoding = r.encoding(m.Get("encoding"))
	s.Form.Prefix = optionalText(r.source, m, "prefix", "")
	r.signedTime(m, s)
	r.signedTemplate(m, s)
	r.verifiable(m, s)
	r.webhookKeys(n, m, s)
	r.rule.SignedBy = s
}

// headerName reads the name of a header whose value the gate compares.
func headerName(src *source, n *strictyaml.Node) string {
	text, ok := src.Text(n)
	switch why := condition.BarredHeader(text); {
	case !ok:
	case !headerval.ValidName(text) || text != strings.ToLower(text) || strings.Contains(text, "_"):
		src.Errorf(n, "write the header's name in lower case, with -", "%q is no header name", text)
	case why != "":
		src.Errorf(n, "name another header", "header %s %s, which is read nowhere else", text, why)
	}
	return text
}

func (r *ruleSource) encoding(n *strictyaml.Node) webhook.Encoding {
	text, ok := r.Text(n)
	if text == "base64" {
		return webhook.Base64
	}
	if ok && text != "hex" {
		r.Errorf(n, "write hex, or base64", "a signature cannot be written in %q", text)
	}
	return webhook.Hex
}

// signedTime reads where the sender's time stands, and how far it may be from ours.
func (r *ruleSource) signedTime(m *strictyaml.Mapping, s *SignedBy) {
	n := m.Get("timestamp")
	if n == nil {
		if tolerance := m.Get("tolerance"); tolerance != nil {
			r.Errorf(tolerance, "write `timestamp:` with the header that holds the time, or remove it", "`tolerance` is how old a time may be, and the rule reads none")
		}
		return
	}
	s.Form.Timed = true
	if text, ok := r.Text(n); ok && strings.HasSuffix(text, "=") {
		s.Form.Timestamp = text
		if text == "=" || strings.HasPrefix(s.Form.Prefix, text) {
			r.Errorf(n, "write `timestamp: \"t=\"` and `prefix: \"v1=\"`", "%q cannot tell the time from a signature", text)
		}
	} else if ok {
		s.Timestamp = headerName(r.source, n)
	}
	duration(r.source, m, "tolerance", time.Second, time.Hour, &s.Form.Tolerance)
}

// signedTemplate reads what is signed. A time that is not signed says nothing, and one that is signed is judged.
func (r *ruleSource) signedTemplate(m *strictyaml.Mapping, s *SignedBy) {
	n := m.Get("signed")
	if n == nil {
		if s.Form.Timed {
			r.Errorf(m.Get("timestamp"), "write `signed: \"{timestamp}.{body}\"`, as the sender documents it", "the rule does not say how the time is `signed`")
		}
		return
	}
	text, ok := r.Text(n)
	if !ok {
		return
	}
	template, err := webhook.ParseTemplate(text)
	if err != nil {
		r.Errorf(n, "write {body}, or \"v0:{timestamp}:{body}\"", "%s", err)
		return
	}
	for _, header := range template.Headers() {
		if condition.BarredHeader(header) != "" || !headerval.ValidName(header) || strings.Contains(header, "_") {
			r.Errorf(n, "write {header.webhook-id}", "%q is no header that is signed", header)
		}
	}
	switch timed := template.Timed(); {
	case timed && !s.Form.Timed:
		r.Errorf(n, "write `timestamp:` with the header that holds it", "the text reads {timestamp}, and the rule does not say where it stands")
	case !timed && s.Form.Timed:
		r.Errorf(n, "write \"{timestamp}.{body}\", as the sender documents it", "the time is not signed, so that anybody could write another")
	}
	s.Form.Signed = template
}

// notTheSenders are headers whose values HTTP gives a meaning of its own (RFC 9110 sections 7 and 8, RFC 9112 section 6).
var notTheSenders = []string{"connection", "content-encoding", "content-length", "content-type", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}

// verifiable refuses what no message could ever satisfy: a rule that admits nobody is found out when the first webhook is lost.
func (r *ruleSource) verifiable(m *strictyaml.Mapping, s *SignedBy) {
	separator, between := " ", "spaces"
	if s.Form.Timestamp != "" {
		separator, between = ",", "commas"
		r.elementStart(m.Get("timestamp"), s.Form.Timestamp, separator, between)
	}
	r.elementStart(m.Get("prefix"), s.Form.Prefix, separator, between)
	for key, name := range map[string]string{"hmac_sha256": s.Header, "timestamp": s.Timestamp} {
		if slices.Contains(notTheSenders, name) {
			r.Errorf(m.Get(key), "name the header that the sender documents", "header %s says how the message travels, and is no signature and no time", name)
		}
	}
	if s.Timestamp != "" && s.Timestamp == s.Header {
		r.Errorf(m.Get("timestamp"), "write `timestamp: \"t=\"` where it is an element of that header", "header %s holds the signature, and is no time", s.Header)
	}
	if slices.Contains(s.Form.Signed.Headers(), s.Header) && s.Header != "" {
		r.Errorf(m.Get("signed"), "take it out", "header %s holds the signature, which cannot sign itself", s.Header)
	}
}

// elementStart holds what begins an element of the signature's header to what can stand there. Elements are separated, and then trimmed.
func (r *ruleSource) elementStart(n *strictyaml.Node, text, separator, between string) {
	switch {
	case strings.Contains(text, separator):
		r.Errorf(n, "write what stands before one signature, such as \"v1=\"", "no element of the header begins with %q: they stand between %s", text, between)
	case strings.HasPrefix(text, " "):
		r.Errorf(n, "take the space out", "no element of the header begins with %q: spaces around one are cut", text)
	case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }):
		r.Errorf(n, "write visible ASCII, as the sender documents it", "no header holds %q", text)
	}
}

// webhookKeys reads where the keys are. Two at a time are what a rotation needs.
func (r *ruleSource) webhookKeys(at *strictyaml.Node, m *strictyaml.Mapping, s *SignedBy) {
	one, several := m.Get("key_file"), m.Get("key_files")
	switch {
	case one != nil && several != nil:
		r.Errorf(one, "write them into `key_files`", "`key_file` and `key_files` are both there")
	case one != nil:
		if text := optionalText(r.source, m, "key_file", ""); text != "" {
			s.Keys.Files = []string{text}
		}
	case several != nil:
		s.Keys.Files = texts(r.source, m, "key_files", nil)
		if several.Kind() == strictyaml.List && len(r.List(several)) == 0 {
			r.Errorf(several, "write key_files: [new.key, old.key]", "`key_files` is empty")
		}
	case m.OK():
		r.Errorf(at, "write `key_file: hook.key`, a file with the key that the sender shows", "the rule does not say where the key is")
	}
	if n := m.Get("key_encoding"); n != nil {
		text, ok := r.Text(n)
		if s.Keys.Base64 = text == "base64"; ok && !s.Keys.Base64 {
			r.Errorf(n, "write base64, or leave it out: the key is then taken as it is written", "a key cannot be written in %q", text)
		}
	}
	s.Keys.File, s.Keys.Pos = r.name, at.Pos()
	s.Keys.Name = strconv.FormatBool(s.Keys.Base64) + " " + strconv.Quote(strings.Join(s.Keys.Files, "\x00"))
}
