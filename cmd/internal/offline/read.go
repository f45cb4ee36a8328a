package offline

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/scope"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Suite is one file of cases.
type Suite struct {
	// Policy is the path of the policy as the file writes it, "" if it does not.
	Policy string
	Cases  []*Case
}

var (
	suiteKeys = []string{"policy", "now", "service", "people", "lookups", "cases"}
	caseKeys  = []string{"name", "now", "who", "token", "caller", "address", "service", "signed", "client", "revoked", "request", "lookups", "expect", "recorded"}
	whoKeys   = []string{"issuer", "sub", "client_id", "aud", "scopes", "claims", "bound", "refused"}
)

// ReadSuite reads a file of cases, or says all that is wrong with it.
func ReadSuite(file string, data []byte) (*Suite, strictyaml.Errors) {
	doc, errs := strictyaml.Parse(file, data)
	if len(errs) > 0 {
		return nil, errs
	}
	r := &reader{Decoder: strictyaml.NewDecoder(doc), file: file, tested: true, at: places{}}
	m := r.Map(doc.Root, suiteKeys...)
	suite := &Suite{}
	suite.Policy, _ = r.Text(m.Get("policy"))
	r.now = r.moment(m.Get("now"))
	r.service, _ = r.Text(m.Get("service"))
	r.note(r.at, "service", m.Get("service"))
	r.lookups = r.answers(r.at, m.Get("lookups"))
	r.readPeople(m.Get("people"))
	cases := r.Require(m, "cases", "write `cases:` and a list of requests")
	for _, n := range r.List(cases) {
		suite.Cases = append(suite.Cases, r.oneCase(n))
	}
	if cases != nil && len(suite.Cases) == 0 && len(r.Errors()) == 0 {
		r.Errorf(cases, "write at least one", "a test without cases tests nothing")
	}
	if errs := r.Errors(); len(errs) > 0 {
		return nil, errs
	}
	return suite, nil
}

// ReadCase reads one case alone: the fields of a case at the top of a file.
func ReadCase(file string, data []byte) (*Case, strictyaml.Errors) {
	doc, errs := strictyaml.Parse(file, data)
	if len(errs) > 0 {
		return nil, errs
	}
	r := &reader{Decoder: strictyaml.NewDecoder(doc), file: file}
	c := r.oneCase(doc.Root)
	if errs := r.Errors(); len(errs) > 0 {
		return nil, errs
	}
	return c, nil
}

// AddLookups adds what lookups know, as `lookups` of a case says it, to a case that cannot say it itself: a curl line.
func (c *Case) AddLookups(name, text string) strictyaml.Errors {
	doc, errs := strictyaml.Parse(name, []byte(text))
	if len(errs) > 0 {
		return errs
	}
	r := &reader{Decoder: strictyaml.NewDecoder(doc), file: name}
	c.Lookups = merge(c.Lookups, r.answers(places{}, doc.Root))
	return r.Errors()
}

// reader reads cases; what stands at the top of the file holds for all of them.
type reader struct {
	*strictyaml.Decoder
	file    string
	tested  bool // the cases have names and expectations
	now     time.Time
	service string
	people  map[string]Who
	lookups map[string]map[string]Answer
	names   map[string]strictyaml.Pos
	at      places
}

// note keeps where something is written, for whoever knows the policy.
func (r *reader) note(at places, name string, n *strictyaml.Node) {
	if n != nil {
		at[name] = n.Pos()
	}
}

// said reads a text that says something: the empty one would be taken for one that is not written.
func (r *reader) said(n *strictyaml.Node, hint string) string {
	text, ok := r.Text(n)
	if ok && text == "" {
		r.Errorf(n, hint, "an empty text says nothing")
	}
	return text
}

func (r *reader) readPeople(n *strictyaml.Node) {
	r.people = map[string]Who{}
	if n == nil {
		return
	}
	m := r.OpenMap(n)
	for _, name := range m.Keys() {
		if name == "nobody" || name == "unknown" {
			r.ErrorAt(m.Pos(name), "choose another name", "%q has a meaning of its own", name)
			continue
		}
		r.people[name] = r.person(m.Get(name))
	}
}

func (r *reader) oneCase(n *strictyaml.Node) *Case {
	m := r.Map(n, caseKeys...)
	c := &Case{File: r.file, Pos: n.Pos(), Now: r.now, Service: r.service, at: places{}}
	maps.Copy(c.at, r.at)
	if r.tested {
		r.name(c, m)
		r.Require(m, "expect", "write `expect: allow`, or `expect: deny`")
	}
	if m.Get("now") != nil {
		c.Now = r.moment(m.Get("now"))
	}
	r.who(c, m)
	c.Caller, c.Address = r.caller(m.Get("caller")), r.address(m.Get("address"))
	c.Signed, _ = r.Text(m.Get("signed"))
	c.Client, _ = r.Text(m.Get("client"))
	if text, ok := r.Text(m.Get("service")); ok {
		c.Service = text
		r.note(c.at, "service", m.Get("service"))
	}
	c.Revocation = r.revoked(m.Get("revoked"))
	if request := r.Require(m, "request", "write `request: GET /path`"); request != nil {
		c.Request = r.request(request)
	}
	c.Lookups = merge(r.lookups, r.answers(c.at, m.Get("lookups")))
	if n := m.Get("expect"); n != nil {
		c.Expect = r.expect(c.at, n)
	}
	r.recorded(c, m.Get("recorded"))
	return c
}

// caller reads an identity in one of its two forms: any other would be nobody's, which no rule of callers admits.
func (r *reader) caller(n *strictyaml.Node) string {
	text, ok := r.Text(n)
	if !ok {
		return ""
	}
	id := text
	if !strings.Contains(text, "://") {
		id = ""
		if namespace, account, short := strings.Cut(text, "/"); short && !strings.Contains(account, "/") {
			id = "spiffe://any.domain/ns/" + namespace + "/sa/" + account
		}
	}
	if _, ok := policy.ParseCaller(id); !ok {
		r.Errorf(n, "write `caller: namespace/service-account`, or the whole spiffe:// ID; leave it out for nobody", "%q is no identity of a workload", text)
	}
	return text
}

func (r *reader) address(n *strictyaml.Node) string {
	text, ok := r.Text(n)
	if !ok {
		return ""
	}
	if at, err := netip.ParseAddr(text); (err != nil || at.Zone() != "") && text != "unreadable" {
		r.Errorf(n, "write one IPv4 or IPv6 address without a port, as `address: 192.0.2.1`, or `unreadable`", "%q is no address", text)
	}
	return text
}

// name demands a name that no other case has: reports tell cases apart by it.
func (r *reader) name(c *Case, m *strictyaml.Mapping) {
	n := r.Require(m, "name", "write `name: alice reads her own orders`")
	text, ok := r.Text(n)
	if !ok {
		return
	}
	c.Name = text
	if first, taken := r.names[text]; taken {
		r.Errorf(n, "choose another name", "the case in line %d has this name", first.Line)
	}
	if r.names == nil {
		r.names = map[string]strictyaml.Pos{}
	}
	r.names[text] = n.Pos()
}

// merge lays a case's answers over those of the file.
func merge(under, over map[string]map[string]Answer) map[string]map[string]Answer {
	all := map[string]map[string]Answer{}
	for _, answers := range []map[string]map[string]Answer{under, over} {
		for lookup, objects := range answers {
			if all[lookup] == nil {
				all[lookup] = map[string]Answer{}
			}
			maps.Copy(all[lookup], objects)
		}
	}
	return all
}

func (r *reader) moment(n *strictyaml.Node) time.Time {
	text, ok := r.Text(n)
	if !ok {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		r.Errorf(n, `write it as "2026-11-25T12:00:00Z"`, "not a moment (RFC 3339)")
	}
	return at
}

// who reads `who` or `token`. A case that has neither is nobody's.
func (r *reader) who(c *Case, m *strictyaml.Mapping) {
	who, token := m.Get("who"), m.Get("token")
	switch {
	case who != nil && token != nil:
		r.ErrorAt(m.Pos("token"), "remove one", "`who` and `token` both say whose token it is")
	case token != nil:
		raw, _ := r.value(token).(map[string]any)
		if raw == nil {
			r.Errorf(token, "write `token: {iss: ..., sub: ...}`", "a token is a map of claims")
		}
		c.Who = Who{Named: true, Raw: raw}
	case who.Kind() == strictyaml.String:
		text, _ := r.Text(who)
		person, ok := r.people[text]
		switch {
		case text == "nobody":
		case text == "unknown" && r.tested:
			r.Errorf(who, "write whose it is, or `nobody`", "`unknown` is what a recording says of a token that nobody looked at")
		case text == "unknown":
			c.Lacks = append(c.Lacks, "who")
		case ok:
			c.Who = person
		default:
			known := append(slices.Sorted(maps.Keys(r.people)), "nobody")
			r.Errorf(who, strictyaml.Suggest(text, known), "%q is none of the file's `people`", text)
		}
	case who != nil:
		c.Who = r.person(who)
	}
}

func (r *reader) person(n *strictyaml.Node) Who {
	m := r.Map(n, whoKeys...)
	w := Who{Named: true, at: places{}}
	w.Issuer = r.said(m.Get("issuer"), "leave it out where the policy has one issuer")
	w.Subject = r.said(m.Get("sub"), "leave it out for a token without one")
	if client := m.Get("client_id"); client.Kind() == strictyaml.Null {
		w.NoClient = true
	} else {
		w.ClientID = r.said(client, "write `client_id: null` for a token without one")
	}
	for _, key := range []string{"sub", "client_id", "aud", "scopes"} {
		r.note(w.at, key, m.Get(key))
	}
	w.Scopes = r.scopes(m.Get("scopes"))
	if aud := m.Get("aud"); aud.Kind() == strictyaml.List {
		if w.Audience, _ = r.Texts(aud); len(w.Audience) == 0 {
			r.Errorf(aud, "write `token:` with all claims for a token without one", "an audience of nobody is left to be made up")
		}
	} else if text, ok := r.Text(aud); ok {
		w.Audience = []string{text}
	}
	r.claims(&w, m.Get("claims"))
	w.Bound = r.bound(m.Get("bound"))
	w.Refused = r.refused(m.Get("refused"))
	return w
}

// claims reads them, and keeps where each of them is written.
func (r *reader) claims(w *Who, n *strictyaml.Node) {
	if n == nil {
		return
	}
	w.Claims, _ = r.value(n).(map[string]any)
	if w.Claims == nil {
		r.Errorf(n, "write `claims: {roles: [customer]}`", "claims are a map")
		return
	}
	m := r.OpenMap(n)
	for _, name := range m.Keys() {
		w.at[claimName(name)] = m.Pos(name)
		r.note(w.at, claimValue(name), m.Get(name))
	}
}

// claimName and claimValue are what the places of a claim are called.
func claimName(name string) string  { return "claims." + name }
func claimValue(name string) string { return "claims." + name + " is" }

// scopes reads scopes one by one. What cannot be one would make a token that is refused for it, whatever the case is about.
func (r *reader) scopes(n *strictyaml.Node) []string {
	list, _ := r.Texts(n)
	for i, item := range list {
		if _, err := scope.FromList([]string{item}); err != nil {
			r.Errorf(r.List(n)[i], "one scope an entry (RFC 6749 section 3.3); a token with anything else is written with `token:` and all its claims", "%q cannot be a scope", item)
		}
	}
	return list
}

func (r *reader) bound(n *strictyaml.Node) Bound {
	switch text, ok := r.Text(n); {
	case text == "caller":
		return BoundToCaller
	case text == "another":
		return BoundToAnother
	case ok:
		r.Errorf(n, "write `bound: caller`, or `bound: another`", "%q is nobody whom a token is bound to", text)
	}
	return BoundToNobody
}

// Words of docs/tokens.md that are not said of a token alone, and how a case says them.
var notRefused = map[string]string{
	authz.DetailRevoked:       "write `revoked: true` beside `who`",
	authz.DetailSender:        "write `bound: another`, or leave `bound` out for a rule that demands a bound token",
	authz.DetailNoCertificate: "write `bound: caller`; whether Envoy shows certificates is not the policy's to say",
	authz.DetailCredentials:   "write the Authorization header into `request`, without `who`",
	authz.DetailInQuery:       "write `access_token=x` into the query of `request`",
}

// refused reads the word with which a token is refused: a word that the gate never says would be expected and come, and prove nothing.
func (r *reader) refused(n *strictyaml.Node) string {
	text, ok := r.Text(n)
	switch hint := notRefused[text]; {
	case !ok || slices.Contains(authz.TokenDetails(), text):
	case hint != "":
		r.Errorf(n, hint, "%q is not said of a token by itself", text)
	default:
		r.Errorf(n, strictyaml.Suggest(text, authz.TokenDetails()), "no token is refused as %q", text)
	}
	return text
}

func (r *reader) revoked(n *strictyaml.Node) Revocation {
	if n.Kind() == strictyaml.String {
		if text, _ := r.Text(n); text != "unknown" {
			r.Errorf(n, "write `revoked: true`, or `revoked: unknown`", "%q is no answer", text)
		}
		return RevocationUnknown
	}
	if yes, _ := r.Bool(n); yes {
		return Revoked
	}
	return NotRevoked
}

// value reads any value as JSON has it.
func (r *reader) value(n *strictyaml.Node) any {
	switch n.Kind() {
	case strictyaml.Map:
		m := r.OpenMap(n)
		all := make(map[string]any, len(m.Keys()))
		for _, key := range m.Keys() {
			all[key] = r.value(m.Get(key))
		}
		return all
	case strictyaml.List:
		items := r.List(n)
		all := make([]any, len(items))
		for i, item := range items {
			all[i] = r.value(item)
		}
		return all
	case strictyaml.Bool:
		yes, _ := r.Bool(n)
		return yes
	case strictyaml.Int, strictyaml.Float:
		source := strictyaml.SourceText(n)
		if !json.Valid([]byte(source)) {
			r.Errorf(n, "write it as JSON does", "%s is no number of JSON", source)
		}
		return json.Number(source)
	case strictyaml.Null, strictyaml.Absent:
		return nil
	}
	text, _ := r.Text(n)
	return text
}

// request reads `GET /path`, or a map.
func (r *reader) request(n *strictyaml.Node) Request {
	var q Request
	if n.Kind() == strictyaml.String {
		text, _ := r.Text(n)
		method, target, ok := strings.Cut(text, " ")
		if !ok || method == "" || strings.ContainsRune(target, ' ') {
			r.Errorf(n, "write `request: GET /path`", "a request is a method, a space, and a path")
			return q
		}
		q.Method = method
		r.place(n, &q, target)
		return q
	}
	m := r.Map(n, "method", "host", "path", "headers", "body", "body_base64", "json", "form")
	q.Method = "GET"
	if text, ok := r.Text(m.Get("method")); ok {
		q.Method = text
	}
	if path := r.Require(m, "path", "write `path: /orders`"); path != nil {
		text, _ := r.Text(path)
		r.place(path, &q, text)
	}
	if text, ok := r.Text(m.Get("host")); ok {
		q.Host = text
	}
	r.headers(&q, m.Get("headers"))
	r.body(&q, m)
	return q
}

// place takes a path, or a URL with its host.
func (r *reader) place(n *strictyaml.Node, q *Request, target string) {
	host, path, ok := splitURL(target)
	if !ok {
		r.Errorf(n, "write the path as the client sends it: /orders?limit=10", "neither a path nor an http or https URL")
	}
	q.Host, q.Target = host, path
}

// splitURL takes host and path apart, byte for byte. A path alone has no host.
func splitURL(target string) (host, path string, ok bool) {
	if strings.HasPrefix(target, "/") || target == "*" {
		return "", target, true
	}
	for _, scheme := range []string{"http://", "https://"} {
		rest, found := strings.CutPrefix(target, scheme)
		if !found {
			continue
		}
		end := strings.IndexAny(rest, "/?")
		switch {
		case end < 0:
			return rest, "/", rest != ""
		case rest[end] == '?':
			return rest[:end], "/" + rest[end:], end > 0
		}
		return rest[:end], rest[end:], end > 0
	}
	return "", "", false
}

func (r *reader) headers(q *Request, n *strictyaml.Node) {
	if n == nil {
		return
	}
	m := r.OpenMap(n)
	for _, name := range m.Keys() {
		value := m.Get(name)
		values := []string{""}
		if value.Kind() == strictyaml.List {
			values, _ = r.Texts(value)
		} else {
			values[0], _ = r.Text(value)
		}
		for _, text := range values {
			q.Headers = append(q.Headers, authz.Field{Name: strings.ToLower(name), Value: text})
		}
	}
}

// body reads the one of four keys that says what is sent.
func (r *reader) body(q *Request, m *strictyaml.Mapping) {
	var given []string
	for _, key := range []string{"body", "body_base64", "json", "form"} {
		n := m.Get(key)
		if n == nil {
			continue
		}
		if given = append(given, key); len(given) > 1 {
			r.ErrorAt(m.Pos(key), "keep one", "`%s` and `%s` both say what the body is", given[0], key)
			return
		}
		switch key {
		case "body":
			text, _ := r.Text(n)
			q.Body = []byte(text)
		case "body_base64":
			text, _ := r.Text(n)
			data, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				r.Errorf(n, "", "not base64: %s", err)
			}
			q.Body = data
		case "json":
			q.Body, q.MediaType = encode(r.value(n)), "application/json"
		case "form":
			q.Body, q.MediaType = r.form(n), "application/x-www-form-urlencoded"
		}
	}
}

func (r *reader) form(n *strictyaml.Node) []byte {
	m := r.OpenMap(n)
	var pairs []string
	for _, name := range m.Keys() {
		value := m.Get(name)
		values := []string{""}
		if value.Kind() == strictyaml.List {
			values, _ = r.Texts(value)
		} else {
			values[0], _ = r.Text(value)
		}
		for _, text := range values {
			pairs = append(pairs, url.QueryEscape(name)+"="+url.QueryEscape(text))
		}
	}
	return []byte(strings.Join(pairs, "&"))
}

// Words that stand for an answer. Owners of these names are written as a list.
var answerWords = map[string]Answer{
	"unavailable": {Err: authz.ErrLookupUnavailable},
	"unreadable":  {Err: authz.ErrLookupAnswer},
	"not there":   {Standing: authz.NotThere},
	"not theirs":  {Standing: authz.NotTheirs},
	"theirs":      {Standing: authz.Theirs},
}

func (r *reader) answers(at places, n *strictyaml.Node) map[string]map[string]Answer {
	if n == nil {
		return nil
	}
	m := r.OpenMap(n)
	all := map[string]map[string]Answer{}
	for _, lookup := range m.Keys() {
		at["lookups."+lookup] = m.Pos(lookup)
		objects := r.OpenMap(m.Get(lookup))
		all[lookup] = map[string]Answer{}
		for _, id := range objects.Keys() {
			all[lookup][id] = r.answer(objects.Get(id))
		}
	}
	return all
}

func (r *reader) answer(n *strictyaml.Node) Answer {
	if n.Kind() == strictyaml.String {
		if text, _ := r.Text(n); answerWords[text].Err != nil || answerWords[text].Standing != authz.StandingUnknown {
			return answerWords[text]
		}
	}
	if n.Kind() != strictyaml.Map {
		return Answer{Owners: map[string]Owners{"": r.owners(n)}}
	}
	a := Answer{Owners: map[string]Owners{}}
	m := r.OpenMap(n)
	for _, relation := range m.Keys() {
		key := relation
		if key == "owner" {
			a.Owners[""] = r.owners(m.Get(relation)) // what a policy asks for where it names no relation
		}
		a.Owners[key] = r.owners(m.Get(relation))
	}
	return a
}

func (r *reader) owners(n *strictyaml.Node) Owners {
	if n.Kind() == strictyaml.List {
		names, _ := r.Texts(n)
		return Owners{Names: names}
	}
	text, _ := r.Text(n)
	if word := answerWords[text]; word.Standing != authz.StandingUnknown {
		return Owners{Standing: word.Standing}
	} else if word.Err != nil {
		r.Errorf(n, "write it in place of the whole map; an owner of that name is written as a list: ["+text+"]", "`%s` is said of an object, not of one relation to it", text)
	} else if word, ok := resembled(text); ok {
		r.Errorf(n, "did you mean `"+word+"`? An owner of that name is written as a list: ["+text+"]", "%q would be an owner of that name", text)
	}
	return Owners{Names: []string{text}}
}

// resembled is the word that a name was probably meant for, had it been spelled as the words are.
func resembled(name string) (string, bool) {
	words := map[string]string{}
	for word := range answerWords {
		words[joined(word)] = word
	}
	near, ok := strictyaml.Nearest(joined(name), slices.Sorted(maps.Keys(words)))
	return words[near], ok
}

// joined is a text without what separates its words.
func joined(text string) string { return strings.NewReplacer(" ", "", "_", "", "-", "").Replace(text) }

func (r *reader) expect(at places, n *strictyaml.Node) *Expect {
	e := &Expect{}
	if n.Kind() == strictyaml.String {
		e.Decision = r.decision(n)
		return e
	}
	m := r.Map(n, "decision", "status", "reason", "detail", "rule", "service", "step", "headers", "metadata")
	if len(m.Keys()) == 0 && m.OK() {
		r.Errorf(n, "write `expect: allow`, or `expect: deny`", "nothing is expected")
	}
	if d := m.Get("decision"); d != nil {
		e.Decision = r.decision(d)
	}
	if status, ok := r.Int(m.Get("status"), 200, 599); ok {
		e.Status = int(status)
	}
	e.Detail = r.said(m.Get("detail"), "write the word, as `detail: not_theirs`, or leave it out")
	e.Rule = r.said(m.Get("rule"), "write `rule: none` where no rule is meant to match, or leave it out")
	e.Service = r.said(m.Get("service"), "write `service: none` where none is meant to be found, or leave it out")
	r.note(at, "expect.rule", m.Get("rule"))
	r.note(at, "expect.service", m.Get("service"))
	e.Reason = oneOf(r, m.Get("reason"), authz.Reasons())
	e.Step = oneOf(r, m.Get("step"), authz.Steps())
	e.Metadata = r.fields(at, "metadata", m.Get("metadata"), func(name string) string { return name })
	e.Headers = r.fields(at, "headers", m.Get("headers"), strings.ToLower)
	return e
}

func (r *reader) decision(n *strictyaml.Node) string {
	text, ok := r.Text(n)
	if ok && text != "allow" && text != "deny" {
		r.Errorf(n, "write `allow` or `deny`", "%q is no decision", text)
	}
	return text
}

// oneOf reads a word of a closed list.
func oneOf[T interface{ String() string }](r *reader, n *strictyaml.Node, all []T) string {
	text, ok := r.Text(n)
	if !ok {
		return ""
	}
	if text == "" {
		r.Errorf(n, "write a word, or leave it out", "an empty text says nothing")
		return ""
	}
	var known []string
	for _, one := range all {
		known = append(known, one.String())
	}
	if !slices.Contains(known, text) {
		r.Errorf(n, strictyaml.Suggest(text, known), "%q is none of them", text)
	}
	return text
}

// fields reads names and values that are expected, null for those that must be absent. Fold makes one spelling of a name.
func (r *reader) fields(at places, key string, n *strictyaml.Node, fold func(string) string) map[string]*string {
	if n == nil {
		return nil
	}
	m := r.OpenMap(n)
	if m.OK() && len(m.Keys()) == 0 {
		r.Errorf(n, "write `"+key+": {NAME: value}`, `NAME: null` for one that must be absent, or leave it out", "none are expected, which is not looked at")
	}
	all := map[string]*string{}
	for _, written := range m.Keys() {
		name := fold(written)
		if _, twice := all[name]; twice {
			r.ErrorAt(m.Pos(written), "keep one", "%q stands here twice", name)
		}
		all[name] = nil
		at["expect."+key+"."+name] = m.Pos(written)
		if m.Get(written).Kind() != strictyaml.Null {
			text, _ := r.Text(m.Get(written))
			all[name] = &text
		}
	}
	return all
}

// recorded reads what a gate noted about a line that it wrote.
func (r *reader) recorded(c *Case, n *strictyaml.Node) {
	if n == nil {
		return
	}
	c.Recorded = true
	m := r.Map(n, "policy", "lacks")
	_, _ = r.Text(m.Get("policy"))
	lacks, _ := r.Texts(m.Get("lacks"))
	for i, part := range lacks {
		if part != "body" {
			r.Errorf(r.List(m.Get("lacks"))[i], "a line lacks its `body`; `who: unknown` is a token that was not looked at", "%q is no part that a line lacks", part)
		}
	}
	c.Lacks = append(c.Lacks, lacks...)
}

// encode is JSON in one spelling: names sorted, nothing escaped for HTML.
func encode(value any) []byte {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return []byte("null") // what a reader made of a file has no value that JSON lacks
	}
	return []byte(strings.TrimSuffix(text.String(), "\n"))
}

// At is file:line of the case.
func (c *Case) At() string { return c.File + ":" + strconv.Itoa(c.Pos.Line) }
