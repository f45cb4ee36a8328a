package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// load calls through Envoy from several clients until stop, and counts what is not 200.
type load struct {
	stop    chan struct{}
	clients sync.WaitGroup
	good    atomic.Int64
	mu      sync.Mutex
	bad     []string
}

func (m *mesh) load(clients int) *load {
	l := &load{stop: make(chan struct{})}
	token := m.token("alice", "read:orders")
	for range clients {
		l.clients.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				a, err := m.try("/users/alice/orders", token)
				if err == nil && a.status == http.StatusOK {
					l.good.Add(1)
					continue
				}
				l.mu.Lock()
				l.bad = append(l.bad, strings.TrimSpace(a.body+" "+http.StatusText(a.status)))
				l.mu.Unlock()
			}
		})
	}
	return l
}

// end stops the clients and fails the test if one of them was refused.
func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.clients.Wait()
	if len(l.bad) > 0 {
		t.Errorf("%d calls of %d were lost, the first: %s", len(l.bad), l.good.Load()+int64(len(l.bad)), l.bad[0])
	}
	if l.good.Load() == 0 {
		t.Error("no call was made")
	}
}

// A policy that changes under load loses no request; a broken one keeps the last good one, and says so.
func TestReloadUnderLoad(t *testing.T) {
	m := newMesh(t, meshOptions{})
	good := shopPolicy(m.issuerAt.URL)
	reloads := func(result string) float64 {
		return m.authz.metric("sallyport_reloads_total", `result="`+result+`"`)
	}
	l := m.load(4)
	for i, text := range []string{
		strings.Replace(good, "/catalogue/{item}", "/shop/{item}", 1),
		"version: 1\nservices: [\n",
		strings.Replace(good, "leeway", "leeway", 1) + "      - {name: more, match: \"GET /more\", public: true}\n",
		strings.Replace(good, "[orders-api]", "[orders-api, other]", 1), // an issuer with two audiences and no choice: refused
		good,
	} {
		before := reloads("loaded") + reloads("refused")
		write(t, m.policy, text)
		eventually(t, "the policy is read again", func() bool { return reloads("loaded")+reloads("refused") > before })
		if i == 1 {
			m.expect(http.StatusOK, "/shop/tea", "") // the one before the broken file
			if _, body := get(local(m.authz.admin), "/readyz"); !strings.Contains(body, "policy.yaml") {
				t.Errorf("/readyz does not say that the file is refused: %s", body)
			}
			if m.authz.metric("sallyport_policy_file_ok") != 0 {
				t.Error("sallyport_policy_file_ok is 1 for a broken file")
			}
		}
	}
	l.end(t)
	m.expect(http.StatusOK, "/catalogue/tea", "")
	m.expect(http.StatusForbidden, "/shop/tea", "")
}

// Kubernetes swaps a ConfigMap by one symbolic link.
func TestReloadByConfigMap(t *testing.T) {
	dir := t.TempDir()
	version := func(name, domain string) {
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, "limits.yaml"), strings.Replace(edgeLimits, "domain: edge", "domain: "+domain, 1))
		link := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..2026_1", "one")
	if err := os.Symlink(filepath.Join("..data", "limits.yaml"), filepath.Join(dir, "limits.yaml")); err != nil {
		t.Fatal(err)
	}
	g := serve(t, "ratelimit", "--limits", dir, "--store", "memory", "--audit", "off")
	version("..2026_2", "two")
	eventually(t, "the swap is one reload", func() bool { return g.metric("sallyport_reloads_total", `result="loaded"`) == 1 })
	if got := g.metric("sallyport_reloads_total", `result="refused"`); got != 0 {
		t.Errorf("%v refused reloads", got)
	}
}
