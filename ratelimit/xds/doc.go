// Package xds is the door to a management server that sends limits: a client of RateLimitConfig resources over the aggregated
// discovery service (state of the world, xDS v3), as Envoy Gateway and envoyproxy/ratelimit speak it. It keeps a connection, turns
// resources into limits, tells the server what it took and what it refused and why, and keeps the last good version of whatever is
// bad. It is its own room because nothing else needs that protocol or its messages.
package xds
