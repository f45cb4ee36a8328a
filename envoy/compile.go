package envoy

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// Wanted says what a configuration is compiled for, and what no policy knows.
type Wanted struct {
	// For is the reference file that the configuration follows: "edge" or "sidecar".
	For string
	// Service is the one that a sidecar stands before. An edge serves every service with `edge: true`, or the only one.
	Service string
	// Values fill the reference file's holes, by their names. What the policy says itself may be left out: the trust domain, and a
	// service's probes.
	Values map[string]string
	// Upstreams are where an edge finds the services, by their names.
	Upstreams map[string]Upstream
	// MaxRequestBytes is how long a body may be that a rule reads and sets no bound of its own, in bytes: less than 1 MiB beside a service, and
	// less than 512 KiB at an edge, where Envoy counts some bytes twice. Zero is 64 KiB.
	MaxRequestBytes int
	// Fragments asks for the parts that belong into a listener of one's own, instead of a whole file. What has no value is then a marked
	// placeholder.
	Fragments bool
}

// Upstream is where a service answers. The zero value is nowhere.
type Upstream struct {
	// Host is a DNS name or an IP address, Port a TCP port.
	Host, Port string
	// ID is the SPIFFE ID that must answer there; left out, the one identity that the policy names in the service's `workloads`.
	ID string
}

// MissingError lists what a whole file needs and nobody said.
type MissingError struct {
	// Holes of the reference file, in its order.
	Holes []Placeholder
	// Upstreams are the services of which it is not known where they are, and Identities those of which it is not known who answers.
	Upstreams, Identities []string
}

func (e *MissingError) Error() string {
	var names []string
	for _, hole := range e.Holes {
		names = append(names, "${"+hole.Name+"}")
	}
	for _, name := range e.Upstreams {
		names = append(names, "the upstream of "+name)
	}
	for _, name := range e.Identities {
		names = append(names, "who answers for "+name)
	}
	return "envoy: no value for " + strings.Join(names, ", ")
}

// UnlimitedError lists descriptors that the configuration would send and that no limit waits for: what they count would be unlimited,
// and no request would show it.
type UnlimitedError struct {
	// Descriptors in the order of the filters, as "mesh: (service=orders)(rule=read)".
	Descriptors []string
}

func (e *UnlimitedError) Error() string {
	return "envoy: no limit, and no written `unlimited`, for " + strings.Join(e.Descriptors, "; ")
}

// defaults of holes that need no thought.
var defaults = map[string]string{"ADMIN_PORT": "9901", "ACCESS_LOG": "/dev/stdout"}

// defaultRequestBytes is how long a body may be where nobody says.
const defaultRequestBytes = 64 << 10

// compilation is one configuration under way.
type compilation struct {
	Wanted
	policy   *policy.Policy
	services []*policy.Service
	file     string
	values   map[string]string
	missing  MissingError
}

// Compile writes the Envoy configuration that a policy needs, along the reference file that it follows: a route for each rule that reads a
// body or hands a connection over, each service's CORS, and the pin that says which service a request is for. With limits, each descriptor
// that the configuration sends must find one. The same input gives the same bytes.
//
// The error is a [*MissingError], an [*UnlimitedError], or says what is wrong with a value; the configuration is still to be tried with
// `envoy --mode validate`.
func Compile(p *policy.Policy, table *limits.Table, w Wanted) ([]byte, error) {
	c := &compilation{Wanted: w, policy: p, file: w.For + ".yaml"}
	if err := c.begin(); err != nil {
		return nil, err
	}
	if table != nil {
		if unlimited := c.unlimited(table); len(unlimited) > 0 {
			return nil, &UnlimitedError{Descriptors: unlimited}
		}
	}
	text, err := c.text()
	if err != nil {
		return nil, err
	}
	if !c.Fragments && len(c.missing.Holes)+len(c.missing.Upstreams)+len(c.missing.Identities) > 0 {
		return nil, &c.missing
	}
	return []byte(c.heading(table != nil) + text), nil
}

// begin settles what is served, and holds the values to their kinds.
func (c *compilation) begin() error {
	if c.For != "edge" && c.For != "sidecar" {
		return fmt.Errorf("envoy: a configuration is for an edge or a sidecar, not for %q", c.For)
	}
	if c.MaxRequestBytes == 0 {
		c.MaxRequestBytes = defaultRequestBytes
	}
	if c.MaxRequestBytes < 1 || c.MaxRequestBytes > c.longestOfAll() {
		return fmt.Errorf("envoy: a body of at most %d bytes: it can be 1 to %d", c.MaxRequestBytes, c.longestOfAll())
	}
	if err := c.chooseServices(); err != nil {
		return err
	}
	c.settle()
	return errors.Join(c.checkValues(), c.checkUpstreams())
}

func (c *compilation) chooseServices() error {
	if c.For == "sidecar" {
		service := c.policy.Service(c.Service)
		if service == nil {
			return fmt.Errorf("envoy: the policy has no service %q: there are %s", c.Service, strings.Join(names(c.policy.Services), ", "))
		}
		c.services = []*policy.Service{service}
		return nil
	}
	if c.Service != "" {
		return errors.New("envoy: an edge serves every service with `edge: true`, not one by its name")
	}
	for _, service := range c.policy.Services {
		if service.Edge || len(c.policy.Services) == 1 {
			c.services = append(c.services, service)
		}
	}
	if len(c.services) == 0 {
		return errors.New("envoy: no service of the policy says `edge: true`, so that an edge has nothing to serve")
	}
	return nil
}

func names(services []*policy.Service) []string {
	var names []string
	for _, service := range services {
		names = append(names, service.Name)
	}
	return names
}

// settle fills in what the policy says itself, beneath what was said by hand.
func (c *compilation) settle() {
	c.values = map[string]string{}
	for name, value := range defaults {
		c.values[name] = value
	}
	if c.For == "sidecar" {
		c.values["SERVICE"] = c.Service
		c.values["TRUST_DOMAIN"] = c.policy.TrustDomain
		c.values["LIVENESS_PATH"], c.values["READINESS_PATH"] = probePaths(c.services[0])
	}
	for name, value := range c.Values {
		c.values[name] = value
	}
	for name, value := range c.values {
		if value == "" {
			delete(c.values, name)
		}
	}
}

// probePaths are the service's first two probes that anybody may ask: the kubelet's, liveness first.
func probePaths(s *policy.Service) (liveness, readiness string) {
	for _, probe := range s.Probes {
		switch {
		case probe.GRPC || len(probe.Callers) > 0 || KindTarget.check(probe.Path) != nil:
		case liveness == "":
			liveness, readiness = probe.Path, probe.Path
		default:
			return liveness, probe.Path
		}
	}
	return liveness, readiness
}

// checkValues holds each value to its hole's kind.
func (c *compilation) checkValues() error {
	holes, err := Placeholders(c.file)
	if err != nil {
		return err
	}
	var errs []error
	known := map[string]bool{}
	for _, hole := range holes {
		known[hole.Name] = true
		if value, given := c.values[hole.Name]; given {
			if err := hole.Kind.check(value); err != nil {
				errs = append(errs, fmt.Errorf("envoy: ${%s}: %w", hole.Name, err))
			}
		}
	}
	for name := range c.Values {
		if !known[name] || c.For == "edge" && strings.HasPrefix(name, "SERVICE_") {
			errs = append(errs, fmt.Errorf("envoy: %s has no ${%s} to fill in", c.For, name))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// checkUpstreams holds what was said of the services behind an edge to the kinds of the reference file's holes.
func (c *compilation) checkUpstreams() error {
	var errs []error
	for name, upstream := range c.Upstreams {
		if c.For != "edge" || !slices.Contains(names(c.services), name) {
			errs = append(errs, fmt.Errorf("envoy: the %s serves no service %q", c.For, name))
		}
		for kind, value := range map[Kind]string{KindHost: upstream.Host, KindPort: upstream.Port, KindSPIFFE: upstream.ID} {
			if value == "" {
				continue
			}
			if err := kind.check(value); err != nil {
				errs = append(errs, fmt.Errorf("envoy: the upstream of %s: %w", name, err))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// ParseUpstream reads host:port, an IPv6 address in brackets.
func ParseUpstream(text string) (Upstream, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Upstream{}, fmt.Errorf("envoy: %q is no host:port", text)
	}
	return Upstream{Host: host, Port: port}, errors.Join(KindHost.check(host), KindPort.check(port))
}

// text is the reference file with the policy's part in the place of its own.
func (c *compilation) text() (string, error) {
	text, err := read(c.file)
	if err != nil {
		return "", err
	}
	f := &file{text: text}
	f.drop("", "node: ") // its comment is about filling it in by hand
	f.replace("            virtual_hosts:\n", "          http_filters:\n", func(string) string { return c.virtualHosts() })
	if c.For == "edge" {
		f.replace("  - name: service\n", "  - name: authz\n", c.clusters)
	}
	if c.showsCertificates() {
		f.after("              include_tls_session: true\n", "              # The policy holds tokens or callers to the certificate itself.\n              include_peer_certificate: true\n")
	}
	f.replace("static_resources:\n", "  listeners:\n", func(line string) string { return runtime + line })
	if c.Fragments {
		f.fragments(c.For)
	}
	if f.err != nil {
		return "", f.err
	}
	return c.fill(f.text)
}

// runtime lets Envoy compile the policy's longer patterns: RE2 programs end at size 100 otherwise.
const runtime = `# Patterns of the policy become expressions, and Envoy compiles none above size 100 by itself. They are the operator's own text.
layered_runtime:
  layers:
  - name: policy
    static_layer: {re2.max_program_size.error_level: 20000}
`

// showsCertificates reports whether the gate has to see the caller's certificate. At an edge no client has one.
func (c *compilation) showsCertificates() bool {
	if c.For != "sidecar" {
		return false
	}
	return c.policy.Peers == policy.PeersCertificate || slices.ContainsFunc(c.services[0].Rules, func(r *policy.Rule) bool {
		return slices.ContainsFunc(r.Branches(), func(b *policy.Rule) bool { return b.Sender != policy.SenderAny })
	})
}

// fill puts values into the holes that are left, and notes those without one.
func (c *compilation) fill(text string) (string, error) {
	holes, err := Placeholders(c.file)
	if err != nil {
		return "", err
	}
	for _, hole := range holes {
		if !strings.Contains(text, "${"+hole.Name+"}") || c.values[hole.Name] != "" {
			continue
		}
		c.missing.Holes = append(c.missing.Holes, hole)
		c.values[hole.Name] = placeholder(hole.Name)
	}
	return fill(text, c.values), nil
}

// placeholder marks what is missing in fragments. It is no port, no path and no SPIFFE ID, so that Envoy starts with none of them.
func placeholder(name string) string {
	return "FILL_IN_" + strings.NewReplacer("-", "_").Replace(strings.ToUpper(name))
}

// clusters are the services behind an edge, each by the reference file's one.
func (c *compilation) clusters(one string) string {
	var out strings.Builder
	for _, service := range c.services {
		at := c.Upstreams[service.Name]
		if at.ID == "" {
			at.ID = soleIdentity(service)
		}
		if at.Host == "" || at.Port == "" {
			c.missing.Upstreams = append(c.missing.Upstreams, service.Name)
			at.Host, at.Port = placeholder(service.Name+"_HOST"), placeholder(service.Name+"_PORT")
		}
		if at.ID == "" {
			c.missing.Identities = append(c.missing.Identities, service.Name)
			at.ID = placeholder(service.Name + "_ID")
		}
		out.WriteString(strings.NewReplacer(
			"name: service\n", "name: "+clusterOf(service)+"\n",
			"${SERVICE_HOST}", at.Host, "${SERVICE_PORT}", at.Port, "${SERVICE_ID}", at.ID,
		).Replace(one))
	}
	return out.String()
}

// clusterOf keeps a service that is called authz apart from the gate.
func clusterOf(s *policy.Service) string { return "service-" + s.Name }

// soleIdentity is who the service runs as, where the policy says it exactly.
func soleIdentity(s *policy.Service) string {
	if len(s.Workloads) != 1 || strings.Contains(s.Workloads[0].String(), "*") {
		return ""
	}
	return s.Workloads[0].String()
}

// heading says at the top what this is and what it was made of.
func (c *compilation) heading(limited bool) string {
	var out strings.Builder
	say := func(format string, args ...any) {
		out.WriteString(strings.TrimRight("# "+fmt.Sprintf(format, args...), " ") + "\n")
	}
	what := "The " + c.For
	if c.For == "sidecar" {
		what += " of " + c.Service
	}
	say("%s, written by `sallyport envoy render` from policy %s. Write it anew when the policy changes; changes", what, c.policy.Digest)
	say("by hand are lost. Services: %s.", strings.Join(names(c.services), ", "))
	if left := c.leftOut(); c.For == "edge" && len(left) > 0 {
		say("Not served here, because they do not say `edge: true`: %s.", strings.Join(left, ", "))
	}
	if limited {
		say("Each descriptor that is sent here finds a limit, or a written `unlimited`, in the limits that were given.")
	} else {
		say("No limits were given (--limits), so that nobody has looked whether each descriptor that is sent here finds one.")
	}
	if c.Fragments {
		c.explainFragments(say)
	}
	say("Made for Envoy 1.40; older ones lack some of it.")
	return out.String()
}

func (c *compilation) leftOut() []string {
	return slices.DeleteFunc(names(c.policy.Services), func(name string) bool { return slices.Contains(names(c.services), name) })
}

func (c *compilation) explainFragments(say func(string, ...any)) {
	say("")
	say("Parts for a listener of your own: `http_connection_manager` is what goes into the typed_config of your connection manager, beside its")
	say("@type; `clusters` and `layered_runtime` go where Envoy has them. What begins with FILL_IN_ is for you to say:")
	for _, hole := range c.missing.Holes {
		say("  %s: %s", placeholder(hole.Name), hole.Doc)
	}
	for _, name := range c.missing.Upstreams {
		say("  %s, %s: where %s is", placeholder(name+"_HOST"), placeholder(name+"_PORT"), name)
	}
	for _, name := range c.missing.Identities {
		say("  %s: the SPIFFE ID that answers for %s", placeholder(name+"_ID"), name)
	}
	if len(c.missing.Holes)+len(c.missing.Upstreams)+len(c.missing.Identities) == 0 {
		say("  nothing.")
	}
	say("")
}
