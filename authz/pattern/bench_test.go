package pattern_test

import (
	"fmt"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// manyRules makes n rules as a mesh has them: many services, each with the usual routes.
func manyRules(t testing.TB, n int) []pattern.Entry {
	shapes := []string{"GET /svc%d/items", "POST /svc%d/items", "GET,HEAD /svc%d/items/{id}", "PUT /svc%d/items/{id}", "GET /svc%d/items/{id}/parts/{part}"}
	entries := make([]pattern.Entry, 0, n)
	for i := range n {
		source := fmt.Sprintf(shapes[i%len(shapes)], i/len(shapes))
		entries = append(entries, pattern.Entry{Pattern: mustParse(t, source), Rule: i})
	}
	return entries
}

// Flat: a lookup among 10,000 rules costs what one among few does.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		tree, conflicts := pattern.Build(append(manyRules(b, n), pattern.Entry{
			Pattern: mustParse(b, "GET /users/{user_id}/orders/{order_id}"), Rule: n,
		}), pattern.Forgiving)
		if len(conflicts) > 0 {
			b.Fatal(conflicts)
		}
		tg, err := target.Parse("GET", "h", "/users/8F14E45F/orders/c9f0f895")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var buf [8]string
			b.ReportAllocs()
			for b.Loop() {
				if _, out := tree.Lookup(&tg, buf[:0]); out != pattern.Found {
					b.Fatal(out)
				}
			}
		})
	}
}

func BenchmarkBuild10000(b *testing.B) {
	entries := manyRules(b, 10000)
	b.ReportAllocs()
	for b.Loop() {
		pattern.Build(entries, pattern.Forgiving)
	}
}

// A lookup with a buffer allocates nothing, whatever it finds.
func TestLookupAllocatesNothing(t *testing.T) {
	tree := build(t, pattern.Forgiving, "GET /users/{id}/orders/{rest...}", "GET /Admin", "GET /files/{name}.json")
	for _, path := range []string{"/users/ABC/orders/X/y/", "/ADMIN", "/files/A.json", "/files/A.JSON", "/none.html/"} {
		tg, err := target.Parse("GET", "h", path)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]string, 0, 4)
		if allocs := testing.AllocsPerRun(100, func() { tree.Lookup(&tg, buf) }); allocs != 0 {
			t.Errorf("%s: %v allocations", path, allocs)
		}
	}
}
