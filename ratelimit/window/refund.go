package window

// Mark is where the hits of a charge went in one window: all that is needed to take them back, and nobody else's.
type Mark struct {
	// Shape is the window's.
	Shape Shape
	// At is the number of the cell that was charged; for a token bucket the instant of the charge, in milliseconds.
	At int64
	// Level is what a token bucket held just after the charge, Limit the limit by which it drained, and Taken the hits that had left
	// it until then other than by draining, modulo 2^48. Zero for cells.
	Level Level
	Limit uint32
	Taken uint64
}

// Level is how full a token bucket is, exactly: Hits and Part/Grain of a hit, where Grain is that of its [Shape].
type Level struct {
	// Hits is at most MaxHits.
	Hits int64
	// Part is at least zero and less than the grain.
	Part int64
}

// AppendMarks appends to dst where the latest charge of an ask went, one mark for each shape of its windows.
func (c *Counter) AppendMarks(dst []Mark, a Ask) []Mark {
	for i, w := range a.Windows {
		if a.repeats(i) {
			continue
		}
		s := w.Shape(a.Algorithm)
		r, ok := c.find(s)
		switch {
		case !ok:
		case r.drains():
			dst = append(dst, Mark{Shape: s, At: bucket(r).last(), Level: bucket(r).level(), Limit: bucket(r).limit(), Taken: bucket(r).taken()})
		default:
			dst = append(dst, Mark{Shape: s, At: r.newest()})
		}
	}
	return dst
}

// Refund takes hits back from where the marks say that they went. A cell that has left its window gives nothing back, since a
// refund into another would erase the hits of others; what has drained from a bucket meanwhile stays drained. No refund makes
// more room than there would have been without the charge. That one charge is not refunded twice is the caller's to see to.
func (c *Counter) Refund(marks []Mark, hits, now int64) {
	now = bound(now)
	for _, m := range marks {
		r, ok := c.find(m.Shape)
		switch {
		case !ok || hits <= 0:
		case r.drains():
			bucket(r).refund(m, hits, now)
		case m.At <= r.newest() && m.At >= r.oldest() && m.At > now/m.Shape.Grain-r.cells():
			r.take(m.At, uint64(hits))
		}
	}
}
