package demo

import (
	"fmt"
	"net/http"
	"strings"
)

// answered is everything that is known about one answer.
type answered struct {
	reply
	record        // the gate's own line about it; zero if it was not asked
	called  bool  // the service was reached
	refused bool  // there was no answer: the connection was refused
	mark    int64 // where the rate limit gate's audit log ended before
}

// text is the answer in a cell of the table.
func (a answered) text() string {
	switch {
	case a.refused:
		return "no connection"
	case a.echo.Says != "":
		return fmt.Sprintf("%d %s", a.status, a.echo.Says)
	}
	return fmt.Sprint(a.status)
}

// why is the reason in a cell of the table. The word after the slash stands only in the gate's audit log: the client does not hear it.
func (a answered) why() string {
	switch {
	case a.refused:
		return "certificate refused"
	case a.problem.Reason != "" && a.Detail != "" && a.problem.Reason == "invalid_token":
		return a.problem.Reason + "/" + a.Detail
	case a.problem.Reason != "":
		return a.problem.Reason
	case a.echo.Says != "":
		return a.Reason
	case a.status == http.StatusTooManyRequests:
		return a.Reason
	case a.status == http.StatusServiceUnavailable:
		return "no gate, no entry"
	}
	return "refused by Envoy itself"
}

// longestRule is the most columns that the name of a rule or limit takes.
const longestRule = 11

// which is the rule, or the limit, that decided. A limit with a long name is told by its domain.
func (a answered) which() string {
	if domain, _, ok := strings.Cut(a.Rule, "."); ok && len(a.Rule) > longestRule {
		return domain + " limit"
	}
	if a.Rule == "none" {
		return ""
	}
	return a.Rule
}

// want is what an answer must be. A zero field demands nothing.
type want struct {
	status int
	says   string // the service's words, exactly
	reason string // as why says it
	rule   string // as which says it
	more   func(answered) string
}

// nothing is the wish for no connection at all.
var nothing = want{reason: "certificate refused"}

// faults says what is not as wished; none is good. Whatever is refused must not have reached the service.
func (w want) faults(a answered) []string {
	var faults []string
	differs := func(what, got, wanted string) {
		if wanted != "" && got != wanted {
			faults = append(faults, fmt.Sprintf("%s: expected %s, got %s", what, wanted, orDash(got)))
		}
	}
	if w.status != a.status {
		faults = append(faults, fmt.Sprintf("status: expected %d, got %d", w.status, a.status))
	}
	differs("the service's words", a.echo.Says, w.says)
	differs("reason", a.why(), w.reason)
	differs("rule", a.which(), w.rule)
	if demanded, got := refuses(w.status), refuses(a.status); demanded && got && a.called {
		faults = append(faults, "it was refused, and yet the service was called")
	}
	if w.more != nil {
		if fault := w.more(a); fault != "" {
			faults = append(faults, fault)
		}
	}
	return faults
}

// refuses says that a status lets nobody in; none at all is no connection.
func refuses(status int) bool { return status == 0 || status >= http.StatusBadRequest }

// The further demands of the story.

// challenges demands an RFC 6750 challenge with the given error code, "" for one without any.
func challenges(code string) func(answered) string {
	return func(a answered) string {
		got := a.header.Get("WWW-Authenticate")
		wanted := `error="` + code + `"`
		switch {
		case !strings.HasPrefix(got, "Bearer "):
			return fmt.Sprintf("www-authenticate: expected a Bearer challenge, got %q", got)
		case code == "" && strings.Contains(got, "error"):
			return fmt.Sprintf("www-authenticate: expected no error code, got %q", got)
		case code != "" && !strings.Contains(got, wanted):
			return fmt.Sprintf("www-authenticate: expected %s, got %q", wanted, got)
		}
		return ""
	}
}

// saw demands the path as the service saw it.
func saw(target string) func(answered) string {
	return func(a answered) string {
		if a.echo.Target != target {
			return fmt.Sprintf("the service saw: expected %s, got %s", target, orDash(a.echo.Target))
		}
		return ""
	}
}

// knows demands the identities that the service was told, all of them.
func knows(ids ...string) func(answered) string {
	return func(a answered) string {
		if strings.Join(a.echo.UserIDs, ",") != strings.Join(ids, ",") {
			return fmt.Sprintf("x-user-id at the service: expected %q, got %q", ids, a.echo.UserIDs)
		}
		return ""
	}
}

// bounded demands the headers that tell a client when to come back.
func bounded(a answered) string {
	for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Retry-After"} {
		if a.header.Get(name) == "" {
			return strings.ToLower(name) + " is missing"
		}
	}
	return ""
}

// waits demands retry-after alone.
func waits(a answered) string {
	if a.header.Get("Retry-After") == "" {
		return "retry-after is missing"
	}
	return ""
}

// storeless demands what bounded does, of a gate that knows that its store is away.
func storeless(a answered) string {
	if a.Detail != "store_unavailable" {
		return "the audit log: expected store_unavailable, got " + orDash(a.Detail)
	}
	return bounded(a)
}
