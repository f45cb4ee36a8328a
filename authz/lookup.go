package authz

import (
	"context"
	"errors"
)

// Standing is how somebody stands to an object. The zero value says that nobody found out, and denies.
type Standing uint8

const (
	// StandingUnknown is an answer that was never given.
	StandingUnknown Standing = iota
	// NotThere: no such object is known, or it has no owner.
	NotThere
	// NotTheirs: the object is somebody else's.
	NotTheirs
	// Theirs: the object is theirs, in the relation asked for.
	Theirs
)

// String is the word of explanations: "unknown", "not there", "not theirs" or "theirs".
func (s Standing) String() string {
	switch s {
	case NotThere:
		return "not there"
	case NotTheirs:
		return "not theirs"
	case Theirs:
		return "theirs"
	}
	return "unknown"
}

// Question asks how one subject stands to some objects. Every member is part of what the answer depends on, so every member is part
// of the key under which an answer may be remembered.
type Question struct {
	// Tenant is the value of the service's or rule's tenant, "" where none is demanded.
	Tenant string
	// Issuer is the policy's name of the issuer and Kind what the token is: one subject of two issuers is two people, and a client
	// is not a person.
	Issuer string
	Kind   Kind
	// Subject is the value of the claim that the rule compares (`is`), never "".
	Subject string
	// Relation is the rule's relation ("viewer"), "" where it names none.
	Relation string
	// Objects are the ids, each not "", without duplicates, at most 1,000. Whoever is asked must not keep or change the slice.
	Objects []string
}

// Lookup knows whose objects are. It is safe for concurrent use.
type Lookup interface {
	// Ask says how q's subject stands to each object of q, in the order of q.Objects: answers has their length and comes zeroed. It
	// answers within ctx. An error means that nothing may be believed, whatever answers holds: [ErrLookupUnavailable] where the
	// backend could not be had in time, [ErrLookupAnswer] where it answered nonsense about an object.
	Ask(ctx context.Context, q *Question, answers []Standing) error
}

// Lookups are the lookups of a policy by name. A name that is missing here could not be built, and denies.
type Lookups map[string]Lookup

var (
	// ErrLookupUnavailable says that a lookup could not be asked, or not in time: the client may try again.
	ErrLookupUnavailable = errors.New("authz: the lookup cannot be asked just now")
	// ErrLookupAnswer says that a lookup answered, and not what was asked: a record of another type, an id too many. It depends on the
	// object, so a rule that hides what exists hides this too.
	ErrLookupAnswer = errors.New("authz: the lookup's answer cannot be read")
)
