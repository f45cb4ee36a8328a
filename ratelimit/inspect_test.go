package ratelimit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
)

const inspected = `domain: mesh
descriptors:
  - key: who
    rate_limits:
      - {requests_per_unit: 3, unit: minute}
      - {requests_per_unit: 10, unit: hour}
  - key: who
    value: trusted
  - key: who
    value: root
    rate_limit: {unlimited: true}
  - key: service
    descriptors:
      - key: rule
        rate_limit: {requests_per_unit: 2, unit: day}
`

// An operator sees a counter without spending from it, gives hits back, and has it forgotten: in the shared store and in the one that
// stands in for it.
func TestInspect(t *testing.T) {
	now := time.UnixMilli(1_700_000_040_000)
	store := func() ratelimit.Store { return memstore.New(memstore.Options{Now: func() time.Time { return now }}) }
	shared, local := store(), store()
	l := ratelimit.New(ratelimit.Options{Store: shared, Local: local})
	alice := []limits.Entry{{Key: "who", Value: "alice"}}
	if _, err := l.Peek(t.Context(), "mesh", alice); !errors.Is(err, ratelimit.ErrNoTable) {
		t.Errorf("without a table: %v", err)
	}
	l.Use(table(t, inspected))
	spend := func(n uint32) ratelimit.Code {
		t.Helper()
		out, err := l.Spend(t.Context(), ratelimit.Request{Domain: "mesh", Hits: n, Descriptors: []ratelimit.Descriptor{{Entries: alice}}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Code
	}
	told := func(seen ratelimit.Inspection, err error) string {
		t.Helper()
		if err != nil {
			return err.Error()
		}
		text := seen.Rule.Path
		for i, state := range seen.States {
			text += fmt.Sprintf(" %d/%d", state.Remaining, seen.Windows[i].Limit)
		}
		return text
	}
	spend(3)
	want := func(want string, seen ratelimit.Inspection, err error) {
		t.Helper()
		if got := told(seen, err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for range 2 {
		seen, err := l.Peek(t.Context(), "mesh", alice)
		want("mesh.who 0/3 7/10", seen, err)
	}
	if spend(1) != ratelimit.OverLimit {
		t.Error("the fourth hit passed")
	}
	seen, err := l.Grant(t.Context(), "mesh", alice, 2)
	want("mesh.who 2/3 9/10", seen, err)
	seen, err = l.Grant(t.Context(), "mesh", alice, 1000)
	want("mesh.who 3/3 10/10", seen, err)
	spend(2)
	seen, err = l.Reset(t.Context(), "mesh", alice)
	want("mesh.who 3/3 10/10", seen, err)
	// The one that stands in has forgotten too.
	standIn := ratelimit.New(ratelimit.Options{Store: local})
	standIn.Use(table(t, inspected))
	seen, err = standIn.Peek(t.Context(), "mesh", alice)
	want("mesh.who 3/3 10/10", seen, err)

	for text, why := range map[string]string{
		"who=trusted": "passes unlimited", "who=root": "unlimited", "service=x": "only levels below", "user=x": "no user=x here", "": "without entries",
	} {
		var entries []limits.Entry
		if key, value, ok := strings.Cut(text, "="); ok {
			entries = append(entries, limits.Entry{Key: key, Value: value})
		}
		if _, err := l.Peek(t.Context(), "mesh", entries); !errors.Is(err, ratelimit.ErrUncounted) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// strayed is an observer of strays alone.
type strayed struct {
	*ledger
	strays *ratelimit.Strays
}

func (s strayed) Stray(domain string, entries []limits.Entry) { s.strays.Note(domain, entries) }

// What the files have nothing to say about is kept, the latest of each form, and what passes on purpose is not.
func TestStrays(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	strays := &ratelimit.Strays{Now: func() time.Time { return at }}
	l := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{}), Observer: strayed{&ledger{tallies: map[string]ratelimit.Tally{}}, strays}})
	l.Use(table(t, inspected))
	for _, text := range []string{
		"who=trusted", "who=root", "who=alice", "service=a rule=b", // each has its say
		"service=a", "user=x", "user=y", "who=alice rule=b", "user=" + strings.Repeat("z", 5000),
	} {
		var entries []limits.Entry
		for word := range strings.FieldsSeq(text) {
			key, value, _ := strings.Cut(word, "=")
			entries = append(entries, limits.Entry{Key: key, Value: value})
		}
		at = at.Add(time.Second)
		if _, err := l.Spend(t.Context(), ratelimit.Request{Domain: "mesh", Descriptors: []ratelimit.Descriptor{{Entries: entries}}}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, s := range strays.Latest() {
		text := fmt.Sprintf("%dx", s.Count)
		for _, e := range s.Entries {
			text += " " + e.Key + "=" + e.Value[:min(len(e.Value), 5)]
			if len(e.Value) > 256 {
				t.Errorf("%d bytes of a client's are kept", len(e.Value))
			}
		}
		got = append(got, text)
	}
	if want := "3x user=zzzzz|1x who=alice rule=b|1x service=a"; strings.Join(got, "|") != want {
		t.Errorf("%q, want %q", strings.Join(got, "|"), want)
	}
	// Many forms push out those that were seen longest ago.
	for i := range 100 {
		strays.Note("mesh", []limits.Entry{{Key: fmt.Sprintf("key%d", i)}})
		at = at.Add(time.Second)
	}
	if all := strays.Latest(); len(all) != 64 || all[0].Entries[0].Key != "key99" || all[63].Entries[0].Key != "key36" {
		t.Errorf("%d forms, from %v to %v", len(all), all[0].Entries, all[len(all)-1].Entries)
	}
}
