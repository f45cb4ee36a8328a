package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A policy that was written is one that loads, and a second run changes nothing.
func TestPolicyImport(t *testing.T) {
	for _, spec := range []string{"petstore.yaml", "orders31.json"} {
		args := []string{"policy", "import", "--openapi", filepath.Join("../../authz/openapi/testdata", spec)}
		code, out, errs := command(t, nil, args...)
		if code != 0 || errs != "" || !strings.Contains(out, "version: 1\n") {
			t.Fatalf("%s: exit %d, %s\n%s", spec, code, errs, out)
		}
		if _, again, _ := command(t, nil, args...); again != out {
			t.Errorf("%s: a second run wrote\n%s\nand the first\n%s", spec, again, out)
		}
		dir := folder(t, map[string]string{"policy.yaml": out})
		if code, said, _ := command(t, nil, "policy", "check", filepath.Join(dir, "policy.yaml")); code != 0 {
			t.Errorf("%s: exit %d, %s\n%s", spec, code, said, out)
		}
	}
}

// The policy as it is written: a token of the right scope reaches what belongs to nobody, and nothing else is anybody's.
func TestPolicyImportIsClosed(t *testing.T) {
	_, out, _ := command(t, nil, "policy", "import", "--openapi", "../../authz/openapi/testdata/petstore.yaml")
	dir := folder(t, map[string]string{"policy.yaml": out, "cases.yaml": `policy: policy.yaml
now: "2026-11-25T12:00:00Z"
people:
  alice: {sub: alice, client_id: web, scopes: ["read:pets"]}
  admin: {sub: root, client_id: web, scopes: [admin]}
cases:
  - {name: all pets, who: alice, request: GET /v1/pets, expect: allow}
  - {name: a scope that is missing, who: alice, request: POST /v1/pets, expect: {status: 403, reason: insufficient_scope}}
  - {name: another's pet, who: alice, request: GET /v1/pets/7, expect: {status: 403, reason: owner}}
  - {name: a pet that an admin may have the scope for, who: admin, request: DELETE /v1/pets/7, expect: {status: 403, reason: owner}}
  - {name: her own list and another's pet, who: alice, request: PUT /v1/users/alice/pets/7, expect: {status: 403, reason: condition}}
  - {name: another's list, who: alice, request: PUT /v1/users/bob/pets/alice, expect: {status: 403}}
  - {name: what asks nobody, request: GET /v1/health, expect: {status: 401}}
  - {name: what the document does not know, who: alice, request: GET /v1/admin, expect: {status: 403, reason: no_rule}}
`})
	if code, said, errs := command(t, nil, "policy", "test", "--min-coverage", "100", filepath.Join(dir, "cases.yaml")); code != 0 {
		t.Errorf("exit %d, %s%s\n%s", code, said, errs, out)
	}
}

func TestPolicyImportFlags(t *testing.T) {
	code, out, errs := command(t, []string{"SALLYPORT_AUDIENCE=pets-api"}, "policy", "import", "--openapi", "../../authz/openapi/testdata/petstore.yaml",
		"--service", "pets", "--host", "pets.shop.svc.cluster.local", "--issuer", "https://login.example.org/realms/shop")
	if code != 0 {
		t.Fatalf("exit %d, %s", code, errs)
	}
	for _, want := range []string{"issuer: https://login.example.org/realms/shop\n", "audiences: [pets-api]\n", "- name: pets\n", "hosts: [pets.shop.svc.cluster.local]\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

// What cannot be written is not written: stdout stays empty, and stderr says why.
func TestPolicyImportRefuses(t *testing.T) {
	dir := folder(t, map[string]string{
		"twice.yaml":   "openapi: 3.1.0\ninfo: {title: t, version: \"1\"}\nopenapi: 3.0.0\n",
		"remote.yaml":  "openapi: 3.1.0\ninfo: {title: t, version: \"1\"}\npaths:\n  /a: {$ref: \"http://127.0.0.1/a.yaml\"}\n",
		"swagger.json": `{"swagger": "2.0"}`,
	})
	petstore := "../../authz/openapi/testdata/petstore.yaml"
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no document":            {nil, 2, "--openapi is missing"},
		"no such file":           {[]string{"--openapi", filepath.Join(dir, "none.yaml")}, 2, "none.yaml"},
		"a name that is none":    {[]string{"--openapi", petstore, "--service", "Pet Store"}, 2, `"Pet Store" is no name`},
		"an issuer that is none": {[]string{"--openapi", petstore, "--issuer", "login"}, 1, "issuer: login"},
		"a host that is none":    {[]string{"--openapi", petstore, "--host", "a/b"}, 2, `"a/b" is no host`},
		"a duplicate key":        {[]string{"--openapi", filepath.Join(dir, "twice.yaml")}, 1, `twice.yaml:3:1: duplicate key "openapi"`},
		"a reference to a host":  {[]string{"--openapi", filepath.Join(dir, "remote.yaml")}, 1, "remote.yaml:4:14: a reference to another document"},
		"swagger":                {[]string{"--openapi", filepath.Join(dir, "swagger.json")}, 1, "this is Swagger 2.0"},
		"a file by its name":     {[]string{petstore}, 2, "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, nil, append([]string{"policy", "import"}, c.args...)...)
			if code != c.code || out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("exit %d, stdout %q, stderr %q; want exit %d and %s", code, out, errs, c.code, c.want)
			}
		})
	}
}

// The page shows what the command writes, and its commands run.
func TestDocumentedImport(t *testing.T) {
	page, err := os.ReadFile("../../docs/openapi.md")
	if err != nil {
		t.Fatal(err)
	}
	files, commands := map[string]string{}, []string{}
	for i, block := range strings.Split(string(page), "```") {
		_, text, _ := strings.Cut(block, "\n")
		if i%2 == 0 {
			continue
		}
		if name, rest, ok := strings.Cut(strings.TrimPrefix(text, "# "), "\n"); ok && strings.HasPrefix(text, "# ") {
			files[name] = rest
			continue
		}
		for line := range strings.Lines(text) {
			if line, ok := strings.CutPrefix(strings.TrimSpace(line), "$ sallyport "); ok {
				commands = append(commands, line)
			}
		}
	}
	if len(commands) != 2 || len(files) != 2 {
		t.Fatalf("%d commands and %d files", len(commands), len(files))
	}
	dir := folder(t, map[string]string{"shop.yaml": files["shop.yaml"]})
	for _, line := range commands {
		line, into, _ := strings.Cut(line, " > ")
		var args []string
		for _, word := range strings.Fields(line) {
			if strings.HasSuffix(word, ".yaml") {
				word = filepath.Join(dir, word)
			}
			args = append(args, word)
		}
		code, out, errs := command(t, nil, args...)
		if code != 0 {
			t.Fatalf("%s: exit %d, %s%s", line, code, out, errs)
		}
		if into == "" {
			continue
		}
		if out != files[into] {
			t.Errorf("%s: the page shows\n%s\nand the command writes\n%s", line, files[into], out)
		}
		if err := os.WriteFile(filepath.Join(dir, into), []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
