package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz/issuer"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// revokedWithin is the promise: what is revoked at one replica is dead at all of them.
const revokedWithin = time.Second

// revoking is a policy that asks for revocation.
func revoking(issuerURL string) string {
	return strings.Replace(shopPolicy(issuerURL), "issuers:\n", "revocation: {stale_after: 10s}\nissuers:\n", 1)
}

// revoker is a gate that an operator can ask to revoke.
type revoker struct {
	*gate
	admin string
}

func newRevoker(t *testing.T, policy, store string) *revoker {
	t.Helper()
	r := &revoker{admin: "unix:" + filepath.Join(t.TempDir(), "admin.sock")}
	r.gate = serve(t, "authz", "--policy", policy, "--audit", "off", "--revocations", store, "--admin-api", r.admin)
	return r
}

// revoke is what an operator types. It returns the exit code and what was said.
func (r *revoker) revoke(t *testing.T, args ...string) (int, string) {
	t.Helper()
	p := start(t, "sallyport token revoke", sallyport(t), append([]string{"token", "revoke", "--admin-api", r.admin, "--issuer", "shop"}, args...)...)
	return p.wait(), p.output.String()
}

// reason asks a gate about a request with a token, as Envoy would.
func (r *revoker) reason(t *testing.T, token string) string {
	t.Helper()
	resp, err := authv3.NewAuthorizationClient(dial(t, r.listen)).Check(context.Background(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/users/alice/orders", Host: "shop.test",
			HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer " + token)}}},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
}

// issuerAndPolicy are an issuer, and a policy of it that asks for revocation.
func issuerAndPolicy(t *testing.T) (*mesh, string) {
	t.Helper()
	m := &mesh{t: t, dir: t.TempDir()}
	m.startIssuer()
	policy := filepath.Join(m.dir, "policy.yaml")
	write(t, policy, revoking(m.issuerAt.URL))
	return m, policy
}

// A token that is revoked at one replica is dead at all of them, and nobody else's is.
func TestRevokedEverywhere(t *testing.T) {
	m, policy := issuerAndPolicy(t)
	store := "redis://" + storetest.StartValkey(t)
	one, two := newRevoker(t, policy, store), newRevoker(t, policy, store)
	named := func(jti, sid string) string {
		extra := map[string]any{"jti": jti}
		if sid != "" {
			extra["sid"] = sid
		}
		token, err := m.issuer.Mint(issuer.Claims{Subject: "alice", ClientID: "web", Audience: []string{"orders-api"}, Scope: "read:orders", Lifetime: 10 * time.Minute, Extra: extra})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	lost, kept, session := named("lost", ""), named("kept", ""), named("third", "s1")
	for _, token := range []string{lost, kept, session} {
		for _, r := range []*revoker{one, two} {
			eventually(t, "alice passes", func() bool { return r.reason(t, token) == "allowed" })
		}
	}
	dead := func(what, token string) {
		t.Helper()
		for _, r := range []*revoker{one, two} {
			within(t, 5*revokedWithin, what+" is dead", func() bool { return r.reason(t, token) == "invalid_token" })
		}
	}
	if code, out := one.revoke(t, "--jti", "lost"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	dead("the lost token", lost)
	if code, out := two.revoke(t, "--session", "s1"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	dead("the session's token", session)
	for _, r := range []*revoker{one, two} {
		if got := r.reason(t, kept); got != "allowed" {
			t.Errorf("another token of alice: %s", got)
		}
	}
	if code, out := one.revoke(t, "--subject", "alice"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	dead("each token of alice", kept)
	// A gate that starts now knows it too.
	if got := newRevoker(t, policy, store).reason(t, lost); got != "invalid_token" {
		t.Errorf("at a new replica: %s", got)
	}
	if code, out := one.revoke(t, "--jti", "x", "--issuer", "stranger"); code != 1 || !strings.Contains(out, "stranger") {
		t.Errorf("an unknown issuer: exit code %d: %s", code, out)
	}
}

// While the store flaps, what was revoked stays revoked, and what is revoked once it is back reaches everybody.
func TestRevokedWhileTheStoreFlaps(t *testing.T) {
	m, policy := issuerAndPolicy(t)
	valkey := storetest.RunValkey(t)
	one, two := newRevoker(t, policy, "redis://"+valkey.Addr), newRevoker(t, policy, "redis://"+valkey.Addr)
	first, second := m.token("alice", "read:orders"), m.token("alice", "read:orders")
	eventually(t, "alice passes", func() bool { return one.reason(t, first) == "allowed" && two.reason(t, second) == "allowed" })
	if code, out := one.revoke(t, "--subject", "alice"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	within(t, 5*revokedWithin, "dead at both", func() bool { return one.reason(t, first) == "invalid_token" && two.reason(t, first) == "invalid_token" })
	valkey.Kill()
	if code, out := one.revoke(t, "--subject", "bob"); code != 2 || !strings.Contains(out, "not revoked everywhere") {
		t.Errorf("revoking without a store: exit code %d, and nobody else can know: %s", code, out)
	}
	for _, r := range []*revoker{one, two} {
		if got := r.reason(t, first); got != "invalid_token" {
			t.Errorf("without its store a gate forgot: %s", got)
		}
	}
	// It comes back empty, at the same address: the replicas write again what it lost.
	_, port, _ := strings.Cut(valkey.Addr, ":")
	storetest.RunValkey(t, "--port", port)
	eventually(t, "revoking works again", func() bool { code, _ := two.revoke(t, "--subject", "carol"); return code == 0 })
	late := newRevoker(t, policy, "redis://"+valkey.Addr)
	eventually(t, "a replica that came after the loss knows it", func() bool { return late.reason(t, first) == "invalid_token" })
}

// After a Sentinel has made the replica the primary, what was revoked stays revoked, and what is revoked then reaches everybody.
func TestRevokedAfterFailover(t *testing.T) {
	m, policy := issuerAndPolicy(t)
	primary := storetest.RunValkey(t)
	_, port, _ := strings.Cut(primary.Addr, ":")
	replica := storetest.RunValkey(t, "--replicaof", "127.0.0.1", port)
	sentinelPort := freePort(t)
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	write(t, config, fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor main 127.0.0.1 %s 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n",
		sentinelPort, filepath.Dir(config), port))
	start(t, "sentinel", tool(t, "SALLYPORT_VALKEY", "tools/bin/valkey-server"), config, "--sentinel")
	store := "redis+sentinel://main@" + local(sentinelPort) + "/0"
	one, two := newRevoker(t, policy, store), newRevoker(t, policy, store)
	token := m.token("alice", "read:orders")
	passes := func(r *revoker) bool { return r.reason(t, token) == "allowed" }
	eventually(t, "alice passes", func() bool { return passes(one) && passes(two) })
	eventually(t, "revoking works", func() bool { code, _ := one.revoke(t, "--subject", "bob"); return code == 0 })
	eventually(t, "the replica has it", func() bool { return keys(t, replica.Addr) == 1 })
	primary.Kill()
	eventually(t, "revoking works after the failover", func() bool { code, _ := two.revoke(t, "--subject", "alice"); return code == 0 })
	within(t, 5*revokedWithin, "alice is dead at both", func() bool { return one.reason(t, token) == "invalid_token" && two.reason(t, token) == "invalid_token" })
}

// keys is how many keys a server holds.
func keys(t *testing.T, address string) int {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: address, DisableIdentity: true})
	defer client.Close()
	n, err := client.DBSize(context.Background()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// Where nobody can know what was revoked, nothing passes: 503, and not 401, for the token may be good.
func TestRevocationStale(t *testing.T) {
	m, policy := issuerAndPolicy(t)
	g := serve(t, "authz", "--policy", policy, "--audit", "off", "--revocations", "redis://"+local(freePort(t)))
	r := &revoker{gate: g}
	eventually(t, "the view is stale", func() bool { return r.reason(t, m.token("alice", "read:orders")) == "revocation_stale" })
	if status, body := get(local(g.admin), "/readyz"); status != http.StatusOK || !strings.Contains(body, "revocations") {
		t.Errorf("/readyz: %d %s", status, body)
	}
}

// What was revoked stays revoked through every way a policy can change: the issuer has another name, tokens may live longer, the file
// that asked for revocation is broken, and the gate is started again.
func TestRevokedThroughReloads(t *testing.T) {
	m := &mesh{t: t, dir: t.TempDir()}
	m.startIssuer()
	folder := filepath.Join(m.dir, "policy")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	global, shop := filepath.Join(folder, "a-global.yaml"), filepath.Join(folder, "b-shop.yaml")
	write(t, global, "version: 1\nrevocation: {stale_after: 10s}\n")
	text := strings.Replace(shopPolicy(m.issuerAt.URL), "    audiences", "    max_lifetime: 61m\n    audiences", 1)
	write(t, shop, text)
	store := "redis://" + storetest.StartValkey(t)
	r := newRevoker(t, folder, store)
	alice, bob := m.token("alice", "read:orders"), m.token("bob", "read:orders")
	eventually(t, "alice passes", func() bool { return r.reason(t, alice) == "allowed" })
	if code, out := r.revoke(t, "--subject", "alice"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	still := func(after string) {
		t.Helper()
		within(t, 5*revokedWithin, "alice is dead after "+after, func() bool { return r.reason(t, alice) == "invalid_token" })
		if got := r.reason(t, bob); got != "owner" {
			t.Errorf("after %s bob, who asks for alice's, gets %s", after, got)
		}
	}
	still("the revocation")
	change := func(path, text, after string) {
		t.Helper()
		reloads := func() float64 { return r.metric("sallyport_reloads_total") }
		before := reloads()
		write(t, path, text)
		eventually(t, "the policy is read again", func() bool { return reloads() > before })
		still(after)
	}
	change(shop, strings.NewReplacer("  shop:\n", "  store:\n").Replace(text), "the issuer was renamed")
	change(shop, strings.Replace(text, "61m", "10h", 1), "tokens may live longer")
	change(global, "version: 1\nrevocation: {stale_after: 10s}\nnonsense: true\n", "the file was broken")
	r.kill()
	r = newRevoker(t, folder, store)
	still("a start with the broken file")
}

// A server that evicts under memory pressure would bring revoked tokens back to life: no gate begins with it.
func TestRevocationsNeedAStoreThatKeepsThem(t *testing.T) {
	_, policy := issuerAndPolicy(t)
	evicting := storetest.RunValkey(t, "--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru")
	p := start(t, "authz", sallyport(t), "authz", "--listen", local(0), "--admin=", "--policy", policy, "--revocations", "redis://"+evicting.Addr)
	if code := p.wait(); code != 2 || !strings.Contains(p.output.String(), "noeviction") {
		t.Errorf("exit code %d:\n%s", code, p.output.String())
	}
}

// A file of revocations is for one gate.
func TestRevocationsInAFile(t *testing.T) {
	m, policy := issuerAndPolicy(t)
	file := "file://" + filepath.Join(m.dir, "revoked")
	admin := "unix:" + filepath.Join(t.TempDir(), "admin.sock")
	flags := []string{"--policy", policy, "--audit", "off", "--revocations", file, "--admin-api", admin, "--replicas", strconv.Itoa(1)}
	r := &revoker{gate: serve(t, "authz", flags...), admin: admin}
	token := m.token("alice", "read:orders")
	eventually(t, "alice passes", func() bool { return r.reason(t, token) == "allowed" })
	if code, out := r.revoke(t, "--subject", "alice"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	eventually(t, "dead", func() bool { return r.reason(t, token) == "invalid_token" })
	r.kill()
	again := &revoker{gate: serve(t, "authz", flags...)}
	eventually(t, "dead after a restart", func() bool { return again.reason(t, token) == "invalid_token" })
}
