package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// revokePatience bounds how long a revoked token may pass. A gate promises a second; a busy machine gets five of them, because the
// line is about what happens and only tells how fast.
const revokePatience = 5 * time.Second

// inFolder stands for the demo's folder in what the story prints, so that the line can be pasted there.
const inFolder = "$PWD"

// adminSocket is where an operator reaches the authz gate, from the folder that is given. It lies in the demo's folder, which is
// nobody else's.
func adminSocket(dir string) string { return "unix:" + filepath.Join(dir, "admin.sock") }

// revokeCommand is what an operator types after the program's name; dir is the demo's folder.
func revokeCommand(dir string, tokens ...string) []string {
	return append([]string{"token", "revoke", "--admin-api", adminSocket(dir), "--issuer", issuerName}, tokens...)
}

// revocationFlags have the authz gate keep what is revoked in Valkey, or else in a file, which is for one gate alone.
func (w *world) revocationFlags() []string {
	flags := []string{"--admin-api", adminSocket(w.dir), "--revocations"}
	if w.opt.Valkey != "" {
		return append(flags, "redis://"+local(w.ports.store))
	}
	return append(flags, "file://"+w.file("revoked"), "--replicas", "1")
}

// lostPhone takes a good token back while it is good. It is Frank's, whom no other act needs.
func (s *stage) lostPhone() {
	l := line{says: "Frank reads his orders", request: s.franksOrders(), without: served("frank's orders"), with: allowed("frank's orders", "list-orders")}
	s.ask(l)
	if s.over() {
		return
	}
	s.p.note("Frank loses his phone. In the demo's folder, an operator types:")
	s.p.note("sallyport %s", strings.Join(revokeCommand(inFolder, "--jti", franksPhone), " "))
	typed := time.Now()
	said, err := s.operate(s.ctx, revokeCommand(s.dir, "--jti", franksPhone))
	if err != nil {
		s.fail(err)
		return
	}
	s.p.note("%s", said)
	l.says, l.with = "revoked: the same token", takenBack()
	s.refusedSoon(l, typed)
}

func (s *stage) franksOrders() request {
	return request{target: "/users/frank/orders", token: s.tokens.frank, from: fromFrank}
}

// takenBack is the wish that a token is refused as revoked.
func takenBack() want {
	w := refused(http.StatusUnauthorized, "invalid_token/revoked", "list-orders")
	w.more = challenges("invalid_token")
	return w
}

// refusedSoon plays a line whose gated half is asked until the gate refuses it or the patience is over, and tells how long it took.
func (s *stage) refusedSoon(l line, since time.Time) {
	var got answered
	var took time.Duration
	err := until(s.ctx, revokePatience, 100*time.Millisecond, func() (bool, error) {
		var err error
		got, err = s.exchange(s.gatedDoor(l), l.request)
		took = time.Since(since)
		return got.status == l.with.status, err
	})
	note := fmt.Sprintf("a second is promised; this was %d ms after Enter, the start of the command included", took.Milliseconds())
	switch {
	case errors.Is(err, errLate):
		note = fmt.Sprintf("not refused within %s", revokePatience)
	case err != nil:
		s.fail(err)
		return
	}
	s.explain(&got)
	before, err := s.send(s.doors.ungated, l.request)
	if err != nil {
		s.fail(err)
		return
	}
	s.tell(row{says: l.says, without: before.text(), with: got.text(), reason: got.why(), rule: got.which()}, note,
		l.faults(got, l.without.faults(before)))
}

// why asks the gate why it refused, as an operator would, and tells the step that failed and what would have mended it.
func (s *stage) why(a answered) string {
	said, err := s.operateAll(s.ctx, []string{"why", "--admin-api", adminSocket(s.dir), a.problem.DecisionID})
	if err != nil {
		s.fail(err)
		return ""
	}
	failed, mend := "", ""
	for line := range strings.Lines(said) {
		switch {
		case strings.Contains(line, " FAILED "):
			failed = strings.Join(strings.Fields(line), " ")
		case strings.HasPrefix(line, "what would"):
			mend = strings.TrimSpace(line)
		}
	}
	return fmt.Sprintf("sallyport why --admin-api %s %s: %s; %s", adminSocket(inFolder), a.problem.DecisionID, failed, mend)
}

// operate runs this binary once more, as an operator would, and returns the last line of what it says.
func (w *world) operate(ctx context.Context, args []string) (said string, err error) {
	said, err = w.operateAll(ctx, args)
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return lines[len(lines)-1], err
}

// operateAll returns all that it says. What fails on a busy machine is typed again: revoking twice is revoking once.
func (w *world) operateAll(ctx context.Context, args []string) (said string, err error) {
	for range tries {
		if said, err = w.operateOnce(ctx, args); err == nil || ctx.Err() != nil {
			return said, err
		}
		if err := pause(ctx, tryAgainIn); err != nil {
			return "", err
		}
	}
	return "", err
}

func (w *world) operateOnce(ctx context.Context, args []string) (string, error) {
	log := w.file("operator.log")
	c, err := start(spec{name: "sallyport " + strings.Join(args[:2], " "), path: w.opt.Self, args: args, env: w.environ(), log: log})
	if err != nil {
		return "", err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		c.kill()
		return "", ctx.Err()
	}
	if c.err != nil {
		return "", c.trouble("failed (" + c.err.Error() + ")")
	}
	data, err := os.ReadFile(log)
	if err != nil {
		return "", fmt.Errorf("demo: read what an operator was told: %w", err)
	}
	return string(data), nil
}
