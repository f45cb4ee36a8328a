package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

// A check returns "" or what the server did instead of what is expected.
type check struct {
	name, expected string
	run            func(ctx context.Context, s *suite) string
}

const refused = "INVALID_ARGUMENT"

var checks = []check{
	{"the facts", "STANDING_THEIRS for every object of every fact", theFacts},
	{"nobody's object", "STANDING_NOT_THERE", func(ctx context.Context, s *suite) string { return s.expect(ctx, s.mine.question(unknown(1))) }},
	{"somebody else's object", "STANDING_NOT_THEIRS", func(ctx context.Context, s *suite) string { return s.expect(ctx, s.mine.question(s.others)) }},
	{"objects of all kinds in one call", "each its own answer, whatever their order", mixed},
	{"the same again", "the same answers, and those of nobody else", again},
	{"calls at once", "each its own answer", atOnce},

	{"an empty request", refused, func(ctx context.Context, s *suite) string { return s.expectRefused(ctx, &ownerv1.CheckRequest{}) }},
	{"no issuer", refused, without(func(q *ownerv1.CheckRequest) { q.Issuer = "" })},
	{"no kind", refused, without(func(q *ownerv1.CheckRequest) { q.Kind = ownerv1.Kind_KIND_UNSPECIFIED })},
	{"no subject", refused, without(func(q *ownerv1.CheckRequest) { q.Subject = "" })},
	{"no objects", refused, without(func(q *ownerv1.CheckRequest) { q.Objects = nil })},
	{"an empty object", refused, without(func(q *ownerv1.CheckRequest) { q.Objects = append(q.Objects, "") })},
	{"an object twice", refused, without(func(q *ownerv1.CheckRequest) { q.Objects = append(q.Objects, q.Objects[0]) })},
	{"1,000 objects", "an answer to each", func(ctx context.Context, s *suite) string { return s.expect(ctx, s.mine.question(s.many(1000)...)) }},
	{"1,001 objects", refused, func(ctx context.Context, s *suite) string {
		return s.expectRefused(ctx, s.mine.question(s.many(1001)...))
	}},
	{"the longest texts", "an answer to each of 1,000 objects of 1,024 bytes, for a subject of 2,048", longest},

	{"a kind of a later version", "no STANDING_THEIRS, or " + refused, otherwise(func(q *ownerv1.CheckRequest) { q.Kind = 99 })},
	{"the same name of another kind", "no STANDING_THEIRS, or " + refused, otherwise(func(q *ownerv1.CheckRequest) {
		q.Kind = ownerv1.Kind_KIND_PERSON + ownerv1.Kind_KIND_MACHINE - q.Kind
	})},
	{"the same subject of another issuer", "no STANDING_THEIRS, or " + refused, otherwise(func(q *ownerv1.CheckRequest) { q.Issuer += "-other" })},
	{"a relation that nobody knows", "no STANDING_THEIRS, or " + refused, otherwise(func(q *ownerv1.CheckRequest) { q.Relation += "-sallyport-conformance" })},
	{"relations apart", "no STANDING_THEIRS in a relation that the facts do not name", relations},
	{"tenants apart", "no STANDING_THEIRS for another tenant", tenants},
	{"nearly the subject", "no STANDING_THEIRS for whose name differs in an octet", nearSubjects},
	{"nearly the object", "no STANDING_THEIRS for what differs in an octet", nearObjects},
	{"hostile texts", "an answer, and no STANDING_THEIRS", hostileTexts},
}

// without is a question that lacks something.
func without(over func(*ownerv1.CheckRequest)) func(context.Context, *suite) string {
	return func(ctx context.Context, s *suite) string {
		q := s.mine.question(s.mine.Objects[0], unknown(1))
		over(q)
		return s.expectRefused(ctx, q)
	}
}

// otherwise is a question in another's name about what is the first one's.
func otherwise(over func(*ownerv1.CheckRequest)) func(context.Context, *suite) string {
	return func(ctx context.Context, s *suite) string {
		q := s.mine.question(s.mine.Objects[0])
		over(q)
		if s.facts.standing(q, q.GetObjects()[0]) == ownerv1.Standing_STANDING_THEIRS {
			return skipped + "the facts make it that one's too"
		}
		return s.expectDenied(ctx, q, true)
	}
}

func theFacts(ctx context.Context, s *suite) string {
	for _, f := range s.facts {
		for part := range slices.Chunk(f.Objects, 1000) {
			if got := s.expect(ctx, f.question(part...)); got != "" {
				return got
			}
		}
	}
	return ""
}

func mixed(ctx context.Context, s *suite) string {
	objects := []string{s.mine.Objects[0], s.others, unknown(1)}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		q := s.mine.question()
		for _, i := range order {
			q.Objects = append(q.Objects, objects[i])
		}
		if got := s.expect(ctx, q); got != "" {
			return got
		}
	}
	return ""
}

// again asks in turn for two subjects, so that what was remembered for one is not told to the other.
func again(ctx context.Context, s *suite) string {
	stranger := s.mine
	stranger.Subject += "-other"
	for range 3 {
		for _, f := range []Fact{s.mine, stranger} {
			if got := s.expect(ctx, f.question(s.mine.Objects[0], s.others)); got != "" {
				return got
			}
		}
	}
	return ""
}

func atOnce(ctx context.Context, s *suite) string {
	got := make([]string, 16)
	var asking sync.WaitGroup
	for i := range got {
		asking.Go(func() {
			f := s.mine
			if i%2 == 1 {
				f.Subject += "-other"
			}
			for range 8 {
				if got[i] == "" {
					got[i] = s.expect(ctx, f.question(s.mine.Objects[0], s.others, unknown(i)))
				}
			}
		})
	}
	asking.Wait()
	for _, one := range got {
		if one != "" {
			return one
		}
	}
	return ""
}

// many are n objects, the first one of the subject's.
func (s *suite) many(n int) []string {
	objects := []string{s.mine.Objects[0]}
	for i := range n - 1 {
		objects = append(objects, unknown(i))
	}
	return objects
}

func longest(ctx context.Context, s *suite) string {
	f := s.mine
	f.Subject = strings.Repeat("s", maxName)
	q := f.question()
	for i := range 1000 {
		q.Objects = append(q.Objects, fmt.Sprintf("%0*d", maxObject, i))
	}
	return s.expectDenied(ctx, q, false)
}

// relations asks each fact's question in each other relation of the facts.
func relations(ctx context.Context, s *suite) string {
	tried := false
	for _, f := range s.facts {
		for _, g := range s.facts {
			q := f.question(f.Objects[0])
			q.Relation = g.Relation
			if s.facts.standing(q, q.Objects[0]) == ownerv1.Standing_STANDING_THEIRS {
				continue
			}
			tried = true
			if got := s.expectDenied(ctx, q, true); got != "" {
				return got
			}
		}
	}
	if !tried {
		return skipped + "the facts name one relation"
	}
	return ""
}

// tenants asks each fact's question for each other tenant of the facts, for none, and for one that nobody knows.
func tenants(ctx context.Context, s *suite) string {
	named := []string{"", "sallyport-conformance"}
	for _, f := range s.facts {
		named = append(named, f.Tenant)
	}
	slices.Sort(named)
	if named = slices.Compact(named); len(named) == 2 {
		return skipped + "the facts name no tenant"
	}
	for _, f := range s.facts {
		for _, tenant := range named {
			q := f.question(f.Objects[0])
			q.Tenant = tenant
			if f.Tenant == "" && !slices.ContainsFunc(s.facts, func(g Fact) bool { return g.Tenant == tenant }) {
				continue // a server may take what belongs to no tenant for everybody's
			}
			if s.facts.standing(q, q.Objects[0]) == ownerv1.Standing_STANDING_THEIRS {
				continue
			}
			if got := s.expectDenied(ctx, q, true); got != "" {
				return got
			}
		}
	}
	return ""
}

// near are texts that a careless comparison takes for text.
func near(text string) []string {
	all := []string{
		strings.ToUpper(text), strings.ToLower(text), " " + text, text + " ", text + "\n", text + "\x00", text + "\x00x", text + "/", "./" + text, "x/../" + text,
		"/" + text, text + "#x", text + "?x", text + "%", text + "*", text + "\u200b", "\ufeff" + text, text + "\u0301", text[:len(text)-1] + "%", text[:len(text)-1] + "_",
		fmt.Sprintf("%%%02X", text[0]) + text[1:], fmt.Sprintf(`\u%04x`, text[0]) + text[1:], "0" + text, "+" + text, text + ".0", "'" + text + "'", `"` + text + `"`,
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(other string) bool {
		return other == text || other == "" || len(other) > maxObject || !utf8.ValidString(other)
	})
}

func nearSubjects(ctx context.Context, s *suite) string {
	for _, subject := range near(s.mine.Subject) {
		f := s.mine
		f.Subject = subject
		q := f.question(s.mine.Objects[0])
		if s.facts.standing(q, q.Objects[0]) == ownerv1.Standing_STANDING_THEIRS {
			continue
		}
		if got := s.expectDenied(ctx, q, false); got != "" {
			return got
		}
	}
	return ""
}

func nearObjects(ctx context.Context, s *suite) string {
	objects := slices.DeleteFunc(near(s.mine.Objects[0]), func(id string) bool {
		return s.facts.standing(s.mine.question(), id) == ownerv1.Standing_STANDING_THEIRS
	})
	for _, object := range objects {
		if got := s.expectDenied(ctx, s.mine.question(object), false); got != "" {
			return got
		}
	}
	return s.expectDenied(ctx, s.mine.question(objects...), false)
}

// hostile are texts that are something else to somebody: to a shell, a query, a URL, a pattern, a template, a file system.
var hostile = []string{
	"*", "%", "_", "?", "'", `"`, "`", `\`, "' OR '1'='1", "1; DROP TABLE owners; --", "$1", "@ids", "{id}", "{{.}}", "${id}", "%00", "%2e%2e%2f", "../../etc/passwd", "..", ".",
	"/", "//", "a\r\nb", "\r\n", "\n", "\t", " ", "\x00", "\x7f", "\u0085", "\u202e", "\ufeff", "\ufffd", "\U0010ffff", "null", "NULL", "nil", "undefined", "true", "0", "-1", "1e309", "NaN",
	"[]", "{}", `{"$ne": null}`, "user:*", "a#b", "#", "&", "=", "+", ";", ",", "é", "e\u0301", "用户", "😀", strings.Repeat("é", 512),
}

// hostileTexts asks about each as an object, then all at once, and with each as subject, tenant and relation.
func hostileTexts(ctx context.Context, s *suite) string {
	mine := s.mine.Objects[0]
	objects := slices.DeleteFunc(slices.Clone(hostile), func(id string) bool {
		return s.facts.standing(s.mine.question(), id) == ownerv1.Standing_STANDING_THEIRS
	})
	for _, object := range objects {
		if got := s.expectDenied(ctx, s.mine.question(object), false); got != "" {
			return got
		}
	}
	if got := s.expectDenied(ctx, s.mine.question(objects...), false); got != "" {
		return got
	}
	for _, text := range hostile {
		subject, tenant, relation := s.mine.question(mine), s.mine.question(mine), s.mine.question(mine)
		subject.Subject, tenant.Tenant, relation.Relation = text, text, text
		asked := []*ownerv1.CheckRequest{subject}
		if s.mine.Tenant != "" {
			asked = append(asked, tenant)
		}
		for _, q := range append(asked, relation) {
			if s.facts.standing(q, mine) == ownerv1.Standing_STANDING_THEIRS || len(q.GetRelation()) > maxWord {
				continue
			}
			if got := s.expectDenied(ctx, q, q == relation); got != "" {
				return got
			}
		}
	}
	return ""
}
