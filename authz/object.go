package authz

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/body"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// maxObjects is how many ids one request may name, and maxObjectBytes how long each may be: together they bound what one request can make
// the gate and a lookup hold.
const (
	maxObjects     = 1000
	maxObjectBytes = 2048
)

// readBody reads all that the rule needs of the body, once. The body must be there whole, as it is, and of the one kind that the rule
// reads: an upstream that reads another part of it, or reads it in another way, would act on other ids.
func (c *check) readBody() Reason {
	plan := c.d.Rule.Body
	if plan == nil {
		return proceed
	}
	if plan.Optional && len(plan.References) == 0 && c.saysNoBody() {
		c.bodiless = true
		return proceed
	}
	if reason := c.wholeBody(plan); reason != proceed {
		return reason
	}
	var err error
	data := c.r.Body.Data
	switch {
	case c.format == policy.FormatForm:
		c.body, c.form, err = plan.Form.ReadWhole(data)
	case plan.JSON != nil && c.d.Rule.Whole():
		c.body, c.document, err = plan.JSON.ReadWhole(data)
	case plan.JSON != nil:
		c.body, err = plan.JSON.Read(data)
	default:
		message := plan.GRPC[c.target.Path]
		if message == nil {
			return Undecided
		}
		c.body, err = message.Read(data)
	}
	if err == nil {
		return proceed
	}
	return c.refusedBody(err)
}

// saysNoBody reports whether it is known that the request has no body: it declares a length of 0, or its route says how long a body it
// takes, so that Envoy holds a body until it has shown it, and shows none. A client cannot say that of a route. Without either, what
// Envoy does not show may still follow.
func (c *check) saysNoBody() bool {
	if len(c.r.Body.Data) > 0 || c.r.Body.Size != 0 {
		return false
	}
	length, declared := c.r.Headers.One("content-length")
	mark, marked := c.r.Headers.One("x-envoy-auth-partial-body")
	if declared == 0 {
		return c.r.Body.Bound > 0 && (marked == 0 || marked == 1 && mark == "false")
	}
	return declared == 1 && length == "0"
}

func (c *check) refusedBody(err error) Reason {
	var refused *body.Error
	if !errors.As(err, &refused) {
		c.d.Err = err
		return Undecided
	}
	switch refused.Kind {
	case body.Ambiguous:
		return c.because(BadBody, DetailAmbiguous)
	case body.TooLarge:
		return c.because(BodyTooLarge, DetailTooLarge)
	}
	return c.because(BadBody, DetailMalformed)
}

// because names the cause behind a reason.
func (c *check) because(reason Reason, detail string) Reason {
	c.d.Detail = detail
	return reason
}

// wholeBody demands the body as the client sent it, of a type that the rule takes.
func (c *check) wholeBody(plan *policy.Body) Reason {
	kind, count := c.r.Headers.One("content-type")
	at := slices.IndexFunc(plan.Types, func(t policy.MediaType) bool { return isMediaType(kind, t.Name) })
	if count != 1 || at < 0 || c.r.Headers.contested("content-type") {
		return c.because(MediaType, DetailContentType)
	}
	c.format, c.schema = plan.Types[at].Format, plan.Types[at].Schema
	if reason := c.deliveredWhole(); reason != proceed {
		return reason
	}
	if plan.MaxBytes > 0 && len(c.r.Body.Data) > plan.MaxBytes {
		return c.because(BodyTooLarge, DetailTooLarge)
	}
	return proceed
}

// deliveredWhole demands the body as the client sent it, of whatever type it is. A signature and what reads the body may both ask; it is
// found out once.
func (c *check) deliveredWhole() Reason {
	if c.delivered {
		return proceed
	}
	reason := c.delivery()
	c.delivered = reason == proceed
	return reason
}

func (c *check) delivery() Reason {
	if coding, count := c.r.Headers.One("content-encoding"); c.r.Headers.contested("content-encoding") || count > 1 || count == 1 && !strings.EqualFold(coding, "identity") {
		return c.because(MediaType, DetailCompressed)
	}
	partial, _ := c.r.Headers.One("x-envoy-auth-partial-body") // "" where there are several
	sent := c.r.Body
	switch {
	case sent.Lossy && bytes.IndexByte(sent.Data, '!') >= 0:
		return c.because(BadBody, DetailAmbiguous)
	case len(sent.Data) == 0: // whatever the mark says: a client can write it where Envoy shows no body
		return c.because(BadBody, DetailNoBody)
	case partial == "true":
		return c.because(BodyTooLarge, DetailPartial)
	case partial != "false" || sent.Size != int64(len(sent.Data)):
		return c.because(BadBody, DetailPartial)
	}
	return c.provenWhole()
}

// provenWhole demands that something says where the body ends. Where allow_partial_message is set, Envoy asks as soon as it holds
// max_request_bytes, counts twice what came while an earlier filter waited, and calls what it holds the whole although more may follow: a
// client that sends its body in pieces could have one half judged and both halves served. So the length that the client declared must be
// there, to which Envoy's codecs hold it; or the route says what it takes, and Envoy asks about no less before the end (docs/envoy.md).
func (c *check) provenWhole() Reason {
	have, bound := int64(len(c.r.Body.Data)), c.r.Body.Bound
	length, count := c.r.Headers.One("content-length")
	switch {
	case bound > 0 && have > bound:
		return c.because(BodyTooLarge, DetailPartial)
	case count == 0 && bound > 0:
		return proceed
	case count == 0:
		return c.because(BadBody, DetailEndless)
	case length == strconv.FormatInt(have, 10):
		return proceed
	}
	if declared, err := strconv.ParseInt(length, 10, 64); err == nil && declared > have {
		return c.because(BodyTooLarge, DetailPartial)
	}
	return c.because(BadBody, DetailPartial)
}

// isMediaType holds a Content-Type to a media type. The one parameter that changes nothing is charset=utf-8,
// which many clients write utf8.
func isMediaType(value, wanted string) bool {
	kind, parameter, _ := strings.Cut(value, ";")
	if parameter = strings.Trim(parameter, " \t"); parameter != "" { // RFC 9110 5.6.6 lets a parameter be empty
		name, charset, _ := strings.Cut(parameter, "=")
		charset = strings.Trim(charset, `"`)
		if !strings.EqualFold(name, "charset") || !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
			return false
		}
	}
	return strings.EqualFold(strings.TrimRight(kind, " \t"), wanted)
}

// readObjects finds the ids that the rule's owner demand is about: at least one, unless the rule takes an empty list.
func (c *check) readObjects() Reason {
	owner := c.d.Rule.Owner
	if owner == nil {
		return proceed
	}
	ids, reason := c.object(&owner.Of, owner.AllowEmpty, c.idBuffer[:0])
	if reason != proceed {
		return reason
	}
	c.ids, c.d.Objects = ids, len(ids)
	if len(ids) > 0 {
		c.d.Object = ids[0]
	}
	return proceed
}

// object reads the ids of an object, in their order, into a buffer. It returns none only where an empty list may be.
func (c *check) object(o *policy.Object, mayBeEmpty bool, into []string) ([]string, Reason) {
	if len(o.Parts) == 1 && o.Parts[0].Ref != nil {
		return c.values(o.Parts[0].Ref, o.Type, mayBeEmpty, into)
	}
	return c.composite(o, mayBeEmpty, into)
}

// composite makes texts of several values. A value that holds the byte by which it ends is refused: with it, two pairs of values could
// make one text.
func (c *check) composite(o *policy.Object, mayBeEmpty bool, into []string) ([]string, Reason) {
	texts := append(into, "")
	for i := range o.Parts {
		part := &o.Parts[i]
		if part.Literal != "" {
			for j := range texts {
				texts[j] += part.Literal
			}
			continue
		}
		values, reason := c.part(part, o.Type, mayBeEmpty)
		switch {
		case reason != proceed:
			return nil, reason
		case len(values) == 0:
			return into, proceed
		}
		for _, value := range values {
			switch {
			case value == "":
				return nil, c.because(Owner, DetailEmpty)
			case i+2 < len(o.Parts) && strings.IndexByte(value, o.Parts[i+1].Literal[0]) >= 0:
				return nil, c.because(BadParameter, DetailAmbiguous)
			}
		}
		for _, text := range texts {
			for _, value := range values {
				if len(text)+len(value) > maxObjectBytes {
					return nil, c.because(BadParameter, DetailTooLong)
				}
			}
			if len(values) > 1 {
				break // there is one text before the list
			}
		}
		before := texts[0] // there are several only behind the one list
		if len(values) == 1 {
			for j := range texts {
				texts[j] += values[0]
			}
			continue
		}
		texts = texts[:0]
		for _, value := range values {
			texts = append(texts, before+value)
		}
	}
	return texts, proceed
}

// part reads one value of a composite, or a list of them.
func (c *check) part(part *policy.ObjectPart, typ policy.ValueType, mayBeEmpty bool) ([]string, Reason) {
	if part.Ref != nil {
		return c.values(part.Ref, typ, mayBeEmpty, nil)
	}
	if c.d.Principal != nil {
		if text, ok := c.d.Principal.Token.Text(part.Claim); ok && text != "" {
			return []string{text}, proceed
		}
	}
	return nil, c.because(Owner, DetailMissing)
}

// values reads what stands at one place of the request. Each value is there and of its one canonical form; there is exactly one unless
// the reference is to a list. An empty value is a value: nothing equals it.
func (c *check) values(ref *policy.Reference, typ policy.ValueType, mayBeEmpty bool, into []string) ([]string, Reason) {
	var detail string
	reason := BadParameter
	switch ref.Source {
	case policy.SourceBody, policy.SourceForm, policy.SourceGRPC:
		reason = BadBody
		into, detail = c.bodyValues(ref, typ, mayBeEmpty, into)
	default:
		into, detail = c.plainValues(ref, into)
		if detail == DetailMissing && mayBeEmpty && ref.Many != policy.ManyNot {
			return into, proceed
		}
	}
	if detail != "" {
		return nil, c.because(reason, detail)
	}
	if len(into) > maxObjects {
		return nil, c.because(reason, DetailTooMany)
	}
	for _, value := range into {
		switch {
		case len(value) > maxObjectBytes:
			return nil, c.because(reason, DetailTooLong)
		case !canonical(typ, value):
			return nil, c.because(reason, DetailForm)
		}
	}
	return into, proceed
}

// plainValues reads what stands outside the body.
func (c *check) plainValues(ref *policy.Reference, into []string) (values []string, detail string) {
	switch ref.Source {
	case policy.SourcePath:
		value, ok := c.match.Capture(ref.Name)
		if !ok {
			return nil, DetailMissing
		}
		return append(into, value), ""
	case policy.SourceQuery:
		return c.queryValues(ref, into)
	case policy.SourceHeader:
		return c.headerValues(ref, into)
	}
	return nil, DetailMissing
}

func (c *check) queryValues(ref *policy.Reference, into []string) (values []string, detail string) {
	if !c.d.Rule.ParametersApart(*ref) && c.parametersInBody() {
		return nil, DetailAmbiguous
	}
	return c.parameterValues(ref, into)
}

// parameterValues reads a parameter, or a list of them, out of the query.
func (c *check) parameterValues(ref *policy.Reference, into []string) (values []string, detail string) {
	before := len(into)
	var err error
	var present bool
	switch query := c.target.Query(); ref.Many {
	case policy.ManyEach:
		into, err = query.All(ref.Name, into)
		present = len(into) > before
	case policy.ManyComma:
		into, err = query.Comma(ref.Name, into)
		present = len(into) > before
	default:
		var value string
		value, present, err = query.One(ref.Name)
		into = append(into, value)
	}
	switch {
	case err != nil:
		return nil, DetailAmbiguous
	case !present:
		return into[:before], DetailMissing
	}
	for _, value := range into[before:] {
		if c.lossy(value) {
			return nil, DetailAmbiguous
		}
	}
	return into, ""
}

// headerValues reads a header, or a list in it. Fields of one name are one list (RFC 9110 5.3), as Envoy may have joined them already.
func (c *check) headerValues(ref *policy.Reference, into []string) (values []string, detail string) {
	if c.r.Headers.contested(ref.Name) {
		return nil, DetailAmbiguous
	}
	before := len(into)
	for i := range c.r.Headers.Fields {
		field := &c.r.Headers.Fields[i]
		if field.Name != ref.Name {
			continue
		}
		if c.lossy(field.Value) {
			return nil, DetailAmbiguous
		}
		if ref.Many == policy.ManyComma {
			for value := range strings.SplitSeq(field.Value, ",") {
				into = append(into, strings.Trim(value, " \t"))
			}
			continue
		}
		if len(into) > before || strings.IndexByte(field.Value, ',') >= 0 {
			return nil, DetailAmbiguous
		}
		into = append(into, field.Value)
	}
	if len(into) == before {
		return into, DetailMissing
	}
	return into, ""
}

// bodyValues takes what readBody found.
func (c *check) bodyValues(ref *policy.Reference, typ policy.ValueType, mayBeEmpty bool, into []string) (values []string, detail string) {
	if c.alsoInQuery(ref) {
		return nil, DetailAmbiguous
	}
	found := c.body.At(ref.Index)
	switch found.State {
	case body.One, body.Many:
	case body.Empty:
		if mayBeEmpty {
			return into, ""
		}
		return nil, DetailEmpty
	case body.Missing, body.Null:
		if mayBeEmpty && ref.IsList() {
			return into, ""
		}
		return nil, DetailMissing
	default:
		return nil, DetailForm // a scalar or an object where a list must be
	}
	for _, value := range found.Values {
		switch {
		case value.Kind == body.None:
			return nil, DetailMissing
		case value.Kind == body.Number && ref.Source == policy.SourceBody && !exactInJSON(value.Text):
			return nil, DetailForm
		case value.Kind == body.Number && (typ == policy.TypeInt || typ == policy.TypeAny && isInt(value.Text)),
			value.Kind == body.String && (typ != policy.TypeInt || ref.Source == policy.SourceForm):
			into = append(into, value.Text)
		default:
			return nil, DetailForm
		}
	}
	return into, ""
}

// alsoInQuery reports whether the query, too, holds what a rule reads of a form or a document: many frameworks merge the two, and in some
// the query comes first.
func (c *check) alsoInQuery(ref *policy.Reference) bool {
	if ref.Source == policy.SourceGRPC || c.d.Rule.SeparateBody {
		return false
	}
	name := ref.Name
	if end := strings.IndexAny(name, ".["); end >= 0 && ref.Source == policy.SourceBody {
		name = name[:end]
	}
	for _, other := range c.d.Rule.Agrees {
		if other.Source == policy.SourceQuery && other.Name == name {
			return false // held to agree
		}
	}
	_, present, err := c.target.Query().One(name)
	return present || err != nil
}

// canonical reports whether a value is of its type, in the one form that every reader of it writes. Whoever takes 007 for 7, or a UUID in
// capitals for the same in small letters, would act on another's object.
func canonical(typ policy.ValueType, value string) bool {
	switch typ {
	case policy.TypeUUID:
		return isUUID(value)
	case policy.TypeInt:
		return isInt(value)
	}
	return true
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// exactInJSON reports whether a number of a document is one id to every reader: beyond 2^53-1 many round to another (RFC 7493 section 2.2).
func exactInJSON(text string) bool {
	const most = 1<<53 - 1
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && n <= most
}

func isInt(s string) bool {
	if s == "" || len(s) > 19 || s[0] == '0' && len(s) > 1 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}
