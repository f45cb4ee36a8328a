package revocation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz"
)

// jti takes back the token n, for an hour.
func jti(n string) Entry {
	now := time.Now()
	return Entry{Issuer: "shop", Kind: JTI, Value: n, At: now, Until: now.Add(time.Hour)}
}

// knows says whether a replica refuses the token n.
func knows(s Store, n string) bool {
	now := time.Now()
	revoked, _ := s.View().Revoked(&authz.Principal{Issuer: "shop", TokenID: n, IssuedAt: now}, now)
	return revoked
}

func healthy(s Store) func() bool { return func() bool { ok, _ := s.Health(); return ok } }
func unhealthy(s Store, why string) func() bool {
	return func() bool { ok, text := s.Health(); return !ok && strings.Contains(text, why) }
}

func mustRevoke(t testing.TB, s Store, e Entry) {
	t.Helper()
	if err := s.Revoke(t.Context(), e); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
}

// onServer is how many entries the stream holds.
func onServer(t testing.TB, client *redis.Client) int64 {
	t.Helper()
	n, err := client.XLen(t.Context(), "sp1:revocations").Result()
	if err != nil {
		t.Fatalf("XLEN: %v", err)
	}
	return n
}

// What one replica takes back is dead on it at once and on the others soon, those that start later included.
func TestStreamTellsEveryReplica(t *testing.T) {
	v := startValkey(t)
	a, b := follow(t, dial(t, v.addr)), follow(t, dial(t, v.addr))
	mustRevoke(t, a, jti("1"))
	if !knows(a, "1") {
		t.Error("the replica that revoked does not know it at once")
	}
	eventually(t, "the other replica knows", func() bool { return knows(b, "1") })
	late := follow(t, dial(t, v.addr))
	eventually(t, "a late replica is fresh", healthy(late))
	if !knows(late, "1") {
		t.Error("a replica that is fresh does not know what was revoked before it started")
	}
	if knows(b, "2") || knows(late, "2") {
		t.Error("a token that nobody took back is refused")
	}
	// A view that follows stays fresh without any news.
	before := b.View().fresh.Load()
	eventually(t, "an empty look refreshes", func() bool { return b.View().fresh.Load() > before })
}

// More entries than one answer holds are read before the view counts as whole, and revoking the same twice is revoking once.
func TestStreamCatchesUp(t *testing.T) {
	v := startValkey(t)
	client := dial(t, v.addr)
	writer, err := NewStream(client, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for i := range 2*page + 7 {
		entries = append(entries, jti(fmt.Sprint(i)))
	}
	if err := writer.reassert(t.Context(), append(entries, entries[:500]...)); err != nil {
		t.Fatal(err)
	}
	s := follow(t, dial(t, v.addr))
	eventually(t, "it is fresh", healthy(s))
	if s.View().Len() != len(entries) || s.View().Applied() != uint64(len(entries)) {
		t.Errorf("%d entries, %d applied, want %d", s.View().Len(), s.View().Applied(), len(entries))
	}
	if s.Reasserted() != 0 || onServer(t, client) != int64(len(entries)+500) {
		t.Errorf("it wrote %d entries again that the server had; there are %d", s.Reasserted(), onServer(t, client))
	}
}

// A server that comes back empty gets everything back from whoever still knows it, and a replica that starts then learns it.
func TestStreamGivesBackWhatARestartLost(t *testing.T) {
	v := startValkey(t)
	a, b := follow(t, dial(t, v.addr)), follow(t, dial(t, v.addr))
	for i := range 20 {
		mustRevoke(t, a, jti(fmt.Sprint(i)))
	}
	eventually(t, "both know", func() bool { return knows(b, "19") })
	v.kill()
	eventually(t, "they notice", func() bool { return !healthy(a)() && !healthy(b)() })
	if !knows(a, "7") || !knows(b, "7") {
		t.Error("a token lives again while the server is away")
	}
	// What is revoked meanwhile holds here at once, and everywhere once the server is back.
	if err := a.Revoke(t.Context(), jti("meanwhile")); err == nil || !knows(a, "meanwhile") {
		t.Errorf("Revoke without a server: %v, known %v", err, knows(a, "meanwhile"))
	}
	v = startAgain(t, v)
	eventually(t, "both are fresh", func() bool { return healthy(a)() && healthy(b)() })
	eventually(t, "the other replica knows", func() bool { return knows(b, "meanwhile") })
	late := follow(t, dial(t, v.addr))
	eventually(t, "a late replica knows all", func() bool { return healthy(late)() && late.View().Len() == 21 })
	if a.Reasserted()+b.Reasserted() < 21 {
		t.Errorf("%d and %d entries written again, want 21 at least", a.Reasserted(), b.Reasserted())
	}
}

// What somebody deletes on the server comes back, although the connection never broke.
func TestStreamGivesBackWhatWasDeleted(t *testing.T) {
	for name, destroy := range map[string]func(t *testing.T, client *redis.Client) error{
		"one entry": func(t *testing.T, client *redis.Client) error {
			first, err := client.XRangeN(t.Context(), "sp1:revocations", "-", "+", 1).Result()
			if err != nil {
				return err
			}
			return client.XDel(t.Context(), "sp1:revocations", first[0].ID).Err()
		},
		"everything": func(t *testing.T, client *redis.Client) error { return client.FlushAll(t.Context()).Err() },
	} {
		t.Run(name, func(t *testing.T) {
			client := dial(t, startValkey(t).addr)
			s := follow(t, client)
			mustRevoke(t, s, jti("1"))
			mustRevoke(t, s, jti("2"))
			eventually(t, "it is fresh", healthy(s))
			if err := destroy(t, client); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the server has both again", func() bool { return onServer(t, client) == 2 })
			eventually(t, "it is fresh", healthy(s))
			if !knows(s, "1") || !knows(s, "2") {
				t.Error("a token lives again")
			}
		})
	}
}

// A server that was emptied is noticed however much has been written since, also twice the same, so that the count of entries shows
// nothing: before any look at it, by whoever wrote what is lost and by whoever read it.
func TestStreamNoticesFlush(t *testing.T) {
	for name, writtenBy := range map[string]func(t *testing.T, s, other *Stream, e Entry){
		"read":            func(t *testing.T, s, other *Stream, e Entry) { mustRevoke(t, other, e); look(t, s) },
		"written":         func(t *testing.T, s, other *Stream, e Entry) { mustRevoke(t, s, e) },
		"written, read":   func(t *testing.T, s, other *Stream, e Entry) { mustRevoke(t, s, e); look(t, s) },
		"read long since": func(t *testing.T, s, other *Stream, e Entry) { mustRevoke(t, other, e); look(t, s); look(t, s) },
	} {
		for again := 1; again < 4; again++ {
			t.Run(fmt.Sprint(name, "/", again), func(t *testing.T) {
				client := dial(t, startValkey(t).addr)
				s, other := idle(t, client), idle(t, client)
				who, err := s.catchUp(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				writtenBy(t, s, other, jti("lost"))
				flushed := time.Now()
				if err := client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the server gives out other ids", func() bool { return client.Time(t.Context()).Val().Sub(flushed) > time.Millisecond })
				for range again {
					mustRevoke(t, other, jti("new"))
				}
				look(t, s)
				if err := s.compare(t.Context(), who); !errors.Is(err, errMoved) {
					t.Fatalf("not noticed: %v", err)
				}
				if who, err = s.catchUp(t.Context()); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					look(t, s)
					if err := s.compare(t.Context(), who); err != nil {
						t.Errorf("noticed again: %v", err)
					}
				}
				late := idle(t, client)
				if _, err := late.catchUp(t.Context()); err != nil || !knows(late, "lost") {
					t.Errorf("it was not given back: %v", err)
				}
			})
		}
	}
}

// An entry that is deleted in the middle is noticed behind others that stand there twice.
func TestStreamNoticesDeletion(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	s := idle(t, client)
	for _, n := range []string{"1", "2", "3", "3", "3"} {
		mustRevoke(t, s, jti(n))
	}
	who, err := s.catchUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.compare(t.Context(), who); err != nil {
		t.Fatal(err)
	}
	all, err := client.XRange(t.Context(), "sp1:revocations", "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.XDel(t.Context(), "sp1:revocations", all[1].ID).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.compare(t.Context(), who); !errors.Is(err, errMoved) {
		t.Errorf("not noticed: %v", err)
	}
}

// idle is a replica whose looks the test makes itself.
func idle(t *testing.T, client *redis.Client) *Stream {
	t.Helper()
	s, err := NewStream(client, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func look(t *testing.T, s *Stream) {
	t.Helper()
	if err := s.readAll(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// A server that begins anew hands out earlier ids than those already read; they are not missed, even where nothing was lost.
func TestStreamOfEarlierIDs(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	s := follow(t, client)
	expired := Entry{Issuer: "shop", Kind: JTI, Value: "old", At: noon.AddDate(-9, 0, 0), Until: noon.AddDate(-9, 0, 1)}
	late := &redis.XAddArgs{Stream: "sp1:revocations", ID: "9999999999999-1", Values: []any{field, encode(expired)}}
	if err := client.XAdd(t.Context(), late).Err(); err != nil {
		t.Fatal(err)
	}
	before := s.View().fresh.Load()
	eventually(t, "it is fresh", func() bool { return s.View().fresh.Load() > before })
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	other, err := NewStream(client, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mustRevoke(t, other, jti("1"))
	eventually(t, "it knows", func() bool { return knows(s, "1") })
}

// spy counts the readings from the beginning.
type spy struct{ fault }

func (f *spy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "xread" && args[len(args)-1] == "0-0" {
			f.times.Add(1)
		}
		return next(ctx, cmd)
	}
}

// A server that is another than before, though no connection ever broke, is read from the beginning: once, and not again.
func TestStreamNoticesAnotherServer(t *testing.T) {
	client, other := dial(t, startValkey(t, "--enable-debug-command", "yes").addr), new(spy)
	seed, err := NewStream(client, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mustRevoke(t, seed, jti("1"))
	client.AddHook(other)
	s := follow(t, client)
	for want := range int64(3) {
		eventually(t, "it has read all", func() bool { return other.times.Load() > want && healthy(s)() })
		before := s.View().fresh.Load()
		eventually(t, "it reads on", func() bool { return s.View().fresh.Load() > before })
		if got := other.times.Load(); got != want+1 {
			t.Fatalf("read from the beginning %d times, want %d", got, want+1)
		}
		if err := client.Do(t.Context(), "debug", "change-repl-id").Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// gate is a dialer that can be shut: a partition of one replica.
type gate struct {
	addr atomic.Pointer[string] // nil is shut
	live atomic.Pointer[net.Conn]
}

func (g *gate) client(t *testing.T) *redis.Client {
	o := serverOptions("")
	o.PoolSize = 1
	o.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
		addr := g.addr.Load()
		if addr == nil {
			return nil, errors.New("shut")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", *addr)
		if err == nil {
			g.live.Store(&conn)
		}
		return conn, err
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { client.Close() })
	return client
}

func (g *gate) to(addr string) { g.addr.Store(&addr) }
func (g *gate) cut() {
	g.addr.Store(nil)
	if conn := g.live.Load(); conn != nil {
		(*conn).Close()
	}
}

// A replica that was cut off learns, when it is back, what the other took back in between.
func TestStreamReconnectMissesNothing(t *testing.T) {
	v := startValkey(t)
	var g gate
	g.to(v.addr)
	a, b := follow(t, dial(t, v.addr)), follow(t, g.client(t))
	for round := range 3 {
		eventually(t, "both are fresh", func() bool { return healthy(a)() && healthy(b)() })
		g.cut()
		eventually(t, "it notices", unhealthy(b, "revocation store"))
		for i := range 10 {
			mustRevoke(t, a, jti(fmt.Sprint(round, "/", i)))
		}
		if knows(b, fmt.Sprint(round, "/", 3)) {
			t.Fatal("it was not cut off, so this test shows nothing")
		}
		g.to(v.addr)
		eventually(t, "it knows all", func() bool { return b.View().Len() == 10*(round+1) })
	}
	if n := a.Reasserted() + b.Reasserted(); n != 0 {
		t.Errorf("%d entries were written again though the server lost none", n)
	}
}

// A failover to a server that never got the last writes: whoever knows them writes them there, and what that server got from
// others, even with earlier ids than those already read, is not missed.
func TestStreamFailoverThatLostWrites(t *testing.T) {
	old := startValkey(t)
	fresh := startValkey(t)
	var g gate
	g.to(old.addr)
	s := follow(t, g.client(t))
	mustRevoke(t, s, jti("lost"))
	eventually(t, "it is fresh", healthy(s))
	client := dial(t, fresh.addr)
	early := Entry{Issuer: "shop", Kind: JTI, Value: "early", At: time.Now(), Until: time.Now().Add(time.Hour)}
	if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "sp1:revocations", ID: "5-1", Values: []any{field, encode(early)}}).Err(); err != nil {
		t.Fatal(err)
	}
	g.cut()
	g.to(fresh.addr)
	eventually(t, "it knows what the new server had", func() bool { return knows(s, "early") })
	eventually(t, "the new server has what was lost", func() bool { return onServer(t, client) == 2 })
	eventually(t, "it is fresh", healthy(s))
	if !knows(s, "lost") || s.Reasserted() != 1 {
		t.Errorf("known %v, %d written again", knows(s, "lost"), s.Reasserted())
	}
}

// A real failover by Sentinel: revoked before, while it lasts and after, dead on both replicas.
func TestStreamSentinelFailover(t *testing.T) {
	primary := startValkey(t, "--repl-diskless-sync-delay", "0")
	replica := startValkey(t, "--replicaof", "127.0.0.1 "+primary.port())
	sentinel := startSentinel(t, primary)
	byName := func() *redis.Client {
		client := redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: "main", SentinelAddrs: []string{sentinel.addr}, Protocol: 2, ContextTimeoutEnabled: true, MaxRetries: -1,
			DisableIdentity: true, DialTimeout: time.Second, DialerRetries: 1, ReadTimeout: time.Second, WriteTimeout: time.Second,
		})
		t.Cleanup(func() { client.Close() })
		return client
	}
	a, b := follow(t, byName()), follow(t, byName())
	eventually(t, "the sentinel knows the replica", func() bool {
		return dial(t, sentinel.addr).Do(t.Context(), "sentinel", "ckquorum", "main").Err() == nil && hasReplica(t, sentinel)
	})
	eventually(t, "both are fresh", func() bool { return healthy(a)() && healthy(b)() })
	mustRevoke(t, a, jti("before"))
	eventually(t, "the other knows", func() bool { return knows(b, "before") })
	primary.kill()
	eventually(t, "they notice", func() bool { return !healthy(a)() && !healthy(b)() })
	if err := a.Revoke(t.Context(), jti("during")); err == nil {
		t.Error("a revocation that no server has is reported as written")
	}
	eventually(t, "both are fresh on the new primary", func() bool { return healthy(a)() && healthy(b)() })
	mustRevoke(t, b, jti("after"))
	for _, n := range []string{"before", "during", "after"} {
		eventually(t, "both know "+n, func() bool { return knows(a, n) && knows(b, n) })
	}
	if n := onServer(t, dial(t, replica.addr)); n < 3 {
		t.Errorf("the new primary holds %d entries, want 3", n)
	}
}

func hasReplica(t *testing.T, sentinel *valkey) bool {
	found, err := dial(t, sentinel.addr).Do(t.Context(), "sentinel", "replicas", "main").Slice()
	return err == nil && len(found) == 1
}

// A server that is frozen blocks nobody who asks the view, and revoking keeps its deadline.
func TestStreamFrozenServer(t *testing.T) {
	v := startValkey(t)
	s := follow(t, dial(t, v.addr))
	mustRevoke(t, s, jti("1"))
	eventually(t, "it is fresh", healthy(s))
	v.signal(t, syscall.SIGSTOP)
	defer v.signal(t, syscall.SIGCONT)
	eventually(t, "it notices", unhealthy(s, "does not answer in time"))
	if !knows(s, "1") {
		t.Error("a token lives again")
	}
	if err := s.Revoke(t.Context(), jti("2")); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("Revoke at a frozen server: %v", err)
	}
	before := s.View().fresh.Load()
	v.signal(t, syscall.SIGCONT)
	eventually(t, "it is fresh again", func() bool { return healthy(s)() && s.View().fresh.Load() > before })
	if !knows(s, "2") || onServer(t, dial(t, v.addr)) < 2 {
		t.Error("what was revoked meanwhile never reached the server")
	}
}

func isTimeout(err error) bool {
	var slow net.Error
	return errors.As(err, &slow) && slow.Timeout()
}

// A server that evicts counts as away, at the start and later on.
func TestStreamRefusesAnEvictingServer(t *testing.T) {
	v := startValkey(t, "--maxmemory-policy", "allkeys-lru")
	client := dial(t, v.addr)
	s, err := NewStream(client, StreamOptions{Block: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "set it to noeviction") {
		t.Errorf("Probe: %v", err)
	}
	run(t, s)
	eventually(t, "it is refused", unhealthy(s, "maxmemory-policy is allkeys-lru"))
	if s.View().everFresh() {
		t.Error("the view is fresh, though the server may have forgotten half of it")
	}
	if err := client.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is accepted", healthy(s))
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
}

// The policy is looked at again every minute.
func TestStreamLooksAtThePolicyAgain(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	var ahead atomic.Int64
	s, err := NewStream(client, StreamOptions{Block: 10 * time.Millisecond, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	eventually(t, "it is fresh", healthy(s))
	if err := client.ConfigSet(t.Context(), "maxmemory-policy", "volatile-ttl").Err(); err != nil {
		t.Fatal(err)
	}
	ahead.Store(int64(sweepEvery))
	eventually(t, "it is refused", unhealthy(s, "maxmemory-policy is volatile-ttl"))
}

// A replica's view may be late, so it is no store; a name that points to the primary again is followed there.
func TestStreamRefusesAReplica(t *testing.T) {
	primary := startValkey(t, "--repl-diskless-sync-delay", "0")
	replica := startValkey(t, "--replicaof", "127.0.0.1 "+primary.port())
	var g gate
	g.to(replica.addr)
	s := follow(t, g.client(t))
	eventually(t, "it is refused", unhealthy(s, "replica"))
	if err := s.Revoke(t.Context(), jti("1")); err == nil {
		t.Error("a replica took a revocation")
	}
	g.to(primary.addr) // the name points elsewhere; the old connection is never cut
	eventually(t, "it finds the primary", healthy(s))
	if n := onServer(t, dial(t, primary.addr)); n != 1 {
		t.Errorf("the primary holds %d entries, want the one that the replica refused", n)
	}
}

// What nobody can read may be a revocation: the others hold, and the view is not fresh until it is gone.
func TestStreamUnreadableEntry(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	s := follow(t, client)
	eventually(t, "it is fresh", healthy(s))
	id, err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "sp1:revocations", Values: []any{"note", "hello"}}).Result()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says which", unhealthy(s, "entry "+id+" of sp1:revocations cannot be read"))
	mustRevoke(t, s, jti("1"))
	late := follow(t, client)
	eventually(t, "a late replica knows the others", func() bool { return knows(late, "1") })
	eventually(t, "a late replica says so too", unhealthy(late, id))
	if err := client.XDel(t.Context(), "sp1:revocations", id).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are fresh", func() bool { return healthy(s)() && healthy(late)() })
}

// fault makes the server answer with an error, as servers do in a failover.
type fault struct {
	client *redis.Client
	text   atomic.Pointer[string]
	times  atomic.Int64
}

type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func (f *fault) DialHook(next redis.DialHook) redis.DialHook { return next }
func (f *fault) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f *fault) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if text := f.text.Load(); text != nil {
			f.times.Add(1)
			cmd.SetErr(reply(*text))
			return reply(*text)
		}
		return next(ctx, cmd)
	}
}

// Every reply of a server that cannot serve is waited out, in words that say what to do.
func TestStreamWaitsErrorsOut(t *testing.T) {
	f := &fault{client: dial(t, startValkey(t).addr)}
	f.client.AddHook(f)
	s := follow(t, f.client)
	for text, words := range map[string]string{
		"LOADING Valkey is loading the dataset in memory":          "still loading",
		"READONLY You can't write against a read only replica.":    "takes no writes",
		"ERR READONLY proxied":                                     "takes no writes",
		"NOAUTH Authentication required.":                          "wants a password",
		"NOPERM User x has no permissions":                         "info, xinfo, xread, xrange, xadd and xtrim",
		"OOM command not allowed when used memory > 'maxmemory'.":  "raise maxmemory",
		"MISCONF Errors writing to the AOF file":                   "cannot save",
		"ERR something that no version of this program knows yet.": "no version of this program",
	} {
		eventually(t, "it is fresh", healthy(s))
		f.text.Store(&text)
		eventually(t, "it says "+words, unhealthy(s, words))
		before := f.times.Load()
		if err := s.Revoke(t.Context(), jti(text)); err == nil || !strings.Contains(err.Error(), words) || !knows(s, text) {
			t.Errorf("%s: %v", text, err)
		}
		if before == 0 {
			t.Fatal("no command was answered with the error")
		}
		f.text.Store(nil)
	}
	eventually(t, "the server has all that was revoked meanwhile", func() bool { return onServer(t, f.client) >= 8 })
	if s.Failures() < 8 {
		t.Errorf("%d failures counted", s.Failures())
	}
}

// The key of another program is left alone.
func TestStreamWrongType(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	if err := client.Set(t.Context(), "sp1:revocations", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s := follow(t, client)
	eventually(t, "it says so", unhealthy(s, "choose another prefix"))
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "another prefix") {
		t.Errorf("Probe: %v", err)
	}
}

// shifted is a clock that can run ahead, or behind where ahead is negative.
type shifted struct{ ahead atomic.Int64 }

func (c *shifted) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// A replica whose clock ran hours ahead while another revoked, and returns, knows what it had taken for expired before its view is
// fresh again.
func TestStreamClockReturns(t *testing.T) {
	v := startValkey(t)
	var c shifted
	c.ahead.Store(int64(3 * time.Hour))
	s, err := NewStream(dial(t, v.addr), StreamOptions{Block: 10 * time.Millisecond, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	eventually(t, "it is fresh", healthy(s))
	mustRevoke(t, follow(t, dial(t, v.addr)), jti("1"))
	for range 2 { // the first of these may have begun before
		before := s.View().fresh.Load()
		eventually(t, "it has read past it", func() bool { return s.View().fresh.Load() > before })
	}
	if knows(s, "1") {
		t.Fatal("it holds the entry, so this test shows nothing")
	}
	c.ahead.Store(0)
	eventually(t, "it knows", func() bool { return knows(s, "1") })
}

// fill writes 300 entries that expire early and 300 that expire late, a day after start.
func fill(t *testing.T, client *redis.Client, start, early time.Time) {
	t.Helper()
	_, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i := range 600 {
			id, e := fmt.Sprintf("60000-%d", i+1), Entry{Issuer: "shop", Kind: JTI, Value: fmt.Sprint("fill/", i), At: start, Until: early}
			if i >= 300 {
				id, e.Until = fmt.Sprintf("120000-%d", i+1), start.Add(24*time.Hour)
			}
			p.XAdd(t.Context(), &redis.XAddArgs{Stream: "sp1:revocations", ID: id, Values: []any{field, encode(e)}})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Entries that no token can outlive leave the stream, and no others.
func TestStreamTrims(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	var c shifted
	c.ahead.Store(int64(-2 * slack))
	s, err := NewStream(client, StreamOptions{Block: 10 * time.Millisecond, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	start := c.now()
	fill(t, client, start, start.Add(time.Minute))
	run(t, s)
	eventually(t, "it is fresh", healthy(s))
	revoke := func(n string) {
		e := jti(n)
		e.At = start
		mustRevoke(t, s, e)
	}
	revoke("1")
	if n := onServer(t, client); n != 601 {
		t.Errorf("%d entries, want 601: entries in force are trimmed", n)
	}
	c.ahead.Store(0)
	revoke("2")
	// The server trims whole nodes, of a hundred entries at most.
	if n := onServer(t, client); n < 302 || n >= 402 {
		t.Errorf("%d entries, want 302 and a part of a node", n)
	}
	eventually(t, "it forgets them", func() bool { return s.View().Len() == 302 })
	eventually(t, "it is fresh", healthy(s))
	if s.Reasserted() != 0 {
		t.Errorf("%d expired entries were written again", s.Reasserted())
	}
}

// What has expired by this replica's clock alone stays: the clock may be ahead.
func TestStreamTrimsByTheServersClock(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	var c shifted
	c.ahead.Store(int64(3 * time.Hour))
	s, err := NewStream(client, StreamOptions{Block: 10 * time.Millisecond, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, client, time.Now(), time.Now().Add(time.Hour))
	run(t, s)
	eventually(t, "it is fresh", healthy(s))
	e := jti("1")
	e.Until = c.now().Add(time.Hour)
	mustRevoke(t, s, e)
	if n := onServer(t, client); n != 601 {
		t.Errorf("%d entries, want 601", n)
	}
}

// An answer to XADD that is lost leaves open whether it ran; the entry is written in the end also where an earlier one of its name
// stands in the stream, so that the count of entries shows nothing.
func TestStreamWritesWhatMayBeLost(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	s := follow(t, client)
	first := Entry{Issuer: "shop", Kind: Subject, Value: "ada", At: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}
	mustRevoke(t, s, first)
	eventually(t, "it is fresh", healthy(s))
	again := first
	again.At = time.Now()
	if err := s.Revoke(canceled(t), again); err == nil {
		t.Fatal("nothing was lost, so this test shows nothing")
	}
	other := follow(t, client)
	late := &authz.Principal{Issuer: "shop", Subject: "ada", IssuedAt: again.At.Add(-time.Minute)}
	eventually(t, "the other knows", func() bool { revoked, _ := other.View().Revoked(late, time.Now()); return revoked })
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// Entries that say nothing, or too much, are refused before they are written.
func TestStreamRefusesBadEntries(t *testing.T) {
	client := dial(t, startValkey(t).addr)
	s := follow(t, client)
	refusesBadEntries(t, s)
	if n := onServer(t, client); n != 0 {
		t.Errorf("%d entries were written", n)
	}
}

func refusesBadEntries(t *testing.T, s Store) {
	t.Helper()
	for name, change := range map[string]func(*Entry){
		"no issuer":       func(e *Entry) { e.Issuer = "" },
		"no kind":         func(e *Entry) { e.Kind = 0 },
		"unknown kind":    func(e *Entry) { e.Kind = 77 },
		"no value":        func(e *Entry) { e.Value = "" },
		"value of issuer": func(e *Entry) { e.Kind = Issuer },
		"long value":      func(e *Entry) { e.Value = strings.Repeat("x", MaxName+1) },
		"not text":        func(e *Entry) { e.Value = "\xff" },
		"NUL":             func(e *Entry) { e.Value = "a\x00" },
		"no at":           func(e *Entry) { e.At = time.Time{} },
		"no until":        func(e *Entry) { e.Until = time.Time{} },
		"future":          func(e *Entry) { e.At = e.At.Add(2 * maxAhead) },
		"past":            func(e *Entry) { e.Until = e.At.Add(-time.Second) },
		"end of time":     func(e *Entry) { e.Until = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC) },
	} {
		e := jti("x")
		change(&e)
		if err := s.Revoke(t.Context(), e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if s.View().Len() != 0 {
		t.Errorf("%d bad entries hold", s.View().Len())
	}
}

// A client that would break the promises is refused.
func TestNewStreamRefuses(t *testing.T) {
	deaf := redis.NewClient(&redis.Options{})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	ring := redis.NewRing(&redis.RingOptions{})
	t.Cleanup(func() { deaf.Close(); cluster.Close(); ring.Close() })
	for name, client := range map[string]Server{"none": nil, "deaf to deadlines": deaf, "cluster": cluster, "ring": ring} {
		if _, err := NewStream(client, StreamOptions{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The command that writes is never repeated by the client.
func TestStreamWritesOnce(t *testing.T) {
	s, err := NewStream(dial(t, "127.0.0.1:1"), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cmd := s.write(t.Context(), jti("1"), ""); !cmd.NoRetry() {
		t.Error("XADD may be sent twice")
	}
}
