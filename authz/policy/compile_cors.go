package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/target"
	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// What `cors` says where the policy does not, and the longest that browsers keep an answer (Firefox a day, Chrome two hours).
const (
	defaultCORSAge = 10 * time.Minute
	maxCORSAge     = 24 * time.Hour
)

var defaultCORSHeaders = []string{"authorization", "content-type"}

// cors reads which web pages may call a service. It comes after the rules, whose methods it takes where it names none.
func (c *compiler) cors(src *source, n *strictyaml.Node, s *Service) *CORS {
	if n == nil {
		return nil
	}
	m := src.Map(n, "origins", "methods", "headers", "credentials", "max_age")
	cors := &CORS{Methods: s.methods(), Headers: defaultCORSHeaders, Credentials: flag(src, m, "credentials"), MaxAge: defaultCORSAge}
	if origins := src.Require(m, "origins", "write `origins: [https://app.example.com]`"); origins != nil {
		cors.Origins = c.webOrigins(src, origins, cors.Credentials)
	}
	if methods := m.Get("methods"); methods != nil {
		cors.Methods = c.corsMethods(src, methods, s)
	}
	if headers := m.Get("headers"); headers != nil {
		cors.Headers = corsHeaders(src, headers)
	}
	duration(src, m, "max_age", 0, maxCORSAge, &cors.MaxAge)
	if age := m.Get("max_age"); cors.MaxAge%time.Second != 0 {
		src.Errorf(age, "write 10m", "`max_age` is counted in whole seconds")
	}
	return cors
}

// methods are those that the service's rules take, in their order.
func (s *Service) methods() []string {
	var methods []string
	for _, rule := range s.Rules {
		if rule.Credential == CredentialDeny {
			continue
		}
		for _, p := range rule.Patterns {
			for _, method := range p.Methods() {
				if !slices.Contains(methods, method) {
					methods = append(methods, method)
				}
			}
		}
	}
	return methods
}

func (c *compiler) webOrigins(src *source, n *strictyaml.Node, credentials bool) []WebOrigin {
	var origins []WebOrigin
	items := src.List(n)
	if n.Kind() == strictyaml.List && len(items) == 0 {
		src.Errorf(n, "write `origins: [https://app.example.com]`, or leave `cors` out", "`origins` names nobody")
	}
	for _, item := range items {
		text, ok := src.Text(item)
		if !ok {
			continue
		}
		origin, why, hint := parseOrigin(text)
		switch {
		case why != "":
			src.Errorf(item, hint, "%q is no origin: %s", text, why)
			continue
		case slices.Contains(origins, origin):
			src.Errorf(item, "remove one", "the origin %q stands there twice", text)
		case text == "*" && len(items) > 1:
			src.Errorf(item, "remove the others, or this", "`*` is every origin, and stands alone")
		case text == "*" && credentials:
			src.Errorf(item, "name the origins", "with `credentials` any web page could act as whoever looks at it")
		case strings.HasPrefix(text, "http://") && !loopbackOrigin(text):
			c.warn(src, item.Pos(), "write https://", "a page of %s can be written by whoever sits on the network in between", text)
		}
		origins = append(origins, origin)
	}
	return origins
}

// parseOrigin reads an origin as browsers write it; why says what is wrong with it.
func parseOrigin(text string) (origin WebOrigin, why, hint string) {
	if text == "*" {
		return WebOrigin{Exact: "*"}, "", ""
	}
	if text == "null" {
		return WebOrigin{}, "every sandboxed page and local file calls itself that", "name the page's own origin"
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return WebOrigin{}, "it begins with http:// or https://", "write https://app.example.com"
	}
	if at := strings.IndexAny(rest, "/?#@"); at >= 0 {
		return WebOrigin{}, "it is a scheme, a host and perhaps a port, and nothing else", "write " + scheme + "://" + rest[:at]
	}
	if strings.HasSuffix(rest, ":") {
		return WebOrigin{}, "the port is missing", "write " + scheme + "://" + strings.TrimSuffix(rest, ":")
	}
	if strings.ToLower(text) != text {
		return WebOrigin{}, "browsers write it in lower case", "write " + strings.ToLower(text)
	}
	host, port := splitPort(rest)
	if port != "" && (!validPort(port) || port == map[string]string{"http": "80", "https": "443"}[scheme]) {
		return WebOrigin{}, "browsers leave a scheme's own port out, and a port is a number up to 65535", "write " + scheme + "://" + host
	}
	if domain, wild := strings.CutPrefix(host, "*."); wild {
		return wildOrigin(text, scheme, domain)
	}
	if folded, err := target.ParseHost(host); err != nil || folded != host {
		return WebOrigin{}, "the host is none", "write https://app.example.com, or https://*.example.com"
	}
	return WebOrigin{Exact: text}, "", ""
}

// wildOrigin is every host below a domain, which is somebody's: not of a whole top-level domain, and no address.
func wildOrigin(text, scheme, domain string) (origin WebOrigin, why, hint string) {
	_, err := netip.ParseAddr(domain)
	if err == nil || !areLabels(domain) || !strings.Contains(domain, ".") || len(domain) > maxWildOrigin {
		return WebOrigin{}, "a star stands for the hosts below one domain of yours", "write https://*.example.com"
	}
	prefix := scheme + "://"
	return WebOrigin{Prefix: prefix, Suffix: strings.TrimPrefix(text, prefix+"*")}, "", ""
}

// maxWildOrigin keeps the expression that tells Envoy the same within what Envoy compiles (RE2 programs of up to 100 instructions).
const maxWildOrigin = 64

func splitPort(hostPort string) (host, port string) {
	if at := strings.LastIndexByte(hostPort, ':'); at >= 0 && !strings.HasSuffix(hostPort, "]") {
		return hostPort[:at], hostPort[at+1:]
	}
	return hostPort, ""
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}

// loopbackOrigin reports whether a page can only come from the browser's own machine.
func loopbackOrigin(origin string) bool {
	host, _ := splitPort(strings.TrimPrefix(origin, "http://"))
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && address.IsLoopback()
}

func (c *compiler) corsMethods(src *source, n *strictyaml.Node, s *Service) []string {
	methods, known := []string{}, s.methods()
	items := src.List(n)
	if n.Kind() == strictyaml.List && len(items) == 0 {
		src.Errorf(n, "leave `methods` out for those of the rules", "`methods` names none")
	}
	for _, item := range items {
		text, ok := src.Text(item)
		switch {
		case !ok:
			continue
		case text == "*":
			src.Errorf(item, "write GET, POST, or leave `methods` out for those of the rules", "methods are named")
		case !validToken(text) || strings.ToUpper(text) != text:
			src.Errorf(item, "write GET, POST", "%q is no method", text)
		case slices.Contains(methods, text):
			src.Errorf(item, "remove one", "the method %s stands there twice", text)
		case !slices.Contains(known, text):
			c.warn(src, item.Pos(), "remove it, or write the rule", "no rule of `%s` takes %s", s.Name, text)
		}
		methods = append(methods, text)
	}
	return methods
}

func corsHeaders(src *source, n *strictyaml.Node) []string {
	headers := []string{}
	for _, item := range src.List(n) {
		text, ok := src.Text(item)
		name := strings.ToLower(text)
		switch {
		case !ok:
			continue
		case text == "*":
			src.Errorf(item, "write authorization, content-type", "headers are named: to browsers `*` is all but authorization")
		case !validToken(text):
			src.Errorf(item, "write authorization, content-type", "%q is no header's name", text)
		case slices.Contains(headers, name):
			src.Errorf(item, "remove one", "the header %s stands there twice", name)
		}
		headers = append(headers, name)
	}
	return headers
}

// validToken is RFC 9110's token, of which methods and names of headers are made.
func validToken(s string) bool { return headerval.ValidName(s) }
