package main

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/ratelimit"
)

// audited writes a line into the audit log for each decision of the limiter.
type audited struct {
	limiter *ratelimit.Limiter
	log     *audit.Log
}

// Spend implements rls.Limiter.
func (a audited) Spend(ctx context.Context, req ratelimit.Request) (ratelimit.Response, error) {
	if a.log == nil {
		return a.limiter.Spend(ctx, req)
	}
	begun := time.Now()
	resp, err := a.limiter.Spend(ctx, req)
	record := limitRecord(begun, req)
	switch {
	case err != nil:
		record.Verdict, record.Reason, record.Detail = "deny", "error", err.Error()
	case resp.Shadowed:
		// It passed, and why it would not have is what the shadow mode is for.
		record.Verdict, record.Reason, record.Detail = "allow", "over_limit", "shadow_mode"
	case resp.Code == ratelimit.OK:
		record.Verdict, record.Reason = "allow", "within_limit"
	default:
		record.Verdict, record.Reason = "deny", "over_limit"
	}
	if resp.Degraded {
		record.Detail = "store_unavailable"
	}
	record.Rule = decidingRule(resp)
	a.log.Record(record)
	return resp, err
}

// unjudged writes the line of a request that was refused before the limiter had an answer.
func (a audited) unjudged(req ratelimit.Request, why string) {
	if a.log == nil {
		return
	}
	record := limitRecord(time.Now(), req)
	record.Verdict, record.Reason, record.Detail = "deny", "unjudged", why
	a.log.Record(record)
}

// limitRecord says when a request was asked about, and whom it counts.
func limitRecord(begun time.Time, req ratelimit.Request) audit.Record {
	record := audit.Record{Time: begun, DecisionID: rand.Text(), Service: "ratelimit", Host: req.Domain, Latency: time.Since(begun)}
	for _, d := range req.Descriptors {
		for _, entry := range d.Entries {
			nameWho(&record, entry.Key, entry.Value)
		}
	}
	return record
}

// decidingRule is the rule that refused, or, where none did, the first that applied.
func decidingRule(resp ratelimit.Response) string {
	rule := ""
	for _, status := range resp.Statuses {
		switch {
		case status.Rule == nil:
		case status.Code != ratelimit.OK:
			return status.Rule.Path
		case rule == "":
			rule = status.Rule.Path
		}
	}
	return rule
}

// nameWho writes whom a descriptor counts into the record's own fields, so that a subject is pseudonymised wherever it stands.
func nameWho(record *audit.Record, key, value string) {
	if key == "masked_remote_address" || key == "remote_address" {
		record.Address = value
		return
	}
	if key != "who" {
		return
	}
	kind, rest, _ := strings.Cut(value, "|")
	switch kind {
	case "user", "client":
		issuer, subject, _ := strings.Cut(rest, "|")
		record.Kind, record.Issuer, record.Subject = map[string]string{"user": "person", "client": "machine"}[kind], issuer, subject
	case "workload":
		record.Caller = rest
	case "ip":
		record.Address = rest
	}
}
