package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxSPIFFEID is the longest SPIFFE ID in bytes (SPIFFE-ID section 2.3).
const maxSPIFFEID = 2048

// CallerPattern is an exact SPIFFE ID, or one in which `*` stands for one whole path segment. It has no other meaning: no prefix,
// no regular expression (CVE-2026-39350 was a dot read as one).
type CallerPattern struct {
	domain   string
	segments []string
}

// ParseCallerPattern reads a pattern: `spiffe://trust-domain/a/b`, or `ns/sa` for the Kubernetes form
// spiffe://<trustDomain>/ns/<ns>/sa/<sa>.
func ParseCallerPattern(text, trustDomain string) (CallerPattern, error) {
	if !strings.Contains(text, "://") {
		namespace, account, ok := strings.Cut(text, "/")
		if !ok || strings.Contains(account, "/") {
			return CallerPattern{}, errors.New("a caller is `namespace/service-account` or a whole `spiffe://` ID")
		}
		if trustDomain == "" {
			return CallerPattern{}, errors.New("the short form needs `trust_domain` at the top of a policy file")
		}
		text = "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + account
	}
	// A star is no SPIFFE path character, so the ID is proved with a letter in each star's place.
	segments := strings.Split(text, "/")
	proof := make([]string, len(segments))
	for i, segment := range segments {
		proof[i] = segment
		if segment == "*" && i > 2 {
			proof[i] = "x"
		}
	}
	id, err := spiffeid.FromString(strings.Join(proof, "/"))
	if err != nil {
		return CallerPattern{}, fmt.Errorf("not a SPIFFE ID: %w (`*` may stand for one whole segment)", err)
	}
	if len(segments) < 4 {
		return CallerPattern{}, errors.New("a SPIFFE ID of a workload has a path")
	}
	return CallerPattern{domain: id.TrustDomain().Name(), segments: segments[3:]}, nil
}

// Matches reports whether id, a SPIFFE ID that [ParseCaller] accepted, is the pattern's.
func (p CallerPattern) Matches(id string) bool {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok {
		return false
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok || domain != p.domain || len(p.segments) == 0 {
		return false
	}
	for i, want := range p.segments {
		segment, tail, more := strings.Cut(path, "/")
		if more == (i == len(p.segments)-1) || segment == "" || want != "*" && segment != want {
			return false
		}
		path = tail
	}
	return true
}

// Overlaps reports whether some ID is matched by both patterns.
func (p CallerPattern) Overlaps(q CallerPattern) bool {
	if p.domain != q.domain || len(p.segments) != len(q.segments) {
		return false
	}
	for i, a := range p.segments {
		if b := q.segments[i]; a != b && a != "*" && b != "*" {
			return false
		}
	}
	return true
}

// String is the whole pattern, spelled as a SPIFFE ID.
func (p CallerPattern) String() string {
	return "spiffe://" + p.domain + "/" + strings.Join(p.segments, "/")
}

// ParseCaller proves that a principal is a SPIFFE ID of a workload, in the one spelling that the standard allows (SPIFFE-ID section
// 2): a principal that would have to be normalised is nobody.
func ParseCaller(principal string) (id string, ok bool) {
	if len(principal) > maxSPIFFEID {
		return "", false
	}
	parsed, err := spiffeid.FromString(principal)
	if err != nil || parsed.Path() == "" {
		return "", false
	}
	return principal, true
}

func anyMatches(patterns []CallerPattern, id string) bool {
	for i := range patterns {
		if patterns[i].Matches(id) {
			return true
		}
	}
	return false
}
