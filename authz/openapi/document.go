package openapi

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// methods are those that a path item may have, in the order in which operations of one path are listed when a document is asked; the
// document's own order wins.
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

// reader turns the tree of a valid document into a Document.
type reader struct {
	*report
	root    *node
	out     *Document
	schemas *schemas
	// security is the document's own. bodies and parameters are those read so far: many operations refer to one.
	security   []Alternative
	bodies     map[*node]*Body
	parameters map[*node]Parameter
	named      map[Unsupported]bool
}

func newReader(r *report, root *node) *reader {
	rd := &reader{
		report: r, root: root, out: &Document{File: r.file, byPattern: map[string]*Operation{}}, security: alternatives(root.get("security")),
		bodies: map[*node]*Body{}, parameters: map[*node]Parameter{}, named: map[Unsupported]bool{},
	}
	rd.schemas = newSchemas(root, rd.unsupported)
	return rd
}

// unsupported names something once.
func (r *reader) unsupported(at strictyaml.Pos, place, format string, args ...any) {
	u := Unsupported{Place: place, What: fmt.Sprintf(format, args...), Pos: at}
	if !r.named[u] {
		r.named[u] = true
		r.out.Unsupported = append(r.out.Unsupported, u)
	}
}

func (r *reader) document() *Document {
	info := r.root.get("info")
	r.out.Title, r.out.Version = oneLine(info.get("title").str()), oneLine(info.get("version").str())
	r.hosts()
	r.schemes()
	paths := r.root.get("paths")
	if paths == nil {
		paths = &node{kind: strictyaml.Map}
	}
	for i, path := range paths.keys {
		if !strings.HasPrefix(path, "/") {
			continue // an extension; kin refuses all else
		}
		r.pathItem(path, paths.items[i])
		if r.failed() {
			return nil
		}
	}
	slices.SortStableFunc(r.out.Unsupported, func(a, b Unsupported) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	return r.out
}

func (r *reader) pathItem(path string, written *node) {
	item := deref(r.root, written)
	if item != written {
		// OpenAPI leaves open which of both holds; to read one would lose the operations of the other.
		for i, key := range written.names() {
			if key != "$ref" && key != "summary" && key != "description" && !isNote(key) {
				r.add(written.at[i], "write it where the reference leads to", "`%s` beside the reference of a path", clip(key))
			}
		}
	}
	for i, key := range item.names() {
		if !slices.Contains(methods, key) {
			continue
		}
		if len(r.out.Operations) == MaxOperations {
			r.add(item.at[i], "split it, one document a service", "more than %d operations", MaxOperations)
			return
		}
		r.operation(path, item, key, item.at[i], item.items[i])
		if r.schemas.spent > MaxSchemaBytes {
			r.add(item.at[i], "split it, one document a service", "the schemas, each with all that it refers to, are larger than %d bytes together", MaxSchemaBytes)
			return
		}
	}
}

func (r *reader) operation(path string, item *node, method string, at strictyaml.Pos, n *node) {
	op := &Operation{Method: strings.ToUpper(method), ID: n.get("operationId").str(), Summary: oneLine(n.get("summary").str()), Deprecated: n.get("deprecated").truth(), Pos: at}
	place := op.Method + " " + path
	op.Path = r.basePath(place, item, n) + path
	renamed := r.match(op, place)
	op.Parameters = r.allParameters(place, item, n, renamed)
	if body := n.get("requestBody"); body != nil {
		op.Body = r.body(place, deref(r.root, body))
	}
	op.Security = alternatives(n.get("security"))
	if n.get("security") == nil {
		op.Security = r.security
	}
	r.out.Operations = append(r.out.Operations, op)
	if key := op.key(); key != "" {
		if _, taken := r.out.byPattern[key]; !taken {
			r.out.byPattern[key] = op
		}
	}
}

// alternatives reads security requirements.
func alternatives(n *node) []Alternative {
	var out []Alternative
	for _, item := range n.list() {
		alternative := Alternative{}
		for i, scheme := range item.names() {
			demand := Demand{Scheme: scheme}
			for _, scope := range item.items[i].list() {
				demand.Scopes = append(demand.Scopes, scope.str())
			}
			alternative = append(alternative, demand)
		}
		out = append(out, alternative)
	}
	return out
}

func (r *reader) schemes() {
	all := r.root.get("components").get("securitySchemes")
	for i, name := range all.names() {
		n := deref(r.root, all.items[i])
		s := Scheme{Name: name, Type: n.get("type").str(), HTTP: strings.ToLower(n.get("scheme").str()), URL: n.get("openIdConnectUrl").str(), Pos: all.at[i]}
		for _, flow := range n.get("flows").values() {
			for _, key := range []string{"tokenUrl", "authorizationUrl"} {
				if s.URL == "" {
					s.URL = flow.get(key).str()
				}
			}
		}
		r.out.Schemes = append(r.out.Schemes, s)
	}
}

func (r *reader) hosts() {
	for _, server := range r.root.get("servers").list() {
		u, err := url.Parse(server.get("url").str())
		if err != nil || u.Hostname() == "" || strings.ContainsAny(u.Host, "{}") {
			continue
		}
		if host := strings.ToLower(u.Hostname()); !slices.Contains(r.out.Hosts, host) {
			r.out.Hosts = append(r.out.Hosts, host)
		}
	}
}

// basePath is what stands before the template: the path of the servers that speak for the operation. Several of them are several
// places, and a rule matches one; the first is taken and the others named.
func (r *reader) basePath(place string, item, op *node) string {
	servers := op.get("servers")
	for _, outer := range []*node{item.get("servers"), r.root.get("servers")} {
		if len(servers.list()) == 0 {
			servers = outer
		}
	}
	var paths []string
	for _, server := range servers.list() {
		text := server.get("url").str()
		path, ok := serverPath(text)
		if !ok {
			r.unsupported(server.pos, "servers", "the path of %q has variables, or is none: the template stands alone", clip(text))
			continue
		}
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	switch {
	case len(paths) == 0:
		return ""
	case len(paths) > 1:
		if len(op.get("servers").list()) == 0 && len(item.get("servers").list()) == 0 {
			place = "servers"
		}
		r.unsupported(servers.pos, place, "several base paths: %s; the first is taken", strings.Join(paths, ", "))
	}
	return paths[0]
}

// serverPath is the path of a server's URL without a slash at its end. Variables of its host do not matter; one in its path does.
func serverPath(text string) (string, bool) {
	path := text
	if _, rest, ok := strings.Cut(text, "://"); ok {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	} else if rest, ok := strings.CutPrefix(text, "//"); ok {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	} else if path == "." || path == "" {
		return "", true
	}
	path = strings.TrimRight(path, "/")
	if path != "" && path[0] != '/' {
		path = "/" + path
	}
	return path, !strings.ContainsAny(path, "{}?#")
}

// oneLine makes the author's text fit a line: a comment that it is written into ends with it.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f && r <= 0xa0 || r == 0x2028 || r == 0x2029 || r == '\ufeff'
	}), " ")
	return clip(s)
}
