package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// How a start fails: with 1 for an invalid file and 2 for everything else, and with words that say what to do.
func TestStartRefused(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	write(t, policy, shopPolicy("http://127.0.0.1:1"))
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
		"no limits":               {[]string{"ratelimit", anywhere, "--admin="}, 2, "--limits"},
		"broken limits":           {[]string{"ratelimit", anywhere, "--admin=", "--limits", broken}, 1, "broken.yaml:1:"},
		"a password in a URL":     {[]string{"ratelimit", anywhere, "--admin=", "--limits", limits, "--store", "redis://me:hunter2@127.0.0.1:1"}, 2, "--store-password-file"},
		"a store of another kind": {[]string{"ratelimit", anywhere, "--admin=", "--limits", limits, "--store", "memcache://127.0.0.1:1"}, 2, "want redis"},
		"off loopback, no store":  {[]string{"ratelimit", "--listen", "0.0.0.0:0", "--admin=", "--plaintext", "--limits", limits}, 2, "--store"},
		"policy check, broken":    {[]string{"policy", "check", broken}, 1, "broken.yaml:2:"},
		"policy check, absent":    {[]string{"policy", "check", filepath.Join(dir, "absent.yaml")}, 2, "absent.yaml"},
		"policy check, no file":   {[]string{"policy", "check"}, 2, "--help"},
		"limits check, broken":    {[]string{"limits", "check", broken}, 1, "broken.yaml:1:"},
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

// A folder may be good in part: what is bad is unserved, and everything else is served.
func TestStartWithOneBadFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good.yaml"), shopPolicy("http://127.0.0.1:1"))
	write(t, filepath.Join(dir, "bad.yaml"), "version: 1\nnonsense: true\n")
	g := serve(t, "authz", "--policy", dir, "--audit", "off")
	if got := g.metric("sallyport_policy_file_ok", "good.yaml"); got != 1 {
		t.Errorf("good.yaml: %v", got)
	}
	if _, body := get(local(g.admin), "/readyz"); !strings.Contains(body, "bad.yaml:2:1") {
		t.Errorf("/readyz does not name the bad line: %s", body)
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
