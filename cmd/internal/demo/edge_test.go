package demo

import (
	"bytes"
	"strings"
	"testing"
)

// A fixed window lets two limits through in the second around its edge, ours one, and the story says so.
func TestEdgeOfAMinute(t *testing.T) {
	for algorithm, want := range map[string]int{"fixed_window": 200, "sliding_window": 100, "token_bucket": 101} {
		if got, err := edgeOfAMinute(t.Context(), algorithm); err != nil || got != want {
			t.Errorf("%s: %d pass (%v), want %d", algorithm, got, err, want)
		}
	}
	var told bytes.Buffer
	s := &stage{world: &world{p: &printer{out: &told}}, ctx: t.Context()}
	s.edge()
	if s.score != (Score{Held: 1}) || !strings.Contains(told.String(), "fixed window: 200") || !strings.Contains(told.String(), "100 of 200") {
		t.Errorf("score %+v, told\n%s", s.score, told.String())
	}
}
