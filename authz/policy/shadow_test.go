package policy

import (
	"testing"
	"time"
)

// How far away the end of a trial may be, at noon of the 25th of November 2026.
func TestShadowEnds(t *testing.T) {
	now := time.Date(2026, time.November, 25, 12, 0, 0, 0, time.UTC)
	for until, want := range map[string]struct{ err, warning string }{
		"2026-11-26": {},
		"2027-11-26": {},
		"2027-11-27": {err: "policy.yaml:19:36: a trial until 2027-11-27 would be one that nobody ends"},
		"9999-01-01": {err: "policy.yaml:19:36: a trial until 9999-01-01 would be one that nobody ends"},
		"2026-11-25": {warning: "policy.yaml:19:36: the trial is over: the rules are enforced since 2026-11-25"},
		"0001-01-01": {warning: "policy.yaml:19:36: the trial is over: the rules are enforced since 0001-01-01"},
	} {
		text := bend(t, "    hosts: [orders.shop.svc.cluster.local]\n", "    hosts: [orders.shop.svc.cluster.local]\n    shadow: {answer: allow, until: "+until+"}\n")
		file := []File{{Name: "policy.yaml", Data: []byte(text)}}
		p, errs := ParseAt(file, now)
		warning := ""
		if p != nil {
			warning = p.Warnings.Error()
		}
		if errs.Error() != want.err || warning != want.warning || (p == nil) != (want.err != "") {
			t.Errorf("%s: errors %q, warnings %q", until, errs.Error(), warning)
		}
		// Where nobody says what day it is, no day is judged.
		if p, errs := Parse(file); p == nil || len(p.Warnings) > 0 {
			t.Errorf("%s at no time: %v", until, errs)
		}
		if s := LoadAt(nil, file, now); s.Files[0].OK() != (want.err == "") || s.Files[0].Errors.Error() != want.err {
			t.Errorf("%s as a snapshot: %v", until, s.Files[0].Errors)
		}
	}
}
