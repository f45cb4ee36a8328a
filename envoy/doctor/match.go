package doctor

import (
	"regexp"
	"strings"
)

// tri is the answer to a question about requests of which only a part is known.
type tri uint8

const (
	no tri = iota
	maybe
	yes
)

func sure(b bool) tri {
	if b {
		return yes
	}
	return no
}

// matches reports whether a string matcher (envoy.type.matcher.v3.StringMatcher) takes a text. What is not understood takes nothing.
func (e *exam) matches(m value, text string) bool {
	fold := func(s string) string { return s }
	if m.get("ignore_case").yes() {
		fold = strings.ToLower
	}
	text = fold(text)
	switch {
	case m.get("exact").there():
		return text == fold(m.get("exact").str())
	case m.get("prefix").there():
		return strings.HasPrefix(text, fold(m.get("prefix").str()))
	case m.get("suffix").there():
		return strings.HasSuffix(text, fold(m.get("suffix").str()))
	case m.get("contains").there():
		return strings.Contains(text, fold(m.get("contains").str()))
	case m.get("safe_regex").there():
		return e.wholly(m.get("safe_regex", "regex").str(), text)
	}
	return false
}

// wholly reports whether an expression of RE2 matches the whole text, as Envoy asks. Go's syntax is RE2's; what does not compile
// matches nothing, and Envoy does not load it.
func (e *exam) wholly(expression, text string) bool {
	compiled, known := e.expressions[expression]
	if !known {
		if len(expression) <= maxExpression {
			compiled, _ = regexp.Compile(`^(?:` + expression + `)$`) // nil where it is wrong
		}
		e.expressions[expression] = compiled
	}
	return compiled != nil && compiled.MatchString(text)
}

// maxExpression bounds what is compiled: Envoy's own bound on a program is far below.
const maxExpression = 4096

// taker is a route's match, read once: a policy asks many times.
type taker struct {
	path    func(path string) tri
	methods []func(method string) bool
	open    bool // other conditions leave it open
}

// takes reports whether a request of a method and a path is taken.
func (t taker) takes(method, path string) tri {
	answer := t.path(path)
	if answer == no {
		return no
	}
	for _, ok := range t.methods {
		if !ok(method) {
			return no
		}
	}
	if t.open {
		return maybe
	}
	return answer
}

// conditions are what a match can demand beside path and method.
var conditions = []string{"query_parameters", "runtime_fraction", "tls_context", "dynamic_metadata", "filter_state", "grpc", "cookies"}

func (e *exam) taker(match value) taker {
	t := taker{path: e.pathTaker(match)}
	for _, header := range match.get("headers").items() {
		if ok := e.methodTaker(header); ok != nil {
			t.methods = append(t.methods, ok)
		} else {
			t.open = true
		}
	}
	for _, other := range conditions {
		t.open = t.open || match.get(other).there()
	}
	return t
}

func (e *exam) pathTaker(match value) func(string) tri {
	fold := func(s string) string { return s }
	if match.get("case_sensitive").str() == "false" {
		fold = strings.ToLower
	}
	switch {
	case match.get("prefix").there():
		prefix := fold(match.get("prefix").str())
		return func(path string) tri { return sure(strings.HasPrefix(fold(path), prefix)) }
	case match.get("path").there():
		exact := fold(match.get("path").str())
		return func(path string) tri { return sure(fold(path) == exact) }
	case match.get("path_separated_prefix").there():
		prefix := fold(match.get("path_separated_prefix").str())
		return func(path string) tri {
			rest, ok := strings.CutPrefix(fold(path), prefix)
			return sure(ok && (rest == "" || rest[0] == '/'))
		}
	case match.get("safe_regex").there():
		expression := match.get("safe_regex", "regex").str()
		return func(path string) tri { return sure(e.wholly(expression, path)) }
	case match.get("connect_matcher").there():
		return func(string) tri { return no }
	case match.get("path_match_policy").there():
		return func(string) tri { return maybe }
	}
	return func(string) tri { return yes }
}

// methodTaker is a condition on :method; nil for one on another header, which may hold or not.
func (e *exam) methodTaker(header value) func(string) bool {
	if header.get("name").str() != ":method" {
		return nil
	}
	invert := header.get("invert_match").yes()
	switch {
	case header.get("string_match").there():
		return func(method string) bool { return e.matches(header.get("string_match"), method) != invert }
	case header.get("exact_match").there():
		return func(method string) bool { return (header.get("exact_match").str() == method) != invert }
	}
	return nil
}
