package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// Options say where the parts are and how the story is told.
type Options struct {
	// Self is the sallyport binary, which is started again as each of the gates. Required.
	Self string
	// Envoy and Valkey are the servers' binaries; "" does without. Without Envoy the gates are asked by a stand-in, and what only
	// Envoy can show is left out; without Valkey the limits are counted in memory, and revoked tokens are kept in a file.
	Envoy, Valkey string
	// Out is where the story is told; Color marks its lines in colour as well.
	Out   io.Writer
	Color bool
	// Once ends the demo with the story; otherwise everything runs on until ctx ends.
	Once bool
	// Keep leaves the folder with the files and logs behind. It is left behind in any case if something went wrong.
	Keep bool
	// Environ is the environment of the child processes (os.Environ). What would set a gate's flags is left out.
	Environ []string
}

// None as a path says that a server is to be done without, though it may be there.
const None = "none"

// Locate finds a server's binary: the given path, else the name in PATH, else what `make tools` fetched. None, and a name that is
// found nowhere, are "" without an error; a given path that cannot be run is an error.
func Locate(name, given string) (string, error) {
	candidates := []string{given}
	switch given {
	case None:
		return "", nil
	case "":
		candidates = []string{name, filepath.Join("build", "tools", "bin", name)}
	}
	for _, candidate := range candidates {
		path, err := exec.LookPath(candidate)
		if err != nil && !errors.Is(err, exec.ErrDot) {
			if given != "" {
				return "", fmt.Errorf("demo: %s cannot be run as %s: %w", given, name, err)
			}
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return "", fmt.Errorf("demo: find %s: %w", name, err)
		}
		return path, nil
	}
	return "", nil
}

// Run tells the story and, unless Once, then waits for ctx to end. It leaves no process behind, and no folder unless something went
// wrong or Keep is set. An error says that the story could not be told to its end; what the story showed is in the score.
func Run(ctx context.Context, opt Options) (score Score, err error) {
	w := &world{opt: opt, p: &printer{out: opt.Out, color: opt.Color}}
	defer func() {
		keep := opt.Keep || score.Broken > 0 || err != nil && ctx.Err() == nil && w.p.err == nil
		if keep && w.dir != "" {
			w.p.line("\nThe files, the logs and the audit log are kept in %s", w.dir)
		}
		err = errors.Join(err, w.close(keep))
	}()
	w.introduce()
	if err := w.open(ctx); err != nil {
		return Score{}, err
	}
	w.cast()
	s := &stage{world: w, ctx: ctx}
	for _, act := range []func(){s.stolenObject, s.wrongToken, s.bentPath, s.forgedIdentity, s.neighbour, s.floodAct, s.live} {
		if !s.over() {
			act()
		}
	}
	if ctx.Err() == nil {
		w.p.line("\n%s", w.p.paint(bold, s.score.String()))
	}
	if s.err != nil {
		return s.score, s.err
	}
	if opt.Once {
		return s.score, w.p.err
	}
	w.farewell()
	w.wait(ctx)
	return s.score, nil
}

// String is the count in words.
func (s Score) String() string {
	text := fmt.Sprintf("%d of %d lines held.", s.Held, s.Held+s.Broken)
	if s.Broken > 0 {
		text += fmt.Sprintf(" Those that did not are marked %s.", markBroken)
	}
	if s.Skipped > 0 {
		text += fmt.Sprintf(" %d more could not be shown here; they are marked %s.", s.Skipped, markSkipped)
	}
	return text
}

// introduce says what this is, and what is missing.
func (w *world) introduce() {
	w.p.line("%s", w.p.paint(bold, "Sallyport: two gates for an Envoy mesh. The first asks who may pass, the second how many."))
	w.p.line("This is the whole of it on this machine: everything listens on 127.0.0.1 only and ends with this program.")
	if w.opt.Envoy == "" {
		w.p.line("There is no Envoy here: the gates are asked directly over gRPC, as Envoy would ask. --envoy PATH says where one is.")
	}
	if w.opt.Valkey == "" {
		w.p.line("There is no Valkey here: limits are counted in memory, revoked tokens kept in a file. --valkey PATH says where one is.")
	}
}

// cast says who is who, and where.
func (w *world) cast() {
	lines := [][2]string{
		{"Alice and Bob", "customers; each has a token that says so, and may read orders (scope read:orders)"},
		{"Carol", "an admin: her token has the role"},
		{"Dora and Erin", "customers who ask too often"},
		{"Frank", "a customer who loses his phone, with a token in it"},
		{"shop/indexer, shop/frontend", "workloads; each has a certificate that says so"},
		{"the orders service", "honest but naive, at http://" + local(w.ports.service) + ": it answers whatever it is asked"},
	}
	if w.opt.Envoy != "" {
		lines = append(lines, [][2]string{
			{"without the gates", "Envoy at http://" + local(w.ports.ungated) + ", as it comes out of the box"},
			{"with the gates", "Envoy at http://" + local(w.ports.gated) + " for people, https://" + local(w.ports.mesh) + " for workloads"},
		}...)
	}
	w.p.line("")
	for _, l := range lines {
		w.p.line("  %s %s", pad(l[0], 27), l[1])
	}
	w.p.line("\nEach line below is one request, sent twice: past the gates and through them. %s: both answers are as they should be.", markHeld)
}

// farewell says what to try next.
func (w *world) farewell() {
	w.p.line("\nEverything runs on until Ctrl-C. The tokens hold for an hour; policy and limits may be edited. To paste:\n")
	w.p.line("  cd %s", w.dir)
	w.p.line(`  A="authorization: Bearer $(cat tokens/alice)" C="authorization: Bearer $(cat tokens/carol)"`)
	if w.opt.Envoy != "" {
		w.p.line("  G=http://%s U=http://%s", local(w.ports.gated), local(w.ports.ungated))
		w.suggest("Alice, through the gates: 200, hers", `curl -i -H "$A" $G/users/alice/orders`)
		w.suggest("Bob's orders: 403, not hers", `curl -i -H "$A" $G/users/bob/orders`)
		w.suggest("The same past the gates: 200, nobody asked", `curl -i -H "$A" $U/users/bob/orders`)
		w.suggest("Carol, an admin: 200", `curl -i -H "$C" $G/users/bob/orders`)
		w.suggest("A bent path: 400, refused and not guessed at", `curl -i --path-as-is -H "$A" "$G/users/bob;/orders"`)
		w.suggest("Alice's tokens taken back: whatever she asks from then on, 401", w.opt.Self+" "+strings.Join(revokeCommand(inFolder, "--subject", "alice"), " "))
	} else {
		w.p.line("  U=http://%s", local(w.ports.service))
		w.suggest("The service itself, for without Envoy nothing stands in front of it: 200, nobody asked", `curl -i -H "$A" $U/users/bob/orders`)
	}
	w.suggest("Why, one line for each decision", "tail -n 3 audit.log")
	w.suggest("Another policy, in force as soon as it is saved (limits/mesh.yaml likewise)", "${EDITOR:-vi} policy.yaml")
	w.p.line("\nTo look inside (read-only pages /readyz and /metrics):")
	w.p.line("  authz gate       http://%s/readyz", local(w.ports.authzAdmin))
	w.p.line("  rate limit gate  http://%s/readyz", local(w.ports.limitsAdmin))
	if w.opt.Envoy != "" {
		w.p.line("  Envoy            http://%s/", local(w.ports.envoyAdmin))
	}
}

// suggest shows a line to paste, and above it what it does.
func (w *world) suggest(what, line string) {
	w.p.line("%s:", what)
	w.p.line("  %s", line)
}

// wait keeps everything running until ctx ends, and tells if a part ends before.
func (w *world) wait(ctx context.Context) {
	lost := make(chan *child)
	for _, c := range w.children() {
		go func() {
			select {
			case <-c.done:
				select {
				case lost <- c:
				case <-ctx.Done():
				}
			case <-ctx.Done():
			}
		}()
	}
	for {
		select {
		case <-ctx.Done():
			w.p.line("\nStopping.")
			return
		case c := <-lost:
			w.p.line("%s has ended. The end of its log:\n%s", c.name, tail(c.log, 5))
		}
	}
}
