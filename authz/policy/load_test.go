package policy

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
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
			{folder("a.yaml", serviceFile("a", "token: none, callers: [x/y]")), "last good, ok", "a"},
		},
		"nor does it hold back another file's change": {
			{folder("0.yaml", base, "a.yaml", serviceFile("a", "token: none, callers: [x/y]"), "b.yaml", serviceFile("b", "public: true")), "ok, ok, ok", "a b"},
			{folder("0.yaml", strings.Replace(base, "trust_domain: td\n", "", 1), "a.yaml", serviceFile("a", "token: none, callers: [x/y]"), "b.yaml", serviceFile("b2", "public: true")), "last good, ok, ok", "a b2"},
			{folder("a.yaml", serviceFile("a", "token: none, callers: [x/y]"), "b.yaml", serviceFile("b3", "public: true")), "last good, ok, ok", "a b3"},
		},
		"a bad edge file at the start takes no other down": {
			{folder("0.yaml", "version: 1\nprobes: [/livez]\n", "a.yaml", serviceFile("a", "public: true"), "web.yaml", "version: 1\nservices: [{name: web, edge: true, hostz: [w]}]\n"), "ok, ok, out", "a"},
		},
		"an issuer that is kept must be revocable": {
			{folder("0.yaml", "version: 1\nissuers:\n  idp: {issuer: \"https://idp\", audiences: [a], require: [sub, client_id]}\n", "a.yaml", a), "ok, ok", "a"},
			{folder("1.yaml", "version: 1\nrevocation: {}\n", "a.yaml", a), "out, ok", "a"},
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

// A file of which nothing is in force may hold what a request is for: nothing else is taken for it.
func TestLoadInPart(t *testing.T) {
	sidecar := func(name string) string {
		return "version: 1\nservices:\n  - {name: " + name + ", hosts: [" + name + ".test], workloads: [shop/" + name + "], rules: [{name: r, match: \"GET /{$}\", public: true}]}\n"
	}
	edge := func(name, host, path string) string {
		return "version: 1\nservices:\n  - {name: " + name + ", edge: true, hosts: [\"" + host + "\"], rules: [{name: " + name + ", match: \"GET " + path + "\", public: true}]}\n"
	}
	settings := "version: 1\ntrust_domain: td\npeers: envoy\n"
	bad := func(text string) string { return strings.Replace(text, "match:", "mach:", 1) }
	tests := []struct {
		name  string
		files []File
		pin   Pin
		host  string
		want  string
	}{
		{"the only service left, for another's sidecar", folder("0.yaml", settings, "a.yaml", sidecar("a"), "b.yaml", bad(sidecar("b"))), Pin{Destination: "spiffe://td/ns/shop/sa/b"}, "a.test", ""},
		{"the only service left, for nobody's sidecar", folder("0.yaml", settings, "a.yaml", sidecar("a"), "b.yaml", bad(sidecar("b"))), Pin{}, "a.test", ""},
		{"the only service left, for its own", folder("0.yaml", settings, "a.yaml", sidecar("a"), "b.yaml", bad(sidecar("b"))), Pin{Destination: "spiffe://td/ns/shop/sa/a"}, "a.test", "a/r"},
		{"the only service there is, for another's sidecar", folder("0.yaml", settings, "a.yaml", sidecar("a")), Pin{Destination: "spiffe://td/ns/shop/sa/b"}, "a.test", ""},
		{"the only service there is", folder("0.yaml", settings, "a.yaml", sidecar("a")), Pin{}, "a.test", "a/r"},
		{"a host under another's wildcard", folder("a.yaml", bad(edge("a", "admin.b.test", "/{$}")), "b.yaml", edge("b", "*.b.test", "/{$}")), Pin{}, "admin.b.test", ""},
		{"beside it", folder("a.yaml", bad(edge("a", "admin.b.test", "/{$}")), "b.yaml", edge("b", "*.b.test", "/{$}"), "c.yaml", edge("c", "c.test", "/{$}")), Pin{}, "www.b.test", "b/b"},
		{"a file that cannot be read at all: a wildcard", folder("a.yaml", "{", "b.yaml", edge("b", "*.b.test", "/{$}"), "c.yaml", edge("c", "c.test", "/{$}")), Pin{}, "www.b.test", ""},
		{"a file that cannot be read at all: an exact host", folder("a.yaml", "{", "b.yaml", edge("b", "*.b.test", "/{$}"), "c.yaml", edge("c", "c.test", "/{$}")), Pin{}, "c.test", "c/c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := serve(t, Load(nil, test.files).Policy, test.pin, test.host, "/"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	// Once the file is good, so is everything.
	s := Load(nil, folder("a.yaml", bad(edge("a", "admin.b.test", "/{$}")), "b.yaml", edge("b", "*.b.test", "/b")))
	s = Load(s, folder("a.yaml", edge("a", "admin.b.test", "/{$}"), "b.yaml", edge("b", "*.b.test", "/b")))
	if got := serve(t, s.Policy, Pin{}, "admin.b.test", "/"); got != "a/a" {
		t.Errorf("mended, got %q", got)
	}
}

// A file that was never good may name gateways: until it is mended nobody is a workload that speaks for itself.
func TestGatewaysOfALostFile(t *testing.T) {
	for text, want := range map[string]bool{"version: 1\ngateways: [infra/edge]\nnonsense: 1\n": true, "{": true, "version: 1\nnonsense: 1\n": false} {
		s := Load(nil, folder("0.yaml", base, "a.yaml", serviceFile("a", "token: none, callers: [x/y]"), "b.yaml", text))
		if got := s.Policy.MayBeGateway("spiffe://td/ns/x/sa/y"); got != want {
			t.Errorf("%q: a workload may be a gateway: %v", text, got)
		}
	}
}

// Where the whole folder stays as it was, no file of it that changed is called in force.
func TestKeptAsItWas(t *testing.T) {
	before := Load(nil, folder("0.yaml", base, "a.yaml", serviceFile("a", "public: true")))
	l := &loader{before: before, errors: map[string]strictyaml.Errors{}}
	s := l.snapshot(before.Policy, folder("0.yaml", base, "a.yaml", serviceFile("a", "deny: 403"), "b.yaml", serviceFile("b", "public: true")))
	if got := state(s); got != "ok, last good, out" || !s.Policy.partial {
		t.Errorf("files are %s, partial %v", got, s.Policy.partial)
	}
}
