package revocation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
)

// Store is where revocations outlive a process: a [Stream] or a [File].
type Store interface {
	// Run keeps the view in step with the store until ctx ends, which is no error. It is called once.
	Run(ctx context.Context) error
	// Revoke writes an entry, and applies it to the view of this process. A nil error means that the store has it. With an error
	// the entry holds in this process all the same, since denying what somebody wanted denied is the safe side of not knowing,
	// except where the entry itself is invalid. It is safe for concurrent use, and revoking again does no harm.
	Revoke(ctx context.Context, e Entry) error
	// View is what requests ask. It is always the same one.
	View() *View
	// Health says whether the last look at the store was good, and in words for an operator what it found.
	Health() (ok bool, text string)
}

var (
	_ Store             = (*Stream)(nil)
	_ Store             = (*File)(nil)
	_ authz.Revocations = (*View)(nil)
)

// status is what the last look at a store found.
type status struct {
	mu     sync.Mutex
	looked bool
	err    error
}

func (s *status) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked, s.err = true, err
}

// tell is the answer to Health.
func (s *status) tell(v *View, now time.Time) (ok bool, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := "never read"
	if v.everFresh() {
		age = "last read whole " + v.Age(now).Round(time.Millisecond).String() + " ago"
	}
	switch {
	case !s.looked:
		return false, "revocations: not read yet"
	case s.err != nil:
		return false, fmt.Sprintf("revocations: %v; %s", s.err, age)
	}
	return true, fmt.Sprintf("revocations: %d in force, %s", v.Len(), age)
}
