package ratelimit

import (
	"context"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Charge asks a [Store] to spend hits from one counter. A counter is one key; all its windows live under that one key, so
// that a store can decide them together, in one step, on one shard.
type Charge struct {
	// Key names the counter. Distinct (domain, descriptor) pairs give distinct keys: components are length-prefixed and
	// tagged, never joined by a byte that a client could send.
	Key string
	// Windows are the limits on that counter, at least one. All of them must have room or nothing is spent.
	Windows []window.Window
	// Algorithm says how every window of this counter is counted.
	Algorithm window.Algorithm
	// Hits to spend. Zero is a peek: it reports, spends nothing and is denied only where no room at all would be overdrawn.
	// Negative hits give back: they drain the newest cells, floor zero, and are never denied.
	Hits int64
	// CountDenied spends the hits even where they are denied, as envoyproxy/ratelimit does. False: a denied hit burns nothing.
	CountDenied bool
	// Shadow charges are spent and reported but veto nothing, neither their own hits nor the other charges of the batch.
	Shadow bool
}

// Outcome is what became of one [Charge].
type Outcome struct {
	// Over says that this charge alone exceeds one of its windows. The zero value is "not over", and is only meaningful when
	// [Store.Spend] returned no error.
	Over bool
	// Windows reports each window of the charge, in the charge's order.
	Windows []window.State
}

// Store holds counters. Implementations: memstore (one process), redisstore (shared). storetest holds both to one behaviour.
//
// Spend decides the batch as one: if any charge that is neither Shadow nor CountDenied is over, no charge without CountDenied
// is written (a denied request burns nothing), while CountDenied charges are always written. It answers within ctx's deadline,
// with one Outcome per Charge in their order, or with an error, after which nothing may be assumed about what was written.
// The clock is the store's own. Spend is safe for concurrent use.
type Store interface {
	Spend(ctx context.Context, batch []Charge) ([]Outcome, error)
}
