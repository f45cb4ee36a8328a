package authz_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
)

var update = flag.Bool("update", false, "write docs/reasons.md anew")

// constant is one constant of reason.go.
type constant struct {
	name, value string // value is "" where it is none of its own
	comment     string // above it, or behind it
	block       string // the comment of its const block
}

// constants are those of reason.go, in their order.
func constants(t *testing.T) []constant {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var all []constant
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			c := constant{name: value.Names[0].Name, comment: strings.TrimSpace(value.Doc.Text() + value.Comment.Text()), block: group.Doc.Text()}
			if len(value.Values) > 0 {
				if literal, ok := value.Values[0].(*ast.BasicLit); ok {
					c.value = literal.Value
				}
			}
			all = append(all, c)
		}
	}
	return all
}

// grpcCodes is what a gRPC caller hears, by the HTTP status.
const grpcCodes = `| HTTP | gRPC |
|---|---|
| 400, 415 | INVALID_ARGUMENT |
| 401 | UNAUTHENTICATED |
| 403 | PERMISSION_DENIED |
| 404, 410 | NOT_FOUND |
| 413 | RESOURCE_EXHAUSTED |
| 421 | UNIMPLEMENTED |
| 503 | UNAVAILABLE |
`

// reasonsPage is docs/reasons.md, made of the comments in reason.go.
func reasonsPage(t *testing.T) []byte {
	t.Helper()
	comments := map[string]string{}
	for _, c := range constants(t) {
		comments[c.name] = strings.Join(strings.Fields(c.comment), " ")
	}
	names := reasonConstants(t)
	var b bytes.Buffer
	b.WriteString("# Reasons\n\nWhy a decision fell, in the words of problem documents, metadata, metrics and the audit log. This page is made of the comments in `authz/reason.go`\n" +
		"(`go test ./authz -run TestReasonsPage -update`).\n\n`sallyport why DECISION_ID` tells one denial step by step.\n\n" + grpcCodes)
	for i, reason := range authz.Reasons() {
		d := &authz.Decision{Reason: reason}
		if reason == authz.Allowed || reason == authz.Public || reason == authz.Probe || reason == authz.Preflight {
			d.Verdict = authz.Allow
		}
		comment := strings.TrimPrefix(comments[names[i]], names[i]+" ")
		fmt.Fprintf(&b, "\n## `%s`\n\n%d. This reason %s\n", reason, d.Status(), comment)
	}
	b.WriteString("\n## Details\n\nThe cause behind a reason, for the audit log and `sallyport why` alone; [tokens.md](tokens.md) has those of `invalid_token`. Of `bad_target` it is a sentence.\n\n| detail | meaning |\n|---|---|\n")
	for _, c := range constants(t) {
		if strings.HasPrefix(c.block, "Detail words behind") {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.ReplaceAll(c.value, "\"", "`"), c.comment)
		}
	}
	return b.Bytes()
}

// reasonConstants are the names of the reasons' constants, in the order of their values.
func reasonConstants(t *testing.T) []string {
	t.Helper()
	var names []string
	begun := false
	for _, c := range constants(t) {
		if begun = begun || c.name == "Undecided"; begun && c.name != "reasonCount" {
			names = append(names, c.name)
		} else if begun {
			break
		}
	}
	return names
}

// The page has a paragraph for each reason, and it is the one that stands in the code.
func TestReasonsPage(t *testing.T) {
	names := reasonConstants(t)
	if len(names) != len(authz.Reasons()) {
		t.Fatalf("%d constants for %d reasons", len(names), len(authz.Reasons()))
	}
	comments := map[string]string{}
	for _, c := range constants(t) {
		comments[c.name] = c.comment
	}
	for _, name := range names {
		if !strings.HasPrefix(comments[name], name+" ") || strings.Count(comments[name], ".") < 2 {
			t.Errorf("%s: the comment is no paragraph of what it means and what to do: %q", name, comments[name])
		}
	}
	page := reasonsPage(t)
	if *update {
		if err := os.WriteFile("../docs/reasons.md", page, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile("../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, written) {
		t.Error("docs/reasons.md differs from the comments in reason.go: go test ./authz -run TestReasonsPage -update")
	}
}
