package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/body"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// File is one policy file: its name, as errors show it, and its bytes.
type File struct {
	Name string
	Data []byte
}

// Parse reads files as one policy. It returns the whole policy, or every error of every file with its place; never both, and never
// a part of a policy.
func Parse(files []File) (*Policy, strictyaml.Errors) { return ParseAt(files, time.Time{}) }

// ParseAt is [Parse] at a moment, by which the days that a policy names are judged: one that has passed is a warning, and one too far
// ahead an error. At the zero time no day is judged.
func ParseAt(files []File, now time.Time) (*Policy, strictyaml.Errors) {
	c := newCompiler(nil)
	c.now = now
	var broken strictyaml.Errors
	for _, file := range files {
		src, errs := readSource(file)
		broken = append(broken, errs...)
		if src != nil {
			c.add(src)
		}
	}
	policy, errs := c.finish()
	if errs = append(errs, redact(broken)...); len(errs) > 0 {
		errs.Sort()
		return nil, errs
	}
	return policy, nil
}

// finish compiles the sources. It returns either a policy or every complaint. A panic is a defect of ours, and a complaint about the
// files that changed, so that a gate that reloads keeps the last good ones.
func (c *compiler) finish() (policy *Policy, errs strictyaml.Errors) {
	defer func() {
		if p := recover(); p != nil {
			policy, errs = nil, nil
			for _, src := range c.sources {
				if src.changed {
					errs = append(errs, &strictyaml.Error{File: src.name, Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: "reading this policy met a defect of ours, please report it"})
				}
			}
		}
	}()
	policy = c.compile()
	if errs = redact(c.errors()); len(errs) > 0 {
		return nil, errs
	}
	return policy, nil
}

// redact takes what could be a password in a URL out of the lines that are shown.
func redact(errs strictyaml.Errors) strictyaml.Errors {
	for _, err := range errs {
		scheme, at := strings.Index(err.Line, "://"), strings.LastIndexByte(err.Line, '@')
		if scheme >= 0 && at > scheme {
			err.Line = err.Line[:scheme+3] + strings.Repeat("*", at-scheme-3) + err.Line[at:]
		}
	}
	return errs
}

// source is one file on its way into a policy.
type source struct {
	name    string
	data    []byte
	doc     *strictyaml.Document
	changed bool // differs from the last good version: conflicts are its fault

	*strictyaml.Decoder
	root    *strictyaml.Mapping
	issuers []*Issuer
	// networks are those of a list of them, which is no YAML.
	networks []netip.Prefix
}

// readSource parses a file's YAML. Every source counts as changed until a loader says otherwise.
func readSource(file File) (*source, strictyaml.Errors) {
	if strings.HasSuffix(file.Name, BlobSuffix) {
		if err := body.CheckDescriptors(file.Data); err != nil {
			return nil, strictyaml.Errors{{File: file.Name, Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: err.Error(), Hint: "make it with `buf build -o " + path.Base(file.Name) + "`"}}
		}
		return &source{name: file.Name, data: file.Data, changed: true}, nil
	}
	if strings.HasSuffix(file.Name, NetworksSuffix) {
		networks, errs := readNetworks(file)
		if len(errs) > 0 {
			return nil, errs
		}
		return &source{name: file.Name, data: file.Data, networks: networks, changed: true}, nil
	}
	if strings.HasSuffix(file.Name, SchemaSuffix) || strings.HasSuffix(file.Name, OpenAPISuffix) {
		return &source{name: file.Name, data: file.Data, changed: true}, nil
	}
	doc, errs := strictyaml.Parse(file.Name, file.Data)
	if len(errs) > 0 {
		return nil, errs
	}
	return &source{name: file.Name, data: file.Data, doc: doc, changed: true}, nil
}

// compiler turns sources into one policy. Errors gather in each source's decoder.
type compiler struct {
	sources []*source
	policy  *Policy
	// ghosts are issuers of the last good policy; an unchanged file whose issuer is gone keeps it.
	ghosts      map[string]*Issuer
	issuerFiles map[string]*source
	// ghostLookups are the same for lookups.
	ghostLookups map[string]*Lookup
	lookupFiles  map[string]*source
	// blobs are the files that are no YAML, descriptor sets and lists of networks, by their name in the folder.
	blobs map[string]*source

	// partial says that other files of the folder were set aside: what they say is missing here, and is nobody's error.
	partial bool

	// now is the moment by which days are judged, zero for none.
	now time.Time

	trustDomain   string
	clusterDomain string
	namesCallers  *strictyaml.Node // the first place that needs `peers`
	namesIn       *source
	warnings      strictyaml.Errors
	compared      int // pairs of callers, for doubts
	subjects      []subjectHeader
	shared        int // rules of shared edge trees so far
}

// newCompiler begins with the last good policy, nil at the start, of which an unchanged file may keep what is gone.
func newCompiler(before *Policy) *compiler {
	c := &compiler{
		issuerFiles: map[string]*source{}, lookupFiles: map[string]*source{}, blobs: map[string]*source{},
		policy: &Policy{Issuers: map[string]*Issuer{}, Lookups: map[string]*Lookup{}, byName: map[string]*Service{}, identity: map[string]bool{}, keys: map[string]bool{}},
	}
	if before != nil {
		c.ghosts, c.ghostLookups = before.Issuers, before.Lookups
	}
	return c
}

// add takes a file in.
func (c *compiler) add(src *source) {
	if src.doc == nil {
		c.blobs[path.Base(filepathSlash(src.name))] = src
		return
	}
	c.sources = append(c.sources, src)
}

// The endings of files that are no YAML and that others speak of.
const (
	// BlobSuffix is a FileDescriptorSet's, which services name as `descriptors`.
	BlobSuffix = ".binpb"
	// SchemaSuffix is a JSON Schema's, which rules name as `schema`. It is read where it is named, and not before.
	SchemaSuffix = ".json"
)

// OpenAPISuffix ends the name of an OpenAPI document in YAML, which services name as `openapi`; one in JSON ends in SchemaSuffix.
const OpenAPISuffix = ".openapi.yaml"

// Beside are the endings of files that belong to the policy files among which they stand.
func Beside() []string { return []string{BlobSuffix, SchemaSuffix, NetworksSuffix, OpenAPISuffix} }

// isData reports whether a file is no YAML: it serves nothing by itself.
func isData(name string) bool {
	return slices.ContainsFunc(Beside(), func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

// filepathSlash makes a name that was joined on any system one of slashes.
func filepathSlash(name string) string { return strings.ReplaceAll(name, "\\", "/") }

func (c *compiler) errors() strictyaml.Errors {
	var all strictyaml.Errors
	for _, src := range c.sources {
		if src.Decoder != nil {
			all = append(all, src.Errors()...)
		}
	}
	return slices.CompactFunc(all, func(a, b *strictyaml.Error) bool { return a.File == b.File && a.Pos == b.Pos && a.Msg == b.Msg })
}

var (
	topKeys   = []string{"version", "trust_domain", "cluster_domain", "peers", "gateways", "trusted_proxies", "issuers", "lookups", "services", "probes", "revocation"}
	laterRule = []string{"headers"}
	laterSvc  = []string{}
	laterIss  = []string{"revocation", "sender", "introspection"}
)

func (c *compiler) compile() *Policy {
	slices.SortFunc(c.sources, func(a, b *source) int { return strings.Compare(a.name, b.name) })
	for _, src := range c.sources {
		src.Decoder = strictyaml.NewDecoder(src.doc)
		src.issuers = nil
		src.root = src.Map(src.doc.Root, topKeys...)
		c.version(src)
	}
	c.settings()
	for _, src := range c.sources {
		c.issuers(src)
	}
	c.revocable()
	for _, src := range c.sources {
		c.lookups(src)
	}
	for _, src := range c.sources {
		c.services(src)
	}
	c.revocableGhosts()
	c.topProbes()
	if c.policy.Peers == PeersNobody && c.namesCallers != nil {
		c.namesIn.Errorf(c.namesCallers, "write `peers: envoy` where Envoy's validation context matches a URI SAN of the trust domain, or `peers: certificate`",
			"callers and workloads are named, but `peers` does not say who checked the certificates")
	}
	c.doubts()
	c.link()
	c.policy.completeOperations()
	c.policy.Digest = c.digest()
	c.policy.Warnings = redact(c.warnings)
	c.policy.Warnings.Sort()
	return c.policy
}

// later refuses, by name, what a policy may ask of a newer version.
func later(src *source, m *strictyaml.Mapping, keys []string) {
	for _, key := range keys {
		if n := m.Get(key); n != nil {
			src.Errorf(n, "remove it, or use a release that has it", "`%s` is not supported by this version", key)
		}
	}
}

func (c *compiler) version(src *source) {
	n := src.root.Get("version")
	if n == nil {
		src.Errorf(src.doc.Root, "write `version: 1` at the top", "the file does not say its `version`")
		return
	}
	src.Int(n, 1, 1)
}

// single finds the one file that states a setting of the whole policy. A second is that file's error which changed, else the
// later's by name.
func (c *compiler) single(key string) (*source, *strictyaml.Node) {
	var first *source
	for _, src := range c.sources {
		if src.root.Get(key) == nil {
			continue
		}
		if first == nil {
			first = src
			continue
		}
		guilty, other := blame(first, src)
		guilty.Errorf(guilty.root.Get(key), "state it in one file", "`%s` stands in %s too", key, other.name)
		first = other
	}
	if first == nil {
		return nil, nil
	}
	return first, first.root.Get(key)
}

// blame says whose fault a conflict of two files is: the one that changed, else the later by name.
func blame(a, b *source) (guilty, other *source) {
	if a.changed && !b.changed || a.changed == b.changed && a.name > b.name {
		return a, b
	}
	return b, a
}

func (c *compiler) settings() {
	c.clusterDomain = "cluster.local"
	if src, n := c.single("cluster_domain"); n != nil {
		c.clusterDomain, _ = src.Text(n)
	}
	if src, n := c.single("trust_domain"); n != nil {
		if text, ok := src.Text(n); ok {
			if _, err := ParseCallerPattern("spiffe://"+text+"/x", ""); err != nil {
				src.Errorf(n, "a trust domain is a lower-case name such as cluster.local", "not a SPIFFE trust domain")
			} else {
				c.trustDomain, c.policy.TrustDomain = text, text
			}
		}
	}
	if src, n := c.single("peers"); n != nil {
		switch text, ok := src.Text(n); {
		case text == "envoy":
			c.policy.Peers = PeersEnvoy
		case text == "certificate":
			c.policy.Peers = PeersCertificate
		case ok:
			src.Errorf(n, "write `envoy` or `certificate`", "%q says nothing of who checked the peers' certificates", text)
		}
	}
	if src, n := c.single("gateways"); n != nil {
		c.policy.Gateways = c.callers(src, n)
	}
	if src, n := c.single("revocation"); n != nil {
		c.revocation(src, n)
	}
	if src, n := c.single("trusted_proxies"); n != nil {
		c.trustedProxies(src, n)
	}
}

func (c *compiler) revocation(src *source, n *strictyaml.Node) {
	m := src.Map(n, "stale_after", "when_stale")
	r := &Revocation{StaleAfter: time.Minute}
	duration(src, m, "stale_after", time.Second, 24*time.Hour, &r.StaleAfter)
	if stale := m.Get("when_stale"); stale != nil {
		switch text, ok := src.Text(stale); {
		case text == "allow":
			r.AllowStale = true
		case ok && text != "deny":
			src.Errorf(stale, "write deny, or allow", "a stale view can deny or allow, not %q", text)
		}
	}
	c.policy.Revocation = r
}

// revocable demands that every token of a policy with revocation has a name by which it can be revoked.
func (c *compiler) revocable() {
	if c.policy.Revocation == nil {
		return
	}
	for _, src := range c.sources {
		all := src.OpenMap(src.root.Get("issuers"))
		for _, issuer := range src.issuers {
			if !slices.Contains(issuer.Require, "jti") {
				src.Errorf(all.Get(issuer.Name), "add jti to `require`", "`revocation` is asked for, and a token of `%s` without a jti could not be revoked", issuer.Name)
			}
		}
	}
}

// revocableGhosts demands the same of issuers that are only kept because an unchanged file needs them.
func (c *compiler) revocableGhosts() {
	for name, issuer := range c.policy.Issuers {
		if c.policy.Revocation == nil || c.issuerFiles[name] != nil || slices.Contains(issuer.Require, "jti") {
			continue
		}
		src, n := c.single("revocation")
		src.Errorf(n, "mend the file that names the issuer first", "a token of `%s`, which is kept from a file that is gone, could not be revoked without a jti", name)
	}
}

func (c *compiler) trustedProxies(src *source, n *strictyaml.Node) {
	for _, item := range src.List(n) {
		text, ok := src.Text(item)
		if !ok {
			continue
		}
		if network, ok := parseNetwork(text); ok {
			c.policy.TrustedProxies.Networks = append(c.policy.TrustedProxies.Networks, network)
			continue
		}
		if !strings.Contains(text, "://") {
			src.Errorf(item, "write 10.0.0.0/8, 2001:db8::/32 or spiffe://...", "neither a network nor a SPIFFE ID")
			continue
		}
		c.policy.TrustedProxies.Callers = append(c.policy.TrustedProxies.Callers, c.caller(src, item)...)
	}
}

// maxCallers bounds a list of callers: each request is held to it one by one.
const maxCallers = 1000

// callers reads a list of caller patterns.
func (c *compiler) callers(src *source, n *strictyaml.Node) []CallerPattern {
	var patterns []CallerPattern
	for _, item := range src.List(n) {
		patterns = append(patterns, c.caller(src, item)...)
	}
	if len(src.List(n)) > maxCallers {
		src.Errorf(n, "stand `*` for a segment", "%d callers are more than the %d that a list may hold", len(src.List(n)), maxCallers)
		return nil
	}
	if n != nil && len(patterns) == 0 && len(src.List(n)) == 0 {
		src.Errorf(n, "name somebody, or leave the key out", "an empty list would admit nobody")
	}
	return patterns
}

func (c *compiler) caller(src *source, n *strictyaml.Node) []CallerPattern {
	if c.namesCallers == nil {
		c.namesCallers, c.namesIn = n, src
	}
	text, ok := src.Text(n)
	if !ok {
		return nil
	}
	pattern, err := ParseCallerPattern(text, c.trustDomain)
	if err != nil {
		src.Errorf(n, "write shop/frontend, shop/* or spiffe://cluster.local/ns/shop/sa/frontend", "%s", err)
		return nil
	}
	return []CallerPattern{pattern}
}

// topProbes are for edge policies only: elsewhere a probe belongs to the service that answers it.
func (c *compiler) topProbes() {
	for _, src := range c.sources {
		n := src.root.Get("probes")
		if n == nil {
			continue
		}
		c.policy.Probes = append(c.policy.Probes, c.probes(src, n)...)
		if !c.partial && !slices.ContainsFunc(c.policy.Services, func(s *Service) bool { return s.Edge }) {
			src.Errorf(n, "put them into the service that answers them", "`probes` at the top of a file are an edge policy's, and no service is `edge: true`")
		}
	}
}

// digest names the policy's generation, over everything that it was read from.
func (c *compiler) digest() string {
	sum := sha256.New()
	all := slices.AppendSeq(slices.Clone(c.sources), maps.Values(c.blobs))
	slices.SortStableFunc(all, func(a, b *source) int { return strings.Compare(a.name, b.name) })
	for _, src := range all {
		fmt.Fprintf(sum, "%d:%s%d:", len(src.name), src.name, len(src.data))
		sum.Write(src.data)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// validName is the alphabet of the names that stand in descriptors and labels.
func validName(s string) bool {
	for i := range len(s) {
		if b := s[i]; b != '-' && (b < 'a' || b > 'z') && (b < '0' || b > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// name reads a name of the policy's own, or reports it.
func name(src *source, n *strictyaml.Node, what string) string {
	text, ok := src.Text(n)
	if ok && !validName(text) {
		src.Errorf(n, "use lower-case letters, digits and -", "%s's name cannot be %q", what, text)
	}
	return text
}
