package offline

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// ceiling bounds one decision. Nothing here waits for anybody, so it is far beyond what a busy machine needs.
const ceiling = time.Minute

// someAddress is where a request comes from that does not say: an address for documentation (RFC 5737).
const someAddress = "192.0.2.1"

// Room decides described requests by one policy. It is for one goroutine.
type Room struct {
	Policy *policy.Policy

	verifiers    authz.Verifiers
	certificates map[string]certificate // by caller
	keys         madeUp
}

// certificate is one that a described connection shows.
type certificate struct {
	encoded    string // as Envoy shows it
	thumbprint [32]byte
}

// NewRoom makes the room of a policy.
func NewRoom(p *policy.Policy) *Room {
	r := &Room{Policy: p, verifiers: authz.Verifiers{}, certificates: map[string]certificate{}, keys: makeUp()}
	for name, issuer := range p.Issuers {
		r.verifiers[name] = jwt.NewUnproved(issuer)
	}
	return r
}

// Prove has the signatures of tokens checked with these keys as well. It is for requests that bring a whole token: a described
// one has no signature, and is refused then.
func (r *Room) Prove(keys authz.Keys) {
	for name, issuer := range r.Policy.Issuers {
		r.verifiers[name] = jwt.New(issuer, keys, jwt.Options{Pool: jwt.NewPool(jwt.PoolOptions{Bytes: -1})})
	}
}

// Result is what a case came to.
type Result struct {
	Case    *Case
	Request *authz.Request
	// Decision is the gate's answer.
	Decision *authz.Decision
	// Unanswered are the questions to lookups that the case has no answer to, each in words.
	Unanswered []string
	// Untold says why the decision cannot be known of a recorded request; "" if it can.
	Untold string
}

// Ruled is what the rules decide: of a service in shadow, that which it does not answer yet.
func (r *Result) Ruled() *authz.Decision {
	if r.Decision.Reason == authz.Shadow && r.Decision.Shadow != nil {
		return r.Decision.Shadow
	}
	return r.Decision
}

// Explain tells the decision.
func (r *Result) Explain() *authz.Explanation { return authz.Explain(r.Decision, r.Request) }

// Decide asks the gate. An error says that the description does not make a request.
func (r *Room) Decide(ctx context.Context, c *Case) (*Result, error) {
	now := c.Now
	if now.IsZero() {
		now = time.Now()
	}
	request, err := r.request(c, now)
	if err != nil {
		return nil, err
	}
	result := &Result{Case: c, Request: request}
	bundle := &authz.Bundle{
		Policy: r.Policy, Verifiers: r.verifiers, UnverifiedIssuer: jwt.UnverifiedIssuer, Lookups: r.lookups(c, &result.Unanswered),
	}
	r.keys.ports(r.Policy, c.Client, bundle)
	if c.Who.Refused != "" {
		bundle.Verifiers = authz.Verifiers{}
		for name := range r.verifiers {
			bundle.Verifiers[name] = refuser(c.Who.Refused)
		}
	}
	if r.Policy.Revocation != nil || c.Revocation != NotRevoked {
		bundle.Revocations = revocations(c.Revocation)
	}
	gate := authz.New(authz.Options{Ceiling: ceiling, Now: func() time.Time { return now }})
	gate.Use(bundle)
	result.Decision = gate.Check(ctx, request)
	result.Decision.ID = "" // nobody can ask for it
	if result.Decision.Shadow != nil {
		result.Decision.Shadow.ID = ""
	}
	result.Untold = untold(result)
	return result, nil
}

// untold says what of a recorded request was needed and not recorded.
func untold(r *Result) string {
	d := r.Ruled()
	switch rule := d.Rule; {
	case len(r.Unanswered) > 0:
		return r.Unanswered[0]
	case rule == nil:
		return ""
	case r.Case.lacks("who") && (rule.Either != nil || rule.Credential == policy.CredentialToken && d.Step >= authz.StepToken):
		return "the token was not looked at when the request was recorded"
	case r.Case.Recorded && r.Case.Client == "" && rule.ClientKey != nil && d.Step >= authz.StepClient:
		return "no API key was recorded"
	case r.Case.Recorded && r.Case.Signed == "" && rule.SignedBy != nil && d.Step >= authz.StepSignature:
		return "the signature was not recorded"
	case r.Case.lacks("body") && rule.Body != nil && (d.Step >= authz.StepBody || rule.Condition.ReadsObject() && d.Step >= authz.StepCondition):
		return "the body was not recorded"
	}
	return ""
}

func (r *Room) services() []string {
	var names []string
	for _, service := range r.Policy.Services {
		names = append(names, service.Name)
	}
	return names
}

func (r *Room) rules() []string {
	var names []string
	for _, service := range r.Policy.Services {
		for _, rule := range service.Rules {
			names = append(names, rule.Name)
		}
	}
	return names
}

// request makes the request as Envoy would show it, with raw headers and the whole body.
func (r *Room) request(c *Case, now time.Time) (*authz.Request, error) {
	host, err := r.host(c)
	if err != nil {
		return nil, err
	}
	q := &authz.Request{
		HTTP: true, Method: c.Request.Method, Host: host, Target: c.Request.Target, Service: c.Service, HasService: c.Service != "",
		Headers: authz.Headers{Fields: slices.Clone(c.Request.Headers)}, Peer: authz.Peer{Address: c.Address},
	}
	if q.Peer.Address == "" {
		q.Peer.Address = someAddress
	}
	var shown certificate
	if q.Peer.Principal, err = r.caller(c.Caller); err != nil {
		return nil, err
	}
	if c.Who.Bound != BoundToNobody || q.Peer.Principal != "" && r.Policy.Peers == policy.PeersCertificate {
		if shown, err = r.certificate(q.Peer.Principal); err != nil {
			return nil, err
		}
		q.Peer.Certificate = shown.encoded
	}
	token, err := r.token(c, now, shown.thumbprint)
	if err != nil {
		return nil, err
	}
	if token != "" {
		if _, sent := q.Headers.One("authorization"); sent > 0 {
			return nil, errors.New("an Authorization header and a token are two credentials: keep one")
		}
		q.Headers.Fields = append(q.Headers.Fields, authz.Field{Name: "authorization", Value: "Bearer " + token})
	}
	sendBody(c, q)
	return q, r.sign(c, q, now)
}

// sendBody sends a body as Envoy hands it on when its route shows bodies.
func sendBody(c *Case, q *authz.Request) {
	if c.Request.Body == nil {
		return
	}
	q.Body = authz.Body{Data: c.Request.Body, Size: int64(len(c.Request.Body))}
	add := func(name, value string) {
		if _, sent := q.Headers.One(name); sent == 0 && value != "" {
			q.Headers.Fields = append(q.Headers.Fields, authz.Field{Name: name, Value: value})
		}
	}
	add("content-type", c.Request.MediaType)
	add("x-envoy-auth-partial-body", "false")
	if len(c.Request.Body) > 0 {
		add("content-length", strconv.Itoa(len(c.Request.Body)))
	}
}

// host is the request's, or the one that its service is obviously reached by.
func (r *Room) host(c *Case) (string, error) {
	if c.Request.Host != "" {
		return c.Request.Host, nil
	}
	service := r.Policy.Service(c.Service)
	if c.Service == "" && len(r.Policy.Services) == 1 {
		service = r.Policy.Services[0]
	}
	if service == nil {
		return "", fmt.Errorf("write a host, or `service`: the policy has %s", orNone(strings.Join(r.services(), ", ")))
	}
	for _, host := range service.Hosts {
		if !strings.HasPrefix(host, "*") {
			return host, nil
		}
	}
	if slices.Contains(service.Hosts, "*") {
		return service.Name, nil // any host will do
	}
	return "", fmt.Errorf("write a host: service %s has only %s", service.Name, strings.Join(service.Hosts, ", "))
}

// caller is a principal as Envoy shows it.
func (r *Room) caller(text string) (string, error) {
	namespace, account, short := strings.Cut(text, "/")
	if !short || strings.Contains(text, "://") || strings.Contains(account, "/") {
		return text, nil
	}
	if r.Policy.TrustDomain == "" {
		return "", fmt.Errorf("caller %s: write the whole spiffe:// ID, since the policy names no `trust_domain`", text)
	}
	return "spiffe://" + r.Policy.TrustDomain + "/ns/" + namespace + "/sa/" + account, nil
}

// certificate is one of the caller's, made for the occasion.
func (r *Room) certificate(caller string) (certificate, error) {
	if known, ok := r.certificates[caller]; ok {
		return known, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "offline"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	if id, err := url.Parse(caller); err == nil && caller != "" {
		template.URIs = []*url.URL{id}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	made := certificate{encoded: url.QueryEscape(string(text)), thumbprint: sha256.Sum256(der)}
	r.certificates[caller] = made
	return made, nil
}
