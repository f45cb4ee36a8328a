package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/go/packages"
)

// house is the module as it is: its root folder and its packages, without test files.
type house struct {
	root     string
	packages []*packages.Package
}

var load = sync.OnceValues(func() (house, error) {
	config := &packages.Config{Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedDeps | packages.NeedModule}
	found, err := packages.Load(config, module+"...")
	if err != nil {
		return house{}, err
	}
	h := house{}
	for _, p := range found {
		if p.Module != nil && p.Module.Main {
			h.packages, h.root = append(h.packages, p), p.Module.Dir
		}
	}
	return h, nil
})

func theHouse(t *testing.T) house {
	t.Helper()
	h, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(h.packages) == 0 {
		t.Fatal("the module has no packages: nothing would be checked")
	}
	return h
}

// own is the package's path within the module.
func own(p *packages.Package) string { return strings.TrimPrefix(p.PkgPath, module) }

// Every package stands on a floor, and imports what its floor and the rules allow.
func TestImports(t *testing.T) {
	for _, p := range theHouse(t).packages {
		if floorOf(own(p)) == 0 && !matchesAny(fakes, own(p)) {
			t.Errorf("%s stands on no floor: give it one in this package's plan, with a reason to exist", own(p))
		}
		for _, err := range p.Errors {
			t.Errorf("%s was not read whole: %v", own(p), err)
		}
		for _, complaint := range offences(own(p), slices.Sorted(maps.Keys(p.Imports))) {
			t.Error(complaint)
		}
	}
}

// A plan that matches nothing protects nothing: every rule, every floor and every pattern with dots must find a package. A single room
// may not be built yet; its name cannot be misspelt in secret, since the real room would stand on no floor.
func TestThePlanMatchesTheHouse(t *testing.T) {
	h := theHouse(t)
	found := func(patterns ...string) bool {
		return slices.ContainsFunc(h.packages, func(p *packages.Package) bool { return matchesAny(patterns, own(p)) })
	}
	for i, r := range append(slices.Clone(rules), calls) {
		covered := slices.ContainsFunc(h.packages, func(p *packages.Package) bool { return r.covers(own(p)) })
		if planned := slices.Equal(r.packages, []string{"proto/..."}); !covered && !planned {
			t.Errorf("rule %d covers no package: %v", i, r.packages)
		}
	}
	for floor, rooms := range floors {
		if !found(rooms...) {
			t.Errorf("floor %d is empty", floor)
		}
	}
	for _, folder := range []string{"authz/...", "ratelimit/...", "cmd/...", "internal/...", "envoy/...", "e2e/..."} {
		if !found(folder) {
			t.Errorf("%s matches no package", folder)
		}
	}
	for _, fake := range fakes {
		if !found(fake) {
			t.Errorf("%s does not exist", fake)
		}
	}
}

// The binary reaches no fake and no testing code, however deep.
func TestBinaryHoldsNoFakes(t *testing.T) {
	forbidden := append([]string{"testing"}, module+fakes[0], module+fakes[1])
	mains := 0
	for _, p := range theHouse(t).packages {
		if p.Name != "main" || !matches("cmd/...", own(p)) {
			continue
		}
		mains++
		seen := map[string]bool{}
		var walk func(p *packages.Package, way []string)
		walk = func(p *packages.Package, way []string) {
			if seen[p.PkgPath] {
				return
			}
			seen[p.PkgPath] = true
			way = append(way, strings.TrimPrefix(p.PkgPath, module))
			if slices.Contains(forbidden, p.PkgPath) {
				t.Errorf("the binary reaches %s: %s", p.PkgPath, strings.Join(way, " -> "))
			}
			for _, next := range p.Imports {
				walk(next, slices.Clone(way))
			}
		}
		walk(p, nil)
	}
	if mains == 0 {
		t.Error("cmd holds no command: nothing was checked")
	}
}

// source is one Go file of ours, parsed with its comments.
type source struct {
	path string // from the root, with slashes
	file *ast.File
}

// sources are the Go files of the root module, tests too, in the order of their paths. Folders with a go.mod of their own are others'.
func sources(t *testing.T, root string) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root {
			_, modErr := os.Stat(filepath.Join(path, "go.mod"))
			if modErr == nil || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return fs.SkipDir
			}
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		all = append(all, source{path: filepath.ToSlash(rel), file: file})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Go files stand in the rooms of the house; the top level is for what a newcomer reads.
func TestTopLevel(t *testing.T) {
	for _, s := range sources(t, theHouse(t).root) {
		folder, _, nested := strings.Cut(s.path, "/")
		if !nested || !slices.Contains(topLevel, folder) {
			t.Errorf("%s: Go files stand in %s", s.path, strings.Join(topLevel, ", "))
		}
	}
}

// packageComment is how a package's comment begins.
var packageComment = regexp.MustCompile(`^(Package|Command) [a-z0-9]+ `)

// Every package says once what it is: twice is a contradiction in waiting.
func TestPackageComments(t *testing.T) {
	type room struct{ folder, name string }
	comments, tests := map[room][]string{}, map[room]bool{}
	for _, s := range sources(t, theHouse(t).root) {
		r := room{folder: s.path[:max(strings.LastIndex(s.path, "/"), 0)], name: s.file.Name.Name}
		isTest := strings.HasSuffix(s.path, "_test.go")
		if _, known := tests[r]; !known {
			tests[r] = true
		}
		tests[r] = tests[r] && isTest
		if s.file.Doc == nil {
			continue
		}
		if isTest && strings.HasSuffix(r.name, "_test") {
			continue
		}
		comments[r] = append(comments[r], s.path)
		if !packageComment.MatchString(s.file.Doc.Text()) {
			t.Errorf("%s: the package comment begins %q, not \"Package %s \"", s.path, firstLine(s.file.Doc.Text()), r.name)
		}
	}
	for r, onlyTests := range tests {
		if onlyTests && strings.HasSuffix(r.name, "_test") {
			continue // the outside tests of the package beside them
		}
		if n := len(comments[r]); n != 1 {
			t.Errorf("%s has %d package comments %v, want one", r.folder, n, comments[r])
		}
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// The environment, the arguments and the end of the process belong to cmd.
func TestOnlyCmdConfiguresAndExits(t *testing.T) {
	checked := 0
	for _, s := range sources(t, theHouse(t).root) {
		folder := s.path[:max(strings.LastIndex(s.path, "/"), 0)]
		if strings.HasSuffix(s.path, "_test.go") || !calls.covers(folder) {
			continue
		}
		checked++
		for _, use := range uses(s.file) {
			if slices.Contains(calls.never, use) {
				t.Errorf("%s uses %s: %s", s.path, use, calls.why)
			}
		}
	}
	if checked == 0 {
		t.Error("no file was checked")
	}
}

// uses are the names that a file takes from the packages os and log, such as "os.Exit", whatever it calls them.
func uses(file *ast.File) []string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if path != "os" && path != "log" {
			continue
		}
		names[path] = path
		if spec.Name != nil {
			delete(names, path)
			names[spec.Name.Name] = path
		}
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if ident, ok := selector.X.(*ast.Ident); ok && names[ident.Name] != "" {
				found = append(found, names[ident.Name]+"."+selector.Sel.Name)
			}
		}
		return true
	})
	return found
}

// The rules themselves: what they refuse and what they let be, so that a rule that forbids nothing is noticed.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		pkg     string
		path    string
		refused bool
	}{
		{"authz/policy", "github.com/sallyport-dev/sallyport/authz/target", false},
		{"authz/policy", "github.com/sallyport-dev/sallyport/internal/strictyaml", false},
		{"authz/policy", "cel.dev/cel-go/cel", false},
		{"authz/policy", "github.com/spiffe/go-spiffe/v2/spiffeid", false},
		{"internal/strictyaml", "github.com/goccy/go-yaml/ast", false},
		{"authz", "github.com/sallyport-dev/sallyport/authz/policy", false},
		{"authz/jwt", "github.com/sallyport-dev/sallyport/authz", false},
		{"authz/owner/redis", "github.com/sallyport-dev/sallyport/authz/owner", false},
		{"authz/extauthz", "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3", false},
		{"envoy", "github.com/sallyport-dev/sallyport/ratelimit/limits", false},
		{"cmd/sallyport", "github.com/sallyport-dev/sallyport/authz/jwt", false},
		{"cmd/sallyport", "github.com/sallyport-dev/sallyport/cmd/internal/daemon", false},
		{"cmd/sallyport", "github.com/spf13/cobra", false},
		{"ratelimit/storetest", "testing", false},
		{"ratelimit/storetest", "github.com/sallyport-dev/sallyport/ratelimit/memstore", false},
		{"proto/owner/v1", "google.golang.org/protobuf/proto", false},

		{"authz/policy", "github.com/sallyport-dev/sallyport/authz", true},
		{"authz/policy", "github.com/sallyport-dev/sallyport/authz/jwt", true},
		{"authz/policy", "github.com/sallyport-dev/sallyport/ratelimit/limits", true},
		{"ratelimit/rls", "github.com/sallyport-dev/sallyport/authz/scope", true},
		{"ratelimit", "github.com/sallyport-dev/sallyport/authz", true},
		{"authz/target", "net/http", true},
		{"authz/target", "os", true},
		{"authz/target", "os/exec", true},
		{"authz/target", "log/slog", true},
		{"authz/target", "google.golang.org/protobuf/proto", true},
		{"internal/headerval", "golang.org/x/net/http/httpguts", true},
		{"proto/owner/v1", "github.com/redis/go-redis/v9", true},
		{"authz", "net/http", true},
		{"authz", "log/slog", true},
		{"authz", "google.golang.org/grpc/codes", true},
		{"authz", "github.com/sallyport-dev/sallyport/authz/jwt", true},
		{"ratelimit", "github.com/redis/go-redis/v9", true},
		{"ratelimit", "github.com/prometheus/client_golang/prometheus", true},
		{"authz/jwt", "github.com/sallyport-dev/sallyport/authz/jwks", true},
		{"authz/owner/redis", "github.com/sallyport-dev/sallyport/authz/jwt", true},
		{"ratelimit/rls", "github.com/sallyport-dev/sallyport/ratelimit/memstore", true},
		{"authz/jwt", "github.com/sallyport-dev/sallyport/cmd/internal/daemon", true},
		{"authz/jwt", "flag", true},
		{"envoy", "github.com/spf13/cobra", true},
		{"cmd/sallyport", "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3", true},
		{"cmd/sallyport", "github.com/sallyport-dev/sallyport/e2e", true},
		{"ratelimit/memstore", "github.com/envoyproxy/go-control-plane/envoy/type/v3", true},
		{"cmd/sallyport", "github.com/sallyport-dev/sallyport/authz/authztest", true},
		{"ratelimit/memstore", "testing", true},
	} {
		if got := offences(c.pkg, []string{c.path}); (len(got) > 0) != c.refused {
			t.Errorf("%s imports %s: %v, want refused %v", c.pkg, c.path, got, c.refused)
		}
	}
}

func TestUses(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
import (
	"os"
	l "log"
	"example.com/my/os2"
)
func f() { os.Exit(1); l.Fatal(); os2.Getenv(); _ = os.Getenv }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := uses(file); !slices.Equal(got, []string{"os.Exit", "log.Fatal", "os.Getenv"}) {
		t.Errorf("%v", got)
	}
}
