package authz_test

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
)

// Every word that an audit record can have for a refused token is explained to operators, and no word that it cannot have.
func TestEveryDetailIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Why was it refused?")
	table, _, _ = strings.Cut(table, "\n## ")
	documented := map[string]bool{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.Contains(cells[1], "`") {
			documented[strings.Trim(cells[1], " `")] = true
		}
	}
	details := detailWords(t, "Detail words, for audit")
	if len(details) < 20 {
		t.Fatalf("only %d words were found", len(details))
	}
	for name, word := range details {
		if !documented[word] {
			t.Errorf("docs/tokens.md does not explain `%s` (%s)", word, name)
		}
		delete(documented, word)
	}
	for word := range documented {
		t.Errorf("docs/tokens.md explains `%s`, which no record has", word)
	}
}

// The words with which a token itself is refused are those of the page and of the constants, but for the few that say something else.
func TestTokenDetails(t *testing.T) {
	others := []string{authz.DetailRevoked, authz.DetailSender, authz.DetailNoCertificate, authz.DetailCredentials, authz.DetailInQuery}
	want := slices.Sorted(maps.Values(detailWords(t, "Detail words, for audit")))
	got := slices.Sorted(slices.Values(append(authz.TokenDetails(), others...)))
	if !slices.Equal(got, want) {
		t.Errorf("the words are\n%q, and the constants\n%q", got, want)
	}
}

// detailWords are the values of the constants Detail* of the block whose comment begins so.
func detailWords(t *testing.T, block string) map[string]string {
	t.Helper()
	words := map[string]string{}
	for _, c := range constants(t) {
		if !strings.HasPrefix(c.block, block) {
			continue
		}
		var err error
		if words[c.name], err = strconv.Unquote(c.value); err != nil {
			t.Fatalf("%s is no literal: %v", c.name, err)
		}
	}
	return words
}
