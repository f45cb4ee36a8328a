package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The question of the people whose limit does nothing, and its answer.
func TestLimitsExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	const text = `domain: mesh
descriptors:
  - key: who
    rate_limits: [{requests_per_unit: 100, unit: minute}]
  - key: agent
    value: "a b"
    rate_limit: {unlimited: true}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		asked []string
		code  int
		want  string // in the output or the error
	}{
		"a limit":            {[]string{"domain=mesh who=alice"}, 0, "mesh.who: 100 per minute, sliding_window ("},
		"without the domain": {[]string{"who=alice"}, 0, "mesh.who: 100 per minute"},
		"a value in quotes":  {[]string{`agent="a b"`}, 0, "is the value agent_a b"},
		"a value of =":       {[]string{"who=a=b"}, 0, "who=a=b  is any value of who"},
		"an empty value":     {[]string{"who="}, 0, "is any value of who"},
		"none":               {[]string{"who=alice service=orders"}, 1, "descriptors of the same entries that find one:\n  who=alice"},
		"one of two":         {[]string{"who=alice", "user=bob"}, 1, "1 of 2 descriptors find no limit"},
		"another domain":     {[]string{"domain=edge who=alice"}, 1, "known: mesh"},
		"no entries":         {[]string{"domain=mesh"}, 2, "it has no entries"},
		"no question":        {[]string{"alice"}, 2, "write KEY=VALUE"},
		"open quotes":        {[]string{`who="alice`}, 2, "the quotes do not close"},
		"glued quotes":       {[]string{`who="alice"x=y`}, 2, "a space is missing"},
	} {
		code, out, errs := command(t, nil, append([]string{"limits", "explain", "--limits", path}, test.asked...)...)
		if code != test.code || !strings.Contains(out+errs, test.want) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s%s", name, code, test.code, test.want, out, errs)
		}
	}
	if code, _, errs := command(t, nil, "limits", "explain", "who=alice"); code != 2 || !strings.Contains(errs, "--limits") {
		t.Errorf("without files: exit %d: %s", code, errs)
	}
}
