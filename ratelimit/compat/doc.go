// Package compat reads the environment that configures envoyproxy/ratelimit, for a process that stands in its place. Every
// variable that the reference reads is either mapped to a setting or named in [Settings.NoEffect] with the reason: one that is
// ignored in silence is how a migration goes wrong. It reads text and returns values; what they mean for listeners, stores and
// files is the command's business.
//
// Values are read as the reference reads them (kelseyhightower/envconfig): an unset variable has its default, one that is set to
// nothing holds nothing, which is a text but no number and no truth value.
package compat
