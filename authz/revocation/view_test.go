package revocation

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz"
)

// noon is when the tables' revocations happen.
var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

// iss is how the tables' tokens name their issuer; the policy's name of it, which is "shop", is nothing to a revocation.
const iss = "https://shop.example"

func token(change func(p *authz.Principal)) *authz.Principal {
	p := &authz.Principal{
		Identity: authz.Identity{Issuer: "shop", Kind: authz.Person, Subject: "ada"}, Issuer: iss, Subject: "ada",
		ClientID: "web", TokenID: "t1", Session: "s1", IssuedAt: noon.Add(-time.Minute),
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestRevoked(t *testing.T) {
	ms := time.Millisecond
	issued := func(d time.Duration) func(p *authz.Principal) {
		return func(p *authz.Principal) { p.IssuedAt = noon.Add(d) }
	}
	machine := func(p *authz.Principal) {
		p.Identity.Kind, p.Identity.Subject, p.Subject, p.ClientID = authz.Machine, "robot", "robot's account", "robot"
	}
	undetermined := func(p *authz.Principal) { p.Identity = authz.Identity{Issuer: "shop"} }
	tests := []struct {
		name   string
		kind   Kind
		value  string
		change func(p *authz.Principal)
		want   bool
	}{
		// By jti: that token, whenever it was issued, of that issuer.
		{"jti", JTI, "t1", nil, true},
		{"jti of a later token", JTI, "t1", issued(time.Hour), true},
		{"another jti", JTI, "t2", nil, false},
		{"jti of another issuer", JTI, "t1", func(p *authz.Principal) { p.Issuer = "https://other.example" }, false},
		{"a token without jti", JTI, "t1", func(p *authz.Principal) { p.TokenID = "" }, false},
		// By subject: all that were issued until then, give or take the leeway.
		{"subject", Subject, "ada", nil, true},
		{"subject, issued at that instant", Subject, "ada", issued(0), true},
		{"subject, issued within the leeway", Subject, "ada", issued(DefaultLeeway), true},
		{"subject, issued after the leeway", Subject, "ada", issued(DefaultLeeway + ms), false},
		{"subject, no iat", Subject, "ada", func(p *authz.Principal) { p.IssuedAt = time.Time{} }, true},
		{"another subject", Subject, "bob", nil, false},
		{"subject of another issuer", Subject, "ada", func(p *authz.Principal) { p.Issuer = "https://other.example" }, false},
		{"a subject's name is no jti", Subject, "t1", nil, false},
		// By the issuer's own name, whatever the policy calls it: under a second name, or a new one, it is that issuer still.
		{"jti, the issuer has another name", JTI, "t1", func(p *authz.Principal) { p.Identity.Issuer = "store" }, true},
		{"subject, the issuer has another name", Subject, "ada", func(p *authz.Principal) { p.Identity.Issuer = "store" }, true},
		{"issuer, it has another name", Issuer, "", func(p *authz.Principal) { p.Identity.Issuer = "store" }, true},
		// The subject is that of the token, whosever the token is.
		{"subject, a machine's account", Subject, "robot's account", machine, true},
		{"subject, a machine whose client has that name", Subject, "robot", machine, false},
		{"subject, undetermined", Subject, "ada", undetermined, true},
		{"a token without subject", Subject, "ada", func(p *authz.Principal) { undetermined(p); p.Subject = "" }, false},
		// A client is not a person; a token of which nobody knows may be its client's own.
		{"client, its own token", Client, "robot", machine, true},
		{"client, a machine whose account has that name", Client, "robot's account", machine, false},
		{"client, a person of that name", Client, "ada", nil, false},
		{"client that a person uses", Client, "web", nil, false},
		{"client that an undetermined token was issued to", Client, "web", undetermined, true},
		{"client of the name of an undetermined token's subject", Client, "ada", undetermined, true},
		// By session: likewise.
		{"session", Session, "s1", nil, true},
		{"session, a machine's token", Session, "s1", machine, true},
		{"session, issued after the leeway", Session, "s1", issued(DefaultLeeway + ms), false},
		{"a token without session", Session, "s1", func(p *authz.Principal) { p.Session = "" }, false},
		// By issuer: all of it.
		{"issuer", Issuer, "", nil, true},
		{"issuer, a machine's token", Issuer, "", machine, true},
		{"issuer, a token with nothing but that", Issuer, "", func(p *authz.Principal) { *p = authz.Principal{Issuer: iss} }, true},
		{"issuer, issued after the leeway", Issuer, "", issued(DefaultLeeway + ms), false},
		{"another issuer", Issuer, "", func(p *authz.Principal) { p.Issuer = "https://other.example" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := NewView(nil)
			p := token(tt.change)
			if revoked, _ := v.Revoked(p, noon); revoked {
				t.Fatal("revoked by nothing")
			}
			until := noon.Add(time.Hour)
			if n := v.Apply(noon, Entry{Issuer: iss, Kind: tt.kind, Value: tt.value, At: noon, Until: until}); n != 1 {
				t.Fatalf("%d applied", n)
			}
			for _, at := range []time.Time{noon, until} {
				if got, _ := v.Revoked(p, at); got != tt.want {
					t.Errorf("at %v revoked %v, want %v", at, got, tt.want)
				}
			}
			if got, _ := v.Revoked(p, until.Add(ms)); got {
				t.Error("an expired entry revokes")
			}
		})
	}
}

// The leeway is the issuer's own, asked for at every look, so that a reload counts at once.
func TestLeewayOfTheIssuer(t *testing.T) {
	leeway := map[string]time.Duration{"shop": time.Minute, "strict": 0, "odd": -time.Hour}
	v := NewView(func(issuer string) time.Duration { return leeway[issuer] })
	for issuer := range leeway {
		v.Apply(noon, Entry{Issuer: issuer, Kind: Issuer, At: noon, Until: noon.Add(time.Hour)})
	}
	revoked := func(issuer string, after time.Duration) bool {
		got, _ := v.Revoked(&authz.Principal{Issuer: issuer, IssuedAt: noon.Add(after)}, noon)
		return got
	}
	for _, tt := range []struct {
		issuer string
		after  time.Duration
		want   bool
	}{
		{"shop", time.Minute, true}, {"shop", time.Minute + time.Millisecond, false},
		{"strict", 0, true}, {"strict", time.Millisecond, false},
		{"odd", 0, true}, {"odd", time.Millisecond, false},
	} {
		if got := revoked(tt.issuer, tt.after); got != tt.want {
			t.Errorf("%s, %v later: %v, want %v", tt.issuer, tt.after, got, tt.want)
		}
	}
	leeway["shop"] = 0
	if revoked("shop", time.Second) {
		t.Error("an old leeway is still used")
	}
}

// Age is how long ago the view was whole: for ever before the first time, never negative, and never going back.
func TestAge(t *testing.T) {
	v := NewView(nil)
	now := v.start
	if _, age := v.Revoked(token(nil), now); age != math.MaxInt64 {
		t.Errorf("a view that was never whole is %v old", age)
	}
	for _, tt := range []struct{ fresh, now, want time.Duration }{
		{0, 0, 0}, {time.Minute, time.Minute, 0}, {0, 90 * time.Second, 30 * time.Second}, {0, time.Second, 0}, {2 * time.Minute, 2 * time.Hour, 118 * time.Minute},
	} {
		v.Fresh(now.Add(tt.fresh))
		if _, age := v.Revoked(token(nil), now.Add(tt.now)); age != tt.want || v.Age(now.Add(tt.now)) != tt.want {
			t.Errorf("fresh at %v, at %v: %v old, want %v", tt.fresh, tt.now, age, tt.want)
		}
	}
}

// naive is a View as a list.
type naive []Entry

func (n naive) revoked(p *authz.Principal, now time.Time) bool {
	for _, e := range n {
		if e.Issuer != p.Issuer || now.After(e.Until) {
			continue
		}
		named := map[Kind][]string{JTI: {p.TokenID}, Session: {p.Session}, Subject: {p.Subject}}
		switch p.Identity.Kind {
		case authz.Machine:
			named[Client] = []string{p.Identity.Subject, p.ClientID}
		case authz.Undetermined:
			named[Client] = []string{p.Subject, p.ClientID}
		}
		hit := e.Kind == Issuer
		for _, value := range named[e.Kind] {
			hit = hit || value == e.Value
		}
		if hit && (e.Kind == JTI || p.IssuedAt.IsZero() || !p.IssuedAt.After(e.At.Add(DefaultLeeway))) {
			return true
		}
	}
	return false
}

// drawEntry draws from few names, so that entries meet. Entries of one key share until, so that the list needs no merging.
func drawEntry(t *rapid.T, names int) Entry {
	e := Entry{
		Issuer: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "issuer"),
		Kind:   Kind(rapid.IntRange(int(JTI), int(Issuer)).Draw(t, "kind")),
		At:     noon.Add(time.Duration(rapid.IntRange(-60_000, 60_000).Draw(t, "at")) * time.Millisecond),
	}
	n := 0
	if e.Kind != Issuer {
		n = rapid.IntRange(0, names).Draw(t, "value")
		e.Value = fmt.Sprint(n)
	}
	e.Until = noon.Add(time.Duration(n%97+1) * time.Minute)
	return e
}

func drawPrincipal(t *rapid.T, names int) *authz.Principal {
	name := func(label string) string {
		n := rapid.IntRange(-1, names).Draw(t, label)
		if n < 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	p := &authz.Principal{
		Identity: authz.Identity{
			Issuer: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"),
			Kind:   rapid.SampledFrom([]authz.Kind{authz.Undetermined, authz.Person, authz.Machine}).Draw(t, "kind"),
		},
		Issuer: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "issuer"), Subject: name("subject"),
		ClientID: name("client"), TokenID: name("jti"), Session: name("sid"),
	}
	switch p.Identity.Kind {
	case authz.Person:
		p.Identity.Subject = p.Subject
	case authz.Machine:
		p.Identity.Subject = p.ClientID
	}
	if rapid.IntRange(0, 7).Draw(t, "has iat") > 0 {
		p.IssuedAt = noon.Add(time.Duration(rapid.IntRange(-90_000, 90_000).Draw(t, "iat")) * time.Millisecond)
	}
	return p
}

// However entries come (in batches, twice, out of order), and whatever expires and is swept meanwhile, the view says what the list says.
func TestViewAgreesWithList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]int{2, 10, 2000}).Draw(t, "names")
		v, list, now := NewView(nil), naive{}, noon
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				now = now.Add(time.Duration(rapid.IntRange(0, 10*60_000).Draw(t, "wait")) * time.Millisecond)
			case 1:
				v.Sweep(now)
			default:
				batch := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry { return drawEntry(t, names) }), 0, 60).Draw(t, "batch")
				list = append(list, batch...)
				v.Apply(now, batch...)
				if n := v.Apply(now, batch...); n != 0 {
					t.Fatalf("%d entries were news when applied again", n)
				}
			}
			for range 20 {
				p := drawPrincipal(t, names)
				if got, _ := v.Revoked(p, now); got != list.revoked(p, now) {
					t.Fatalf("%+v at %v: revoked %v\n%+v", p, now, got, list)
				}
			}
		}
		v.Sweep(now)
		live := map[key]bool{}
		for i := range list {
			if k, m := list[i].mark(); now.Add(-grace).UnixMilli() <= m.until {
				live[k] = true
			}
		}
		if v.Len() != len(live) {
			t.Fatalf("%d entries are left, want %d", v.Len(), len(live))
		}
	})
}

// Enough entries for many merges of the delta: none is lost, each counts once.
func TestViewManyEntries(t *testing.T) {
	v := NewView(nil)
	const n = 5000
	e := Entry{Issuer: iss, Kind: JTI, At: noon, Until: noon.Add(time.Hour)}
	for i := range n {
		e.Value = fmt.Sprint(i)
		v.Apply(noon, e)
	}
	for i := range n {
		if got, _ := v.Revoked(token(func(p *authz.Principal) { p.TokenID = fmt.Sprint(i) }), noon); !got {
			t.Fatalf("%d is not revoked", i)
		}
	}
	if v.Len() != n || v.Applied() != n {
		t.Errorf("%d entries, %d applied", v.Len(), v.Applied())
	}
	if m := v.current.Load(); len(m.delta) > m.deltaLimit() || len(m.base) == 0 {
		t.Errorf("%d in the delta over %d: one more costs a copy of all", len(m.delta), len(m.base))
	}
	v.Sweep(noon.Add(time.Hour + grace))
	if v.Len() != n {
		t.Errorf("%d entries are left within the grace", v.Len())
	}
	v.Sweep(noon.Add(2 * time.Hour))
	if v.Len() != 0 {
		t.Errorf("%d expired entries are left", v.Len())
	}
}

// A clock that runs ahead and returns finds what had only seemed to expire, as long as it was no more than the grace ahead; where it
// was, the view says once that it may have dropped what is in force again.
func TestViewClockReturns(t *testing.T) {
	until := noon.Add(time.Hour)
	short := Entry{Issuer: iss, Kind: JTI, Value: "t1", At: noon, Until: until}
	for name, change := range map[string]func(v *View, ahead time.Time){
		"swept":   func(v *View, ahead time.Time) { v.Apply(noon, short); v.Sweep(ahead) },
		"applied": func(v *View, ahead time.Time) { v.Apply(ahead, short) },
		"merged": func(v *View, ahead time.Time) {
			v.Apply(noon, short)
			for i := range 1000 {
				v.Apply(ahead, Entry{Issuer: iss, Kind: JTI, Value: fmt.Sprint("x", i), At: ahead, Until: ahead.Add(time.Hour)})
			}
		},
	} {
		for _, tt := range []struct {
			ahead   time.Duration
			revoked bool
			rewound bool
		}{
			{0, true, false}, {time.Minute, true, false}, {time.Hour, true, true}, {time.Hour + grace, true, true},
			{time.Hour + grace + time.Millisecond, false, true}, {3 * time.Hour, false, true},
		} {
			v := NewView(nil)
			change(v, noon.Add(tt.ahead))
			if got, _ := v.Revoked(token(nil), noon); got != tt.revoked {
				t.Errorf("%s %v ahead: revoked %v, want %v", name, tt.ahead, got, tt.revoked)
			}
			if got := v.rewound(noon); got != tt.rewound {
				t.Errorf("%s %v ahead: rewound %v, want %v", name, tt.ahead, got, tt.rewound)
			}
			if v.rewound(noon) {
				t.Errorf("%s %v ahead: rewound twice", name, tt.ahead)
			}
		}
	}
}

// Requests look while entries come in.
func TestViewConcurrent(t *testing.T) {
	v := NewView(nil)
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 300 {
				e := Entry{Issuer: iss, Kind: JTI, Value: fmt.Sprint(w, i), At: noon, Until: noon.Add(time.Hour)}
				v.Apply(noon, e)
				if got, _ := v.Revoked(token(func(p *authz.Principal) { p.TokenID = e.Value }), noon); !got {
					t.Error("an entry is lost")
				}
				v.Fresh(noon.Add(time.Duration(i)))
				v.Sweep(noon)
			}
		})
	}
	all.Wait()
	if v.Len() != 1200 {
		t.Errorf("%d entries, want 1200", v.Len())
	}
}

// fullView holds n entries, most of one jti each.
func fullView(n int) *View {
	v := NewView(nil)
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{Issuer: iss, Kind: []Kind{JTI, JTI, Subject, Session}[i%4], Value: fmt.Sprint("value-", i), At: noon, Until: noon.Add(time.Hour)}
	}
	v.Apply(noon, entries...)
	if n > 0 { // something new since, as there is in real life
		v.Apply(noon, Entry{Issuer: iss, Kind: JTI, Value: "new", At: noon, Until: noon.Add(time.Hour)})
	}
	return v
}

// A look allocates nothing, whatever there is and whatever it finds.
func TestRevokedAllocatesNothing(t *testing.T) {
	for _, n := range []int{0, 100_000} {
		v := fullView(n)
		for name, p := range map[string]*authz.Principal{
			"valid": token(nil), "revoked": token(func(p *authz.Principal) { p.TokenID = "value-0" }),
			"by session": token(func(p *authz.Principal) { p.Session = "value-3" }),
		} {
			if got := testing.AllocsPerRun(100, func() { v.Revoked(p, noon) }); got != 0 {
				t.Errorf("%s among %d: %v allocations", name, n, got)
			}
		}
	}
}

func BenchmarkRevoked(b *testing.B) {
	for _, n := range []int{0, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			v, p := fullView(n), token(nil)
			v.Fresh(noon)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if got, _ := v.Revoked(p, noon); got {
						b.Error("revoked")
					}
				}
			})
		})
	}
}

// One more entry among many.
func BenchmarkApply(b *testing.B) {
	v := fullView(100_000)
	e := Entry{Issuer: iss, Kind: JTI, At: noon, Until: noon.Add(time.Hour)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.Value = fmt.Sprint("more-", i)
		v.Apply(noon, e)
	}
}
