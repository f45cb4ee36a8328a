package redisstore

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// patience is how old a trip grows before the next command begins another beside it, with all who wait: on a fast way one trip at a time
	// fills by itself, and one that is slow or stuck does not keep the others.
	patience = 2 * time.Millisecond
	// maxFlying is how many trips to a server are under way at most.
	maxFlying = 8
	// maxTogether is the most callers of one trip: enough to share what a trip costs, few enough that the first is not kept by the last.
	maxTogether = 32
	// maxWaiting is the most commands that wait; one more is refused at once, for a server that is so far behind answers none in time.
	maxWaiting = 1024
)

// errFull is a server that is too far behind to be asked more.
var errFull = errors.New("redisstore: too many commands wait for the server")

// coalescer sends commands to one server, together where they come faster than the server answers. Commands that meet no trip go at once,
// on their caller's goroutine; others wait for the one under way, as long as patience says, and then travel together. A trip of several
// goes on as long as the most patient of its callers; each of them leaves when its own time is up. A command whose caller leaves before
// it is sent is not sent; one that was sent is never sent again.
//
// go-redis has an AutoPipeline, which is marked experimental and does not let a caller go at its deadline once its command is queued.
type coalescer struct {
	client   *redis.Client
	patience time.Duration

	mu      sync.Mutex
	flying  int
	began   time.Time    // the latest trip
	waiting []*passenger // in the order of coming; those who have left among them
}

// passenger is the commands of one caller, which wait to be sent with others and stay together.
type passenger struct {
	cmds []redis.Cmder
	done chan struct{} // closed when they have their answers
	// deadline is its caller's; zero: it has none.
	deadline time.Time
	left     bool // its caller is gone: guarded by the coalescer's mu
}

// process sends commands in one trip, in their order, and returns when they have their answers or the caller's time is up. In the second
// case, and where too many wait, there is an error, and the commands are not the caller's any more; otherwise each has its own.
func (c *coalescer) process(ctx context.Context, cmds []redis.Cmder) error {
	c.mu.Lock()
	begin := c.mayBeginLocked()
	if begin && len(c.waiting) == 0 {
		c.mu.Unlock()
		defer c.landed()
		c.exec(ctx, cmds)
		return nil
	}
	full := len(c.waiting) >= maxWaiting
	p := &passenger{cmds: cmds, done: make(chan struct{})}
	if !full {
		p.deadline, _ = ctx.Deadline()
		c.waiting = append(c.waiting, p)
	}
	c.mu.Unlock()
	if begin {
		c.landed() // the trip begins with those who have waited
	}
	if full {
		return errFull
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		p.left = true
		c.mu.Unlock()
		return ctx.Err()
	}
}

// mayBeginLocked begins a trip, unless the latest has just begun or too many are under way.
func (c *coalescer) mayBeginLocked() bool {
	now := time.Now()
	if c.flying > 0 && (c.flying >= maxFlying || now.Sub(c.began) < c.patience) {
		return false
	}
	c.flying++
	c.began = now
	return true
}

// landed ends a trip: the next begins with those who wait, beside the caller, who has its answer.
func (c *coalescer) landed() {
	if next := c.board(); len(next) > 0 {
		go func() {
			for ; len(next) > 0; next = c.board() {
				c.fly(next)
				runtime.Gosched() // those who can come at once may travel with the next
			}
		}()
	}
}

// board takes those who wait, in order; where nobody does, a trip fewer is under way.
func (c *coalescer) board() []*passenger {
	c.mu.Lock()
	defer c.mu.Unlock()
	var next []*passenger
	taken := 0
	for _, p := range c.waiting {
		if len(next) == maxTogether {
			break
		}
		if taken++; !p.left {
			next = append(next, p)
		}
	}
	rest := copy(c.waiting, c.waiting[taken:])
	clear(c.waiting[rest:])
	c.waiting = c.waiting[:rest]
	if c.began = time.Now(); len(next) == 0 {
		c.flying--
	}
	return next
}

// fly sends commands in one trip, and waits for the answers as long as the most patient caller does.
func (c *coalescer) fly(batch []*passenger) {
	ctx, latest := context.Background(), time.Time{}
	for _, p := range batch {
		if p.deadline.IsZero() {
			latest = time.Time{}
			break
		}
		if p.deadline.After(latest) {
			latest = p.deadline
		}
	}
	if !latest.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, latest)
		defer cancel()
	}
	var cmds []redis.Cmder
	for _, p := range batch {
		cmds = append(cmds, p.cmds...)
	}
	c.exec(ctx, cmds)
	for _, p := range batch {
		close(p.done)
	}
}

// exec makes a trip. Each command has its own error.
func (c *coalescer) exec(ctx context.Context, cmds []redis.Cmder) {
	if len(cmds) == 1 {
		_ = c.client.Process(ctx, cmds[0])
		return
	}
	pipe := c.client.Pipeline()
	for _, cmd := range cmds {
		_ = pipe.Process(ctx, cmd) // it only queues
	}
	_, _ = pipe.Exec(ctx)
}
