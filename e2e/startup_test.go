package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// How a start fails: with 1 for an invalid file and 2 for everything else, and with words that say what to do.
func TestStartRefused(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	write(t, policy, shopPolicy("http://127.0.0.1:1"))
	asking := filepath.Join(dir, "asking.yaml")
	write(t, asking, revoking("http://127.0.0.1:1"))
	broken := filepath.Join(dir, "broken.yaml")
	write(t, broken, "version: 1\nservices: [{name: 5}]\n")
	limits := filepath.Join(dir, "limits.yaml")
	write(t, limits, generous)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	anywhere := "--listen=" + local(0)
	tests := map[string]struct {
		args []string
		code int
		says string
	}{
		"no policy":               {[]string{"authz"}, 2, "--policy"},
		"no such policy":          {[]string{"authz", anywhere, "--admin=", "--policy", filepath.Join(dir, "absent.yaml")}, 2, "absent.yaml"},
		"a broken policy":         {[]string{"authz", anywhere, "--admin=", "--policy", broken}, 1, "broken.yaml:2:"},
		"an unknown service":      {[]string{"authz", anywhere, "--admin=", "--policy", policy, "--service", "stock"}, 1, "stock"},
		"port taken":              {[]string{"authz", "--listen", taken.Addr().String(), "--admin=", "--policy", policy}, 2, "is taken"},
		"off loopback, no TLS":    {[]string{"authz", "--listen", "0.0.0.0:0", "--admin=", "--policy", policy}, 2, "--plaintext"},
		"unknown flag":            {[]string{"authz", "--polisy", policy}, 2, "--polisy"},
		"audit into a folder":     {[]string{"authz", anywhere, "--admin=", "--policy", policy, "--audit", dir}, 2, dir},
		"revocations unsaid":      {[]string{"authz", anywhere, "--admin=", "--policy", asking}, 1, "no --revocations says where"},
		"revocations in one file": {[]string{"authz", anywhere, "--admin=", "--policy", asking, "--revocations", "file:///var/revoked"}, 2, "--replicas 1"},
		"the admin API over TCP":  {[]string{"authz", anywhere, "--admin=", "--policy", asking, "--revocations", "redis://127.0.0.1:1", "--admin-api", "127.0.0.1:0"}, 2, "unix:"},
		"no limits":               {[]string{"ratelimit", anywhere, "--admin="}, 2, "--limits"},
		"broken limits":           {[]string{"ratelimit", anywhere, "--admin=", "--limits", broken}, 1, "broken.yaml:1:"},
		"a password in a URL":     {[]string{"ratelimit", anywhere, "--admin=", "--limits", limits, "--store", "redis://me:hunter2@127.0.0.1:1"}, 2, "--store-password-file"},
		"a store of another kind": {[]string{"ratelimit", anywhere, "--admin=", "--limits", limits, "--store", "memcache://127.0.0.1:1"}, 2, "want redis"},
		"off loopback, no store":  {[]string{"ratelimit", "--listen", "0.0.0.0:0", "--admin=", "--plaintext", "--limits", limits}, 2, "--store"},
		"policy check, broken":    {[]string{"policy", "check", broken}, 1, "broken.yaml:2:"},
		"policy check, absent":    {[]string{"policy", "check", filepath.Join(dir, "absent.yaml")}, 2, "absent.yaml"},
		"policy check, no file":   {[]string{"policy", "check"}, 2, "--help"},
		"limits check, broken":    {[]string{"limits", "check", broken}, 1, "broken.yaml:1:"},
		"an age that panics":      {[]string{"authz", anywhere, "--admin=", "--policy", policy, "--max-connection-age=-1s"}, 2, "--max-connection-age"},
		"a socket for nobody":     {[]string{"authz", anywhere, "--admin=", "--policy", policy, "--socket-mode=0"}, 2, "0660"},
		"policy check, misspelt":  {[]string{"policy", "chekc", policy}, 2, "did you mean check?"},
		"an empty folder":         {[]string{"authz", anywhere, "--admin=", "--policy", t.TempDir()}, 2, "yaml"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := start(t, "sallyport", sallyport(t), test.args...)
			code, text := p.wait(), p.output.String()
			if code != test.code || !strings.Contains(text, test.says) {
				t.Errorf("exit code %d, want %d, saying %q:\n%s", code, test.code, test.says, text)
			}
			if strings.Contains(text, "hunter2") {
				t.Error("the password is shown")
			}
		})
	}
}

// What a start survives: parts that are away. The gate serves, is ready, and says what is degraded and why.
func TestStartDegraded(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	write(t, policy, shopPolicy("http://"+local(freePort(t))))
	limits := filepath.Join(dir, "limits.yaml")
	write(t, limits, generous)
	for name, g := range map[string]*gate{
		"jwks:shop": serve(t, "authz", "--policy", policy, "--audit", "off"),
		"store":     serve(t, "ratelimit", "--limits", limits, "--store", "redis://"+local(freePort(t)), "--audit", "off"),
	} {
		status, body := get(local(g.admin), "/readyz")
		if status != http.StatusOK || !strings.Contains(body, name) {
			t.Errorf("%s: /readyz says %d %s", name, status, body)
		}
		if status, _ := get(local(g.admin), "/healthz"); status != http.StatusOK {
			t.Errorf("%s: /healthz says %d", name, status)
		}
		if got := g.metric("sallyport_degraded", name); got != 1 {
			t.Errorf("%s: sallyport_degraded is %v", name, got)
		}
	}
}

// A folder may be good in part: what is bad is unserved, and everything else is served. /readyz says so for as long as it is true, also
// after the folder was away for a moment, and the words hold for each file.
func TestStartWithOneBadFile(t *testing.T) {
	for command, files := range map[string]struct{ flag, good, better, bad, unserved string }{
		"authz":     {"--policy", shopPolicy("http://127.0.0.1:1"), strings.Replace(shopPolicy("http://127.0.0.1:1"), "catalogue", "shop", 1), "version: 1\nnonsense: true\n", "421"},
		"ratelimit": {"--limits", generous, strings.Replace(generous, "1000000", "999999", 1), "domain: edge\nnonsense: true\n", "its domain has no limits"},
	} {
		t.Run(command, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "files")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "good.yaml"), files.good)
			write(t, filepath.Join(dir, "bad.yaml"), files.bad)
			g := serve(t, command, files.flag, dir, "--audit", "off")
			says := func() string { _, body := get(local(g.admin), "/readyz"); return body }
			for what, done := range map[string]func(string) bool{
				"names the bad line":       func(body string) bool { return strings.Contains(body, "bad.yaml:2:1") },
				"says what that means":     func(body string) bool { return strings.Contains(body, files.unserved) },
				"does not name a good one": func(body string) bool { return !strings.Contains(body, "good.yaml") },
			} {
				if body := says(); !done(body) {
					t.Errorf("/readyz never %s: %s", what, body)
				}
			}
			if command == "authz" {
				if good, bad := g.metric("sallyport_policy_file_ok", "good.yaml"), g.metric("sallyport_policy_file_ok", "bad.yaml"); good != 1 || bad != 0 {
					t.Errorf("sallyport_policy_file_ok: good.yaml %v, bad.yaml %v", good, bad)
				}
			}
			for _, move := range [][2]string{{dir, dir + ".away"}, {dir + ".away", dir}} {
				if err := os.Rename(move[0], move[1]); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the move is seen", func() bool { return strings.Contains(says(), "no such file") == (move[0] == dir) })
			}
			if body := says(); !strings.Contains(body, "bad.yaml:2:1") {
				t.Errorf("/readyz forgot the bad file: %s", body)
			}
			before := g.metric("sallyport_reloads_total", `result="partly"`)
			write(t, filepath.Join(dir, "good.yaml"), files.better)
			eventually(t, "the new version is in force", func() bool { return g.metric("sallyport_reloads_total", `result="partly"`) > before })
			if body := says(); !strings.Contains(body, "in force in part") || strings.Contains(body, "stays in force") {
				t.Errorf("/readyz calls a reload refused that is in force in part: %s", body)
			}
		})
	}
}

// Results go to stdout and exit with 0.
func TestCheckAndVersion(t *testing.T) {
	dir := t.TempDir()
	policy, limits := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "limits.yaml")
	write(t, policy, shopPolicy("https://auth.example.com"))
	write(t, limits, generous)
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"policy", "check", policy}, "ok: 1 issuers, 1 services, 2 rules"},
		{[]string{"limits", "check", limits}, "ok: 1 domains"},
		{[]string{"version"}, "sallyport "},
		{[]string{"version", "--json"}, `"go":"go1.`},
		{[]string{"--help"}, "demo"},
	} {
		p := start(t, "sallyport", sallyport(t), test.args...)
		if code := p.wait(); code != 0 || !strings.Contains(p.output.String(), test.says) {
			t.Errorf("%v: exit code %d:\n%s", test.args, code, p.output.String())
		}
	}
}

// An environment variable stands in for a flag, and one that no flag reads is named.
func TestEnvironment(t *testing.T) {
	p := start(t, "sallyport", "/usr/bin/env", "SALLYPORT_JSON=true", "SALLYPORT_JSN=true", sallyport(t), "version")
	if code := p.wait(); code != 0 || !strings.Contains(p.output.String(), `"version"`) || !strings.Contains(p.output.String(), "SALLYPORT_JSN") {
		t.Errorf("exit code %d:\n%s", code, p.output.String())
	}
}
