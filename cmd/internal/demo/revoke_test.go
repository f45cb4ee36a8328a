package demo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// forgetful is a door behind which a token passes so many times before it is refused.
type forgetful struct{ passes int }

func (d *forgetful) send(context.Context, request) (reply, error) {
	if d.passes--; d.passes >= 0 {
		return reply{status: 200, echo: echo{Says: "frank's orders", RequestID: "r"}}, nil
	}
	return reply{status: 401, header: header("WWW-Authenticate", `Bearer realm="sallyport", error="invalid_token"`),
		problem: problem{Reason: "invalid_token", DecisionID: "d"}}, nil
}

// A revoked token may pass for a moment, and no longer than the line waits.
func TestRefusedSoon(t *testing.T) {
	const audit = `{"decision_id":"d","verdict":"deny","reason":"invalid_token","detail":"revoked","rule":"list-orders"}
{"request_id":"r","verdict":"allow","reason":"allowed","rule":"list-orders"}
`
	for _, test := range []struct {
		name   string
		passes int
		score  Score
		says   string
	}{
		{"at once", 0, Score{Held: 1}, "this was 0 ms after Enter"},
		{"after some requests", 3, Score{Held: 1}, "this was 300 ms after Enter"},
		{"never", 1 << 20, Score{Broken: 1}, "not refused within 5s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "audit.log")
			if err := os.WriteFile(log, []byte(audit), 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				w := &world{p: &printer{out: &out}, service: &service{}, tokens: &tokens{}, audit: auditLog(log),
					doors: doors{ungated: &forgetful{1 << 20}, gated: &forgetful{test.passes}}}
				s := &stage{world: w, ctx: t.Context()}
				s.refusedSoon(line{says: "revoked", request: s.franksOrders(), without: served("frank's orders"), with: takenBack()}, time.Now())
				if s.err != nil || s.score != test.score || !strings.Contains(out.String(), test.says) {
					t.Errorf("%v, %+v, want %+v and %q in:\n%s", s.err, s.score, test.score, test.says, out.String())
				}
			})
		})
	}
}

// What the story shows is what is run, but for the folder's name.
func TestRevokeCommand(t *testing.T) {
	shown := strings.Join(revokeCommand(inFolder, "--jti", franksPhone), " ")
	run := strings.Join(revokeCommand("/tmp/demo", "--jti", franksPhone), " ")
	if strings.ReplaceAll(shown, inFolder, "/tmp/demo") != run || !strings.Contains(run, "--admin-api unix:/tmp/demo/admin.sock --issuer shop --jti franks-phone") {
		t.Errorf("shown %s, run %s", shown, run)
	}
	if n := len("sallyport " + shown); n > width-markWidth-3 {
		t.Errorf("the line takes %d columns: it would break", n)
	}
}

// Revocations are kept where other gates would find them, and in a file only by a gate that says that it is alone.
func TestRevocationFlags(t *testing.T) {
	w := &world{dir: "/tmp/demo", ports: ports{store: 20001}}
	for valkey, want := range map[string][]string{
		"":         {"--admin-api", "unix:/tmp/demo/admin.sock", "--revocations", "file:///tmp/demo/revoked", "--replicas", "1"},
		"/bin/any": {"--admin-api", "unix:/tmp/demo/admin.sock", "--revocations", "redis://127.0.0.1:20001"},
	} {
		w.opt.Valkey = valkey
		if got := w.revocationFlags(); !slices.Equal(got, want) {
			t.Errorf("Valkey %q: %q, want %q", valkey, got, want)
		}
	}
}

// An operator is told what the command said; one that failed is an error with its words; one that hangs ends with the story.
func TestOperate(t *testing.T) {
	w := &world{dir: t.TempDir(), opt: Options{Self: "/bin/sh"}}
	if said, err := w.operate(t.Context(), []string{"-c", "echo not this; echo revoked: $0", "the token"}); err != nil || said != "revoked: the token" {
		t.Errorf("said %q, %v", said, err)
	}
	if _, err := w.operateOnce(t.Context(), []string{"-c", "echo no such issuer; exit 1"}); err == nil || !strings.Contains(err.Error(), "no such issuer") {
		t.Errorf("a command that failed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.operate(ctx, []string{"-c", "exec sleep 600"}); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted story: %v", err)
	}
}
