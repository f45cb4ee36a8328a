package window

// Mark is where the hits of a charge went in one window: all that is needed to take them back, and nobody else's.
type Mark struct {
	// Shape is the window's.
	Shape Shape
	// At is the number of the cell that was charged; for a token bucket the instant of the charge, in milliseconds.
	At int64
	// Level is what a token bucket held just after the charge, and Limit the limit by which it drained. Zero for cells.
	Level Level
	Limit uint32
}

// Level is how full a token bucket is, exactly: Hits and Part/Grain of a hit, where Grain is that of its [Shape].
type Level struct {
	// Hits is at most MaxHits.
	Hits int64
	// Part is at least zero and less than the grain.
	Part int64
}
