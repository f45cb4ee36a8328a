package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// origins is a policy of one public rule, with what its service and the rule say of where requests come from.
func origins(service, rule string) string {
	return "version: 1\nservices:\n  - name: a\n    hosts: [a.example]\n    " + service + "\n    rules:\n      - name: r\n        match: GET /r\n        public: true\n        " + rule + "\n"
}

// What cannot be meant does not load, and the complaint says what to write.
func TestOriginRefused(t *testing.T) {
	for name, test := range map[string]struct{ from, want, hint string }{
		"host bits":              {"from: [10.0.0.1/8]", `"10.0.0.1/8" has bits set beyond its /8`, "write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address"},
		"host bits of IPv6":      {"from: [\"2001:db8::1/32\"]", `has bits set beyond its /32`, "write 2001:db8::/32 for the network, or 2001:db8::1 for the one address"},
		"twice":                  {"from: [10.0.0.0/8, 10.0.0.0/8]", "10.0.0.0/8 stands here twice", "remove one"},
		"an address twice":       {"not_from: [192.0.2.7, 192.0.2.7/32]", "192.0.2.7/32 stands here twice", "remove one"},
		"an empty list":          {"from: []", "the list is empty", "name a network, or leave the key out"},
		"a list of nothing":      {"not_from: []", "the list is empty", "name a network, or leave the key out"},
		"a name":                 {"from: [internal]", `"internal" is no network and no address`, "write 10.0.0.0/8, 2001:db8::/32 or one address"},
		"an octal spelling":      {"from: [0177.0.0.1]", `"0177.0.0.1" is no network and no address`, "write 10.0.0.0/8"},
		"a star":                 {"from: [10.*]", `"10.*" is no network`, "write 10.0.0.0/8"},
		"a zone":                 {"from: [\"fe80::1%eth0\"]", "has a zone", "write the address without what begins with %"},
		"a zone with a length":   {"from: [\"fe80::1%eth0/64\"]", "has a zone", "write the address without what begins with %"},
		"IPv4 as IPv6":           {"from: [\"::ffff:10.0.0.0/104\"]", "in the clothes of IPv6", "write 10.0.0.0/8"},
		"an IPv4 host as IPv6":   {"from: [\"::ffff:10.0.0.1\"]", "in the clothes of IPv6", "write 10.0.0.1/32"},
		"half of IPv4 as IPv6":   {"from: [\"::ffff:0:0/90\"]", "is neither an IPv4 network nor an IPv6 one", "write 10.0.0.0/8"},
		"one text":               {"from: 10.0.0.0/8", "a list is meant", ""},
		"nobody can pass":        {"from: [10.1.0.0/16]\n        not_from: [10.0.0.0/8]", "nobody can pass: `not_from` takes all of `from`", "except less"},
		"nobody, by two halves":  {"from: [10.0.0.0/8]\n        not_from: [10.0.0.0/9, 10.128.0.0/9]", "nobody can pass", "except less"},
		"nobody, by its pieces":  {"from: [10.0.0.0/30]\n        not_from: [10.0.0.0, 10.0.0.1, 10.0.0.2/31]", "nobody can pass", "except less"},
		"nobody in either kind":  {"from: [10.0.0.0/8, \"2001:db8::/32\"]\n        not_from: [0.0.0.0/0, \"::/0\"]", "nobody can pass", "except less"},
		"a file that is not":     {"from: {file: partners.cidr}", "there is no list of networks `partners.cidr` beside this file", "put it beside the policy files"},
		"a file of another name": {"from: {file: partners.txt}", "there is no list of networks `partners.txt`", "which ends in .cidr"},
		"a file in a folder":     {"from: {file: lists/partners.cidr}", "there is no list of networks `lists/partners.cidr`", "beside the policy files"},
		"no file":                {"from: {}", "missing key \"file\"", "partners.cidr"},
	} {
		for place, text := range map[string]string{"service": origins(strings.ReplaceAll(test.from, "\n        ", "\n    "), ""), "rule": origins("", test.from)} {
			p, errs := Parse([]File{{Name: "p.yaml", Data: []byte(text)}})
			if p != nil || !strings.Contains(errs.Pretty(), test.want) || !strings.Contains(errs.Pretty(), test.hint) {
				t.Errorf("%s, on a %s: loads %v:\n%s", name, place, p != nil, errs.Pretty())
			}
		}
	}
	if p, errs := parse(strings.Replace(origins("", "from: [10.0.0.0/8]"), "public: true", "deny: 403", 1)); p != nil || !strings.Contains(errs, "a `deny` rule refuses everybody") {
		t.Errorf("a deny rule: %s", errs)
	}
}

// The line of a complaint is shown, with its place.
func TestOriginRefusedAtItsPlace(t *testing.T) {
	_, errs := Parse([]File{{Name: "p.yaml", Data: []byte(origins("", "from: [10.0.0.1/8]"))}})
	if len(errs) != 1 || errs[0].Error() != `p.yaml:10:16: "10.0.0.1/8" has bits set beyond its /8` || !strings.Contains(errs[0].Line, "from: [10.0.0.1/8]") {
		t.Errorf("%s", errs.Pretty())
	}
}

// What loads and cannot be meant is told.
func TestOriginDoubts(t *testing.T) {
	for name, test := range map[string]struct{ service, rule, want string }{
		"nothing":                        {"from: [10.0.0.0/8]", "from: [10.1.0.0/16]", ""},
		"every IPv4 address":             {"", "from: [0.0.0.0/0]", "0.0.0.0/0 is every IPv4 address and no IPv6 address"},
		"every IPv6 address":             {"", "not_from: [\"::/0\"]", "::/0 is every IPv6 address and no IPv4 address"},
		"every address":                  {"", "from: [0.0.0.0/0, \"::/0\"]", ""},
		"apart from the service":         {"from: [10.0.0.0/8]", "from: [192.168.0.0/16]", "nobody can be allowed"},
		"taken by the service":           {"not_from: [10.0.0.0/8]", "from: [10.1.0.0/16]", "nobody can be allowed"},
		"takes all of the service":       {"from: [10.1.0.0/16]", "not_from: [10.0.0.0/8]", "nobody can be allowed"},
		"leaves something":               {"from: [10.1.0.0/16, 192.0.2.1]", "not_from: [10.0.0.0/8]", ""},
		"everywhere but for all of it":   {"not_from: [0.0.0.0/0]", "not_from: [\"::/0\"]", "nobody can be allowed"},
		"everywhere but for most of it":  {"not_from: [10.0.0.0/8]", "not_from: [192.168.0.0/16]", ""},
		"one address of a great network": {"from: [\"2001:db8::/32\"]", "from: [\"2001:db8::7\"]", ""},
	} {
		var told []string
		for _, w := range mustParse(t, origins(test.service, test.rule)).Warnings {
			told = append(told, w.Msg)
		}
		if got := strings.Join(told, "\n"); test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A file of networks: one a line, comments and empty lines between them. All that is wrong is said at once, each at its place.
func TestNetworksFile(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"networks":         {"# partners\n10.0.0.0/8\n\n  192.0.2.7\t# the office\r\n2001:db8::/32", "10.0.0.0/8 192.0.2.7/32 2001:db8::/32"},
		"nothing":          {"", "x.cidr:1:1: the file names no network"},
		"comments":         {"# nobody\n\n", "x.cidr:1:1: the file names no network"},
		"two on a line":    {"10.0.0.0/8 10.1.0.0/16\n", `x.cidr:1:1: "10.0.0.0/8 10.1.0.0/16" is no network and no address`},
		"host bits":        {"10.0.0.0/8\n  10.0.0.1/8\n", `x.cidr:2:3: "10.0.0.1/8" has bits set beyond its /8`},
		"twice":            {"10.0.0.0/8\n# again\n10.0.0.0/8\n", "x.cidr:3:1: 10.0.0.0/8 stands in line 1 already"},
		"several mistakes": {"ten\n10.0.0.0/8\neleven\n", `x.cidr:1:1: "ten" is no network and no address` + "\n" + `x.cidr:3:1: "eleven" is no network and no address`},
		"a byte order":     {"\ufeff10.0.0.0/8\n", "x.cidr:1:1: \"\\ufeff10.0.0.0/8\" is no network and no address"},
	} {
		all, errs := readNetworks(File{Name: "x.cidr", Data: []byte(test.text)})
		got := strings.Trim(fmt.Sprint(all), "[]")
		if len(errs) > 0 {
			var lines []string
			for _, err := range errs {
				lines = append(lines, err.Error())
				if lines[0] != "x.cidr:1:1: the file names no network" && (err.Line == "" || err.Hint == "") {
					t.Errorf("%s: no line or no hint: %+v", name, err)
				}
			}
			got = strings.Join(lines, "\n")
		}
		if got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, test.want)
		}
	}
	if _, errs := readNetworks(File{Name: "x.cidr", Data: []byte(strings.Repeat("x\n", 1000))}); len(errs) != maxComplaints {
		t.Errorf("%d complaints of a file that is none", len(errs))
	}
}

// A list in a file is part of the policy: its change is another digest, a bad version leaves the last good one, and without it nothing that
// needs it is served.
func TestNetworksFileReloads(t *testing.T) {
	text := origins("", "from: {file: partners.cidr}")
	at := func(s *Snapshot, address string) string {
		service := s.Policy.Service("a")
		if service == nil {
			return "not served"
		}
		return fmt.Sprint(service.Rules[0].OriginAdmits(netip.MustParseAddr(address)))
	}
	first := Load(nil, folder("p/a.yaml", text, "p/partners.cidr", "192.0.2.0/24\n"))
	if state(first) != "ok, ok" || at(first, "192.0.2.7") != "true" || at(first, "203.0.113.7") != "false" {
		t.Fatalf("%s: %s %s", state(first), at(first, "192.0.2.7"), at(first, "203.0.113.7"))
	}
	second := Load(first, folder("p/a.yaml", text, "p/partners.cidr", "203.0.113.0/24\n"))
	if state(second) != "ok, ok" || at(second, "192.0.2.7") != "false" || at(second, "203.0.113.7") != "true" || second.Policy.Digest == first.Policy.Digest {
		t.Errorf("replaced: %s, digests %s and %s", state(second), first.Policy.Digest, second.Policy.Digest)
	}
	for _, bad := range []string{"", "203.0.113.1/24\n", "203.0.113.0/2\x00"} {
		third := Load(second, folder("p/a.yaml", text, "p/partners.cidr", bad))
		if state(third) != "ok, last good" || at(third, "203.0.113.7") != "true" || third.Policy.Digest != second.Policy.Digest {
			t.Errorf("%q: %s, %s", bad, state(third), at(third, "203.0.113.7"))
		}
	}
	gone := Load(second, folder("p/a.yaml", text))
	if at(gone, "203.0.113.7") != "true" || state(gone) != "ok, last good" {
		t.Errorf("gone: %s, %s", state(gone), at(gone, "203.0.113.7"))
	}
	never := Load(nil, folder("p/a.yaml", text, "p/partners.cidr", "ten\n"))
	if at(never, "203.0.113.7") != "not served" || state(never) != "out, out" {
		t.Errorf("never good: %s, %s", state(never), at(never, "203.0.113.7"))
	}
	unused := Load(nil, folder("p/a.yaml", origins("", ""), "p/partners.cidr", "ten\n"))
	if at(unused, "203.0.113.7") != "true" || state(unused) != "ok, out" {
		t.Errorf("nobody names it: %s, %s", state(unused), at(unused, "203.0.113.7"))
	}
}

// Service and rule are both demanded, in branches too, and a public rule asks as well.
func TestOriginsAreANDed(t *testing.T) {
	p := mustParse(t, origins("from: [10.0.0.0/8]", "not_from: [10.9.0.0/16]"))
	rule := p.Services[0].Rules[0]
	for address, want := range map[string]bool{"10.1.2.3": true, "10.9.1.1": false, "192.0.2.1": false, "2001:db8::1": false} {
		if rule.OriginAdmits(netip.MustParseAddr(address)) != want {
			t.Errorf("%s: %v", address, !want)
		}
	}
	if rule.OriginAdmits(netip.Addr{}) {
		t.Error("no address is admitted")
	}
	branches := mustParse(t, `version: 1
trust_domain: t
peers: envoy
issuers: {shop: {issuer: "https://shop.example", audiences: [a]}}
services:
  - {name: a, hosts: [a.example], rules: [{name: r, match: GET /r, from: [10.0.0.0/8], either: [{issuer: shop}, {token: none, callers: [web/x]}]}]}
`)
	for _, branch := range branches.Services[0].Rules[0].Either {
		if branch.OriginAdmits(netip.MustParseAddr("192.0.2.1")) || !branch.OriginAdmits(netip.MustParseAddr("10.1.1.1")) {
			t.Error("a branch does not ask where the request comes from")
		}
	}
}

// What is demanded of an address that nobody could read is never met.
func TestInvalidAddressPassesNothing(t *testing.T) {
	ten := newNetworks([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "")
	for _, o := range []Origin{{From: ten}, {NotFrom: ten}, {From: ten, NotFrom: ten}, {From: everywhere}} {
		if o.Admits(netip.Addr{}) {
			t.Errorf("%+v admits nobody's address", o)
		}
	}
	if !(&Origin{}).Admits(netip.Addr{}) {
		t.Error("an origin that demands nothing demands an address")
	}
}

// A set says of each address, and of each network, what asking its networks one by one says.
func TestNetworksAgreeWithTheirTwin(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	// A small world: 192.0.2.0/28 and 2001:db8::/124, so that everything meets everything.
	network := func() netip.Prefix {
		if random.IntN(2) == 0 {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(16))}), 28+random.IntN(5)).Masked()
		}
		six := netip.MustParseAddr("2001:db8::").As16()
		six[15] = byte(random.IntN(16))
		return netip.PrefixFrom(netip.AddrFrom16(six), 124+random.IntN(5)).Masked()
	}
	set := func(most int) *Networks {
		var all []netip.Prefix
		for range 1 + random.IntN(most) {
			if n := network(); !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
		return newNetworks(all, "")
	}
	contains := func(n *Networks, address netip.Addr) bool {
		return slices.ContainsFunc(n.all, func(p netip.Prefix) bool { return p.Contains(address) })
	}
	for range 3000 {
		from, not, wanted := set(6), set(12), network()
		whole, passed := true, false
		for address := wanted.Addr(); wanted.Contains(address); address = address.Next() {
			if from.Contains(address) != contains(from, address) {
				t.Fatalf("seed %d: %s in %v: %v", seed, address, from.all, from.Contains(address))
			}
			whole = whole && contains(from, address)
		}
		if from.covers(wanted) != whole {
			t.Fatalf("seed %d: %v covers %s: %v", seed, from.all, wanted, !whole)
		}
		for _, p := range from.all {
			for address := p.Addr(); p.Contains(address); address = address.Next() {
				passed = passed || !contains(not, address)
			}
		}
		if admitsNobody(Origin{From: from, NotFrom: not}) == passed {
			t.Fatalf("seed %d: from %v but %v: somebody passes: %v", seed, from.all, not.all, passed)
		}
	}
}

// FuzzNetworks: whatever a file of networks holds, it is read whole or refused at a place in it; what is read is in its one form, once.
func FuzzNetworks(f *testing.F) {
	for _, seed := range []string{"", "10.0.0.0/8\n192.0.2.7 # x\r\n", "::ffff:10.0.0.0/104", "fe80::1%eth0", "2001:db8::/32\n2001:db8::/32", "0177.0.0.1/8", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, errs := readNetworks(File{Name: "x.cidr", Data: []byte(text)})
		if (len(all) == 0) == (len(errs) == 0) {
			t.Fatalf("%v and %v", all, errs)
		}
		lines := strings.Count(text, "\n") + 1
		for _, err := range errs {
			if err.Pos.Line < 1 || err.Pos.Line > lines || err.Pos.Column < 1 || err.Hint == "" {
				t.Errorf("%+v", err)
			}
		}
		set := newNetworks(all, "")
		for i, network := range all {
			if network != network.Masked() || network.Addr().Is4In6() || network.Addr().Zone() != "" || slices.Contains(all[:i], network) || !set.Contains(network.Addr()) || !set.covers(network) {
				t.Errorf("%s of %v", network, all)
			}
		}
	})
}

// BenchmarkOrigin asks a list of ten thousand networks about an address, which no list of this length may make slow.
func BenchmarkOrigin(b *testing.B) {
	var all []netip.Prefix
	for i := range 10_000 {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
	}
	o := Origin{From: newNetworks(all, "partners.cidr")}
	address := netip.MustParseAddr("10.39.15.7")
	b.ReportAllocs()
	for b.Loop() {
		if !o.Admits(address) {
			b.Fatal("refused")
		}
	}
}
