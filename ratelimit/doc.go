// Package ratelimit decides how many may come: it turns the descriptors of one rate-limit request into charges on counters and
// the counters' answers into a verdict. It knows no wire and no disk; the table of limits and the store are handed to it.
package ratelimit
