package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/envoy/doctor"
)

// Two configurations: one in which nothing passes on anything, and one in which something does.
const (
	well = `{"static_resources": {"listeners": [{"name": "a"}]}}`
	sick = `{"static_resources": {"listeners": [{"name": "a", "filter_chains": [{"filters": [{"name": "t", "typed_config":
 {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"}}]}]}]}}`
)

// diagnose runs the doctor with a configuration on stdin.
func diagnose(t *testing.T, stdin string, args ...string) (out, errs string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := newRoot(streams{out: &stdout, err: &stderr})
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(append([]string{"envoy", "doctor"}, args...))
	err := root.ExecuteContext(t.Context())
	if err != nil {
		stderr.WriteString(err.Error())
	}
	return stdout.String(), stderr.String(), daemon.ExitCode(err)
}

// Nothing found is 0, a finding is 1, and what could not be examined is 2 and says why.
func TestDoctorExitCodes(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/sick", http.StatusFound)
		case "/sick":
			_, _ = io.WriteString(w, sick)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a good file", []string{file("well.json", well)}, 0, "ok: nothing found"},
		{"a bad file", []string{file("sick.json", sick)}, 1, "sick.json:1:82: open: unchecked-tcp: listener \"a\""},
		{"the sum", []string{filepath.Join(dir, "sick.json")}, 1, "\nnot ok, open 1"},
		{"stdin", []string{"-"}, 1, "unchecked-tcp"},
		{"an admin interface", []string{server.URL + "/sick"}, 1, "unchecked-tcp"},
		{"a redirect", []string{server.URL + "/moved"}, 2, "302 Found"},
		{"not there", []string{server.URL + "/other"}, 2, "404 Not Found"},
		{"a password", []string{"http://u:p@127.0.0.1/"}, 2, "password"},
		{"nobody there", []string{"http://127.0.0.1:1/config_dump"}, 2, "refused"},
		{"no such file", []string{filepath.Join(dir, "none")}, 2, "no such file"},
		{"no listener", []string{file("empty.yaml", "admin: {}")}, 2, "no listener in it"},
		{"no YAML", []string{file("bad.yaml", "a: [")}, 2, "bad.yaml:1:"},
		{"no such policy", []string{"--policy", filepath.Join(dir, "none"), filepath.Join(dir, "well.json")}, 2, "no such file"},
		{"a bad policy", []string{"--policy", file("policy.yaml", "version: 2"), filepath.Join(dir, "well.json")}, 2, "the policy does not load"},
		{"bad limits", []string{"--limits", file("limits.yaml", "domain: [a]"), filepath.Join(dir, "well.json")}, 2, "the limits do not load"},
		{"no argument", nil, 2, "accepts 1 arg"},
	} {
		out, errs, code := diagnose(t, sick, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", c.name, code, c.code, c.says, out, errs)
		}
		if strings.Contains(out+errs, "u:p@") {
			t.Errorf("%s: the password is told", c.name)
		}
	}
}

// The findings as JSON are a list, also where there are none.
func TestDoctorJSON(t *testing.T) {
	for text, want := range map[string]int{well: 0, sick: 1} {
		out, _, code := diagnose(t, text, "--json", "-")
		var answer struct {
			Config   string
			Findings []struct{ ID, Severity string }
		}
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Fatal(err)
		}
		if len(answer.Findings) != want || code != want || answer.Findings == nil || answer.Config != "-" {
			t.Errorf("%+v, exit %d", answer, code)
		}
		if want > 0 && answer.Findings[0].Severity != "open" {
			t.Errorf("%+v", answer)
		}
	}
}

// What is set aside does not count; what is not known, or meets nothing, is told.
func TestDoctorIgnores(t *testing.T) {
	const at = ".static_resources.listeners[0].filter_chains[0].filters[0]"
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"a kind", []string{"--ignore", "unchecked-tcp"}, 0, []string{"ok: nothing found, ignored 1"}},
		{"at its path", []string{"--ignore", "unchecked-tcp@" + at}, 0, []string{"ok: nothing found, ignored 1"}},
		{"at another", []string{"--ignore", "unchecked-tcp@.static_resources"}, 1, []string{"not ok, open 1", "--ignore unchecked-tcp@.static_resources: no such finding"}},
		{"another kind", []string{"--ignore", "fail-open", "--ignore", "unchecked-tcp"}, 0, []string{"--ignore fail-open: no such finding", "ignored 1"}},
		{"as JSON", []string{"--json", "--ignore", "unchecked-tcp"}, 0, []string{`"findings": []`, `"ignored": 1`}},
		{"no such kind", []string{"--ignore", "unchecked"}, 2, []string{`--ignore: no kind of finding is called "unchecked"`, "unchecked-listener, unchecked-route", "not-understood"}},
		{"no path", []string{"--ignore", "unchecked-tcp@static_resources"}, 2, []string{"begins with a dot"}},
	} {
		out, errs, code := diagnose(t, sick, append(c.args, "-")...)
		if code != c.code {
			t.Errorf("%s: exit %d, want %d", c.name, code, c.code)
		}
		for _, part := range c.says {
			if !strings.Contains(out+errs, part) {
				t.Errorf("%s: %q is not in\n%s%s", c.name, part, out, errs)
			}
		}
	}
}

// No text of a configuration steers a terminal: control characters of either range and marks of direction are escaped.
func TestDoctorEscapes(t *testing.T) {
	const bad = "\u009b2J\u0085\u007f\u202e\u2028\U000e0001"
	for _, c := range []struct {
		args []string
		want string
	}{{[]string{"-"}, `a\u009b2J\u0085\u007f\u202e\u2028\udb40\udc01`}, {[]string{"--json", "-"}, `a\u009b2J\u0085`}} {
		out, _, _ := diagnose(t, strings.ReplaceAll(sick, `"a"`, `"a`+bad+`"`), c.args...)
		if strings.ContainsFunc(strings.ReplaceAll(out, "\n", ""), func(r rune) bool { return !unicode.IsPrint(r) }) || !strings.Contains(out, c.want) {
			t.Errorf("%q: %q", c.args, out)
		}
		var answer struct{ Findings []struct{ Text string } }
		if len(c.args) > 1 && (json.Unmarshal([]byte(out), &answer) != nil || !strings.Contains(answer.Findings[0].Text, "\u009b2J")) {
			t.Errorf("the line is not what stands there: %q", answer.Findings)
		}
	}
}

// A configuration is read up to the doctor's bound, whatever it comes from.
func TestDoctorReadsNoMoreThanItsBound(t *testing.T) {
	if _, err := readUpTo(endless{}, "-"); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Error(err)
	}
	if data, err := readUpTo(io.LimitReader(endless{}, doctor.MaxBytes), "-"); err != nil || len(data) != doctor.MaxBytes {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
