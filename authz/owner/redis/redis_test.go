package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
	"github.com/sallyport-dev/sallyport/authz/owner/redis"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

func template(t testing.TB, text string) policy.Template {
	t.Helper()
	parsed, why := policy.ParseTemplate(text)
	if why != "" {
		t.Fatalf("template %q: %s", text, why)
	}
	return parsed
}

// The three forms in which owners are written down.
func forms(t testing.TB) map[string]policy.RedisLookup {
	return map[string]policy.RedisLookup{
		"key":   {Key: template(t, "owner:{tenant}:{relation}:{id}")},
		"field": {Key: template(t, "owners:{tenant}"), Field: template(t, "{relation}/{id}")},
		"set":   {Set: template(t, "{tenant}-{relation}-{id}")},
	}
}

// trips counts the questions that a client sends, and nothing that a new connection says for itself.
type trips struct{ sent atomic.Int64 }

func (*trips) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (n *trips) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, command goredis.Cmder) error {
		n.count(command)
		return next(ctx, command)
	}
}

func (n *trips) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		n.count(commands[0])
		return next(ctx, commands)
	}
}

func (n *trips) count(command goredis.Cmder) {
	switch command.Name() {
	case "get", "hget", "sismember":
		n.sent.Add(1)
	}
}

// A real server, alone and as a cluster, keeps what owners own, in every form.
func TestRedisConforms(t *testing.T) {
	alone := startValkey(t)
	clustered := startValkey(t, "--cluster-enabled", "yes")
	if err := dial(t, clustered).ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	cluster := goredis.NewClusterClient(&goredis.ClusterOptions{
		Addrs: []string{clustered}, Protocol: 2, ContextTimeoutEnabled: true, MaxRetries: -1, DisableIdentity: true,
		DialTimeout: time.Minute, ReadTimeout: time.Minute, WriteTimeout: time.Minute, PoolTimeout: time.Minute,
		// The cluster tells its members' addresses; there is one.
		ClusterSlots: func(context.Context) ([]goredis.ClusterSlot, error) {
			return []goredis.ClusterSlot{{Start: 0, End: 16383, Nodes: []goredis.ClusterNode{{Addr: clustered}}}}, nil
		},
	})
	t.Cleanup(func() { cluster.Close() })
	waitForSlots(t, dial(t, clustered))
	for kind, client := range map[string]goredis.UniversalClient{"alone": dial(t, alone), "cluster": cluster} {
		for form, l := range forms(t) {
			t.Run(kind+"/"+form, func(t *testing.T) {
				traits := ownertest.Traits{Single: form != "set", NoAbsence: form == "set"}
				ownertest.Run(t, traits, func(t *testing.T, facts []ownertest.Fact) ownertest.World {
					write(t, client, l, facts)
					counted := new(trips)
					if one, ok := client.(*goredis.Client); ok {
						one = goredis.NewClient(one.Options())
						t.Cleanup(func() { one.Close() })
						one.AddHook(counted)
						return ownertest.World{Lookup: redis.New(one, &l), Trips: func() int { return int(counted.sent.Load()) }}
					}
					return ownertest.World{Lookup: redis.New(client, &l)}
				})
			})
		}
	}
}

// waitForSlots waits until a cluster of one has noticed that it is whole; the bound only ends a test that has failed.
func waitForSlots(t *testing.T, client *goredis.Client) {
	t.Helper()
	beat, end := time.NewTicker(5*time.Millisecond), time.After(30*time.Second)
	defer beat.Stop()
	for !errors.Is(client.Get(t.Context(), "anything").Err(), goredis.Nil) {
		select {
		case <-beat.C:
		case <-end:
			t.Fatal("the cluster does not become whole")
		}
	}
}

// write makes a world of facts and nothing else.
func write(t *testing.T, client goredis.UniversalClient, l policy.RedisLookup, facts []ownertest.Fact) {
	t.Helper()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	pipeline := client.Pipeline()
	for _, f := range facts {
		text := func(tm policy.Template) string {
			return string(tm.Append(nil, &policy.TemplateValues{ID: f.Object, Relation: f.Relation, Tenant: f.Tenant}, nil))
		}
		switch {
		case !l.Set.Empty():
			for _, o := range f.Owners {
				pipeline.SAdd(t.Context(), text(l.Set), o)
			}
		case !l.Field.Empty():
			pipeline.HSet(t.Context(), text(l.Key), text(l.Field), f.Owners[0])
		default:
			pipeline.Set(t.Context(), text(l.Key), f.Owners[0], 0)
		}
	}
	if _, err := pipeline.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// bulk is a text on the wire.
func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func question(objects ...string) *authz.Question {
	return &authz.Question{Tenant: "a:b", Issuer: "shop", Kind: authz.Person, Subject: "alice", Relation: "viewer", Objects: objects}
}

// What is sent: one command that reads, once for each object, and nothing of an object but as an argument.
func TestCommands(t *testing.T) {
	hostile := "x\r\nDEL *"
	for form, want := range map[string][][]string{
		"key":   {{"get", "owner:a%3Ab:viewer:1"}, {"get", "owner:a%3Ab:viewer:" + hostile}},
		"field": {{"hget", "owners:a:b", "viewer/1"}, {"hget", "owners:a:b", "viewer/" + hostile}},
		"set":   {{"sismember", "a:b-viewer-1", "alice"}, {"sismember", "a:b-viewer-" + hostile, "alice"}},
	} {
		t.Run(form, func(t *testing.T) {
			f := startFake(t, func(command []string) string {
				if command[0] == "sismember" {
					return ":1\r\n"
				}
				return bulk("alice")
			})
			l := forms(t)[form]
			answers := make([]authz.Standing, 2)
			if err := redis.New(dial(t, f.addr), &l).Ask(t.Context(), question("1", hostile), answers); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(answers, []authz.Standing{authz.Theirs, authz.Theirs}) {
				t.Errorf("answers %v", answers)
			}
			if diff := cmp.Diff(want, f.commands()); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
		})
	}
}

// What each reply means.
func TestReplies(t *testing.T) {
	const none = authz.StandingUnknown
	for name, c := range map[string]struct {
		form  string
		reply string
		want  authz.Standing
		err   error
	}{
		"theirs":                  {"key", bulk("alice"), authz.Theirs, nil},
		"another's":               {"key", bulk("bob"), authz.NotTheirs, nil},
		"another case":            {"key", bulk("Alice"), authz.NotTheirs, nil},
		"more bytes":              {"key", bulk("alice\x00"), authz.NotTheirs, nil},
		"nobody's":                {"key", bulk(""), authz.NotThere, nil},
		"not there":               {"key", "$-1\r\n", authz.NotThere, nil},
		"a field not there":       {"field", "$-1\r\n", authz.NotThere, nil},
		"a member":                {"set", ":1\r\n", authz.Theirs, nil},
		"no member, or no set":    {"set", ":0\r\n", authz.NotTheirs, nil},
		"another type":            {"key", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", none, authz.ErrLookupAnswer},
		"a list":                  {"key", "*1\r\n" + bulk("alice"), none, authz.ErrLookupAnswer},
		"an empty list":           {"key", "*0\r\n", none, authz.ErrLookupAnswer},
		"a number":                {"key", ":1\r\n", none, authz.ErrLookupAnswer},
		"a text for a membership": {"set", bulk("1"), none, authz.ErrLookupAnswer},
		"two for a membership":    {"set", ":2\r\n", none, authz.ErrLookupAnswer},
		"minus one":               {"set", ":-1\r\n", none, authz.ErrLookupAnswer},
		"nil for a membership":    {"set", "$-1\r\n", none, authz.ErrLookupAnswer},
		"loading":                 {"key", "-LOADING Redis is loading the dataset in memory\r\n", none, authz.ErrLookupUnavailable},
		"read only":               {"key", "-READONLY You can't write against a read only replica.\r\n", none, authz.ErrLookupUnavailable},
		"out of memory":           {"key", "-OOM command not allowed when used memory > 'maxmemory'.\r\n", none, authz.ErrLookupUnavailable},
		"no password":             {"key", "-NOAUTH Authentication required.\r\n", none, authz.ErrLookupUnavailable},
		"no permission":           {"key", "-NOPERM this user has no permissions to run the 'get' command\r\n", none, authz.ErrLookupUnavailable},
		"a master down":           {"key", "-MASTERDOWN Link with MASTER is down\r\n", none, authz.ErrLookupUnavailable},
		"a cluster down":          {"key", "-CLUSTERDOWN Hash slot not served\r\n", none, authz.ErrLookupUnavailable},
		"elsewhere":               {"key", "-MOVED 1 127.0.0.1:1\r\n", none, authz.ErrLookupUnavailable},
		"busy":                    {"key", "-BUSY Redis is busy running a script.\r\n", none, authz.ErrLookupUnavailable},
		"crowded":                 {"key", "-ERR max number of clients reached\r\n", none, authz.ErrLookupUnavailable},
		"an unknown command":      {"key", "-ERR unknown command 'get', with args beginning with: 'order-77'\r\n", none, authz.ErrLookupUnavailable},
		"no protocol":             {"key", "HTTP/1.1 400 Bad Request\r\n", none, authz.ErrLookupUnavailable},
		"cut":                     {"key", hangUp, none, authz.ErrLookupUnavailable},
		"cut in the middle":       {"key", hangUp + "$5\r\nali", none, authz.ErrLookupUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, func([]string) string { return c.reply })
			l := forms(t)[c.form]
			answers := make([]authz.Standing, 1)
			err := redis.New(dial(t, f.addr), &l).Ask(t.Context(), question("order-77"), answers)
			if answers[0] != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%s, %v; want %s, %v", answers[0], err, c.want, c.err)
			}
			if errors.Is(err, authz.ErrLookupAnswer) && errors.Is(err, authz.ErrLookupUnavailable) {
				t.Errorf("both at once: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "order-77") {
				t.Errorf("the error holds what a client sent: %v", err)
			}
			if sent := len(f.commands()); sent != 1 {
				t.Errorf("sent %d times", sent)
			}
		})
	}
}

// A batch fails as a whole, and an outage in it is an outage.
func TestBatchReplies(t *testing.T) {
	wrong := "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
	for name, c := range map[string]struct {
		replies []string
		want    []authz.Standing
		err     error
	}{
		"all kinds":              {[]string{bulk("bob"), "$-1\r\n", bulk("alice")}, []authz.Standing{authz.NotTheirs, authz.NotThere, authz.Theirs}, nil},
		"one of another type":    {[]string{bulk("alice"), wrong, "$-1\r\n"}, nil, authz.ErrLookupAnswer},
		"then an outage":         {[]string{wrong, "-LOADING Redis is loading the dataset in memory\r\n", wrong}, nil, authz.ErrLookupUnavailable},
		"cut after the first":    {[]string{bulk("alice"), hangUp, ""}, nil, authz.ErrLookupUnavailable},
		"cut after another type": {[]string{wrong, hangUp, ""}, nil, authz.ErrLookupUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			var n int
			f := startFake(t, func([]string) string { n++; return c.replies[n-1] })
			l := forms(t)["key"]
			answers := make([]authz.Standing, 3)
			err := redis.New(dial(t, f.addr), &l).Ask(t.Context(), question("1", "2", "3"), answers)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || errors.Is(err, authz.ErrLookupAnswer) && errors.Is(err, authz.ErrLookupUnavailable) {
				t.Errorf("%v, want %v", err, c.err)
			}
			if err == nil && !slices.Equal(answers, c.want) {
				t.Errorf("%v, want %v", answers, c.want)
			}
		})
	}
}

// A server that does not answer, or is not there, is an outage in time.
func TestOutages(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for name, addr := range map[string]string{
		"silent": startFake(t, func([]string) string { return silent }).addr,
		"dead":   dead.Addr().String(),
	} {
		for _, objects := range [][]string{{"1"}, {"1", "2"}} {
			t.Run(fmt.Sprint(name, len(objects)), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				l := forms(t)["key"]
				b := redis.New(dial(t, addr), &l)
				if err := b.Ask(ctx, question(objects...), make([]authz.Standing, len(objects))); !errors.Is(err, authz.ErrLookupUnavailable) {
					t.Errorf("Ask: %v", err)
				}
				if err := b.Probe(ctx); !errors.Is(err, authz.ErrLookupUnavailable) {
					t.Errorf("Probe: %v", err)
				}
			})
		}
	}
}

// A probe asks for nobody's object, and hears a server that refuses.
func TestProbe(t *testing.T) {
	for reply, want := range map[string]error{
		"+PONG\r\n": nil, "-NOAUTH Authentication required.\r\n": authz.ErrLookupUnavailable, "-LOADING loading\r\n": authz.ErrLookupUnavailable,
	} {
		f := startFake(t, func([]string) string { return reply })
		l := forms(t)["key"]
		lookup := owner.New(redis.New(dial(t, f.addr), &l), owner.Options{Name: "docs", Timeout: time.Minute})
		if err := lookup.Try(t.Context()); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%q: Try: %v", reply, err)
		}
		if diff := cmp.Diff([][]string{{"ping"}}, f.commands()); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	}
}

// BenchmarkAsk is a trip to a real server on the same machine.
func BenchmarkAsk(b *testing.B) {
	l := forms(b)["key"]
	backend := redis.New(dial(b, startValkey(b)), &l)
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q := question()
			for i := range n {
				q.Objects = append(q.Objects, fmt.Sprint(i))
			}
			answers := make([]authz.Standing, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := backend.Ask(b.Context(), q, answers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
