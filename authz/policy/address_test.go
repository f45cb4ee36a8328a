package policy

import (
	"net/netip"
	"testing"
)

func TestJudgeAddress(t *testing.T) {
	gateway, err := ParseCallerPattern("istio/gw", "td")
	if err != nil {
		t.Fatal(err)
	}
	trusted := TrustedProxies{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}, Callers: []CallerPattern{gateway}}
	const gw = "spiffe://td/ns/istio/sa/gw"
	tests := []struct {
		name, peer, caller string
		forwarded          []string
		want               string // "" for no address
	}{
		// Only a trusted peer may speak X-Forwarded-For.
		{"a stranger's word", "203.0.113.1", "", []string{"198.51.100.7"}, "203.0.113.1"},
		{"a stranger with a name", "203.0.113.1", "spiffe://td/ns/web/sa/x", []string{"198.51.100.7"}, "203.0.113.1"},
		{"a trusted peer", "10.1.1.1", "", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a trusted identity", "203.0.113.1", gw, []string{"198.51.100.7"}, "198.51.100.7"},
		{"nothing forwarded", "10.1.1.1", "", nil, "10.1.1.1"},
		// From the right past trusted entries; what stands left of the first other is the client's word.
		{"a forged entry", "10.1.1.1", "", []string{"1.1.1.1, 198.51.100.7, 10.2.2.2"}, "198.51.100.7"},
		{"two fields", "10.1.1.1", "", []string{"1.1.1.1,198.51.100.7", "10.2.2.2"}, "198.51.100.7"},
		{"only trusted", "10.1.1.1", "", []string{"10.3.3.3,10.2.2.2"}, "10.3.3.3"},
		// Spellings.
		{"with a port", "10.1.1.1", "", []string{"198.51.100.7:80"}, "198.51.100.7"},
		{"IPv6", "::1", "", []string{"2001:db8::1"}, "2001:db8::1"},
		{"bracketed", "::1", "", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"bracketed, with a port", "::1", "", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"4 in 6", "::ffff:10.1.1.1", "", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		// What is no address is nobody's.
		{"octal", "10.1.1.1", "", []string{"0177.0.0.1"}, ""},
		{"zone", "10.1.1.1", "", []string{"fe80::1%eth0"}, ""},
		{"zone in brackets", "10.1.1.1", "", []string{"[fe80::1%eth0]:80"}, ""},
		{"name", "10.1.1.1", "", []string{"unknown"}, ""},
		{"empty entry", "10.1.1.1", "", []string{"198.51.100.7,"}, ""},
		{"empty", "10.1.1.1", "", []string{""}, ""},
		{"IPv4 in brackets", "10.1.1.1", "", []string{"[198.51.100.7]"}, ""},
		{"no peer", "", "", []string{"198.51.100.7"}, ""},
		{"no peer, a trusted identity", "", gw, []string{"198.51.100.7"}, "198.51.100.7"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := trusted.JudgeAddress(test.peer, test.caller, test.forwarded)
			if got.IsValid() != (test.want != "") || got.IsValid() && got.String() != test.want {
				t.Errorf("judged %v, want %q", got, test.want)
			}
		})
	}
}

func TestLimitGroup(t *testing.T) {
	for text, want := range map[string]string{"198.51.100.7": "198.51.100.7", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "": "unknown"} {
		address, _ := netip.ParseAddr(text)
		if got := LimitGroup(address); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}
