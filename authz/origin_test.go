package authz_test

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
)

// house is a policy that asks where requests come from. 10.0.0.0/8 are its proxies.
const house = `version: 1
trust_domain: cluster.local
peers: envoy
trusted_proxies: [10.0.0.0/8, "spiffe://cluster.local/ns/istio-system/sa/ingress"]
issuers:
  shop:
    issuer: https://auth.example.com
    audiences: [orders-api]
services:
  - name: orders
    hosts: [orders.example]
    not_from: [198.51.100.66, "2001:db8:bad::/48"]
    headers: {x-user-id: token.sub}
    probes: [/healthz]
    rules:
      - {name: anywhere, match: GET /anywhere, public: true}
      - {name: office, match: GET /office, public: true, from: [192.0.2.0/24, "2001:db8::/32", 127.0.0.1]}
      - {name: staff, match: GET /staff, from: [192.0.2.0/24]}
      - {name: hidden, match: "GET /hidden/{id}", from: [192.0.2.0/24], owner: {of: path.id, is: token.sub, otherwise: 404}}
`

// Who comes from where. Each row of security.md 2c about addresses is here by its name.
func TestOrigin(t *testing.T) {
	judge(t, gate(t, house), detail, []line{
		{"an office's address", get("/office", at("192.0.2.7")), "200 public office"},
		{"an office's IPv6 address", get("/office", at("2001:db8::7")), "200 public office"},
		{"a stranger's", get("/office", at("203.0.113.9")), "403 address office"},
		{"an office's that the service blocks", get("/office", at("2001:db8:bad::1")), "403 address office"},
		{"anywhere", get("/anywhere", at("203.0.113.9")), "200 public anywhere"},
		{"anywhere but there", get("/anywhere", at("198.51.100.66")), "403 address anywhere"},
		{"a probe comes from a kubelet, wherever that is", get("/healthz", at("198.51.100.66")), "200 probe probe"},

		// The token of a stranger is not even looked at.
		{"staff", get("/staff", as("alice"), at("192.0.2.7")), "200 allowed staff"},
		{"staff from elsewhere", get("/staff", as("alice"), at("203.0.113.9")), "403 address staff"},
		{"a bad token from elsewhere", get("/staff", as("panic"), at("203.0.113.9")), "403 address staff"},
		{"no token from elsewhere", get("/staff", at("203.0.113.9")), "403 address staff"},
		{"a hidden object from elsewhere", get("/hidden/bob", as("alice"), at("203.0.113.9")), "403 address hidden"},

		// XFF lists: only what a trusted peer says counts, from the right.
		{"XFF from a stranger", get("/office", at("203.0.113.9"), through("192.0.2.7")), "403 address office"},
		{"XFF from a proxy", get("/office", at("10.1.1.1"), through("192.0.2.7")), "200 public office"},
		{"XFF from a gateway by its name", get("/office", at("203.0.113.9"), from("spiffe://cluster.local/ns/istio-system/sa/ingress"), through("192.0.2.7")), "200 public office"},
		{"XFF that a client began", get("/office", at("10.1.1.1"), through("192.0.2.7, 203.0.113.9")), "403 address office"},
		{"XFF that a client began, in two fields", get("/office", at("10.1.1.1"), through("192.0.2.7", "203.0.113.9")), "403 address office"},
		{"XFF through two proxies", get("/office", at("10.1.1.1"), through("203.0.113.9, 192.0.2.7, 10.2.2.2")), "200 public office"},
		{"XFF that hides a blocked one behind another", get("/anywhere", at("10.1.1.1"), through("8.8.8.8, 198.51.100.66")), "403 address anywhere"},
		{"no XFF behind a proxy", get("/office", at("10.1.1.1")), "403 address office"},

		// IPv4-mapped IPv6, in either place.
		{"IPv4-mapped peer", get("/office", at("::ffff:192.0.2.7")), "200 public office"},
		{"IPv4-mapped, blocked", get("/anywhere", at("::ffff:198.51.100.66")), "403 address anywhere"},
		{"IPv4-mapped in XFF", get("/anywhere", at("10.1.1.1"), through("::ffff:198.51.100.66")), "403 address anywhere"},
		{"IPv4-mapped in hexadecimal", get("/anywhere", at("10.1.1.1"), through("::ffff:c633:6442")), "403 address anywhere"},
		{"IPv4-mapped proxy", get("/office", at("::ffff:10.1.1.1"), through("192.0.2.7")), "200 public office"},

		// Zone ids.
		{"a zone id", get("/office", at("10.1.1.1"), through("2001:db8::1%eth0")), "403 address office (unreadable)"},
		{"a zone id, where only some are blocked", get("/anywhere", at("10.1.1.1"), through("2001:db8:bad::1%25eth0")), "403 address anywhere (unreadable)"},

		// 0177.0.0.1 and its kin are 127.0.0.1 to some readers, and nothing here.
		{"0177.0.0.1", get("/office", at("10.1.1.1"), through("0177.0.0.1")), "403 address office (unreadable)"},
		{"0x7f.0.0.1", get("/office", at("10.1.1.1"), through("0x7f.0.0.1")), "403 address office (unreadable)"},
		{"127.1", get("/office", at("10.1.1.1"), through("127.1")), "403 address office (unreadable)"},
		{"2130706433", get("/office", at("10.1.1.1"), through("2130706433")), "403 address office (unreadable)"},
		{"an octal spelling of a blocked one", get("/anywhere", at("10.1.1.1"), through("0306.0063.0144.0102")), "403 address anywhere (unreadable)"},

		// Ports.
		{"a port", get("/office", at("10.1.1.1"), through("192.0.2.7:443")), "200 public office"},
		{"a port of a blocked one", get("/anywhere", at("10.1.1.1"), through("198.51.100.66:443")), "403 address anywhere"},
		{"a port behind brackets", get("/office", at("10.1.1.1"), through("[2001:db8::7]:443")), "200 public office"},
		{"two ports", get("/office", at("10.1.1.1"), through("192.0.2.7:443:443")), "403 address office (unreadable)"},

		// Absent, empty, a name.
		{"no address", get("/anywhere", at("")), "403 address anywhere (unreadable)"},
		{"a socket", get("/office", at("/run/app.sock")), "403 address office (unreadable)"},
		{"a name", get("/anywhere", at("10.1.1.1"), through("unknown")), "403 address anywhere (unreadable)"},
		{"an empty entry", get("/anywhere", at("10.1.1.1"), through("203.0.113.9, ")), "403 address anywhere (unreadable)"},

		// 10^4 entries.
		{"10^4 trusted entries before a stranger's", get("/office", at("10.1.1.1"), through("203.0.113.9"+strings.Repeat(",10.2.2.2", 10_000))), "403 address office"},
		{"10^4 forged entries behind a proxy", get("/office", at("10.1.1.1"), through(strings.Repeat("192.0.2.7,", 10_000)+"203.0.113.9")), "403 address office"},
		{"10^4 fields", get("/office", at("10.1.1.1"), through(strings.Split(strings.Repeat("192.0.2.7 ", 10_000)+"203.0.113.9", " ")...)), "403 address office"},

		// Hop-by-hop lists that name an identity header: an Envoy removes `connection` and what it names before it asks, another proxy may not.
		{"Connection names an identity header", get("/anywhere", header("connection", "close, X-User-Id")), "400 bad_header none"},
		{"Connection names another header", get("/anywhere", header("connection", "close, x-other")), "200 public anywhere"},

		// Spellings of an identity header, which an upstream may read as the gate's own.
		{"X_User_Id", get("/anywhere", header("x_user_id", "bob")), "400 bad_header none"},
		{"x-user_id", get("/anywhere", header("x-user_id", "bob")), "400 bad_header none"},
		{"x-user-id itself is removed", get("/anywhere", header("x-user-id", "bob")), "200 public anywhere"},
	})
}

// An explanation tells the demand, what was found, and what would have helped.
func TestOriginExplained(t *testing.T) {
	a := gate(t, house)
	for _, test := range []struct {
		ask        *authz.Request
		line, mend string
	}{
		{get("/office", at("203.0.113.9")), "address FAILED: an address not in 198.51.100.66/32, 2001:db8:bad::/48 and in 192.0.2.0/24, 2001:db8::/32, 127.0.0.1/32; found 203.0.113.9",
			"a request from an address not in 198.51.100.66/32, 2001:db8:bad::/48 and in 192.0.2.0/24, 2001:db8::/32, 127.0.0.1/32"},
		{get("/anywhere", at("192.0.2.7")), "address passed: an address not in 198.51.100.66/32, 2001:db8:bad::/48; found 192.0.2.7", ""},
		{get("/anywhere", at("")), "address FAILED: an address not in 198.51.100.66/32, 2001:db8:bad::/48; found none that can be read", "a request from an address not in 198.51.100.66/32, 2001:db8:bad::/48"},
	} {
		e := authz.Explain(a.Check(t.Context(), test.ask), test.ask)
		var got string
		for _, step := range e.Steps {
			if step.Step == "address" {
				got = step.Step + " " + step.Outcome.String() + ": " + step.Demand + "; found " + step.Found
			}
		}
		if got != test.line || e.Mend != test.mend {
			t.Errorf("%s from %s:\n%s\n%s", test.ask.Target, test.ask.Peer.Address, got, e.Mend)
		}
	}
}
