package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
	"github.com/sallyport-dev/sallyport/authz/webhook"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Peers says who checked the certificates behind callers and workloads.
type Peers uint8

const (
	// PeersNobody is the zero value: no principal is believed, and a policy that names callers does not load.
	PeersNobody Peers = iota
	// PeersEnvoy believes source.principal, because Envoy's validation context matched a URI SAN of the trust domain.
	PeersEnvoy
	// PeersCertificate believes source.principal only beside a source.certificate whose one URI SAN it is.
	PeersCertificate
)

// Policy is everything that a generation of policy files says. It is immutable and safe for concurrent use.
type Policy struct {
	// Digest names this generation: 16 hex digits over the names and bytes of its files.
	Digest string
	// Peers says whether principals are believed.
	Peers Peers
	// TrustDomain is the SPIFFE trust domain of callers in the short form namespace/service-account; "" where none is written.
	TrustDomain string
	// Gateways are identities that carry other people's traffic: never a workload that speaks for itself.
	Gateways []CallerPattern
	// TrustedProxies may speak X-Forwarded-For.
	TrustedProxies TrustedProxies
	// Revocation is nil where the policy does not ask for it.
	Revocation *Revocation
	// Issuers by name.
	Issuers map[string]*Issuer
	// Lookups by name.
	Lookups map[string]*Lookup
	// Services in the order of their names' files.
	Services []*Service
	// Probes of an edge policy, on any host.
	Probes []Probe
	// Strip are all header names that an allow removes where no service was chosen, as for a probe of an edge policy.
	Strip []string
	// Warnings are doubts that do not stop a load.
	Warnings strictyaml.Errors

	// partial says that some file of the folder was never good, so that services may be missing here: then nothing is chosen because
	// nothing else is there. reserved are the hosts that such files name, and unread says that one could not even be read for them:
	// what a wildcard would catch could be theirs.
	// gatewaysUnknown says that such a file may name gateways.
	partial, unread, gatewaysUnknown bool
	reserved                         []string

	byName   map[string]*Service
	hosts    map[string]*group
	suffixes map[string]*group // by ".suffix"; "" is "*"
	// workloads are the services by the identities that they name exactly; starred are those that name some with a star.
	workloads map[string][]*Service
	starred   []*Service
	// identity holds every header name that any service sets, folded with `_` as `-`.
	identity map[string]bool
	// keys holds every header name that holds an API key.
	keys map[string]bool
}

// Service is one upstream and its rules.
type Service struct {
	// Name is [a-z0-9-]+, unique in the policy.
	Name string
	// Hosts as written, folded.
	Hosts []string
	// Edge says that Envoy routes by Host here, so that the host alone may choose the service.
	Edge bool
	// Workloads are the identities that this service runs as.
	Workloads []CallerPattern
	// Callers are demanded of every connection; nil demands none.
	Callers []CallerPattern
	// Origin is demanded of the address of every request but a probe's.
	Origin Origin
	// ClientKey is demanded of every request that a token is asked of; nil demands none. Rules hold it too.
	ClientKey *ClientKey
	// Shadow, unless nil, is what the service answers until its rules are enforced.
	Shadow *Shadow
	// Audience is the one audience of its issuers that this service answers to; "" where the issuer has only one.
	Audience string
	// Headers are set for the upstream on an allow.
	Headers []Header
	// CORS says which web pages may call; nil says nothing, and lets no preflight pass.
	CORS *CORS
	// ResponseHeaders go into the upstream's answers, and TokenResponseHeaders instead of them into those to a verified token.
	ResponseHeaders, TokenResponseHeaders []ResponseHeader
	// Probes are exact paths that need no token.
	Probes []Probe
	// Spelling says whether the upstream is known to be exact about paths.
	Spelling pattern.Spelling
	// Rules in file order.
	Rules []*Rule
	// Strip are the header names that an allow removes when it sets none of them: every identity header of the policy, and the
	// headers by which clients try to choose another method or path.
	Strip []string
	// StripAll are the header names that are removed where the service's rules do not decide: every identity header of the policy, those by which
	// clients choose, and every API key of the service.
	StripAll []string

	pos   strictyaml.Pos
	file  string
	rules *group
	// tenant is the node of the service's demand, and descriptors the FileDescriptorSet of its gRPC messages, while it is compiled.
	tenant, descriptorsNode *strictyaml.Node
	descriptors             []byte
	// description is the service's OpenAPI document; nil where it names none.
	description *description
	// probes are its own and, for an edge service, those at the top of the files.
	probes []Probe
}

// group is a tree of rules that are chosen among together.
type group struct {
	rules []*Rule
	tree  *pattern.Tree

	sources []*ruleSource // until the policy is linked
}

// Credential says what a rule asks of the request's bearer token.
type Credential uint8

const (
	// CredentialToken asks for a token. It is the zero value.
	CredentialToken Credential = iota
	// CredentialNone asks for none: the connection's SPIFFE identity is the whole identity.
	CredentialNone
	// CredentialPublic asks for nothing about who.
	CredentialPublic
	// CredentialDeny refuses everybody.
	CredentialDeny
)

// Rule is what one kind of request must prove.
type Rule struct {
	// Name is [a-z0-9-]+, unique in its service.
	Name    string
	Service *Service
	// File and Pos say where the rule is written.
	File     string
	Pos      strictyaml.Pos
	Patterns []pattern.Pattern
	// Credential decides which of the demands below can be set at all.
	Credential Credential
	// DenyStatus is 403, 404 or 410 beside CredentialDeny.
	DenyStatus int
	// Issuer whose tokens the rule takes; nil unless CredentialToken.
	Issuer *Issuer
	// Scopes are all demanded, AnyScope at least one; likewise Roles and AnyRole, of the claim `roles`.
	Scopes, AnyScope []string
	Roles, AnyRole   []string
	// Callers are demanded beside the service's; AnyCaller sets the service's aside for a public rule.
	Callers   []CallerPattern
	AnyCaller bool
	// Origins are demanded of the address that a request comes from, all of them: the service's and the rule's own. Nil demands nothing.
	Origins []Origin
	// Either are the branches of a rule that takes credentials of several kinds, each with its own demands; the credential chooses
	// the branch, and what the branch refuses is refused. The rule itself then demands nothing. Nil: the rule is its only branch.
	Either []*Rule
	// Operations are the rule as it holds for some methods, where the service's OpenAPI document has an operation for these and another, or
	// none, for the rest; nil where one holds for all. See For.
	Operations map[string]*Rule
	// Sender says whether a token may be anybody's who holds it.
	Sender Sender
	// Clients binds applications to workloads: a token of client_id is taken only from one of its callers. Nil binds nobody; a
	// client that is not named is refused.
	Clients map[string][]CallerPattern
	// Owner is whose the named object must be; nil is nobody's in particular.
	Owner *Owner
	// Tenants are demanded, all of them: the service's and the rule's own.
	Tenants []Tenant
	// Agrees are references whose values must be one and the same.
	Agrees []Reference
	// ClientKey is the key of an application that is demanded beside a token, the service's or the rule's own; nil demands none.
	ClientKey *ClientKey
	// Strip are the header names that an allow removes, but for those that the service sets.
	Strip []string
	// SignedBy is who must have signed the body; nil demands no signature. It stands beside no token.
	SignedBy *SignedBy
	// Condition must hold; nil demands nothing.
	Condition *condition.Program
	// ConditionText is the condition as it is written.
	ConditionText string
	// ConditionReads are what Condition reads of the request, in the order of its References.
	ConditionReads []Reference
	// Body says what is read of the request's body; nil reads none.
	Body *Body
	// Metadata is handed to the rate limiter on an allow.
	Metadata []Metadata
	// Upgrades are the Upgrade tokens (RFC 9110 7.8) that may pass, lower case.
	Upgrades []string
	// MaxConnection is how long a connection that is handed over, or a stream, may outlive its one check: what was allowed then may be
	// revoked since. The gate cannot end it; Envoy's max_stream_duration must say the same. Zero says nothing.
	MaxConnection time.Duration
	// Except are prefixes that the rule's {rest...} does not cover.
	Except []pattern.Prefix
	// SeparateBody says that the upstream never merges body fields into query parameters.
	SeparateBody bool
	Shape
}

// Sender says how a token must be bound to whoever sends it. A token that is bound (`cnf`) is always held to it.
type Sender uint8

const (
	// SenderAny takes a bearer token from anybody. It is the zero value, and no exception for bound tokens.
	SenderAny Sender = iota
	// SenderBound takes only tokens that are bound to a sender, in any way that is supported.
	SenderBound
	// SenderMTLS takes only tokens that are bound to a client certificate (RFC 8705).
	SenderMTLS
)

// Revocation says how a policy treats its view of revoked tokens.
type Revocation struct {
	// StaleAfter is the age at which the view is no longer believed. Positive.
	StaleAfter time.Duration
	// AllowStale then goes on with what is known. False denies.
	AllowStale bool
}

// DefaultRevocation holds where there is a store of revocations and the policy does not say how to treat it.
var DefaultRevocation = Revocation{StaleAfter: time.Minute}

// Owner demands that an object is the caller's.
type Owner struct {
	// Of is where the object's id stands: one value, or, of a list, each of them.
	Of Object
	// Is is the claim that the object's id must equal, byte for byte, or, with Lookup, the claim whose value must own the object.
	Is string
	// Lookup knows the object's owner; nil where the id itself is the owner's. Relation is what is asked for, "" for owning.
	Lookup   *Lookup
	Relation string
	// UnlessRole lifts the demand for holders of a role; Unless lifts it where the expression is true.
	UnlessRole string
	Unless     *condition.Program
	// UnlessText is Unless as it is written.
	UnlessText string
	// AllowEmpty takes an empty, missing or null list for nobody's.
	AllowEmpty bool
	// Hidden answers 404 for everything that is refused after scopes, so that existence does not show.
	Hidden bool
}

// SignedBy demands that the body was signed by somebody who shares a key with the gate: the sender of a webhook.
type SignedBy struct {
	// Header holds the signatures, lower case.
	Header string
	// Form is how they are written, and Timestamp the header of its own that holds the time; "" where there is none.
	Form      webhook.Form
	Timestamp string
	// Keys are the files of the keys, any of which may have signed.
	Keys WebhookKeys
}

// ClientKey demands that a request brings an API key, which names the application that makes it and never who asks.
type ClientKey struct {
	// Header holds the key, lower case.
	Header string
	// Forward hands the key on to the upstream, which then knows every client's. False removes it.
	Forward bool
	// Keys says where the keys are known.
	Keys ClientKeys
}

// ClientKeys names a store of API keys. Exactly one of File and Redis is set. It is read by whoever runs the policy.
type ClientKeys struct {
	// File is a file of keys, in the form of package clientkey.
	File  string
	Redis *ClientKeyRedis
	// Name is the same for the same store, and another for others.
	Name string
	// PolicyFile and Pos say where the policy names it.
	PolicyFile string
	Pos        strictyaml.Pos
}

// ClientKeyRedis is a Redis in which the client's name stands under Prefix and the SHA-256 of its key, in lower-case hexadecimal digits.
type ClientKeyRedis struct {
	URL, Username, PasswordFile, CAFile string
	Prefix                              string
	// Timeout bounds one question. Positive.
	Timeout time.Duration
}

// WebhookKeys names keys in files. They are read, and read again, by whoever runs the policy.
type WebhookKeys struct {
	// Files hold one key each.
	Files []string
	// Base64 says that the files hold base64.
	Base64 bool
	// Name is the same for the same keys, and another for others.
	Name string
	// File and Pos say where the policy names them.
	File string
	Pos  strictyaml.Pos
}

// Tenant demands that a request stays within its caller's tenant.
type Tenant struct {
	Of Object
	// Is is the claim that Of must equal.
	Is string
}

// Shadow answers for a service whose rules are on trial.
type Shadow struct {
	// Allow says what is answered until Until; false denies.
	Allow bool
	// Until is when the rules are enforced: the beginning of a day, UTC.
	Until time.Time
}

// Object is an id in a request: one reference, or a text made of references and claims.
type Object struct {
	// Parts in their order; one of them reads a list at most.
	Parts []ObjectPart
	// Type is the form that every value read must have.
	Type ValueType
}

// ObjectPart is one part of an id. Exactly one member is set.
type ObjectPart struct {
	Literal string
	Claim   string
	Ref     *Reference
}

// String is the object as policies write it.
func (o Object) String() string {
	if len(o.Parts) == 1 && o.Parts[0].Ref != nil {
		return o.Parts[0].Ref.String()
	}
	var text strings.Builder
	for _, part := range o.Parts {
		switch {
		case part.Ref != nil:
			text.WriteString("{" + part.Ref.String() + "}")
		case part.Claim != "":
			text.WriteString("{token." + part.Claim + "}")
		default:
			text.WriteString(part.Literal)
		}
	}
	return text.String()
}

// ValueType is the form of a value that a rule reads.
type ValueType uint8

const (
	// TypeText is any text; in JSON and gRPC a string.
	TypeText ValueType = iota
	// TypeUUID is a UUID in lower case with its dashes (RFC 9562 section 4).
	TypeUUID
	// TypeInt is a whole number from 0 to 2^63-1 in decimal digits, without sign or leading zero; in JSON and gRPC a
	// number, in JSON at most 2^53-1 (RFC 7493 section 2.2).
	TypeInt
	// TypeAny is a text or, in JSON and gRPC, a whole number as TypeInt: for values that are only compared with each other.
	TypeAny
)

// Source is a part of a request that a rule reads.
type Source uint8

const (
	// SourcePath is a captured name of the rule's pattern.
	SourcePath Source = iota + 1
	// SourceQuery is a query parameter.
	SourceQuery
	// SourceHeader is a header.
	SourceHeader
	// SourceBody is a place in a JSON body.
	SourceBody
	// SourceForm is a field of a form body.
	SourceForm
	// SourceGRPC is a field of the message of a gRPC body.
	SourceGRPC
)

// Many says how a reference reads a list.
type Many uint8

const (
	// ManyNot reads one value, which must occur once.
	ManyNot Many = iota
	// ManyEach reads every occurrence or element: query.id[*], body.items[*].id.
	ManyEach
	// ManyComma reads the parts of one value between commas: query.ids[,].
	ManyComma
)

// Reference is one value of a request, or a list of them.
type Reference struct {
	Source Source
	// Name is the capture, parameter, header or field; of SourceBody and SourceGRPC the path, with its [*].
	Name string
	Many Many
	// Index is the reference's place in the rule's Body.
	Index int
}

var sourceNames = [...]string{"", "path.", "query.", "header.", "body.", "form.", "grpc."}

// String is the reference as policies write it.
func (r Reference) String() string {
	suffix := ""
	if r.Source < SourceBody || r.Source == SourceForm {
		suffix = [...]string{"", "[*]", "[,]"}[r.Many]
	}
	return sourceNames[r.Source] + r.Name + suffix
}

// Encoding says how a value is written into a header.
type Encoding uint8

const (
	// EncodePlain writes the value as it is, or denies where it cannot stand in a header.
	EncodePlain Encoding = iota
	// EncodePercent writes all but RFC 3986's unreserved bytes as %XX.
	EncodePercent
	// EncodeJoin writes a list with a separator, or denies an element that holds it.
	EncodeJoin
)

// ValueKind says where a value for the upstream or the limiter comes from.
type ValueKind uint8

const (
	// ValueClaim is a declared claim of the token.
	ValueClaim ValueKind = iota + 1
	// ValueWho is the name that limits count by, unique over issuers and kinds.
	ValueWho
	// ValueCaller is the connection's SPIFFE ID.
	ValueCaller
	// ValueClient is the application that an API key names.
	ValueClient
)

// Value is a source of text: a claim, `token.who`, `caller` or `client`.
type Value struct {
	Kind  ValueKind
	Claim string
}

// Header is one header that an allow sets for the upstream, exactly once.
type Header struct {
	// Name is lower case.
	Name     string
	Value    Value
	Encoding Encoding
	// Separator stands between the elements under EncodeJoin.
	Separator string
}

// Metadata is one string that an allow hands to Envoy, for descriptors and logs.
type Metadata struct {
	Name  string
	Value Value
	// Default stands in where the value is unset; "" demands the value, since Envoy drops a limit whose descriptor is absent.
	Default string
}

// Probe is an exact path that a kubelet or a scraper may ask for without a token.
type Probe struct {
	Path string
	// GRPC is a POST of a health check; otherwise GET and HEAD pass.
	GRPC bool
	// Callers, where set, are demanded of the connection.
	Callers []CallerPattern
}

// Admits reports whether the probe is what method and path ask for.
func (p Probe) Admits(method, path string) bool {
	if path != p.Path {
		return false
	}
	if p.GRPC {
		return method == "POST"
	}
	return method == "GET" || method == "HEAD"
}

// WebhookKeys are the keys that rules demand signatures by, each once.
func (p *Policy) WebhookKeys() []*WebhookKeys {
	var all []*WebhookKeys
	for _, s := range p.Services {
		for _, rule := range s.Rules {
			if rule.SignedBy == nil {
				continue
			}
			keys := &rule.SignedBy.Keys
			if !slices.ContainsFunc(all, func(other *WebhookKeys) bool { return other.Name == keys.Name }) {
				all = append(all, keys)
			}
		}
	}
	return all
}

// ClientKeys are the stores of API keys that rules ask, each once.
func (p *Policy) ClientKeys() []*ClientKeys {
	var all []*ClientKeys
	for _, s := range p.Services {
		for _, rule := range s.Rules {
			for _, b := range append([]*Rule{rule}, rule.Either...) {
				if b.ClientKey != nil && !slices.ContainsFunc(all, func(other *ClientKeys) bool { return other.Name == b.ClientKey.Keys.Name }) {
					all = append(all, &b.ClientKey.Keys)
				}
			}
		}
	}
	return all
}

// Service by its name; nil if the policy has none.
func (p *Policy) Service(name string) *Service { return p.byName[name] }

// IdentityHeader reports whether name, in any spelling of its dashes, is a header that only the gate may set.
func (p *Policy) IdentityHeader(name string) bool {
	if strings.IndexByte(name, '_') < 0 {
		return p.identity[name]
	}
	return p.identity[strings.ReplaceAll(name, "_", "-")]
}

// KeyHeader reports whether a header, in any spelling of its dashes, holds an API key for some service.
func (p *Policy) KeyHeader(name string) bool { return p.keys[strings.ReplaceAll(name, "_", "-")] }

// Pin is what names the service of a request beside its host.
type Pin struct {
	// Flag is --service; it beats everything.
	Flag string
	// Context is the context extension `service`, which only Envoy's operator sets; HasContext tells "" from absent.
	Context    string
	HasContext bool
	// Destination is destination.principal, the identity that the sidecar runs as.
	Destination string
}

// Choice is a chosen service, or, for edge services, the group that the host chooses among.
type Choice struct {
	// Service is nil where only the host chooses.
	Service *Service
	rules   *group
	probes  []Probe
}

// Choose finds the service that a request is for, by its pin alone. False is a pin that is unknown, contradicts another, or fits
// two services.
func (p *Policy) Choose(pin Pin) (Choice, bool) {
	name := pin.Flag
	switch {
	case pin.HasContext && name != "" && pin.Context != name:
		return Choice{}, false
	case name == "" && pin.HasContext:
		if name = pin.Context; name == "" {
			return Choice{}, false
		}
	}
	if name != "" {
		service := p.byName[name]
		if running := p.runningAs(pin.Destination); pin.Flag != "" && len(running) > 0 && !slices.Contains(running, service) {
			return Choice{}, false
		}
		return p.chosen(service)
	}
	switch running := p.runningAs(pin.Destination); {
	case len(running) == 1:
		return p.chosen(running[0])
	case len(running) > 1:
		return Choice{}, false
	case len(p.Services) == 1 && !p.partial && p.Services[0].mayStandAlone(pin.Destination):
		return p.chosen(p.Services[0])
	}
	return Choice{probes: p.Probes}, len(p.Services) > 0
}

// mayStandAlone reports whether the only service of a policy is what a request without a pin is for. A sidecar that runs as somebody
// whom the service does not name is not.
func (s *Service) mayStandAlone(destination string) bool {
	return s.Edge || destination == "" || len(s.Workloads) == 0
}

func (p *Policy) chosen(service *Service) (Choice, bool) {
	if service == nil {
		return Choice{}, false
	}
	return Choice{Service: service, rules: service.rules, probes: service.probes}, true
}

// runningAs are the services that run as an identity. Whoever named the identity exactly is found without asking every service.
func (p *Policy) runningAs(destination string) []*Service {
	running := p.workloads[destination]
	for _, service := range p.starred {
		if anyMatches(service.Workloads, destination) && !slices.Contains(running, service) {
			running = append(slices.Clip(running), service)
		}
	}
	return running
}

// Probe reports the probe that method and path ask for, if any.
func (c Choice) Probe(method, path string) (Probe, bool) {
	for _, probe := range c.probes {
		if probe.Admits(method, path) {
			return probe, true
		}
	}
	return Probe{}, false
}

// Admit holds the choice to the request's host, which must be one of the service's; where only the host chooses, it picks the
// rules of the edge services that answer to it.
func (p *Policy) Admit(c Choice, host string) (Choice, bool) {
	if c.Service != nil {
		return c, c.Service.answersTo(host)
	}
	c.rules = p.edge(host)
	return c, c.rules != nil
}

func (s *Service) answersTo(host string) bool {
	for _, pattern := range s.Hosts {
		if hostMatches(pattern, host) {
			return true
		}
	}
	return false
}

func hostMatches(pattern, host string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return suffix == "" || len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return host == pattern
}

// edge finds the rules for a host: those of the exact name, else of the longest suffix.
func (p *Policy) edge(host string) *group {
	for _, pattern := range p.reserved {
		if hostMatches(pattern, host) {
			return nil
		}
	}
	if found := p.hosts[host]; found != nil {
		return found
	}
	if p.unread {
		return nil
	}
	for rest := host; ; {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 {
			return p.suffixes[""]
		}
		if found := p.suffixes[rest[dot:]]; found != nil && dot+len(host)-len(rest) > 0 {
			return found
		}
		rest = rest[dot+1:]
	}
}

// Sole is the service of a choice, or the only one whose rules are chosen among; nil where there are several.
func (c Choice) Sole() *Service {
	if c.Service != nil || c.rules == nil {
		return c.Service
	}
	var sole *Service
	for _, rule := range c.rules.rules {
		if sole != nil && rule.Service != sole {
			return nil
		}
		sole = rule.Service
	}
	return sole
}

// Match finds the rule for a target among the chosen rules. Captures are written into buf while it has room.
func (c Choice) Match(t *target.Target, buf []string) (*Rule, pattern.Match, pattern.Outcome) {
	if c.rules == nil {
		return nil, pattern.Match{}, pattern.NoRule
	}
	match, outcome := c.rules.tree.Lookup(t, buf)
	if outcome != pattern.Found {
		return nil, match, outcome
	}
	return c.rules.rules[match.Rule].For(t.Method), match, outcome
}

// For is the rule as it holds for a method.
func (r *Rule) For(method string) *Rule {
	if held := r.Operations[method]; held != nil {
		return held
	}
	return r
}

// Excepts reports whether the target lies under one of the rule's exceptions, which it then does not cover.
func (r *Rule) Excepts(t *target.Target) bool {
	for i := range r.Except {
		if r.Except[i].Covers(t, r.Service.Spelling) {
			return true
		}
	}
	return false
}

// ParametersApart reports whether a query parameter cannot be replaced by what a body holds: because the upstream merges none into the
// parameters, or because the rule holds the body's to agree.
func (r *Rule) ParametersApart(query Reference) bool {
	if r.SeparateBody || r.Writable != nil && !r.Writable.Knows(query.Name) {
		return true
	}
	if !slices.Contains(r.Agrees, query) {
		return false
	}
	return slices.ContainsFunc(r.Agrees, func(o Reference) bool {
		return (o.Source == SourceBody || o.Source == SourceForm) && o.Name == query.Name
	})
}

// CallersAdmit reports whether the connection's identity satisfies both the service and the rule; caller is "" for none.
func (r *Rule) CallersAdmit(caller string) bool {
	if len(r.Service.Callers) > 0 && !r.AnyCaller && !anyMatches(r.Service.Callers, caller) {
		return false
	}
	return len(r.Callers) == 0 || anyMatches(r.Callers, caller)
}

// ReadsBody reports whether the rule, by any method and in any branch, needs the request's body, which Envoy must then show whole.
func (r *Rule) ReadsBody() bool {
	for _, held := range r.Operations {
		if held.Body != nil {
			return true
		}
	}
	return r.Body != nil || r.SignedBy != nil || slices.ContainsFunc(r.Either, (*Rule).ReadsBody)
}

// OriginAdmits reports whether the address that a request comes from satisfies both the service and the rule; the invalid address, which
// nobody could read, satisfies neither.
func (r *Rule) OriginAdmits(address netip.Addr) bool {
	for i := range r.Origins {
		if !r.Origins[i].Admits(address) {
			return false
		}
	}
	return true
}

// ClientAdmits reports whether an application may come by the connection's identity; caller is "" for none.
func (r *Rule) ClientAdmits(client, caller string) bool {
	return r.Clients == nil || anyMatches(r.Clients[client], caller)
}

// DemandsCaller reports whether the rule, or its service, names who may call.
func (r *Rule) DemandsCaller() bool {
	return len(r.Callers) > 0 || len(r.Service.Callers) > 0 && !r.AnyCaller
}

// Gateway reports whether caller carries other people's traffic.
func (p *Policy) Gateway(caller string) bool { return anyMatches(p.Gateways, caller) }

// MayBeGateway reports whether caller carries other people's traffic, or could: a file of which nothing is in force may have said so.
func (p *Policy) MayBeGateway(caller string) bool { return p.gatewaysUnknown || p.Gateway(caller) }

// AdmitsCaller reports whether the probe's demand on the connection holds.
func (p Probe) AdmitsCaller(caller string) bool {
	return len(p.Callers) == 0 || anyMatches(p.Callers, caller)
}

// Covers reports whether the service answers to a host, or to every host of a `*.suffix` or of `*`: what its `hosts` say, and no more.
func (s *Service) Covers(host string) bool {
	return slices.ContainsFunc(s.Hosts, func(own string) bool { return covers(own, host) })
}

// Branches are the rule's own, or the rule itself where it has none.
func (r *Rule) Branches() []*Rule {
	if r.Either == nil {
		return []*Rule{r}
	}
	return r.Either
}
