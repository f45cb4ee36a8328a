package jwt

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
)

// waitingPerTurn bounds the queue: at a tenth of a millisecond a signature it is some fifty milliseconds long, and whoever stood
// behind it would get the answer after having stopped to listen for it.
const waitingPerTurn = 512

// errCrowded refuses whom the queue has no place for. It wraps the deadline's error because that is the fate it spares the request.
var errCrowded = fmt.Errorf("jwt: too many tokens wait for their signature to be checked: %w", context.DeadlineExceeded)

// turns hands out the right to check a signature. A signature costs a hundred times what a remembered token does, and anybody can send
// tokens with bad ones: without a bound they would take the processors in proportion to their number.
type turns struct {
	// taken is nil where nothing is bounded.
	taken   chan struct{}
	waiting *atomic.Int64
}

func newTurns(n int) turns {
	switch {
	case n < 0:
		return turns{}
	case n == 0:
		n = max(1, runtime.GOMAXPROCS(0)/2)
	}
	return turns{taken: make(chan struct{}, n), waiting: new(atomic.Int64)}
}

// take waits for a turn, within the caller's time. Who has one gives way to everything that is ready to run before beginning: the
// scheduler knows no priorities, but a request whose token is remembered is a few microseconds long, so standing once behind all of
// them is enough to let them pass.
func (t *turns) take(ctx context.Context) error {
	if t.taken == nil {
		return nil
	}
	select {
	case t.taken <- struct{}{}:
	default:
		if err := t.wait(ctx); err != nil {
			return err
		}
	}
	runtime.Gosched()
	return nil
}

func (t *turns) wait(ctx context.Context) error {
	if t.waiting.Add(1) > int64(waitingPerTurn*cap(t.taken)) {
		t.waiting.Add(-1)
		return errCrowded
	}
	defer t.waiting.Add(-1)
	select {
	case t.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("jwt: wait for a signature to be checked: %w", ctx.Err())
	}
}

func (t *turns) give() {
	if t.taken != nil {
		<-t.taken
	}
}
