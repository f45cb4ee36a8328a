package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// MaxKeyBytes is the longest key of a counter. Key builders hash long values, so a longer key is a mistake, and refused.
const MaxKeyBytes = 4096

// MaxBatch is the most charges that a store decides together.
const MaxBatch = 256

// Charge asks a [Store] to spend hits from one counter. A counter is one key; all its windows live under that one key, so
// that a store can decide them together, in one step, on one shard.
type Charge struct {
	// Key names the counter. Distinct (domain, descriptor) pairs give distinct keys: components are length-prefixed and
	// tagged, never joined by a byte that a client could send.
	Key string
	// Rule names the limit that the charge comes from, as the configuration does; it never holds a value that a client sent.
	// A store that has room for no more keys counts the new keys of one rule together, under this name.
	Rule string
	// Windows are the limits on that counter, at least one. All of them must have room or nothing is spent.
	Windows []window.Window
	// Algorithm says how every window of this counter is counted.
	Algorithm window.Algorithm
	// Hits to spend, at most 2^32-1. Zero is a peek: it reports, spends nothing, and is over only where a window is overdrawn
	// already or has a limit of zero; at exactly the limit it passes. Negative hits give back: they drain the newest cells to
	// zero at the lowest, and are never over.
	Hits int64
	// CountDenied spends the hits even where they are denied, as envoyproxy/ratelimit does. False: a denied hit burns nothing.
	CountDenied bool
	// OwnLimit says that the request brought the limit itself, so that the next one may bring another: nothing is remembered of a denial.
	OwnLimit bool
	// Shadow charges are reported but veto nothing. They spend as they would if they were enforced, so that their counts tell
	// what enforcing them will do: one that is over, or stands in a denied batch, burns nothing unless CountDenied says so.
	Shadow bool
}

// Ask is the charge as the arithmetic sees it.
func (c Charge) Ask() window.Ask {
	return window.Ask{Algorithm: c.Algorithm, Windows: c.Windows, Hits: c.Hits}
}

// Validate says why a charge cannot be decided by any store.
func (c Charge) Validate() error {
	if c.Key == "" {
		return errors.New("ratelimit: charge without a key")
	}
	if len(c.Key) > MaxKeyBytes {
		return fmt.Errorf("ratelimit: key of %d bytes, at most %d", len(c.Key), MaxKeyBytes)
	}
	return c.Ask().Validate()
}

// ValidateBatch says why a batch cannot be decided by any store: an invalid charge, or more than [MaxBatch] of them.
func ValidateBatch(batch []Charge) error {
	if len(batch) > MaxBatch {
		return fmt.Errorf("ratelimit: batch of %d charges, at most %d", len(batch), MaxBatch)
	}
	for i := range batch {
		if err := batch[i].Validate(); err != nil {
			return fmt.Errorf("ratelimit: charge %d: %w", i, err)
		}
	}
	return nil
}

// Outcome is what became of one [Charge].
type Outcome struct {
	// Over says that this charge alone exceeds one of its windows. The zero value is "not over", and is only meaningful when
	// [Store.Spend] returned no error.
	Over bool
	// Windows reports each window of the charge, in the charge's order.
	Windows []window.State
	// Uncounted says that nobody asked about this charge, or nobody answered, since another of its batch refuses the batch anyway:
	// Over is false and Windows is empty. Only [Spread] and [Denials] say so.
	Uncounted bool
	// Remembered says that the charge was known to be over without asking. Only [Denials] says so. Metrics count such hits apart
	// (over_limit_with_local_cache).
	Remembered bool
}

// Store holds counters. Implementations: memstore (one process), redisstore (shared). storetest holds both to one behaviour.
//
// Spend decides the batch as one. The charges are judged in order, each seeing what the earlier ones spend, so the same
// counter twice counts twice. If any charge that is not Shadow is over, the request is denied and burns nothing: only
// CountDenied charges are written, and they always are. Over keeps what each charge alone was found to be, and the states tell
// the counters as they were left. It answers within ctx's deadline, with one Outcome per Charge in their order, or with an
// error, after which nothing may be assumed about what was written. A batch that [ValidateBatch] refuses is refused unwritten;
// any other error is a [*StoreError]. The clock is the store's own. Spend is safe for concurrent use.
type Store interface {
	Spend(ctx context.Context, batch []Charge) ([]Outcome, error)
}

// RefundWithin is how long after its charge a receipt is honoured, by the store's clock, and so how long a store must remember
// which receipts it has honoured. It is far more than any caller's deadline: a refund follows its charge at once.
const RefundWithin = 10 * time.Second

// Receipt names what one batch spent and where, so that it can be taken back and nothing else with it. The zero value names
// nothing. A receipt belongs to the store that wrote it.
type Receipt struct {
	// Nonce is the batch's own, random: a receipt is honoured once.
	Nonce [16]byte
	// At is when the batch was charged, in milliseconds since the Unix epoch by the store's clock.
	At int64
	// Spent has what may be taken back: charges with hits to spend that a denied batch would not have written. Those that
	// count denials stay spent, and what was given back stays given back.
	Spent []Spent
}

// Spent is one charge as it was written.
type Spent struct {
	// Key and Rule are the charge's.
	Key, Rule string
	// Hits that were spent, above zero.
	Hits int64
	// Marks say where they went, one for each shape of window that the charge has.
	Marks []window.Mark
	// Shared says that a full store counted them in the counter of the rule and not of the key.
	Shared bool
}

// Refunder is a [Store] whose batches can be taken back, for a batch that is decided in parts: where a part denies, the others
// must burn nothing. Both methods are safe for concurrent use, and fail as Spend does.
type Refunder interface {
	Store
	// SpendRefundable is Spend, and a receipt for what it wrote.
	SpendRefundable(ctx context.Context, batch []Charge) ([]Outcome, Receipt, error)
	// Refund takes back what the receipt names, from the cells that it was charged to: once, whoever asks how often, and nothing
	// where those cells have left their window, or RefundWithin has passed. A refund into a later cell would erase the hits of
	// others. What a token bucket has drained in the meantime stays drained. Where it fails, it may or may not have been done;
	// asking again is safe, and so is giving up: hits that stay spent refuse early and never late.
	Refund(ctx context.Context, r Receipt) error
}

// StoreErrorClass says why a store could not decide. It is a closed set, fit for a metric's label.
type StoreErrorClass string

const (
	// StoreTimeout: no answer within the caller's deadline, or the caller went away.
	StoreTimeout StoreErrorClass = "timeout"
	// StoreRefused: no connection: refused, cut, no credentials, too many clients.
	StoreRefused StoreErrorClass = "refused"
	// StoreLoading: the server is up but not serving yet, or is busy with a script.
	StoreLoading StoreErrorClass = "loading"
	// StoreReadOnly: a replica, or a server that takes no writes for now.
	StoreReadOnly StoreErrorClass = "readonly"
	// StoreOOM: the server is out of memory and refuses to grow.
	StoreOOM StoreErrorClass = "oom"
	// StoreBreaker: the store was not asked, since it failed lately and no probe has succeeded since.
	StoreBreaker StoreErrorClass = "breaker"
	// StoreOther: anything else, an answer that makes no sense included.
	StoreOther StoreErrorClass = "other"
)

// StoreErrorClasses lists every class, for metrics that are to exist before the first error.
func StoreErrorClasses() []StoreErrorClass {
	return []StoreErrorClass{StoreTimeout, StoreRefused, StoreLoading, StoreReadOnly, StoreOOM, StoreBreaker, StoreOther}
}

// StoreError is a store that could not decide. What was written is unknown.
type StoreError struct {
	// Class is never empty.
	Class StoreErrorClass
	// Err is the cause, never nil.
	Err error
}

func (e *StoreError) Error() string {
	return fmt.Sprintf("ratelimit: store could not decide (%s): %v", e.Class, e.Err)
}

// Unwrap is the cause.
func (e *StoreError) Unwrap() error { return e.Err }
