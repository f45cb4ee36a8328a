package authz_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
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
	details := detailWords(t)
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

// detailWords are the values of the constants Detail*.
func detailWords(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Detail") {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is no literal", spec.Names[0].Name)
		}
		if words[spec.Names[0].Name], err = strconv.Unquote(literal.Value); err != nil {
			t.Fatal(err)
		}
		return true
	})
	return words
}
