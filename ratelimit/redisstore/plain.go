package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// spareLife is how long a plain counter outlives its window, in milliseconds: the clocks of those who charge it are not exact. A window that
// is shorter is outlived by less, a second at least, since there are many of those. The script has the same rule.
func spareLife(grain int64) int64 { return max(1000, min(grain, 60_000)) }

// target is where a charge goes on the server.
type target struct {
	key string
	// Of a plain counter only:
	plain   bool
	cell    int64  // the number of the window
	grain   int64  // its length in milliseconds
	counter uint64 // its name in recent
	lives   bool   // this process has given the key its time to live
}

// end is when the window ends, in milliseconds since the epoch.
func (t *target) end() int64 { return (t.cell + 1) * t.grain }

// aim says where the charges of a batch go, and what time it is on their server if that is known: the script asks for itself.
func (s *Store) aim(ctx context.Context, batch []ratelimit.Charge) (targets []target, now int64, err error) {
	targets = make([]target, len(batch))
	for i := range batch {
		c := &batch[i]
		if !c.Ask().Lone() {
			targets[i].key = s.prefix + c.Key
			continue
		}
		if now == 0 {
			if now, err = s.now(ctx, c.Key); err != nil {
				return nil, 0, err
			}
		}
		targets[i] = s.plainTarget(c, now)
	}
	return targets, now, nil
}

// plainTarget is the window of a plain counter that is charged now: the newest that this process has seen, if the clock has stepped back.
func (s *Store) plainTarget(c *ratelimit.Charge, now int64) target {
	t := target{plain: true, grain: c.Windows[0].Span.Milliseconds()}
	t.cell, t.counter = now/t.grain, s.recent.of(c.Key, t.grain)
	if newest, ok := s.recent.newest(t.counter); ok && newest >= t.cell {
		t.cell, t.lives = newest, true
	}
	t.key = s.plainKey(c.Key, t.grain, t.cell)
	return t
}

// plainKey is the key of one window of a plain counter. The keys of other counters begin with the tag of a component, and never with this
// mark. In a cluster it is in the slot of the counter's own key.
func (s *Store) plainKey(key string, grain, cell int64) string {
	var buf [128]byte
	b := append(append(buf[:0], s.prefix...), '#')
	if s.cluster != nil && !s.slots.fixed {
		b = append(append(append(b, '{'), tagsOfSlots()[s.Slot(key)]...), '}')
	}
	b = append(strconv.AppendInt(b, grain, 36), '.')
	b = append(strconv.AppendInt(b, cell, 36), '.')
	return string(append(b, key...))
}

// isFast says whether a batch needs no script: nothing in it depends on anything else, since whatever becomes of the batch, every charge of
// it is written or only looked at. Where commands do not travel together, as in a cluster, there is one, and the script has made its key.
func (s *Store) isFast(batch []ratelimit.Charge, targets []target) bool {
	for i := range batch {
		c := &batch[i]
		if !targets[i].plain || c.Hits < 0 || c.Hits > 0 && !c.CountDenied {
			return false
		}
	}
	return s.together != nil || len(batch) == 1 && (batch[0].Hits == 0 || targets[0].lives)
}

// plainSteps are the commands of one charge.
type plainSteps struct {
	create *onceCmd // nil where the key lives
	count  onceCmd
}

// spendPlain decides a batch by plain commands, in one trip. INCRBY gives every hit a number of its own, so no two pass for one.
func (s *Store) spendPlain(ctx context.Context, batch []ratelimit.Charge, targets []target, now int64) (*answer, error) {
	steps := make([]plainSteps, len(batch))
	cmds := make([]redis.Cmder, 0, 2*len(batch))
	for i := range batch {
		c, t := &batch[i], &targets[i]
		if c.Hits == 0 {
			steps[i].count = onceCmd{redis.NewCmd(ctx, "get", t.key)}
		} else {
			if !t.lives {
				// Before it is charged, so that no key is ever left without, wherever the connection is cut.
				life := max(t.end()-now, 0) + spareLife(t.grain) + s.slackForTest()
				steps[i].create = &onceCmd{redis.NewCmd(ctx, "set", t.key, 0, "px", life, "nx")}
				cmds = append(cmds, steps[i].create)
			}
			steps[i].count = onceCmd{redis.NewCmd(ctx, "incrby", t.key, c.Hits)}
		}
		cmds = append(cmds, steps[i].count)
	}
	if err := s.send(ctx, cmds...); err != nil {
		return nil, classified(err)
	}
	a := &answer{now: now, outcomes: make([]ratelimit.Outcome, len(batch))}
	states := make([]window.State, 0, len(batch))
	for i := range batch {
		held, err := s.readPlain(ctx, &batch[i], &targets[i], steps[i], now)
		if err != nil {
			return nil, err
		}
		from := len(states)
		ask := batch[i].Ask()
		verdict := ask.LoneOver(held)
		states = window.AppendLoneStates(states, ask, window.LoneCell{Cell: targets[i].cell, Held: held, Now: now}, verdict)
		a.outcomes[i] = ratelimit.Outcome{Over: verdict.Denied(), Windows: states[from:len(states):len(states)]}
	}
	return a, nil
}

// readPlain is what a plain counter holds after its charge.
func (s *Store) readPlain(ctx context.Context, c *ratelimit.Charge, t *target, steps plainSteps, now int64) (uint64, error) {
	held, err := plainNumber(steps.count)
	switch {
	case err != nil && c.Hits > 0 && strings.Contains(err.Error(), "would overflow"):
		return math.MaxUint64, nil // beyond every limit
	case err != nil:
		s.lookAround(ctx, err)
		return 0, classified(err)
	case held < c.Hits:
		return 0, classified(fmt.Errorf("%w: a counter holds %d after %d hits", errGarbage, held, c.Hits))
	case c.Hits == 0:
		return uint64(held), nil
	}
	created := steps.create != nil && steps.create.Val() == "OK"
	lives := t.lives || created || steps.create != nil && errors.Is(steps.create.Err(), redis.Nil)
	fate := existed | written
	if created {
		fate = written
	}
	if held == c.Hits && !created {
		// The key was new, or all its hits had been given back. Nobody may have given it a time to live.
		if fate, err = s.mend(ctx, c, t); err != nil {
			s.recent.forget(t.counter)
			return uint64(held), nil // it is counted all the same
		}
		lives = true
	}
	if lives {
		s.recent.note(t.counter, t.cell)
	}
	after := s.guess(c.Key, now)
	s.lost.note(sighting{key: t.key, from: now, to: after, life: t.end() - after, fate: fate})
	return uint64(held), nil
}

// plainNumber reads the answer of INCRBY, which is a number, or of GET, which is the text of one or nothing.
func plainNumber(cmd onceCmd) (int64, error) {
	reply, err := cmd.Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	switch v := reply.(type) {
	case int64:
		return v, nil
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: %T is not a count", errGarbage, reply)
}

// mend has the script look at a plain counter, which gives it a time to live if it has none, and says whether it had.
//
// Where this fails, a key that the server has lost, and that was made again by a hit, has none until the next script that meets it.
func (s *Store) mend(ctx context.Context, c *ratelimit.Charge, t *target) (fate, error) {
	peek := []ratelimit.Charge{*c}
	peek[0].Hits = 0
	a, err := s.spendScript(ctx, peek, []target{*t})
	if err != nil {
		return 0, err
	}
	return a.fates[0] | written, nil
}

// slackForTest lets keys outlive a test whose clock is not the server's; see the script.
func (s *Store) slackForTest() int64 {
	if s.clockForTest != nil {
		return 3_600_000
	}
	return 0
}
