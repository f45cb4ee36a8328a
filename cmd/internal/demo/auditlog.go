package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"time"
)

// record is what the story reads of a gate's audit line: why, in the gate's own words, and by which rule. The client hears less.
type record struct {
	DecisionID string `json:"decision_id"`
	RequestID  string `json:"request_id"`
	Verdict    string `json:"verdict"`
	Address    string `json:"address"`
	Reason     string `json:"reason"`
	Detail     string `json:"detail"`
	Rule       string `json:"rule"`
}

// auditLog is the file that a gate writes one line per decision to.
type auditLog string

// auditPatience is how long a line may take from the answer to the file; a queue lies between.
const auditPatience = 2 * time.Second

// find looks up the decision behind a reply: a denial names it, and an allowed request is known by the id under which the service
// saw it. The zero record says that there is none.
func (l auditLog) find(ctx context.Context, r reply) record {
	id := r.problem.DecisionID
	if id == "" {
		id = r.echo.RequestID
	}
	if id == "" {
		return record{}
	}
	return l.await(ctx, func(log []byte) record { return lookUp(log, id) })
}

// size is where the log ends now.
func (l auditLog) size() int64 {
	info, err := os.Stat(string(l))
	if err != nil {
		return 0
	}
	return info.Size()
}

// refusal is the last denial that was written after a place. The rate limit gate's answers name no decision, but requests come one
// by one.
func (l auditLog) refusal(ctx context.Context, after int64) record {
	return l.await(ctx, func(log []byte) record { return lastDenial(log[min(after, int64(len(log))):]) })
}

// await reads the log until there is what is looked for.
func (l auditLog) await(ctx context.Context, find func(log []byte) record) (found record) {
	_ = until(ctx, auditPatience, 5*time.Millisecond, func() (bool, error) { // too late is not there: its expectation fails
		data, err := os.ReadFile(string(l))
		if err != nil {
			return false, nil //nolint:nilerr // not there yet
		}
		found = find(data)
		return found != record{}, nil
	})
	return found
}

func lastDenial(log []byte) (found record) {
	for line := range bytes.Lines(log) {
		var r record
		if json.Unmarshal(line, &r) == nil && r.Verdict == "deny" {
			found = r
		}
	}
	return found
}

// lookUp finds the last line of an audit log about a decision or a request.
func lookUp(log []byte, id string) (found record) {
	for line := range bytes.Lines(log) {
		var r record
		if bytes.Contains(line, []byte(id)) && json.Unmarshal(line, &r) == nil && (r.DecisionID == id || r.RequestID == id) {
			found = r
		}
	}
	return found
}
