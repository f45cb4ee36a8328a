package envoy

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Kind says what may stand in a placeholder. None of them admits a quote, a backslash, a control character or a
// line end, so no value can leave the scalar that it stands in. The zero value admits nothing.
type Kind string

// The kinds, as the comments at the top of the files name them.
const (
	KindPort   Kind = "port"   // a TCP port, 1 to 65535
	KindCount  Kind = "count"  // a number of hops, 0 to 255
	KindPath   Kind = "path"   // an absolute file name
	KindHost   Kind = "host"   // a DNS name or an IP address, without a port
	KindSPIFFE Kind = "spiffe" // a whole SPIFFE ID: spiffe://domain/path
	KindDomain Kind = "domain" // a SPIFFE trust domain, without the scheme
	KindName   Kind = "name"   // a name of the policy: a-z, 0-9 and "-"
	KindOrigin Kind = "origin" // a web origin (RFC 6454): scheme, host and perhaps a port, no path
	KindTarget Kind = "target" // a request path to be compared exactly
)

// kinds holds what each kind wants to be told and how it is recognised.
var kinds = map[Kind]struct {
	want string
	ok   func(string) bool
}{
	KindPort:   {"a port, 1 to 65535", func(v string) bool { return isNumber(v, 1, 65535) }},
	KindCount:  {"a number, 0 to 255", func(v string) bool { return isNumber(v, 0, 255) }},
	KindPath:   {"an absolute file name without quotes, backslashes and control characters", isPath},
	KindHost:   {"a DNS name or an IP address", isHost},
	KindSPIFFE: {"a SPIFFE ID with a path, spiffe://domain/path", isSPIFFE},
	KindDomain: {"a SPIFFE trust domain such as cluster.local", isDomain},
	KindName:   {"a name of a-z, 0-9 and -", nameForm.MatchString},
	KindOrigin: {"an origin such as https://app.example", originForm.MatchString},
	KindTarget: {"a path such as /healthz, without a query and without escapes", targetForm.MatchString},
}

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	hostForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	originForm = regexp.MustCompile(`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`)
	targetForm = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)
)

func (k Kind) check(value string) error {
	kind, known := kinds[k]
	if !known || !kind.ok(value) {
		return fmt.Errorf("%q is not %s", value, kind.want)
	}
	return nil
}

// isNumber wants the one usual spelling: YAML would read 010 and 0x10 in ways of its own.
func isNumber(v string, low, high int) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n >= low && n <= high && strconv.Itoa(n) == v
}

func isPath(v string) bool {
	if !strings.HasPrefix(v, "/") || !utf8.ValidString(v) {
		return false
	}
	return !strings.ContainsFunc(v, func(r rune) bool { return r == '"' || r == '\\' || !unicode.IsPrint(r) })
}

func isHost(v string) bool {
	if addr, err := netip.ParseAddr(v); err == nil {
		return addr.Zone() == ""
	}
	return len(v) <= 253 && hostForm.MatchString(v)
}

func isSPIFFE(v string) bool {
	id, err := spiffeid.FromString(v)
	return err == nil && id.Path() != ""
}

func isDomain(v string) bool {
	domain, err := spiffeid.TrustDomainFromString(v)
	return err == nil && domain.Name() == v
}
