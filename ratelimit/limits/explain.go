package limits

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Explanation tells how a descriptor went through a table, for the people who ask why a limit does nothing. It is made of the file's
// words and of the question's own.
type Explanation struct {
	// Domain is the question's; Known says that a file has it, and Domains are those that files have, in order.
	Domain  string
	Known   bool
	Domains []string
	// Steps are the levels that were reached, and the one that stopped the descent, if any.
	Steps []ExplainedStep
	// Rule is the limit that applies, nil for none, and Why says in a sentence what became of the descriptor.
	Rule *Rule
	Why  string
	// Key names the counter; empty without one.
	Key string
	// Elsewhere are descriptors made of the same entries that would find a limit, where this one finds none: the most common mistake is
	// to expect one descriptor to be all of them. At most maxElsewhere.
	Elsewhere []Reached
}

// ExplainedStep is one level of a descent.
type ExplainedStep struct {
	Entry Entry
	// How the level was entered: "value", "wildcard", "key", or "" where nothing matched.
	How string
	// Node is the file's own "key_value" or "key" of the level that was entered, and Shared says that all values that match spend one
	// budget.
	Node   string
	Shared bool
	// Offers are the levels that the file has here, where nothing matched: at most maxOffers, and More says how many are left out.
	Offers []string
	More   int
}

// Reached is a descriptor with the limit that it finds.
type Reached struct {
	Entries []Entry
	Rule    *Rule
}

const (
	maxOffers    = 10
	maxElsewhere = 8
	// maxPermuted bounds the search for other descriptors: of more entries than that, only those with one or two entries are tried.
	maxPermuted = 5
)

// Explain descends as [Table.Match] does, and tells the way. The two agree on rule and key.
func (t *Table) Explain(domain string, entries []Entry) Explanation {
	x := Explanation{Domain: domain, Domains: t.Domains()}
	d := t.domains[domain]
	if x.Known = d != nil; !x.Known {
		x.Why = "no file has this domain, so nothing in it is limited"
		return x
	}
	if len(entries) == 0 {
		x.Why = "a descriptor without entries is not limited"
		return x
	}
	n := d.root
	for _, e := range entries {
		step, next := n.explain(e)
		x.Steps = append(x.Steps, step)
		if n = next; n == nil {
			break
		}
	}
	x.conclude(n)
	if x.Rule != nil {
		x.Key = t.Match(domain, entries).Key
	} else if len(entries) > 1 || n == nil {
		x.Elsewhere = t.elsewhere(domain, entries)
	}
	return x
}

// conclude says what the node means that the last entry reached; nil where it reached none.
func (x *Explanation) conclude(n *node) {
	last := x.Steps[len(x.Steps)-1]
	switch {
	case n == nil && len(last.Offers) == 0:
		x.Why = "the file has nothing below, so the descriptor is longer than any limit here and is not limited"
	case n == nil:
		x.Why = fmt.Sprintf("the file has no %s here, so the descriptor is not limited", shown(last.Entry))
	case n.rule == nil && len(n.order) > 0 && last.How == "key":
		x.Why = "the last entry reaches a level that has no limit itself, only levels below; a limit applies only where the last entry ends"
	case n.rule == nil:
		x.Why = "the last entry reaches a level without a limit: it passes unlimited, and nothing less specific applies"
	case n.rule.Unlimited:
		x.Rule, x.Why = n.rule, "unlimited"
	default:
		x.Rule, x.Why = n.rule, "limited"
	}
}

// explain is [node.step], with how.
func (n *node) explain(e Entry) (ExplainedStep, *node) {
	step := ExplainedStep{Entry: e}
	next := n.step(e)
	for _, at := range n.order {
		if n.below[at] == next && next != nil {
			step.Node, step.Shared = name(at), next.shared != ""
			switch at.Value {
			case "":
				step.How = "key"
			case e.Value:
				step.How = "value"
			default:
				step.How = "wildcard"
			}
			return step, next
		}
	}
	for _, at := range n.order {
		if len(step.Offers) == maxOffers {
			step.More = len(n.order) - maxOffers
			break
		}
		step.Offers = append(step.Offers, name(at))
	}
	return step, nil
}

// name is how paths write an entry of the file.
func name(e Entry) string {
	if e.Value == "" {
		return e.Key
	}
	return e.Key + "_" + e.Value
}

// shown is an entry as people write a question.
func shown(e Entry) string { return e.Key + "=" + e.Value }

// elsewhere looks for descriptors that can be made of some of the entries, in any order, and find a limit.
func (t *Table) elsewhere(domain string, entries []Entry) []Reached {
	longest := len(entries)
	if longest > maxPermuted {
		longest = 2
	}
	var found []Reached
	var try func(chosen []Entry, left []Entry)
	try = func(chosen, left []Entry) {
		if len(found) == maxElsewhere {
			return
		}
		if len(chosen) > 0 && !slices.Equal(chosen, entries) {
			if m := t.Match(domain, chosen); m.Rule != nil {
				found = append(found, Reached{slices.Clone(chosen), m.Rule})
			}
		}
		if len(chosen) == longest {
			return
		}
		for i, e := range left {
			try(append(chosen[:len(chosen):len(chosen)], e), slices.Delete(slices.Clone(left), i, i+1))
		}
	}
	if len(entries) <= MaxExplained {
		try(nil, entries)
	}
	slices.SortStableFunc(found, func(a, b Reached) int { return len(a.Entries) - len(b.Entries) })
	return found
}

// MaxExplained is the most entries of a question that other descriptors are made of.
const MaxExplained = 32

// Text is the explanation for people, ending with a line feed.
func (x *Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "domain %s\n", x.Domain)
	width := 0
	for _, s := range x.Steps {
		width = max(width, len(shown(s.Entry)))
	}
	for _, s := range x.Steps {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, shown(s.Entry), s.text())
	}
	if !x.Known {
		fmt.Fprintf(&b, "  known: %s\n", strings.Join(x.Domains, ", "))
	}
	if x.Rule == nil {
		fmt.Fprintf(&b, "no limit: %s\n", x.Why)
	} else {
		fmt.Fprintf(&b, "%s\n", x.Rule.Text())
	}
	if len(x.Elsewhere) > 0 {
		b.WriteString("descriptors of the same entries that find one:\n")
		for _, r := range x.Elsewhere {
			var words []string
			for _, e := range r.Entries {
				words = append(words, shown(e))
			}
			fmt.Fprintf(&b, "  %s\n      %s\n", strings.Join(words, " "), r.Rule.Text())
		}
	}
	return b.String()
}

func (s *ExplainedStep) text() string {
	text := map[string]string{"value": "is the value ", "wildcard": "matches the pattern ", "key": "is any value of ", "": "matches nothing"}[s.How] + s.Node
	if s.Shared {
		text += ", whose values share one budget"
	}
	if s.How == "" && len(s.Offers) > 0 {
		text += "; here are: " + strings.Join(s.Offers, ", ")
		if s.More > 0 {
			text += fmt.Sprintf(", and %d more", s.More)
		}
	}
	return text
}

// algorithmWord is the file's word for an algorithm.
func algorithmWord(a window.Algorithm) string {
	switch a {
	case window.Fixed:
		return "fixed_window"
	case window.TokenBucket:
		return "token_bucket"
	}
	return "sliding_window"
}

// span is the length of a window in words.
func (r *Rule) span(i int) string {
	if l := r.Limits[i]; l.Unit != NoUnit && l.Multiplier <= 1 {
		return l.Unit.String()
	}
	return r.Windows[i].Span.String()
}

// Text is the rule in one line: what it limits, how it counts, and where it stands.
func (r *Rule) Text() string {
	what := "unlimited"
	if !r.Unlimited {
		limits := make([]string, len(r.Limits))
		for i, l := range r.Limits {
			limits[i] = fmt.Sprintf("%d per %s", l.Requests, r.span(i))
			if r.Algorithm == window.TokenBucket {
				limits[i] += fmt.Sprintf(" with bursts of %d", r.Windows[i].Capacity(r.Algorithm))
			}
		}
		what = strings.Join(limits, " and ") + ", " + algorithmWord(r.Algorithm)
		if r.CountDenied {
			what += ", denied hits count too"
		}
	}
	if r.Quota {
		what += ", a quota"
	}
	if r.Shadow {
		what += ", in shadow: nobody is refused"
	}
	return fmt.Sprintf("%s: %s (%s:%d)", r.Path, what, r.File, r.Pos.Line)
}
