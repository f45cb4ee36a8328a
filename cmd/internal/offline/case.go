package offline

import (
	"slices"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Case is one request as somebody described it. Whatever is not written has its zero value.
type Case struct {
	// Name is what the case is called; File and Pos say where it is written.
	Name string
	File string
	Pos  strictyaml.Pos
	// Now is the moment of the request; zero is the present.
	Now time.Time
	// Who holds the token.
	Who Who
	// Caller is the connection's identity, a SPIFFE ID or namespace/service-account; Address the peer's address.
	Caller, Address string
	// Service is the pin that a sidecar or Envoy's operator sets; "" pins none.
	Service string
	// Signed is the name of the rule whose sender signed the request, "" for nobody; Client the application whose API key it brings, "" for none.
	Signed, Client string
	// Revocation says what is known of the token's having been taken back.
	Revocation Revocation
	Request    Request
	// Lookups are the answers of the lookups, by name and object. The object "*" stands for every one that is not named.
	Lookups map[string]map[string]Answer
	// Expect is nil where nothing is expected.
	Expect *Expect
	// Recorded says that a gate wrote the case: who signed it is then unknown, and so is an API key that no Client names.
	Recorded bool
	// Lacks names parts of the request that a recording could not hold: "who" or "body".
	Lacks []string

	at places
}

// places are where parts of a description are written, by name. What is not among them was not read from a file.
type places map[string]strictyaml.Pos

// Who is the holder of a token. The zero value is nobody, who sends none.
type Who struct {
	// Named says that there is a token, made of what follows, and good in all that is not written.
	Named bool
	// Issuer is the policy's name of the issuer; "" is the only one.
	Issuer            string
	Subject, ClientID string
	// NoClient is a token without a client_id, rather than with any.
	NoClient bool
	// Audience is whom the token is for; nil is the service.
	Audience, Scopes []string
	// Claims are further ones by the policy's own names, or, where it has none, by their name at the top of the token. Values are those of
	// JSON: string, bool, json.Number, nil, []any, map[string]any.
	Claims map[string]any
	// Bound says whose certificate the token is bound to.
	Bound Bound
	// Refused is the detail word with which the gate refuses the token; "" lets its claims be judged.
	Refused string
	// Raw are all claims of a token to which nothing is added; nil if the token is made of the above.
	Raw map[string]any
	// Bearer is a whole token, whose signature is not looked at.
	Bearer string

	at places
}

// Bound says to whom a token is bound.
type Bound uint8

const (
	// BoundToNobody is a bearer token. It is the zero value.
	BoundToNobody Bound = iota
	// BoundToCaller is bound to the certificate of the connection.
	BoundToCaller
	// BoundToAnother is bound to another certificate.
	BoundToAnother
)

// Revocation is what is known of a token's having been taken back.
type Revocation uint8

const (
	// NotRevoked is a token in a fresh view that does not have it. It is the zero value.
	NotRevoked Revocation = iota
	// Revoked is a token that was taken back.
	Revoked
	// RevocationUnknown is a view that was never read.
	RevocationUnknown
)

// Request is the request line, headers and body.
type Request struct {
	// Method, Host and Target; Host "" is the service's, where it has one.
	Method, Host, Target string
	Headers              []authz.Field
	// Body is nil where none is sent.
	Body []byte
	// MediaType is what the body is unless Headers say; "" says nothing.
	MediaType string
}

// Answer is what a lookup knows of one object.
type Answer struct {
	// Err is what the lookup ends with: authz.ErrLookupUnavailable or authz.ErrLookupAnswer; nil where it answers.
	Err error
	// Standing holds for every relation and subject, unless it is StandingUnknown.
	Standing authz.Standing
	// Owners are names by relation; "" is owning.
	Owners map[string]Owners
}

// Owners are those who have one relation to an object. Standing holds for every subject, unless it is StandingUnknown.
type Owners struct {
	Names    []string
	Standing authz.Standing
}

// Expect is what a case demands of its decision. What is "" or zero is not demanded.
type Expect struct {
	Decision                      string
	Reason, Detail, Rule, Service string
	// Step is where the decision falls.
	Step   string
	Status int
	// Headers and Metadata are what an allow must carry; a nil value must be absent.
	Headers, Metadata map[string]*string
}

// lacks reports whether a recording could not hold a part of the request.
func (c *Case) lacks(part string) bool { return slices.Contains(c.Lacks, part) }
