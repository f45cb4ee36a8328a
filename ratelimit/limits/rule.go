package limits

import (
	"strings"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Failure says what a rule does when its store cannot decide. The zero value is the reference's: the request gets an error, and
// Envoy's failure mode decides.
type Failure uint8

const (
	// FailError answers with an error of the protocol.
	FailError Failure = iota
	// FailLocal counts in this process, within this replica's share of the limit.
	FailLocal
	// FailOpen lets the request pass.
	FailOpen
	// FailClosed refuses the request.
	FailClosed
)

var failures = [...]string{FailError: "error", FailLocal: "local", FailOpen: "open", FailClosed: "closed"}

// String is the word that the file uses.
func (f Failure) String() string {
	if int(f) < len(failures) {
		return failures[f]
	}
	return failures[FailError]
}

// Limit is one window of a rule as the protocol shows it.
type Limit struct {
	// Name is shown to clients in x-ratelimit-limit, where Envoy does not escape it; so it holds no quote, backslash, comma,
	// semicolon or anything but visible ASCII and spaces. It may be empty.
	Name string
	// Requests is the limit, per Multiplier units.
	Requests uint32
	// Unit is NoUnit where the protocol has no word for the window: it is no whole number of seconds.
	Unit Unit
	// Multiplier is the number of units in the window; zero means one.
	Multiplier uint32
}

// Rule is the limit of one descriptor of a file. It is immutable and safe for concurrent use.
type Rule struct {
	// ID is the rule's place in [Table.Rules], from zero: whoever keeps something beside each rule keeps it in a slice.
	ID int
	// Domain is the file's.
	Domain string
	// Path names the rule in metrics and logs: domain.key_value.key. It holds what the file says, never what a client sent.
	Path string
	// Keys are the levels of the path below the domain, "key_value" or "key".
	Keys []string
	// File and Pos are where the rule stands.
	File string
	Pos  strictyaml.Pos

	// Unlimited rules pass everything and have no windows.
	Unlimited bool
	// Limits and Windows are one list seen from outside and from inside: what the protocol shows, and what is counted. They
	// have equal lengths, and must not be written to.
	Limits  []Limit
	Windows []window.Window
	// Algorithm counts every window.
	Algorithm window.Algorithm
	// CountDenied spends hits even where they are refused: the accounting of a plain rate_limit, as envoyproxy/ratelimit has
	// it. In a rate_limits list a denied hit burns nothing.
	CountDenied bool
	// Shadow rules count and report, and refuse nobody.
	Shadow bool
	// Quota rules (quota_mode) refuse nobody alone: a request is refused only when every quota that it meets is over. Who reads
	// the response's metadata learns which quotas are, and may send the request elsewhere.
	Quota bool
	// ByValue has, for each of Keys, whether metrics show the value that was sent in place of the one of the file
	// (detailed_metric, value_to_metric). Nil where metrics show what the file says, which is the rule for most.
	ByValue []bool
	// Metadata is handed to Envoy with each answer of this rule, where that is asked for: a free map of nil, bool, float64,
	// string, []any and map[string]any. It must not be written to.
	Metadata map[string]any
	// OnStoreFailure is what the rule does without its store.
	OnStoreFailure Failure

	// Name is what other rules' Replaces call this rule, as the file writes it.
	Name string
	// Replaces names the rules that do not count in a request that matches this one.
	Replaces []string

	// Override marks the rule that stands for the limits which requests bring themselves: it has no windows of its own.
	Override bool
}

// visibleName makes a limit's name fit for a header that Envoy writes without escaping.
func visibleName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ', r > '~', r == '"', r == '\\', r == ',', r == ';':
			return '_'
		}
		return r
	}, s)
}
