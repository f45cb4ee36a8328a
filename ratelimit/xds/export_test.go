package xds

import "time"

// After replaces the clock that waits are made with.
func (c *Client) After(after func(time.Duration) <-chan time.Time) { c.after = after }
