package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The lines of the policy that the last act edits, as they stand in the file.
const (
	adminLine   = "unless_role: admin}"
	auditorLine = "unless_role: auditor}"
	ownerKey    = "        owner: {of: path.user_id, is: token.sub, " + auditorLine
	mistyped    = "        onwer: {of: path.user_id, is: token.sub, " + auditorLine
)

func (s *stage) live() {
	s.act("7. Live", "The policy is edited, and then broken; one gate is killed; the store of the counters is killed.")
	s.editedPolicy()
	s.killedGate()
	s.killedStore()
}

// editedPolicy changes the policy on disk while the gate runs: a good edit, a bad one, and back.
func (s *stage) editedPolicy() {
	t := s.tokens
	carol := request{target: "/users/bob/orders", token: t.carol, from: fromOperator}
	change := func(old, instead, note string) bool {
		if s.over() {
			return false
		}
		if err := s.edit(old, instead); err != nil {
			s.fail(err)
			return false
		}
		s.p.note("%s", note)
		return true
	}
	if !change(adminLine, auditorLine, "policy.yaml, one line: `"+adminLine+"` becomes `"+auditorLine+"`") {
		return
	}
	s.eventually(line{says: "Carol, an admin, reads Bob's", request: carol, with: refused(403, "owner", "list-orders")})
	if !change(ownerKey, mistyped, "policy.yaml, a slip of the finger: `owner:` becomes `onwer:`, which would drop the check of whose it is") {
		return
	}
	complaint, err := s.complaint()
	if err != nil {
		s.fail(err)
		return
	}
	s.p.note("the gate: %s", strings.ReplaceAll(complaint, s.dir+"/", ""))
	s.ask(line{says: "Alice reads Bob's orders", request: request{target: "/users/bob/orders", token: t.alice, from: fromOperator},
		without: served("bob's orders"), with: refused(403, "owner", "list-orders")})
	s.ask(line{says: "Alice reads her orders", request: request{target: "/users/alice/orders", token: t.alice, from: fromOperator},
		without: served("alice's orders"), with: allowed("alice's orders", "list-orders")})
	if change(mistyped, strings.Replace(ownerKey, auditorLine, adminLine, 1), "policy.yaml as it was") {
		s.eventually(line{says: "Carol, an admin, reads Bob's", request: carol, with: allowed("bob's orders", "list-orders")})
	}
}

// complaint waits until the authz gate says that its policy file is bad, and returns what it says.
func (s *stage) complaint() (string, error) {
	var said string
	err := until(s.ctx, reloadPatience, 50*time.Millisecond, func() (bool, error) {
		said = degraded(s.ctx, s.ports.authzAdmin, "onwer")
		return said != "", nil
	})
	if errors.Is(err, errLate) {
		return "", errors.New("demo: the authz gate did not notice a broken policy file")
	}
	return said, err
}

// degraded is the first line of what a gate says of a part that does not do its work, if it speaks of this; "" otherwise.
func degraded(ctx context.Context, port int, of string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(port)+"/readyz", nil)
	if err != nil {
		return ""
	}
	response, err := admin.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var report struct {
		Degraded []struct {
			Part   string `json:"part"`
			Detail string `json:"detail"`
		} `json:"degraded"`
	}
	if json.NewDecoder(response.Body).Decode(&report) != nil {
		return ""
	}
	for _, part := range report.Degraded {
		for text := range strings.Lines(part.Detail) {
			if strings.Contains(text, of) {
				return strings.TrimSpace(text)
			}
		}
	}
	return ""
}

// killedGate kills the authz gate without warning, and starts it again.
func (s *stage) killedGate() {
	l := line{says: "the authz gate is killed; Alice", request: request{target: "/users/alice/orders", token: s.tokens.alice, from: fromOperator},
		with: want{status: 503, reason: "no gate, no entry"}, envoy: onlyEnvoyFails}
	if s.over() || s.skip(l) {
		return
	}
	s.authz.kill()
	calls := s.service.calls()
	l.notes = func(answered) string {
		return fmt.Sprintf("the service's own counter: %d calls before, %d after", calls, s.service.calls())
	}
	s.judge(l, "", nil, func(answered) []string {
		if now := s.service.calls(); now != calls {
			return []string{fmt.Sprintf("the service was called %d times while there was no gate", now-calls)}
		}
		return nil
	})
	if s.over() {
		return
	}
	if err := s.startAuthz(s.ctx); err != nil {
		s.fail(err)
		return
	}
	s.eventually(line{says: "the authz gate is back; Alice", request: l.request, with: allowed("alice's orders", "list-orders")})
	s.eventually(line{says: "Frank's token, revoked before", request: s.franksOrders(), with: takenBack()})
}

// killedStore kills Valkey while Erin is spending her limit, and starts it again.
func (s *stage) killedStore() {
	if s.over() {
		return
	}
	says := "Valkey is killed; Erin asks"
	if s.store == nil {
		s.omit(says, "there is no Valkey")
		return
	}
	orders := request{target: "/users/erin/orders", token: s.tokens.erin, from: fromErin}
	const before = 60
	all, err := s.burst(s.doors.gated, orders, before, http.StatusOK)
	if err != nil {
		s.fail(err)
		return
	}
	if all.count != before || all.last.status != http.StatusOK {
		s.tell(row{says: "Erin asks 60 times", with: all.last.text(), reason: all.last.why(), rule: all.last.which()}, "",
			[]string{fmt.Sprintf("expected 60 answers of 200, got %d at request %d", all.last.status, all.count)})
		return
	}
	s.store.kill()
	s.pour(flood{says: says, request: orders, room: 100, before: 200, sent: before, lost: all.lost,
		with: want{status: 429, reason: "over_limit", rule: "mesh.who", more: storeless},
		notes: func(a answered) string {
			return "60 requests before, 40 after: it counts on where the store left off (in its audit log: " + orDash(a.Detail) + ")"
		}})
	if s.over() {
		return
	}
	if err := s.startStore(s.ctx); err != nil {
		s.fail(err)
	}
}
