package audit

import "time"

// Event is something that happened to the gate and not to a request: its files, its keys and its stores are why the same request is
// answered one way today and another tomorrow. An event is never sampled and never folded. Texts are written as those of a [Record];
// what is empty or zero is left out. Nothing in it may be a secret.
type Event struct {
	// Time is when it happened.
	Time time.Time
	// Name says what happened, of the Event constants.
	Name string
	// Outcome is how it went: "ok", "partly", "failed" or "recovered".
	Outcome string
	// Part is what it happened to: the path of a policy, the name of an issuer, a lookup or a store.
	Part string
	// Detail is an error's text, or another sentence for an operator.
	Detail string
	// Policy and PolicyBefore are the digests in force after and before.
	Policy, PolicyBefore string
	// Files are those that were loaded; Added and Removed are the names of what came and went, the kids of a rotation for instance. Of
	// each list the first 16 are written.
	Files, Added, Removed []string
	// Count is how many things it speaks of.
	Count uint64
	// Mode, Allows and Fold are the settings of the log itself, in its first event.
	Mode, Allows string
	Fold         time.Duration
}

// The names of events.
const (
	// EventStart is the first line of a run, and says by which settings it was written.
	EventStart = "start"
	// EventStop is written when a process ends as it was asked to. A run without one was killed.
	EventStop = "stop"
	// EventConfig is a load of policy or limits files, good or bad.
	EventConfig = "config_load"
	// EventKeys is a change of an issuer's key set, or that it cannot be had any more, or again.
	EventKeys = "key_rotation"
	// EventRevocations are revocations that came to this gate, whoever made them.
	EventRevocations = "revocations"
	// EventStore is a store or a lookup that failed, or is there again.
	EventStore = "store"
	// EventPseudonyms is a change of the key that pseudonyms are made with.
	EventPseudonyms = "pseudonym_key"
	// eventGap tells of records that are not there. The log writes it itself.
	eventGap = "gap"
)

// maxList is how many elements of a list are written.
const maxList = 16
