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

func (t tri) and(u tri) tri { return min(t, u) }

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

// taken reports whether a route's match takes a request of a method and a path. Other conditions leave it open.
func (e *exam) taken(match value, method, path string) tri {
	answer := e.pathTaken(match, path)
	for _, header := range match.get("headers").items() {
		if answer == no {
			return no
		}
		answer = answer.and(e.methodTaken(header, method))
	}
	for _, other := range []string{"query_parameters", "runtime_fraction", "tls_context", "dynamic_metadata", "filter_state", "grpc", "cookies"} {
		if match.get(other).there() {
			answer = answer.and(maybe)
		}
	}
	return answer
}

func (e *exam) pathTaken(match value, path string) tri {
	fold := func(s string) string { return s }
	if match.get("case_sensitive").str() == "false" {
		fold = strings.ToLower
	}
	path = fold(path)
	switch {
	case match.get("prefix").there():
		return sure(strings.HasPrefix(path, fold(match.get("prefix").str())))
	case match.get("path").there():
		return sure(path == fold(match.get("path").str()))
	case match.get("path_separated_prefix").there():
		prefix := fold(match.get("path_separated_prefix").str())
		return sure(path == prefix || strings.HasPrefix(path, prefix+"/"))
	case match.get("safe_regex").there():
		return sure(e.wholly(match.get("safe_regex", "regex").str(), path))
	case match.get("connect_matcher").there():
		return no
	case match.get("path_match_policy").there():
		return maybe
	}
	return yes
}

// methodTaken holds a condition on :method; one on another header may hold or not.
func (e *exam) methodTaken(header value, method string) tri {
	if header.get("name").str() != ":method" || method == "" {
		return maybe
	}
	invert := header.get("invert_match").yes()
	switch {
	case header.get("string_match").there():
		return sure(e.matches(header.get("string_match"), method) != invert)
	case header.get("exact_match").there():
		return sure((header.get("exact_match").str() == method) != invert)
	}
	return maybe
}
