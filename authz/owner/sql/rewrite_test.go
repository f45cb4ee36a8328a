package sql

import (
	"fmt"
	"strings"
	"testing"
)

// A query is rewritten at its parameters and nowhere else: put back, it is what was written.
func FuzzRewrite(f *testing.F) {
	for _, query := range []string{
		"SELECT id, owner FROM owners WHERE id = ANY(@ids)", "SELECT id, owner FROM o WHERE id=ANY(@ids::uuid[]) AND tenant=@tenant AND r=@relation AND o=@subject AND @tenant=t",
		"SELECT '@ids' /* @ids /* */ */ -- @ids\r, \"@ids\" = ANY(@ids)", "SELECT '''@ids", "/*/ @ids */", "--@ids", "a <@ids", "@idsx @", "@ids;", "@ids$1", `@ids\`,
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		text, names, err := rewrite(query)
		if err != nil {
			return
		}
		written := text
		for i, name := range names {
			place := fmt.Sprintf("$%d::%s", i+1, parameters[name])
			if !strings.Contains(text, place) {
				t.Errorf("%q reads @%s and has no %s", text, name, place)
			}
			written = strings.ReplaceAll(written, place, "@"+name)
		}
		if written != query || index(names, "ids") < 0 {
			t.Errorf("%q became %q, of %q", query, text, names)
		}
	})
}
