package openapi

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/target"
	"github.com/sallyport-dev/sallyport/internal/headerval"
)

// The bounds of one operation.
const (
	maxParameters = 500
	maxMedia      = 100
)

// allParameters merges those of the path with the operation's own, which win.
func (r *reader) allParameters(place string, item, op *node, captures map[string]string) []*Parameter {
	var out []*Parameter
	for _, source := range []*node{item.get("parameters"), op.get("parameters")} {
		if len(source.list()) > maxParameters {
			r.add(source.pos, "", "more than %d parameters", maxParameters)
			return nil
		}
		for _, written := range source.list() {
			p := r.parameter(place, deref(r.root, written))
			if p.In == InHeader && unreadHeaders[strings.ToLower(p.Name)] {
				continue
			}
			p.Pos = written.pos
			if p.In == InPath {
				p.Capture = captures[p.Name]
			}
			if i := slices.IndexFunc(out, p.same); i >= 0 {
				out[i] = &p
				continue
			}
			out = append(out, &p)
		}
	}
	for _, p := range out {
		if p.Problem != "" {
			r.unsupported(p.Pos, place+" "+string(p.In)+"."+p.Name, "%s", p.Problem)
		}
	}
	return out
}

// same says that both are one parameter to OpenAPI: by name and place.
func (p *Parameter) same(o *Parameter) bool {
	return p.In == o.In && (p.Name == o.Name || p.In == InHeader && strings.EqualFold(p.Name, o.Name))
}

// unreadHeaders are described elsewhere in a document: "Parameter Object, name".
var unreadHeaders = set("accept", "content-type", "authorization")

// parameter reads what a parameter says wherever it is used.
func (r *reader) parameter(place string, n *node) Parameter {
	if p, ok := r.parameters[n]; ok {
		return p
	}
	p := Parameter{
		Name: n.get("name").str(), In: In(n.get("in").str()), Required: n.get("required").truth(), AllowEmpty: n.get("allowEmptyValue").truth(),
		Deprecated: n.get("deprecated").truth(), Style: Simple,
	}
	if p.In == InQuery || p.In == InCookie {
		p.Style = Form
	}
	if style := n.get("style").str(); style != "" {
		p.Style = Style(style)
	}
	p.Explode = p.Style == Form
	if explode := n.get("explode"); explode != nil {
		p.Explode = explode.truth()
	}
	if schema := n.get("schema"); schema != nil {
		p.Schema = r.schemas.document(schema, place)
		p.Problem = p.decoding(r.schemas, schema)
	}
	switch {
	case n.get("content") != nil:
		p.Problem = "a parameter that is a document of its own (`content`) is not read"
	case p.Style != Simple && p.Style != Form:
		p.Problem = "style " + clip(string(p.Style)) + " is not read"
	case p.In == InQuery && !target.ReadableName(p.Name):
		p.Problem = "a query cannot hold the name as it is, and is read by names as they are"
	case (p.In == InHeader || p.In == InCookie) && !headerval.ValidName(p.Name):
		p.Problem = "no " + string(p.In) + " can be called this"
	case n.get("allowReserved").truth():
		p.Problem = "allowReserved is not read: upstreams differ in what ends such a value"
	}
	r.parameters[n] = p
	return p
}

// decoding prepares Decode, or says why the text of the parameter cannot be read by its schema.
func (p *Parameter) decoding(s *schemas, schema *node) string {
	found := s.typesOf(schema)
	if found == anything {
		found = isString
	}
	switch {
	case found&isArray == 0 && found&scalars == 0:
		return "a parameter that is an object is not read"
	case found&isArray == 0:
		p.types = found & scalars
		return ""
	case found&scalars != 0:
		return "a parameter that is a list or a single value is not read: one text could be either"
	}
	p.Shape = Commas
	if p.Explode && p.Style == Form {
		p.Shape = Repeated
		if p.In == InCookie {
			return "a list of one cookie for each element is not read: write explode: false"
		}
	}
	items := s.itemTypes(schema)
	if items == anything {
		items = isString
	}
	if p.types = items & scalars; p.types == 0 {
		return "a list of lists or objects is not read"
	}
	return ""
}

// body reads a request body.
func (r *reader) body(place string, n *node) *Body {
	if b := r.bodies[n]; b != nil {
		return b
	}
	b := &Body{Required: n.get("required").truth(), Pos: n.place()}
	content := n.get("content")
	if content == nil {
		r.add(n.place(), "", "this is no request body, and %s says that it is", place)
	}
	r.bodies[n] = b
	if len(content.names()) > maxMedia {
		r.add(content.pos, "", "more than %d media types", maxMedia)
		return b
	}
	for i, written := range content.names() {
		item := content.items[i]
		m := Media{Type: mediaType(written), Pos: content.at[i], Schema: []byte("true")}
		if schema := item.get("schema"); schema != nil {
			m.Schema = r.schemas.document(schema, place)
		}
		switch {
		case slices.ContainsFunc(b.Media, func(o Media) bool { return o.Type == m.Type }):
			m.Problem = "the media type stands twice: what follows a semicolon does not tell bodies apart"
		case !isJSON(m.Type) && m.Type != formType:
			m.Problem = "a body of " + clip(m.Type) + " is not read"
		case m.Type == formType && len(item.get("encoding").names()) > 0:
			m.Problem = "`encoding` of a form is not read"
		}
		if m.Problem != "" {
			r.unsupported(m.Pos, place+" body "+m.Type, "%s", m.Problem)
		}
		b.Media = append(b.Media, m)
	}
	return b
}

const formType = "application/x-www-form-urlencoded"

func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(s))
}

// isJSON says that a media type is JSON, by name or by its suffix (RFC 6839 section 3.1).
func isJSON(media string) bool {
	return media == "application/json" || strings.HasSuffix(media, "+json") && !strings.Contains(media, "*")
}
