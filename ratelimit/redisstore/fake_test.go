package redisstore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// fake speaks the protocol of Redis over real connections and answers scripts as a test says.
type fake struct {
	addr string

	mu sync.Mutex
	// script answers the nth EVALSHA, EVAL, INFO, SET, INCRBY or GET, counted from zero; what it returns is sent as it is. After
	// hangUp and what follows it the connection ends; silence keeps it open and says nothing.
	script func(n int) string
	ran    [][]string // what arrived of those
	// clock answers TIME; empty: serverTime.
	clock string
	// slots is what CLUSTER SLOTS answers, and asking is how often ASKING came.
	slots  string
	asking int
}

const (
	hangUp  = "hang up"
	silence = "silence"
)

func startFake(t *testing.T, script func(n int) string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: l.Addr().String(), script: script}
	var conns sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			conns.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		conns.Wait()
	})
	return f
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		cmd, err := readCommand(in)
		if err != nil {
			return
		}
		answer := "+OK\r\n"
		switch strings.ToLower(cmd[0]) {
		case "hello":
			answer = "-ERR unknown command 'hello'\r\n"
		case "evalsha", "eval", "info", "set", "incrby", "get":
			answer = f.run(cmd)
		case "time":
			answer = f.time()
		case "cluster", "asking":
			answer = f.aboutCluster(cmd[0])
		}
		if answer == silence {
			continue
		}
		said, cut := strings.CutPrefix(answer, hangUp)
		if _, err := io.WriteString(c, said); err != nil || cut {
			return
		}
	}
}

func (f *fake) run(cmd []string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ran = append(f.ran, cmd)
	return f.script(len(f.ran) - 1)
}

func (f *fake) time() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clock != "" {
		return f.clock
	}
	return timeReply(serverTime)
}

// timeReply is an answer to TIME.
func timeReply(millis int64) string {
	return "*2\r\n" + bulk(strconv.FormatInt(millis/1000, 10)) + bulk(strconv.FormatInt(millis%1000*1000, 10))
}

func (f *fake) aboutCluster(word string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if word == "asking" {
		f.asking++
		return "+OK\r\n"
	}
	return f.slots
}

// runs are the scripts that have arrived.
func (f *fake) runs() [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ran
}

// readCommand reads an array of bulk strings.
func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readNumber(in, '*')
	if err != nil {
		return nil, err
	}
	cmd := make([]string, n)
	for i := range cmd {
		size, err := readNumber(in, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		cmd[i] = string(b[:size])
	}
	return cmd, nil
}

func readNumber(in *bufio.Reader, mark byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != mark {
		return 0, fmt.Errorf("got %q, want %q and a number", line, mark)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// always answers every script alike.
func always(answer string) func(int) string { return func(int) string { return answer } }

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

const serverTime = 1_800_000_000_000

// counted is the bytes of a counter that holds one hit of perMinute.
func counted() string {
	var c window.Counter
	c.Spend(perMinute("a", 3).Ask(), serverTime)
	return string(c.Bytes())
}

// good is the answer to one charge of perMinute("a", 3).
func good() string {
	return fmt.Sprintf("*3\r\n:%d\r\n:0\r\n%s", int64(serverTime), bulk("\x00\x02"+counted()))
}

func spendOn(t *testing.T, client redisstore.Client) ([]ratelimit.Outcome, error) {
	t.Helper()
	return open(t, client, redisstore.Options{}).Spend(t.Context(), []ratelimit.Charge{perMinute("a", 3)})
}

// A server that does not know the script is sent its text, once, with the same arguments.
func TestUnknownScriptIsSentOnce(t *testing.T) {
	f := startFake(t, func(n int) string {
		if n == 0 {
			return "-NOSCRIPT No matching script. Please use EVAL.\r\n"
		}
		return good()
	})
	got, err := spendOn(t, dial(t, f.addr))
	if err != nil || got[0].Over || got[0].Windows[0].Remaining != 2 || got[0].Windows[0].Reset != 61*time.Second {
		t.Fatalf("%+v, %v; want two left", got, err)
	}
	runs := f.runs()
	if len(runs) != 2 || runs[0][0] != "evalsha" || runs[0][1] != redisstore.ScriptHash || runs[1][0] != "eval" {
		t.Fatalf("%q; want EVALSHA by the script's hash, then EVAL", runs)
	}
	if want, got := fmt.Sprintf("%q", runs[0][2:]), fmt.Sprintf("%q", runs[1][2:]); want != got {
		t.Errorf("EVAL had arguments %s, EVALSHA %s", got, want)
	}
	if clock := runs[0][4]; clock != "" {
		t.Errorf("the server was told the time %q", clock)
	}
}

func TestServerThatNeverLearnsTheScript(t *testing.T) {
	f := startFake(t, always("-NOSCRIPT No matching script.\r\n"))
	_, err := spendOn(t, dial(t, f.addr))
	wantClass(t, err, ratelimit.StoreOther)
	if n := len(f.runs()); n != 2 {
		t.Errorf("%d scripts sent, want 2", n)
	}
}

// Every error of a server has one class, and is not followed by a second try.
func TestErrorReplies(t *testing.T) {
	for reply, class := range map[string]ratelimit.StoreErrorClass{
		"LOADING Redis is loading the dataset in memory":                      ratelimit.StoreLoading,
		"BUSY Redis is busy running a script":                                 ratelimit.StoreLoading,
		"MASTERDOWN Link with MASTER is down":                                 ratelimit.StoreLoading,
		"CLUSTERDOWN The cluster is down":                                     ratelimit.StoreLoading,
		"TRYAGAIN Multiple keys request during rehashing of slot":             ratelimit.StoreLoading,
		"READONLY You can't write against a read only replica.":               ratelimit.StoreReadOnly,
		"ERR READONLY You can't write against a read only replica":            ratelimit.StoreReadOnly,
		"ERR Error running script: @user_script:9: -READONLY You can't":       ratelimit.StoreReadOnly,
		"MISCONF Redis is configured to save RDB snapshots":                   ratelimit.StoreReadOnly,
		"NOREPLICAS Not enough good replicas to write.":                       ratelimit.StoreReadOnly,
		"OOM command not allowed when used memory > 'maxmemory'.":             ratelimit.StoreOOM,
		"ERR Error running script: @user_script: OOM command not allowed x":   ratelimit.StoreOOM,
		"NOAUTH Authentication required.":                                     ratelimit.StoreRefused,
		"WRONGPASS invalid username-password pair or user is disabled.":       ratelimit.StoreRefused,
		"NOPERM this user has no permissions to run the 'evalsha' command":    ratelimit.StoreRefused,
		"ERR max number of clients reached":                                   ratelimit.StoreRefused,
		"MOVED 3999 127.0.0.1:1":                                              ratelimit.StoreOther,
		"ASK 3999 127.0.0.1:1":                                                ratelimit.StoreOther,
		"CROSSSLOT Keys in request don't hash to the same slot":               ratelimit.StoreOther,
		"WRONGTYPE Operation against a key holding the wrong kind of value":   ratelimit.StoreOther,
		"ERR user_script:1: sallyport: unknown layout of a counter script: x": ratelimit.StoreOther,
		"something else entirely":                                             ratelimit.StoreOther,
	} {
		t.Run(reply, func(t *testing.T) {
			f := startFake(t, always("-"+reply+"\r\n"))
			_, err := spendOn(t, dial(t, f.addr))
			wantClass(t, err, class)
			if n := len(f.runs()); n != 1 {
				t.Errorf("%d scripts sent, want 1", n)
			}
		})
	}
}

// An answer that does not fit the question is an error, never a verdict.
func TestGarbageIsAnError(t *testing.T) {
	counter := bulk("\x00\x02" + counted())
	answer := func(time, step, rest string) string { return "*3\r\n" + time + step + rest }
	now := fmt.Sprintf(":%d\r\n", int64(serverTime))
	for name, reply := range map[string]string{
		"nil":                   "$-1\r\n",
		"nil array":             "*-1\r\n",
		"ok":                    "+OK\r\n",
		"a number":              ":1\r\n",
		"empty array":           "*0\r\n",
		"too few":               "*2\r\n" + now + ":0\r\n",
		"too many":              "*4\r\n" + now + ":0\r\n" + counter + counter,
		"time is text":          answer("$3\r\nnow\r\n", ":0\r\n", counter),
		"time is nil":           answer("$-1\r\n", ":0\r\n", counter),
		"time before the epoch": answer(":-1\r\n", ":0\r\n", counter),
		"time beyond all time":  answer(":9223372036854775807\r\n", ":0\r\n", counter),
		"time beyond 64 bits":   answer(":92233720368547758079\r\n", ":0\r\n", counter),
		"step is 2":             answer(now, ":2\r\n", counter),
		"counter is nil":        answer(now, ":0\r\n", "$-1\r\n"),
		"counter is a number":   answer(now, ":0\r\n", ":7\r\n"),
		"counter is an array":   answer(now, ":0\r\n", "*0\r\n"),
		"counter is empty":      answer(now, ":0\r\n", bulk("")),
		"counter is a byte":     answer(now, ":0\r\n", bulk("\x00")),
		"verdict on no window":  answer(now, ":0\r\n", bulk("\x02\x02"+counted())),
		"unknown fate":          answer(now, ":0\r\n", bulk("\x00\x04"+counted())),
		"written but empty":     answer(now, ":0\r\n", bulk("\x00\x02")),
		"truncated counter":     answer(now, ":0\r\n", bulk(("\x00\x02" + counted())[:40])),
		"unknown layout":        answer(now, ":0\r\n", bulk("\x00\x02\x09"+counted()[1:])),
		"not the protocol":      "HTTP/1.1 400 Bad Request\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, always(reply))
			got, err := spendOn(t, dial(t, f.addr))
			if got != nil {
				t.Errorf("a verdict: %+v", got)
			}
			wantClass(t, err, ratelimit.StoreOther)
			if n := len(f.runs()); n != 1 {
				t.Errorf("%d scripts sent, want 1", n)
			}
		})
	}
}

// A connection that is cut after the script arrived may have run it: it is not sent again, not even by a client that retries.
func TestCutConnectionRunsTheScriptOnce(t *testing.T) {
	for name, part := range map[string]string{"no answer": "", "half an answer": "*3\r\n:18000", "half a counter": "*3\r\n:1\r\n:0\r\n$99\r\nab"} {
		for client, retries := range map[string]int{"our client": -1, "a client that retries": 3} {
			t.Run(name+", "+client, func(t *testing.T) {
				f := startFake(t, always(hangUp+part))
				c := redis.NewClient(&redis.Options{
					Addr: f.addr, ContextTimeoutEnabled: true, MaxRetries: retries, DisableIdentity: true, Protocol: 2,
				})
				defer c.Close()
				_, err := spendOn(t, c)
				wantClass(t, err, ratelimit.StoreRefused)
				if n := len(f.runs()); n != 1 {
					t.Errorf("the script arrived %d times, want once", n)
				}
			})
		}
	}
}

// A server that does not answer, at whatever step, costs the caller its deadline and no more.
func TestDeadlineIsObeyed(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepted by the kernel, never read
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	slow := startFake(t, always(silence))
	half := startFake(t, always("*3\r\n:18000"))
	blocked := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-t.Context().Done() // a dial that outlasts every caller
		return nil, t.Context().Err()
	}
	for name, o := range map[string]redis.Options{
		"no connection":  {Dialer: blocked},
		"no handshake":   {Addr: mute.Addr().String()},
		"no answer":      {Addr: slow.addr},
		"half an answer": {Addr: half.addr},
	} {
		t.Run(name, func(t *testing.T) {
			// Far beyond the caller's deadline: were these what ends the wait, the test would run into its own time limit.
			o.ReadTimeout, o.WriteTimeout, o.DialTimeout, o.PoolTimeout = time.Hour, time.Hour, time.Hour, time.Hour
			o.ContextTimeoutEnabled, o.MaxRetries, o.DisableIdentity, o.Protocol = true, -1, true, 2
			c := redis.NewClient(&o)
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := open(t, c, redisstore.Options{}).Spend(ctx, []ratelimit.Charge{perMinute("a", 3)})
			wantClass(t, err, ratelimit.StoreTimeout)
		})
	}
}

// A pool whose connections are all busy is a wait like any other.
func TestBusyPoolObeysTheDeadline(t *testing.T) {
	arrived := make(chan struct{}, 1)
	f := startFake(t, func(int) string { arrived <- struct{}{}; return silence })
	c := redis.NewClient(&redis.Options{
		Addr: f.addr, PoolSize: 1, PoolTimeout: time.Hour, ReadTimeout: time.Hour,
		ContextTimeoutEnabled: true, MaxRetries: -1, DisableIdentity: true, Protocol: 2,
	})
	defer c.Close()
	s := open(t, c, redisstore.Options{})
	hog, letGo := context.WithTimeout(t.Context(), time.Second)
	defer letGo()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _, _ = s.Spend(hog, []ratelimit.Charge{perMinute("hog", 3)}) })
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Spend(ctx, []ratelimit.Charge{perMinute("a", 3)})
	wantClass(t, err, ratelimit.StoreTimeout)
	if n := len(f.runs()); n != 1 {
		t.Errorf("%d scripts arrived, want the first alone", n)
	}
}

// What the server says of itself decides whether it may hold limits.
func TestProbeJudgesWhatTheServerSays(t *testing.T) {
	tests := []struct {
		name, info string
		warnings   int
		fails      bool
	}{
		{"fit", "redis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\ncluster_enabled:0\r\n", 0, false},
		{"evicts", "redis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:allkeys-lfu\r\n", 1, false},
		{"says no policy", "redis_version:7.0.15\r\nrole:master\r\n", 1, false},
		{"evicting replica", "redis_version:7.0.15\r\nrole:slave\r\nmaxmemory_policy:volatile-lru\r\n", 2, false},
		{"cluster", "redis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\ncluster_enabled:1\r\n", 0, true},
		{"too old", "redis_version:4.0.14\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n", 0, true},
		{"not a server of this kind", "hello\r\n", 0, true},
		{"empty", "", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := startFake(t, always(bulk(tt.info)))
			warnings, err := open(t, dial(t, f.addr), redisstore.Options{}).Probe(t.Context())
			if len(warnings) != tt.warnings || (err != nil) != tt.fails {
				t.Errorf("Probe = %q, %v; want %d warnings, error %v", warnings, err, tt.warnings, tt.fails)
			}
			if err != nil {
				wantClass(t, err, ratelimit.StoreOther)
			}
		})
	}
	t.Run("loading", func(t *testing.T) {
		f := startFake(t, always("-LOADING Redis is loading the dataset in memory\r\n"))
		_, err := open(t, dial(t, f.addr), redisstore.Options{}).Probe(t.Context())
		wantClass(t, err, ratelimit.StoreLoading)
	})
}
