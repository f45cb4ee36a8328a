package conformance

import (
	"slices"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

// Fact says that objects are a subject's, in a relation of a tenant.
type Fact struct {
	Tenant, Issuer string
	Kind           ownerv1.Kind
	Subject        string
	Relation       string
	Objects        []string
}

// Facts are what is true in the server, or a part of it. Of an object that a fact names they say all: it is nobody's whom they do not name.
type Facts []Fact

// bounds of what a file says, those of the protocol.
const (
	maxObject = 1024
	maxName   = 2048
	maxWord   = 255
)

// Parse reads facts:
//
//	facts:
//	  - {issuer: shop, subject: alice, objects: [order-1, order-2]}
//	  - {issuer: shop, subject: bob, objects: [order-3]}
//	  - {issuer: shop, subject: alice, relation: viewer, objects: [order-3]}
//	  - {tenant: acme, issuer: shop, kind: machine, subject: billing, objects: [order-1]}
//
// A kind is person, which is the default, or machine. It returns facts or at least one error.
func Parse(file string, data []byte) (Facts, strictyaml.Errors) {
	doc, errs := strictyaml.Parse(file, data)
	if doc == nil {
		return nil, errs
	}
	d := strictyaml.NewDecoder(doc)
	top := d.Map(doc.Root, "facts")
	var facts Facts
	for _, n := range d.List(d.Require(top, "facts", "write facts: [{issuer: shop, subject: alice, objects: [order-1]}]")) {
		facts = append(facts, parseFact(d, n))
	}
	if errs := d.Errors(); len(errs) > 0 {
		return nil, errs
	}
	if len(facts) == 0 {
		d.Errorf(doc.Root, "write facts: [{issuer: shop, subject: alice, objects: [order-1]}]", "no fact is written")
	}
	if errs := d.Errors(); len(errs) > 0 {
		return nil, errs
	}
	return facts, nil
}

func parseFact(d *strictyaml.Decoder, n *strictyaml.Node) Fact {
	m := d.Map(n, "tenant", "issuer", "kind", "subject", "relation", "objects")
	if !m.OK() {
		return Fact{}
	}
	f := Fact{
		Tenant: text(d, m.Get("tenant"), maxName), Issuer: text(d, d.Require(m, "issuer", "write the policy's name of it"), maxWord),
		Subject: text(d, d.Require(m, "subject", "write whose the objects are"), maxName), Relation: text(d, m.Get("relation"), maxWord),
		Kind: ownerv1.Kind_KIND_PERSON,
	}
	if kind := m.Get("kind"); kind != nil {
		switch word := text(d, kind, maxWord); word {
		case "person":
		case "machine":
			f.Kind = ownerv1.Kind_KIND_MACHINE
		default:
			d.Errorf(kind, "write person or machine", "a kind cannot be %q", word)
		}
	}
	objects := d.List(d.Require(m, "objects", "write the ids: [order-1, order-2]"))
	for _, object := range objects {
		id := text(d, object, maxObject)
		if slices.Contains(f.Objects, id) {
			d.Errorf(object, "", "%q stands here twice", id)
		}
		f.Objects = append(f.Objects, id)
	}
	if len(objects) == 0 && m.Get("objects") != nil {
		d.Errorf(m.Get("objects"), "", "a fact names at least one object")
	}
	return f
}

// text is a text that is there and within its bound.
func text(d *strictyaml.Decoder, n *strictyaml.Node, most int) string {
	if n == nil {
		return ""
	}
	s, ok := d.Text(n)
	switch {
	case ok && s == "":
		d.Errorf(n, "leave the key away, or write a text", "an empty text means nothing here")
	case len(s) > most:
		d.Errorf(n, "", "longer than %d bytes", most)
	}
	return s
}

// standing is what the facts say of one object of a question.
func (fs Facts) standing(q *ownerv1.CheckRequest, object string) ownerv1.Standing {
	there := false
	for _, f := range fs {
		if f.Tenant != q.GetTenant() || !slices.Contains(f.Objects, object) {
			continue
		}
		there = true
		if f.Issuer == q.GetIssuer() && f.Kind == q.GetKind() && f.Subject == q.GetSubject() && f.Relation == q.GetRelation() {
			return ownerv1.Standing_STANDING_THEIRS
		}
	}
	if there {
		return ownerv1.Standing_STANDING_NOT_THEIRS
	}
	return ownerv1.Standing_STANDING_NOT_THERE
}

// question asks about objects in the name of the fact's subject.
func (f Fact) question(objects ...string) *ownerv1.CheckRequest {
	return &ownerv1.CheckRequest{Tenant: f.Tenant, Issuer: f.Issuer, Kind: f.Kind, Subject: f.Subject, Relation: f.Relation, Objects: objects}
}
