package owner_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
)

// What is remembered is remembered under everything that the answer depends on.
func TestMemoryKeepsQuestionsApart(t *testing.T) {
	for name, differ := range map[string]func(*authz.Question){
		"tenant":   func(q *authz.Question) { q.Tenant = "umbrella" },
		"issuer":   func(q *authz.Question) { q.Issuer = "bank" },
		"kind":     func(q *authz.Question) { q.Kind = authz.Machine },
		"subject":  func(q *authz.Question) { q.Subject = "bob" },
		"relation": func(q *authz.Question) { q.Relation = "editor" },
		"object":   func(q *authz.Question) { q.Objects = []string{"garden"} },
		"texts that are one when joined": func(q *authz.Question) {
			q.Tenant, q.Issuer, q.Subject = "acmes", "ho", "palice"
		},
		"no tenant": func(q *authz.Question) { q.Tenant, q.Issuer = "", "acmeshop" },
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			l := lookup(w, owner.Options{Cache: time.Minute})
			want(t, l, alices("house"), authz.Theirs)
			w.say = all(authz.NotTheirs)
			other := alices("house")
			differ(other)
			want(t, l, other, authz.NotTheirs)
			want(t, l, alices("house"), authz.Theirs)
			wantTrips(t, w, 2)
		})
	}
}

// Each answer lives as long as it may, counted from before it was asked for.
func TestMemoryForgets(t *testing.T) {
	for name, c := range map[string]struct {
		o        owner.Options
		standing authz.Standing
		asking   time.Duration // what the world takes
		lives    time.Duration // 0 is not remembered
	}{
		"theirs":                       {o: owner.Options{Cache: time.Minute, CacheDenials: time.Second}, standing: authz.Theirs, lives: time.Minute},
		"not theirs":                   {o: owner.Options{Cache: time.Minute, CacheDenials: time.Second}, standing: authz.NotTheirs, lives: time.Second},
		"not there":                    {o: owner.Options{Cache: time.Minute, CacheDenials: time.Second}, standing: authz.NotThere, lives: time.Second},
		"no denial outlives a second":  {o: owner.Options{Cache: time.Hour, CacheDenials: time.Hour}, standing: authz.NotTheirs, lives: time.Second},
		"a slow answer is old":         {o: owner.Options{Cache: time.Minute}, standing: authz.Theirs, asking: 40 * time.Second, lives: 20 * time.Second},
		"too slow an answer is gone":   {o: owner.Options{Cache: time.Minute}, standing: authz.Theirs, asking: time.Minute},
		"by default nothing":           {standing: authz.Theirs},
		"by default no denials":        {o: owner.Options{Cache: time.Minute}, standing: authz.NotTheirs},
		"denials alone":                {o: owner.Options{CacheDenials: time.Second}, standing: authz.NotThere, lives: time.Second},
		"denials alone, and not these": {o: owner.Options{CacheDenials: time.Second}, standing: authz.Theirs},
	} {
		t.Run(name, func(t *testing.T) {
			var time clock
			w := &world{}
			w.say = func(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
				time.advance(c.asking)
				return all(c.standing)(ctx, q, answers)
			}
			c.o.Now = time.now
			l := lookup(w, c.o)
			want(t, l, alices("house"), c.standing)
			if c.lives > 0 {
				time.advance(c.lives - 1)
				want(t, l, alices("house"), c.standing)
				wantTrips(t, w, 1)
				time.advance(1)
			}
			want(t, l, alices("house"), c.standing)
			wantTrips(t, w, 2)
		})
	}
}

// Of a batch only what is not remembered is asked, in the order of the batch and at once.
func TestBatchAsksForTheRest(t *testing.T) {
	w := &world{say: func(_ context.Context, q *authz.Question, answers []authz.Standing) error {
		for i, object := range q.Objects {
			answers[i] = map[string]authz.Standing{"a": authz.Theirs, "b": authz.NotTheirs, "c": authz.NotThere, "d": authz.Theirs}[object]
		}
		return nil
	}}
	l := lookup(w, owner.Options{Cache: time.Minute, CacheDenials: time.Second})
	want(t, l, alices("b"), authz.NotTheirs)
	want(t, l, alices("d", "b", "a", "c"), authz.Theirs, authz.NotTheirs, authz.Theirs, authz.NotThere)
	want(t, l, alices("c", "a", "b", "d"), authz.NotThere, authz.Theirs, authz.NotTheirs, authz.Theirs)
	want(t, l, alices())
	var asked [][]string
	for _, q := range w.asked {
		asked = append(asked, q.Objects)
	}
	if diff := cmp.Diff([][]string{{"b"}, {"d", "a", "c"}}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// Nothing is remembered of a question that failed, and what it left in the answers is wiped out.
func TestErrorsAreNotRemembered(t *testing.T) {
	outage := errors.New("cut")
	for name, say := range map[string]func(context.Context, *authz.Question, []authz.Standing) error{
		"outage":            fails(outage),
		"unreadable":        fails(authz.ErrLookupAnswer),
		"panic":             func(context.Context, *authz.Question, []authz.Standing) error { panic("a defect") },
		"nothing said":      func(context.Context, *authz.Question, []authz.Standing) error { return nil },
		"one thing unsaid":  func(_ context.Context, _ *authz.Question, a []authz.Standing) error { a[0] = authz.Theirs; return nil },
		"no known standing": all(authz.Theirs + 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{say: say}
			l := lookup(w, owner.Options{Cache: time.Minute, CacheDenials: time.Second})
			got, err := ask(t, l, alices("house", "garden"))
			if err == nil || !slices.Equal(got, make([]authz.Standing, 2)) {
				t.Errorf("Ask says %v, %v; want an error and nothing", got, err)
			}
			if blamed := errors.Is(err, authz.ErrLookupAnswer); blamed == (name == "outage") || errors.Is(err, authz.ErrLookupUnavailable) == blamed {
				t.Errorf("Ask: %v", err)
			}
			w.say = all(authz.NotThere)
			want(t, l, alices("house"), authz.NotThere)
			want(t, l, alices("garden"), authz.NotThere)
		})
	}
}

// An answer that took long does not take the place of one that was asked for later, and a denial that is not kept ends what it denies.
func TestOlderAnswersDoNotReplaceNewerOnes(t *testing.T) {
	var time1 clock
	begun, finish := make(chan struct{}), make(chan struct{})
	w := &world{}
	w.say = func(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
		if len(q.Objects) == 2 { // the slow one, which reads before the house is sold
			close(begun)
			<-finish
			return all(authz.Theirs)(ctx, q, answers)
		}
		return all(authz.NotTheirs)(ctx, q, answers)
	}
	l := lookup(w, owner.Options{Cache: time.Minute, CacheDenials: time.Second, Timeout: time.Hour, Now: time1.now})
	done := make(chan error)
	go func() { done <- l.Ask(t.Context(), alices("house", "garden"), make([]authz.Standing, 2)) }()
	<-begun
	time1.advance(time.Millisecond)
	want(t, l, alices("house"), authz.NotTheirs)
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want(t, l, alices("house"), authz.NotTheirs)
	want(t, l, alices("garden"), authz.Theirs)
	wantTrips(t, w, 2)
}

// A memory changes how often the world is asked, never what it says: not for any order of questions that differ in one part only.
func TestMemoryIsTransparent(t *testing.T) {
	truth := func(_ context.Context, q *authz.Question, answers []authz.Standing) error {
		for i, object := range q.Objects {
			h := fnv.New32a()
			fmt.Fprintf(h, "%q %q %q %q %q %d", q.Tenant, q.Issuer, q.Subject, q.Relation, object, q.Kind)
			answers[i] = authz.NotThere + authz.Standing(h.Sum32()%3)
		}
		return nil
	}
	text := rapid.SampledFrom([]string{"a", "b", "ab", "a\x00", "\x01a"})
	rapid.Check(t, func(t *rapid.T) {
		var time1 clock
		w := &world{say: truth}
		l := lookup(w, owner.Options{Cache: 3 * time.Second, CacheDenials: time.Second, CacheBytes: 1 << 12, Now: time1.now})
		base := authz.Question{Tenant: "a", Issuer: "a", Kind: authz.Person, Subject: "a", Relation: "a"}
		for range rapid.IntRange(1, 40).Draw(t, "questions") {
			q := base
			switch other := text.Draw(t, "text"); rapid.IntRange(0, 5).Draw(t, "part") {
			case 0:
				q.Tenant = other
			case 1:
				q.Issuer = other
			case 2:
				q.Subject = other
			case 3:
				q.Relation = other
			case 4:
				q.Kind = authz.Machine
			}
			q.Objects = rapid.SliceOfN(text, 1, 6).Draw(t, "objects")
			time1.advance(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			got, expected := make([]authz.Standing, len(q.Objects)), make([]authz.Standing, len(q.Objects))
			if err := l.Ask(context.Background(), &q, got); err != nil {
				t.Fatal(err)
			}
			_ = truth(nil, &q, expected)
			if !slices.Equal(got, expected) {
				t.Fatalf("%+v: %v, want %v", q, got, expected)
			}
		}
	})
}

// everybodys is a world that keeps no record.
type everybodys struct{}

func (everybodys) Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	return all(authz.Theirs)(ctx, q, answers)
}

// What is remembered holds no more memory than it may, however it came: the estimate of an entry is not below the truth.
func TestMemoryIsBounded(t *testing.T) {
	const bound = 2 << 20
	heap := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	for _, batch := range []int{1, 1000} {
		before := heap()
		l := owner.New(everybodys{}, owner.Options{Cache: time.Hour, CacheBytes: bound, Timeout: time.Minute})
		for i := range 20_000 / batch {
			q := alices()
			for j := range batch {
				q.Objects = append(q.Objects, fmt.Sprintf("an-object-with-a-name-%d-%d", i, j))
			}
			if err := l.Ask(t.Context(), q, make([]authz.Standing, batch)); err != nil {
				t.Fatal(err)
			}
		}
		if grown := heap() - before; grown > bound || grown < bound/3 {
			t.Errorf("batches of %d: remembering holds %d bytes, want at most %d and not much less", batch, grown, bound)
		}
		runtime.KeepAlive(l)
	}
}

// A hit allocates nothing, and a hundred hits nothing either.
func TestHitsAllocateNothing(t *testing.T) {
	for _, n := range []int{1, 100} {
		l, q, answers := warm(t, n)
		if allocs := testing.AllocsPerRun(1000, func() {
			if l.Ask(t.Context(), q, answers) != nil {
				t.Error("refused")
			}
		}); allocs != 0 {
			t.Errorf("%d hits: %v allocations", n, allocs)
		}
	}
}

// warm is a lookup that remembers the answer to a question about n objects.
func warm(t testing.TB, n int) (*owner.Lookup, *authz.Question, []authz.Standing) {
	l := lookup(&world{}, owner.Options{Cache: time.Hour, Timeout: time.Minute})
	q := alices()
	for i := range n {
		q.Objects = append(q.Objects, fmt.Sprintf("object-%d", i))
	}
	answers := make([]authz.Standing, n)
	if err := l.Ask(t.Context(), q, answers); err != nil {
		t.Fatal(err)
	}
	return l, q, answers
}

func BenchmarkHit(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, q, answers := warm(b, n)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if l.Ask(ctx, q, answers) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, q, answers := warm(b, n)
			l, ctx := owner.New(everybodys{}, owner.Options{Timeout: time.Minute}), b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if l.Ask(ctx, q, answers) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}
