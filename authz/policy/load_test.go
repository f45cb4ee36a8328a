package policy

import (
	"strings"
	"testing"
)

const base = "version: 1\ntrust_domain: td\npeers: envoy\nissuers:\n  idp: {issuer: \"https://idp\", audiences: [a]}\n"

func serviceFile(name, rule string) string {
	return "version: 1\nservices:\n  - {name: " + name + ", hosts: [" + name + ".example], rules: [{name: r, match: \"GET /{$}\", " + rule + "}]}\n"
}

func folder(pairs ...string) []File {
	var files []File
	for i := 0; i < len(pairs); i += 2 {
		files = append(files, File{Name: pairs[i], Data: []byte(pairs[i+1])})
	}
	return files
}

// state says, per file, "ok", "last good" or "out".
func state(s *Snapshot) string {
	var words []string
	for _, file := range s.Files {
		switch {
		case file.OK():
			words = append(words, "ok")
		case file.LastGood:
			words = append(words, "last good")
		default:
			words = append(words, "out")
		}
	}
	return strings.Join(words, ", ")
}

func names(p *Policy) string {
	var names []string
	for _, s := range p.Services {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// The unit is the file: each step is a folder as it is found, what becomes of its files, and which services are served.
func TestLoad(t *testing.T) {
	a, b := serviceFile("a", "issuer: idp"), serviceFile("b", "issuer: idp")
	type step struct {
		files    []File
		state    string
		services string
	}
	tests := map[string][]step{
		"a bad file keeps its last good version": {
			{folder("0.yaml", base, "a.yaml", a, "b.yaml", b), "ok, ok, ok", "a b"},
			{folder("0.yaml", base, "a.yaml", "version: 1\nnonsense: 1\n", "b.yaml", b), "ok, last good, ok", "a b"},
			{folder("0.yaml", base, "a.yaml", a, "b.yaml", b), "ok, ok, ok", "a b"},
		},
		"one that was never good leaves its services unserved": {
			{folder("0.yaml", base, "a.yaml", "version: 1\nservices: 5\n", "b.yaml", b), "ok, out, ok", "b"},
			{folder("0.yaml", base, "a.yaml", a, "b.yaml", b), "ok, ok, ok", "a b"},
		},
		"one name in two files is the error of the file that changed": {
			{folder("0.yaml", base, "a.yaml", a, "b.yaml", b), "ok, ok, ok", "a b"},
			{folder("0.yaml", base, "a.yaml", strings.ReplaceAll(b, "GET /", "GET /x/"), "b.yaml", b), "ok, last good, ok", "a b"},
		},
		"at the start it is the error of the later by name": {
			{folder("0.yaml", base, "a.yaml", a, "b.yaml", a), "ok, ok, out", "a"},
		},
		"a file whose issuer is gone keeps it": {
			{folder("0.yaml", base, "a.yaml", a), "ok, ok", "a"},
			{folder("0.yaml", strings.Replace(base, "idp:", "other:", 1), "a.yaml", a), "ok, ok", "a"},
			{folder("0.yaml", strings.Replace(base, "idp:", "other:", 1), "a.yaml", a, "b.yaml", b), "ok, ok, out", "a"},
		},
		"a setting that others need does not go": {
			{folder("0.yaml", base, "a.yaml", serviceFile("a", "token: none, callers: [x/y]")), "ok, ok", "a"},
			{folder("0.yaml", strings.Replace(base, "trust_domain: td\n", "", 1), "a.yaml", serviceFile("a", "token: none, callers: [x/y]")), "last good, ok", "a"},
			{folder("a.yaml", serviceFile("a", "token: none, callers: [x/y]")), "last good", "a"},
		},
		"a deleted file is gone": {
			{folder("0.yaml", base, "a.yaml", a, "b.yaml", b), "ok, ok, ok", "a b"},
			{folder("0.yaml", base, "a.yaml", a), "ok, ok", "a"},
		},
		"a second trust domain is the error of the file that changed": {
			{folder("0.yaml", base, "a.yaml", a), "ok, ok", "a"},
			{folder("0.yaml", base, "a.yaml", "trust_domain: other\n"+a), "ok, last good", "a"},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var snapshot *Snapshot
			for i, step := range steps {
				snapshot = Load(snapshot, step.files)
				if got := state(snapshot); got != step.state {
					t.Errorf("step %d: files are %s, want %s", i, got, step.state)
					for _, file := range snapshot.Files {
						t.Log(file.Name, file.Errors.Pretty())
					}
				}
				if got := names(snapshot.Policy); got != step.services {
					t.Errorf("step %d: serves %q, want %q", i, got, step.services)
				}
			}
		})
	}
}

// With no good file there is a policy that serves nobody.
func TestLoadNothingGood(t *testing.T) {
	s := Load(nil, folder("a.yaml", "nonsense"))
	if _, ok := s.Policy.Choose(Pin{}); ok || s.Policy.Digest == "" {
		t.Error("a policy of no file chooses a service")
	}
}
