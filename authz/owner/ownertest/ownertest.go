// Package ownertest is one suite of conformance for everything that knows whose objects are: what a rule means must not depend on where
// the owners are written down. It writes facts into a backend's world, asks, and holds the answers to a naive twin that reads the facts.
// Tests only.
package ownertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz"
)

// Fact says that an object has owners in a relation of a tenant. No two facts of one world are about the same tenant, relation and object.
type Fact struct {
	// Tenant is "" where the world has none, and Relation where it knows only one.
	Tenant, Relation string
	Object           string
	// Owners are one or more.
	Owners []string
}

// Traits are what a backend's world can hold. The zero value is a world that holds everything.
type Traits struct {
	// Single says that an object has at most one owner.
	Single bool
	// NoTenants says that the world knows no tenants.
	NoTenants bool
	// Relations are those that the world knows; nil is "", "viewer" and "editor". {""} is a world that knows one only.
	Relations []string
	// NoAbsence says that the world answers "not theirs" about what is not there.
	NoAbsence bool
	// Refuses, unless nil, reports whether the world has no name for a text, be it a tenant, an object or an owner. Such a text is not
	// written, and whoever asks with it is denied.
	Refuses func(text string) bool
}

// World is a backend that knows the facts that it was opened with and no others.
type World struct {
	// Lookup is asked. A backend will do: it has the same method.
	Lookup authz.Lookup
	// Trips, unless nil, counts what was sent to the foreign world so far: a batch is one.
	Trips func() int
}

// Run holds the worlds that open makes to the suite. Each call of open forgets the facts of those before.
func Run(t *testing.T, traits Traits, open func(t *testing.T, facts []Fact) World) {
	if traits.Relations == nil {
		traits.Relations = []string{"", "viewer", "editor"}
	}
	if traits.Refuses == nil {
		traits.Refuses = func(string) bool { return false }
	}
	start := func(t *testing.T, facts []Fact) bench {
		facts = traits.writable(facts)
		return bench{T: t, World: open(t, facts), traits: traits, facts: facts}
	}
	t.Run("stories", func(t *testing.T) { tellsStories(start(t, estate(traits))) })
	t.Run("batches", func(t *testing.T) { keepsOrder(start(t, manyFacts())) })
	t.Run("hostile texts", func(t *testing.T) { takesTextsAsTheyAre(start(t, hostileFacts())) })
	t.Run("texts apart", func(t *testing.T) { keepsTextsApart(start(t, nearFacts(traits))) })
	t.Run("nothing owns nothing", func(t *testing.T) { nothingOwnsNothing(start(t, emptyFacts(traits))) })
	t.Run("unspeakable", func(t *testing.T) { deniesTheUnspeakable(start(t, estate(traits))) })
	t.Run("caller gone", func(t *testing.T) { failsTheGone(start(t, estate(traits))) })
	t.Run("concurrent", func(t *testing.T) { keepsCallersApart(start(t, estate(traits))) })
	t.Run("agrees with the twin", func(t *testing.T) { agreesWithTwin(start(t, estate(traits))) })
}

// writable keeps of the facts what the world can hold.
func (tr *Traits) writable(facts []Fact) []Fact {
	var kept []Fact
	for _, f := range facts {
		owners := slices.DeleteFunc(slices.Clone(f.Owners), tr.Refuses)
		if tr.Single && len(owners) > 1 {
			owners = owners[:1]
		}
		switch {
		case len(owners) == 0, tr.Refuses(f.Object), f.Tenant != "" && (tr.NoTenants || tr.Refuses(f.Tenant)):
			continue
		case f.Relation == "" && !slices.Contains(tr.Relations, ""):
			f.Relation = tr.Relations[0]
		case !slices.Contains(tr.Relations, f.Relation):
			continue
		}
		f.Owners = owners
		kept = append(kept, f)
	}
	return kept
}

// bench is where one test stands: a world, and what is true in it.
type bench struct {
	*testing.T
	World
	traits Traits
	facts  []Fact
}

// question is put in the suite's one issuer, and in the world's first relation.
func (b bench) question(subject string, objects ...string) *authz.Question {
	return &authz.Question{Issuer: "shop", Kind: authz.Person, Subject: subject, Relation: b.traits.Relations[0], Objects: objects}
}

// twin answers by reading the facts from the first to the last.
func (b bench) twin(q *authz.Question) []authz.Standing {
	answers := make([]authz.Standing, len(q.Objects))
	for i, object := range q.Objects {
		answers[i] = authz.NotThere
		for _, f := range b.facts {
			if f.Tenant != q.Tenant || f.Relation != q.Relation || f.Object != object || slices.Equal(f.Owners, []string{""}) {
				continue
			}
			answers[i] = authz.NotTheirs
			if q.Subject != "" && slices.Contains(f.Owners, q.Subject) {
				answers[i] = authz.Theirs
			}
			break
		}
		if b.traits.NoAbsence && answers[i] == authz.NotThere {
			answers[i] = authz.NotTheirs
		}
	}
	return answers
}

// failer is a test, or one draw of a property.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
}

// hold asks, and compares with the twin.
func (b bench) hold(t failer, q *authz.Question) {
	t.Helper()
	if slices.ContainsFunc(append([]string{q.Subject, q.Tenant}, q.Objects...), func(text string) bool { return text != "" && b.traits.Refuses(text) }) {
		b.holdDenied(t, q)
		return
	}
	asked := slices.Clone(q.Objects)
	answers := make([]authz.Standing, len(q.Objects))
	err := b.Lookup.Ask(b.Context(), q, answers)
	if !slices.Equal(asked, q.Objects) {
		t.Errorf("Ask changed the question's objects from %q to %q", asked, q.Objects)
	}
	if err != nil {
		t.Errorf("Ask(%s): %v", describe(q), err)
		return
	}
	for i, want := range b.twin(q) {
		if answers[i] != want {
			t.Errorf("Ask(%s) says of %.60q: %s, want %s", describe(q), q.Objects[i], answers[i], want)
		}
	}
}

// holdDenied asks what the world has no name for. It may say so by answers, or by an error that blames the question: one that called
// the backend unavailable would let anybody who can write such a question close the breaker's door on everybody else.
func (b bench) holdDenied(t failer, q *authz.Question) {
	t.Helper()
	answers := make([]authz.Standing, len(q.Objects))
	if err := b.Lookup.Ask(b.Context(), q, answers); err != nil {
		if !errors.Is(err, authz.ErrLookupAnswer) || errors.Is(err, authz.ErrLookupUnavailable) {
			t.Errorf("Ask(%s): %v, want an error that is ErrLookupAnswer alone", describe(q), err)
		}
		return
	}
	want := b.twin(q)
	for i, answer := range answers {
		if answer == authz.StandingUnknown || answer == authz.Theirs && want[i] != authz.Theirs {
			t.Errorf("Ask(%s) says of %.60q: %s", describe(q), q.Objects[i], answer)
		}
	}
}

func describe(q *authz.Question) string {
	return fmt.Sprintf("tenant %.40q, subject %.40q, relation %q, %d objects", q.Tenant, q.Subject, q.Relation, len(q.Objects))
}

// estate is a small world in which every part of a question matters.
func estate(traits Traits) []Fact {
	first := traits.Relations[0]
	facts := []Fact{
		{"", first, "house", []string{"alice"}},
		{"", first, "garden", []string{"bob"}},
		{"", first, "shed", []string{"alice", "bob"}},
		{"acme", first, "house", []string{"bob"}},
		{"acme", first, "office", []string{"alice"}},
		{"umbrella", first, "house", []string{"carol"}},
	}
	for _, relation := range traits.Relations[1:] {
		facts = append(facts,
			Fact{"", relation, "house", []string{"bob"}},
			Fact{"acme", relation, "house", []string{"carol"}},
			Fact{"", relation, relation + "s-only", []string{"alice"}},
		)
	}
	return facts
}

// tellsStories asks everybody about everything.
func tellsStories(b bench) {
	objects := []string{"house", "garden", "shed", "office", "viewers-only", "editors-only", "nowhere"}
	for _, tenant := range b.tenants() {
		for _, relation := range b.traits.Relations {
			for _, subject := range []string{"alice", "bob", "carol", "mallory"} {
				for _, object := range objects {
					q := b.question(subject, object)
					q.Tenant, q.Relation = tenant, relation
					b.hold(b, q)
				}
				q := b.question(subject, objects...)
				q.Tenant, q.Relation = tenant, relation
				b.hold(b, q)
			}
		}
	}
}

func (b bench) tenants() []string {
	if b.traits.NoTenants {
		return []string{""}
	}
	return []string{"", "acme", "umbrella", "nobody"}
}

// many is as many ids as one request may name.
const many = 1000

// manyFacts give every third object of many to alice, every third to bob, and the rest to nobody.
func manyFacts() []Fact {
	var facts []Fact
	for i := range many {
		if i%3 < 2 {
			facts = append(facts, Fact{Object: fmt.Sprintf("item-%d", i), Owners: []string{[]string{"alice", "bob"}[i%3]}})
		}
	}
	return facts
}

// keepsOrder asks batches: the answers stand in the order of the ids, whatever order the world has, and absent ids have theirs.
func keepsOrder(b bench) {
	up := make([]string, many)
	for i := range up {
		up[i] = fmt.Sprintf("item-%d", i)
	}
	down := slices.Clone(up)
	slices.Reverse(down)
	for name, objects := range map[string][]string{
		"one": up[:1], "two": up[1:3], "two, reversed": down[:2], "a hundred": up[:100], "all": up, "all, reversed": down,
		"absent ones": {"nowhere-1", "item-2", "nowhere-2"},
		"duplicates":  {"item-0", "item-1", "item-0", "item-2", "item-2", "item-0"},
	} {
		before := b.trips()
		b.hold(b, b.question("alice", objects...))
		if after := b.trips(); b.Trips != nil && after != before+1 && len(objects) <= 100 {
			b.Errorf("%s: %d trips, want 1", name, after-before)
		}
	}
}

func (b bench) trips() int {
	if b.Trips == nil {
		return 0
	}
	return b.Trips()
}

// hostile are texts that are something else to somebody: to a shell, a query, a URL, a protocol, a pattern, a template.
var hostile = []string{
	"'", `"`, "`", `\`, "' OR '1'='1", "house'--", "'; DROP TABLE facts; --", "$1", "@ids", ":id", "?", "%", "%s", "%25", "%2F", "%00", "100%",
	"a\r\nb", "\r\nSET x y\r\n", "\n", "\t", " ", " house", "house ", "{id}", "{x}", "{}", "{", "}", "${id}", "{{.}}", "../house", "..", ".",
	"/", "//", "a/b", "/etc/passwd", "*", "h*se", "hous?", "[a-z]ouse", "house#viewer", "user:*", "doc:1", "a:b:c", "a,b", "{1,2}", "null",
	"NULL", "true", "0", "-1", "1e3", "[]", `{"a":1}`, "&x=1", "a=b&c=d", "a+b", "a;b", "#", "é", "e\u0301", "house\u200b", "用户", "😀",
	"\u202ehouse", "\ufeffhouse", "\uffff", "HOUSE", "hOuse", strings.Repeat("k", 1024), strings.Repeat("é", 512),
}

// hostileFacts give each hostile text but every third to alice, whose own neighbour is a hostile owner.
func hostileFacts() []Fact {
	facts := []Fact{{Object: "house", Owners: []string{"alice"}}}
	for i, text := range hostile {
		switch i % 3 {
		case 0:
			facts = append(facts, Fact{Object: text, Owners: []string{"alice"}})
		case 1:
			facts = append(facts, Fact{Object: text, Owners: []string{text}})
		}
	}
	return facts
}

// takesTextsAsTheyAre asks with each hostile text as object and as subject, alone and in one batch.
func takesTextsAsTheyAre(b bench) {
	var speakable []string
	for _, text := range hostile {
		b.hold(b, b.question("alice", text))
		b.hold(b, b.question(text, text))
		b.hold(b, b.question(text, "house"))
		if !b.traits.NoTenants {
			q := b.question("alice", "house")
			q.Tenant = text
			b.hold(b, q)
		}
		if !b.traits.Refuses(text) {
			speakable = append(speakable, text)
		}
	}
	b.hold(b, b.question("alice", speakable...))
	b.hold(b, b.question("alice", hostile...))
}

// near are pairs of tenant and object that one careless text would stand for.
var near = [][2]string{
	{"a", "b:c"}, {"a:b", "c"}, {"a", "b/c"}, {"a/b", "c"}, {"a%3Ab", "c"}, {"a%2Fb", "c"}, {"a", "b"}, {"A", "b"}, {"a", "B"}, {"a ", "b"}, {"a", " b"},
	{"a", "b%3Ac"}, {"a%", "b"}, {"a%25", "b"}, {"", "a:b"}, {"a:", "b"}, {"a", ":b"}, {"a", "é"}, {"a", "e\u0301"}, {"a-b", "c"}, {"a", "b-c"}, {"a", "b_c"},
	{"", "é"}, {"", "e\u0301"}, {"", "a%3Ab"}, {"", "A:B"}, {"", "a/b"}, {"", "a%2Fb"}, {"", "a%2fb"}, {"", "a b"}, {"", "a+b"}, {"", "a%20b"}, {"", "1"}, {"", "01"},
	{"", "1.0"}, {"", "b"}, {"", "b "}, {"", "a?b"}, {"", "a#b"}, {"", "a&b"}, {"", "a=b"},
}

func nearFacts(traits Traits) []Fact {
	var facts []Fact
	for i, pair := range near {
		facts = append(facts, Fact{pair[0], traits.Relations[0], pair[1], []string{fmt.Sprintf("owner-%d", i)}})
	}
	return facts
}

// keepsTextsApart asks each owner about everything that is nearly theirs.
func keepsTextsApart(b bench) {
	for i := range near {
		for _, pair := range near {
			if pair[0] != "" && b.traits.NoTenants {
				continue
			}
			q := b.question(fmt.Sprintf("owner-%d", i), pair[1])
			q.Tenant = pair[0]
			b.hold(b, q)
		}
	}
}

// emptyFacts name nobody as owner.
func emptyFacts(traits Traits) []Fact {
	first := traits.Relations[0]
	return []Fact{
		{"", first, "ownerless", []string{""}},
		{"", first, "house", []string{"alice", ""}},
		{"", first, "spaced", []string{" alice", "alice ", "alice\n", "ALICE", "alic", "alicea"}},
	}
}

// nothingOwnsNothing asks in the name of nobody, and with names that nearly own.
func nothingOwnsNothing(b bench) {
	for _, subject := range []string{"", "alice", " alice", "alice ", "ALICE", "alic", "\n"} {
		for _, object := range []string{"ownerless", "house", "spaced", "nowhere"} {
			if subject == "" {
				b.holdDenied(b, b.question(subject, object))
				continue
			}
			b.hold(b, b.question(subject, object))
		}
	}
}

// unspeakable are bytes that many worlds have no text for. A request can hold them, so asking must not look like an outage.
var unspeakable = []string{"\x00", "house\x00", "\xff", "house\xc3", "\xed\xa0\x80", "hou\xffse", strings.Repeat("\xff", 300)}

func deniesTheUnspeakable(b bench) {
	for _, text := range unspeakable {
		b.holdDenied(b, b.question("alice", text))
		b.holdDenied(b, b.question(text, "house"))
		b.holdDenied(b, b.question("alice", "house", text, "garden"))
		if !b.traits.NoTenants {
			q := b.question("alice", "house")
			q.Tenant = text
			b.holdDenied(b, q)
		}
	}
	b.hold(b, b.question("alice", "house", "garden")) // it still answers
}

// failsTheGone asks for a caller who has left. A world that is asked without waiting may answer, and then rightly.
func failsTheGone(b bench) {
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	q := b.question("alice", "house", "garden")
	answers := make([]authz.Standing, len(q.Objects))
	switch err := b.Lookup.Ask(ctx, q, answers); {
	case err != nil && !errors.Is(err, authz.ErrLookupUnavailable):
		b.Errorf("Ask of a caller gone: %v, want ErrLookupUnavailable", err)
	case err == nil && !slices.Equal(answers, b.twin(q)):
		b.Errorf("Ask of a caller gone says %v, want %v", answers, b.twin(q))
	}
	b.hold(b, q)
}

// keepsCallersApart asks from many goroutines at once.
func keepsCallersApart(b bench) {
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() {
			subject := []string{"alice", "bob", "carol"}[i%3]
			for j := range 25 {
				objects := []string{"house", "garden", "shed", "nowhere"}
				q := b.question(subject, objects[j%4:]...)
				q.Tenant = b.tenants()[(i+j)%len(b.tenants())]
				b.hold(b, q)
			}
		})
	}
	asking.Wait()
}

// agreesWithTwin asks questions of every kind in any order.
func agreesWithTwin(b bench) {
	objects := []string{"house", "garden", "shed", "office", "viewers-only", "nowhere", "House", "*"}
	rapid.Check(b.T, func(t *rapid.T) {
		q := b.question(rapid.SampledFrom([]string{"alice", "bob", "carol", "mallory", "*"}).Draw(t, "subject"))
		q.Tenant = rapid.SampledFrom(b.tenants()).Draw(t, "tenant")
		q.Relation = rapid.SampledFrom(b.traits.Relations).Draw(t, "relation")
		q.Objects = rapid.SliceOfNDistinct(rapid.SampledFrom(objects), 1, len(objects), rapid.ID[string]).Draw(t, "objects")
		b.hold(t, q)
	})
}
