package authz

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/fields"
	"github.com/sallyport-dev/sallyport/authz/openapi"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/schema"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// Fault is where a request fails what a rule demands of its shape. It holds names and no values.
type Fault struct {
	// Parameter is the value that fails, as policies write it (query.page); "" where the body does.
	Parameter string
	// Pointer is where in the body (JSON Pointer, RFC 6901); "" is all of it. A client may have chosen the names in it.
	Pointer string
	// Keyword is the keyword of JSON Schema that fails; "" where a field may not be written.
	Keyword string
	// Named reports that the policy knows every name in Pointer.
	Named bool
}

// fail notes a fault behind a reason.
func (c *check) fail(reason Reason, detail string, fault Fault) Reason {
	c.d.Fault = fault
	return c.because(reason, detail)
}

// Told is the fault for a log: names that the policy does not know are told if they look like names, and cut where they may be anything.
func (f Fault) Told() string {
	if f.Parameter != "" {
		return f.Parameter
	}
	if f.Named {
		return f.Pointer
	}
	parts := strings.Split(f.Pointer, "/")
	for i, part := range parts {
		if len(part) > maxToldName || strings.Trim(part, nameLetters) != "" {
			parts[i] = "…"
		}
	}
	return strings.Join(parts[:min(len(parts), maxToldDepth)], "/")
}

const (
	maxToldName  = 32
	maxToldDepth = 16
	nameLetters  = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)

// holdParams holds the values outside the body to their forms. Where a rule says which parameters there are, there are no others: what
// the gate does not know, the upstream may.
func (c *check) holdParams() Reason {
	rule := c.d.Rule
	if rule.ClosedQuery && c.target.HasQuery {
		known := true
		err := c.target.Query().Names(func(name string) bool {
			known = slices.Contains(rule.Query, name)
			return known
		})
		switch {
		case !known:
			return c.because(BadParameter, DetailUnknown)
		case err != nil:
			return c.because(BadParameter, DetailAmbiguous)
		}
	}
	for i := range rule.Params {
		if reason := c.holdParam(&rule.Params[i]); reason != proceed {
			return reason
		}
	}
	return proceed
}

// holdParam holds one value, or a list of them, to what the rule or the service's OpenAPI document says of it.
func (c *check) holdParam(p *policy.Param) Reason {
	wrong := func(detail, pointer, keyword string) Reason {
		return c.fail(BadParameter, detail, Fault{Parameter: p.Name(), Pointer: pointer, Keyword: keyword, Named: true})
	}
	texts, detail := c.paramTexts(p, c.idBuffer[:0])
	switch {
	case detail == DetailMissing && !p.Required:
		return proceed
	case detail != "":
		return wrong(detail, "", "")
	case len(texts) > maxObjects:
		return wrong(DetailTooMany, "", "")
	}
	if fault := heldText(p, texts); fault != nil {
		return wrong(DetailSchema, fault.Pointer, fault.Keyword)
	}
	if p.Described != nil && p.Ref.Source == policy.SourceHeader && p.Described.Shape == openapi.Single {
		if fault := c.heldAlone(p); fault != nil {
			return wrong(DetailSchema, fault.Pointer, fault.Keyword)
		}
	}
	if p.Ref.Source != 0 || strings.IndexByte(texts[0], '%') < 0 {
		return proceed
	}
	// A cookie: some upstreams decode it and some do not, so that it must be right both ways.
	decoded, err := url.PathUnescape(texts[0])
	if err != nil {
		return wrong(DetailAmbiguous, "", "")
	}
	if fault := heldText(p, []string{decoded}); fault != nil {
		return wrong(DetailSchema, fault.Pointer, fault.Keyword)
	}
	return proceed
}

// heldAlone holds each field of a header that is one value, where it stands there several times: many upstreams join them, and others read
// the first or the last alone. In map mode Envoy has joined them, by commas that no white space follows.
func (c *check) heldAlone(p *policy.Param) *schema.Violation {
	several := c.r.Headers.All(p.Ref.Name)
	if c.r.Headers.Joined {
		several = fieldsOf(several)
	}
	if len(several) < 2 {
		return nil
	}
	for _, text := range several {
		if fault := heldText(p, []string{text}); fault != nil {
			return fault
		}
	}
	return nil
}

// fieldsOf are the fields that joined ones may have been: none begins with white space (RFC 9110 section 5.5).
func fieldsOf(joined []string) []string {
	var all []string
	for _, text := range joined {
		begin := 0
		for i := range len(text) {
			if text[i] == ',' && (i+1 == len(text) || text[i+1] != ' ' && text[i+1] != '\t') {
				all = append(all, text[begin:i])
				begin = i + 1
			}
		}
		all = append(all, text[begin:])
	}
	return all
}

// heldText holds the texts of a parameter to its type and its schema; nil if they pass.
func heldText(p *policy.Param, texts []string) *schema.Violation {
	value, ok := paramValue(p, texts)
	switch {
	case !ok:
		return &schema.Violation{Keyword: "type"}
	case value.Kind() == strictjson.Invalid:
		return nil // empty, which the document allows
	}
	return p.Schema.Check(value)
}

// paramValue is what the texts of a parameter stand for; false where they stand for nothing of its type. It is no value at all where a
// document lets the parameter be empty.
func paramValue(p *policy.Param, texts []string) (strictjson.Value, bool) {
	switch {
	case p.Described != nil:
		decoded, err := p.Described.Decode(texts)
		if err != nil || decoded == nil {
			return strictjson.Value{}, err == nil
		}
		value, err := strictjson.Parse(decoded, strictjson.Limits{})
		return value, err == nil
	case !p.Ref.IsList():
		return typed(p.Type, texts[0]) // there is one: it would be missing otherwise
	}
	elements := make([]strictjson.Value, len(texts))
	for i, text := range texts {
		element, ok := typed(p.Type, text)
		if !ok {
			return strictjson.Value{}, false
		}
		elements[i] = element
	}
	return strictjson.MakeArray(elements), true
}

// paramTexts reads the texts of a parameter. A document says which parameters stand in the query, so that a body which is judged beside it
// says nothing of them.
func (c *check) paramTexts(p *policy.Param, into []string) (texts []string, detail string) {
	switch {
	case p.Ref.Source == 0:
		value, detail := c.cookie(p.Described.Name)
		return append(into, value), detail
	case p.Described != nil && p.Ref.Source == policy.SourceQuery && c.d.Rule.Body != nil:
		return c.parameterValues(&p.Ref, into)
	case p.Described != nil && p.Ref.Source == policy.SourceHeader && p.Described.Shape == openapi.Single:
		return c.headerText(p.Ref.Name, into)
	case p.Described != nil && p.Ref.Source == policy.SourcePath && p.Described.Shape == openapi.Commas:
		return c.pathList(&p.Ref, into)
	}
	return c.plainValues(&p.Ref, into)
}

// headerText reads a header that a document says is one value: a comma is a part of its text, and splits nothing. Of a header that stands
// there several times the values are joined (RFC 9110 section 5.3), as Envoy may have done already.
func (c *check) headerText(name string, into []string) (texts []string, detail string) {
	if c.r.Headers.contested(name) {
		return nil, DetailAmbiguous
	}
	text, there := "", false
	for i := range c.r.Headers.Fields {
		field := &c.r.Headers.Fields[i]
		switch {
		case field.Name != name:
			continue
		case there:
			text += ","
		}
		text, there = text+field.Value, true
	}
	switch {
	case !there:
		return nil, DetailMissing
	case c.lossy(text):
		return nil, DetailAmbiguous
	}
	return append(into, text), ""
}

// pathList reads a list between the commas of a segment. As in a query, a comma that is written as an escape is refused: some readers split
// before they decode, and some after.
func (c *check) pathList(ref *policy.Reference, into []string) (texts []string, detail string) {
	value, ok := c.match.Capture(ref.Name)
	if !ok {
		return nil, DetailMissing
	}
	for _, segment := range c.target.Segments {
		if strings.Contains(segment.Text, value) && strings.Count(segment.Raw, ",") != strings.Count(segment.Text, ",") {
			return nil, DetailAmbiguous
		}
	}
	return append(into, value), ""
}

// cookie reads one cookie (RFC 6265 section 4.2.1), byte for byte.
func (c *check) cookie(name string) (value, detail string) {
	detail = DetailMissing
	for i := range c.r.Headers.Fields {
		field := &c.r.Headers.Fields[i]
		if field.Name != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(field.Value, ";") {
			found, text, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			switch {
			case found != name && target.ParseForm(strings.Trim(found, " \t")).Has(name):
				return "", DetailAmbiguous // a reader that trims, decodes, folds or cuts would take it for this one
			case found != name:
			case detail == "", strings.ContainsAny(text, "\", \t"), c.lossy(text):
				return "", DetailAmbiguous
			default:
				value, detail = text, ""
			}
		}
	}
	return value, detail
}

// typed reads a text as the value that its one form stands for.
func typed(typ policy.ParamType, text string) (strictjson.Value, bool) {
	switch typ {
	case policy.ParamBoolean:
		return strictjson.MakeBool(text == "true"), text == "true" || text == "false"
	case policy.ParamInteger:
		return integer(text)
	case policy.ParamNumber:
		return strictjson.MakeNumber(text)
	}
	return strictjson.MakeString(text), strings.IndexByte(text, 0) < 0
}

// integer reads decimal digits as every reader reads them.
func integer(text string) (strictjson.Value, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text {
		return strictjson.Value{}, false
	}
	return strictjson.MakeNumber(text)
}

// holdBody holds what was read of the body to the rule's schema, and to the fields that its sender may write.
func (c *check) holdBody() Reason {
	rule := c.d.Rule
	if rule.Body == nil || c.bodiless {
		return proceed
	}
	for _, demanded := range [...]*schema.Schema{rule.Body.Schema, c.schema} {
		if demanded == nil {
			continue
		}
		if v := demanded.Check(c.document); v != nil {
			return c.fail(BadBody, DetailSchema, faultOf(v))
		}
	}
	if rule.Writable == nil {
		return proceed
	}
	var roles []string
	if c.d.Principal != nil {
		roles, _ = c.d.Principal.Token.List("roles")
	}
	refusal := c.judgeFields(rule.Writable, rule.Writable.For(roles))
	switch {
	case refusal == nil:
		return proceed
	case refusal.Malformed:
		return c.fail(BadBody, DetailMalformed, Fault{Pointer: refusal.Pointer, Named: refusal.Named})
	}
	return c.fail(FieldNotWritable, "", Fault{Pointer: refusal.Pointer, Named: refusal.Named})
}

func faultOf(v *schema.Violation) Fault {
	return Fault{Pointer: v.Pointer, Keyword: v.Keyword, Named: v.Named}
}

// judgeFields reads the fields as the body's format writes them.
func (c *check) judgeFields(w *fields.Writable, who fields.Writers) *fields.Refusal {
	switch c.format {
	case policy.FormatJSON, policy.FormatMergePatch:
		return w.JSON(c.document, who)
	case policy.FormatJSONPatch:
		return w.Patch(c.document, who)
	case policy.FormatForm:
		return w.Form(c.form, who)
	}
	return &fields.Refusal{}
}
