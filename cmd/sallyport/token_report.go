package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// mark is how one step went.
type mark uint8

const (
	unknown mark = iota // could not be looked at
	fine
	refused
	remark // nothing that is demanded
)

// finding is one step of the explanation. The detail is the audit log's word where the step refuses.
type finding struct {
	mark         mark
	step, detail string
	text         string
}

// verdict is what the gate's own verifier says.
type verdict struct {
	principal *authz.Principal
	err       error
	// offline says that the verifier had no keys, so that it could not judge what comes after them.
	offline bool
}

// detail is the audit log's word of a refusal, "" where there was none: accepted, or not decided.
func (v verdict) detail() string {
	var token *authz.TokenError
	if errors.As(v.err, &token) && token.Reason == authz.InvalidToken {
		return token.Detail
	}
	return ""
}

// report is an inspection that was made.
type report struct {
	*inspection
	verdict  verdict
	findings []finding
}

func (r *report) ok(step, format string, args ...any) { r.add(fine, step, "", format, args...) }

func (r *report) refuse(step, detail, format string, args ...any) {
	r.add(refused, step, detail, format, args...)
}

func (r *report) note(step, format string, args ...any) { r.add(remark, step, "", format, args...) }

func (r *report) add(m mark, step, detail, format string, args ...any) {
	r.findings = append(r.findings, finding{mark: m, step: step, detail: detail, text: fmt.Sprintf(format, args...)})
}

// explained is the first refusal of the explanation, "" if nothing refuses the token.
func (r *report) explained() string {
	for _, f := range r.findings {
		if f.mark == refused {
			return f.detail
		}
	}
	return ""
}

// show prints the report. Its error carries the exit code.
func (r *report) show(out io.Writer) error {
	for _, note := range r.notes {
		fmt.Fprintf(out, "note: %s\n", note)
	}
	fmt.Fprintf(out, "a token of %d bytes, judged by the issuer %s at %s\n\n", len(r.token), r.issuer.Name, r.now.UTC().Format(time.RFC3339))
	for _, f := range r.findings {
		word := [...]string{unknown: "?", fine: "ok", refused: "REFUSED", remark: "-"}[f.mark]
		fmt.Fprintf(out, "  %-8s %-11s %s\n", word, f.step, f.text)
	}
	fmt.Fprintln(out)
	return r.conclude(out)
}

// conclude prints the last line: the verifier's verdict. Without keys it has none on what comes after the signature, and the
// explanation speaks for itself.
func (r *report) conclude(out io.Writer) error {
	detail, explained := r.verdict.detail(), r.explained()
	if r.verdict.offline && detail == "" && explained != "" {
		fmt.Fprintln(out, "whatever its signature, which was not looked at: give --keys FILE or --fetch")
		detail = explained
	}
	switch {
	case detail != "":
		if detail != explained {
			fmt.Fprintln(out, "the steps above miss the gate's own reason, please report it; this is the gate's:")
		}
		fmt.Fprintf(out, "refused: %s\n", detail)
		return errShown
	case r.verdict.offline:
		return daemon.Unable(errors.New("undecided: nothing refuses the token, but its signature was not looked at: give --keys FILE or --fetch"))
	case r.verdict.err != nil:
		return daemon.Unable(fmt.Errorf("undecided: %w", r.verdict.err))
	case explained != "":
		fmt.Fprintln(out, "the steps above refuse what the gate takes, please report it; this is the gate's verdict:")
	}
	fmt.Fprintln(out, "accepted")
	return nil
}

// quote quotes a text of the token: no control character reaches the terminal, and nothing long, which might be another token.
func quote(text string) string {
	if len(text) > 80 {
		return strconv.QuoteToASCII(text[:80]) + fmt.Sprintf("... (%d bytes)", len(text))
	}
	return strconv.QuoteToASCII(text)
}

// showList quotes a list of texts, at most eight.
func showList(list []string) string {
	quoted := make([]string, 0, len(list))
	for i, text := range list {
		if i == 8 {
			quoted = append(quoted, fmt.Sprintf("... (%d)", len(list)))
			break
		}
		quoted = append(quoted, quote(text))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// when shows an instant and how far it lies from another.
func when(at, now time.Time) string {
	distance := at.Sub(now).Round(time.Second)
	text := at.UTC().Format(time.RFC3339)
	switch {
	case distance > 0:
		return fmt.Sprintf("%s (in %s)", text, distance)
	case distance < 0:
		return fmt.Sprintf("%s (%s ago)", text, -distance)
	}
	return text + " (now)"
}
