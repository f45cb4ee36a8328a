package revocation

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clock is a test's own time.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

// openFile makes a store whose looks the test makes itself.
func openFile(t *testing.T) (*File, *clock) {
	t.Helper()
	c := &clock{now: time.Now()}
	f, err := NewFile(filepath.Join(t.TempDir(), "revoked.jsonl"), FileOptions{Now: c.read})
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

// step looks, and compares Health with what is expected: "" is good.
func step(t *testing.T, f *File, c *clock, want string) {
	t.Helper()
	c.now = c.now.Add(time.Millisecond)
	f.step()
	ok, text := f.Health()
	if ok != (want == "") || !strings.Contains(text, want) {
		t.Errorf("Health: %v, %q; want %q", ok, text, want)
	}
	if fresh := f.View().Age(c.now) == 0; fresh != ok {
		t.Errorf("fresh %v, healthy %v", fresh, ok)
	}
}

func appendText(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func lineOf(n string) string { return string(encode(jti(n))) + "\n" }

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The file is made for its owner alone, what is revoked outlives the process, and what others append is noticed.
func TestFileKeeps(t *testing.T) {
	f, c := openFile(t)
	step(t, f, c, "")
	info, err := os.Stat(f.path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	mustRevoke(t, f, jti("1"))
	if !knows(f, "1") {
		t.Error("what was revoked is not known at once")
	}
	step(t, f, c, "")
	appendText(t, f.path, lineOf("2")+"\n  \n"+lineOf("3"))
	step(t, f, c, "")
	second, err := NewFile(f.path, FileOptions{Now: c.read})
	if err != nil {
		t.Fatal(err)
	}
	step(t, second, c, "")
	for _, n := range []string{"1", "2", "3"} {
		if !knows(f, n) || !knows(second, n) {
			t.Errorf("%s: known %v, after a restart %v", n, knows(f, n), knows(second, n))
		}
	}
	if got := content(t, f.path); strings.Count(got, "\n") != 5 {
		t.Errorf("the file was written without need:\n%s", got)
	}
}

// A line that nobody can read may be a revocation: the others hold, the view is not fresh, and mending the line is enough.
func TestFileBrokenLine(t *testing.T) {
	f, c := openFile(t)
	appendText(t, f.path, lineOf("1")+"oops\n"+lineOf("2"))
	step(t, f, c, "line 2: ")
	step(t, f, c, "line 2: ")
	appendText(t, f.path, lineOf("3")+"{}\n")
	step(t, f, c, "line 2: ")
	step(t, f, c, "and 1 more lines")
	for _, n := range []string{"1", "2", "3"} {
		if !knows(f, n) {
			t.Errorf("%s does not hold", n)
		}
	}
	mustRevoke(t, f, jti("4"))
	step(t, f, c, "line 2: ")
	// In place, to the byte as long as before.
	mended := strings.NewReplacer("oops\n", "    \n", "{}\n", "  \n").Replace(content(t, f.path))
	if err := os.WriteFile(f.path, []byte(mended), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(f.path, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	step(t, f, c, "")
}

// A line number is right also where the lines before were read long ago.
func TestFileLineNumbers(t *testing.T) {
	f, c := openFile(t)
	appendText(t, f.path, lineOf("1")+lineOf("2"))
	step(t, f, c, "")
	appendText(t, f.path, lineOf("3")+"oops\n")
	step(t, f, c, "line 4: ")
}

// A line without its end waits a while; whole but for the newline it counts, since no beginning of an entry is an entry.
func TestFileHalfLine(t *testing.T) {
	f, c := openFile(t)
	whole := lineOf("1")
	appendText(t, f.path, whole[:20])
	step(t, f, c, "")
	c.now = c.now.Add(halfGrace)
	step(t, f, c, "line 1 has no end")
	appendText(t, f.path, whole[20:40])
	step(t, f, c, "line 1 has no end")
	appendText(t, f.path, strings.TrimSuffix(whole[40:], "\n"))
	step(t, f, c, "")
	if !knows(f, "1") {
		t.Error("a whole entry waits for a newline that may never come")
	}
	c.now = c.now.Add(halfGrace)
	step(t, f, c, "")
	// Revoking then begins a line of its own.
	mustRevoke(t, f, jti("2"))
	step(t, f, c, "")
	if got := content(t, f.path); strings.Count(got, "\n") != 2 {
		t.Errorf("the file is\n%s", got)
	}
	// Behind half a line, too: that one is broken then, and never joined with the new one.
	appendText(t, f.path, "{")
	mustRevoke(t, f, jti("3"))
	step(t, f, c, "line 3: ")
	if !knows(f, "2") || !knows(f, "3") {
		t.Error("an entry was lost behind half a line")
	}
}

// A line that grows and grows has its time from the first look at it on. Another one, behind it, has its own.
func TestFileHalfLineGrows(t *testing.T) {
	f, c := openFile(t)
	text := lineOf("1")
	for i := range 7 {
		appendText(t, f.path, text[i:i+1])
		want := ""
		if time.Duration(i)*halfGrace/4 >= halfGrace {
			want = "line 1 has no end"
		}
		step(t, f, c, want)
		c.now = c.now.Add(halfGrace / 4)
	}
	appendText(t, f.path, text[7:]+"{")
	step(t, f, c, "")
	c.now = c.now.Add(halfGrace)
	step(t, f, c, "line 2 has no end")
}

// A file that others may write tells whatever they like: its lines hold, since denying is the safe side, but it is never called whole.
func TestFileOthersMayWrite(t *testing.T) {
	f, c := openFile(t)
	appendText(t, f.path, lineOf("1"))
	for mode, want := range map[os.FileMode]string{0o600: "", 0o644: "", 0o660: "chmod go-w", 0o602: "chmod go-w", 0o666: "chmod go-w"} {
		if err := os.Chmod(f.path, mode); err != nil {
			t.Fatal(err)
		}
		step(t, f, c, want)
		step(t, f, c, want)
	}
	fresh, err := NewFile(f.path, FileOptions{Now: c.read})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.path, 0o666); err != nil {
		t.Fatal(err)
	}
	step(t, fresh, c, "can be written by others")
	if !knows(fresh, "1") || fresh.View().everFresh() {
		t.Errorf("known %v, fresh %v", knows(fresh, "1"), fresh.View().everFresh())
	}
}

// The file may be replaced by one without its expired lines; entries in force that are gone are written again.
func TestFileReplaced(t *testing.T) {
	f, c := openFile(t)
	short := jti("short")
	short.Until = c.now.Add(time.Minute)
	mustRevoke(t, f, short)
	mustRevoke(t, f, jti("long"))
	step(t, f, c, "")
	c.now = c.now.Add(2*time.Minute + grace)
	fresh := f.path + ".new"
	appendText(t, fresh, lineOf("new"))
	if err := os.Rename(fresh, f.path); err != nil {
		t.Fatal(err)
	}
	step(t, f, c, "")
	step(t, f, c, "")
	got := content(t, f.path)
	if !strings.Contains(got, `"new"`) || !strings.Contains(got, `"long"`) || strings.Contains(got, `"short"`) || strings.Count(got, "\n") != 2 {
		t.Errorf("the file is\n%s", got)
	}
	// Emptied in place.
	if err := os.Truncate(f.path, 0); err != nil {
		t.Fatal(err)
	}
	step(t, f, c, "")
	if got := content(t, f.path); strings.Count(got, "\n") != 2 {
		t.Errorf("the file is\n%s", got)
	}
}

// A clock that ran hours ahead, and returns, finds the lines that it took for expired, and those of another that it never held.
func TestFileClockReturns(t *testing.T) {
	f, c := openFile(t)
	mustRevoke(t, f, jti("1"))
	step(t, f, c, "")
	right := c.now
	c.now = right.Add(3 * time.Hour)
	appendText(t, f.path, lineOf("2"))
	step(t, f, c, "")
	f.View().Sweep(c.now)
	c.now = right
	step(t, f, c, "")
	for _, n := range []string{"1", "2"} {
		if !knows(f, n) {
			t.Errorf("%s lives again, and the view is fresh", n)
		}
	}
	if got := content(t, f.path); strings.Count(got, "\n") != 2 {
		t.Errorf("the file is\n%s", got)
	}
}

// Changed in place, to the same length or with a line put in between: all of it is read again.
func TestFileEditedInPlace(t *testing.T) {
	f, c := openFile(t)
	appendText(t, f.path, lineOf("1")+lineOf("2"))
	step(t, f, c, "")
	text := strings.Replace(content(t, f.path), `"1"`, `"9"`, 1) + lineOf("3")
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	step(t, f, c, "")
	for _, n := range []string{"1", "2", "3", "9"} {
		if !knows(f, n) {
			t.Errorf("%s does not hold", n)
		}
	}
}

// A file that has gone is not taken for an empty one; revoking makes it anew, and then it holds everything again.
func TestFileGone(t *testing.T) {
	f, c := openFile(t)
	step(t, f, c, "")
	mustRevoke(t, f, jti("1"))
	step(t, f, c, "")
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	step(t, f, c, "no such file")
	if !knows(f, "1") {
		t.Error("a token lives again")
	}
	mustRevoke(t, f, jti("2"))
	step(t, f, c, "")
	if got := content(t, f.path); strings.Count(got, "\n") != 2 {
		t.Errorf("the file is\n%s", got)
	}
}

// What cannot be written holds in this process, says so, and is written as soon as that works.
func TestFileWriteFails(t *testing.T) {
	f, c := openFile(t)
	real := f.path
	f.path = filepath.Join(filepath.Dir(real), "missing", "revoked.jsonl")
	if err := f.Revoke(t.Context(), jti("1")); err == nil || !strings.Contains(err.Error(), "holds in this process") {
		t.Errorf("Revoke: %v", err)
	}
	if !knows(f, "1") {
		t.Error("it does not hold")
	}
	step(t, f, c, "no such file")
	f.path = real
	step(t, f, c, "")
	if got := content(t, f.path); strings.Count(got, "\n") != 1 {
		t.Errorf("the file is\n%s", got)
	}
}

// A disk that fills up leaves no half line behind.
func TestFileDiskFull(t *testing.T) {
	f, c := openFile(t)
	mustRevoke(t, f, jti("1"))
	step(t, f, c, "")
	before := content(t, f.path)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = uint64(len(before) + 10) // Go programs ignore SIGXFSZ
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	err := f.Revoke(t.Context(), jti("2"))
	if restore := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); restore != nil {
		t.Fatal(restore)
	}
	if err == nil || !knows(f, "2") {
		t.Errorf("Revoke on a full disk: %v, known %v", err, knows(f, "2"))
	}
	if got := content(t, f.path); got != before {
		t.Errorf("the file is\n%s", got)
	}
	step(t, f, c, "")
	if got := content(t, f.path); strings.Count(got, "\n") != 2 {
		t.Errorf("the file is\n%s", got)
	}
}

// A folder or a pipe is no such file.
func TestFileIrregular(t *testing.T) {
	c := &clock{now: time.Now()}
	f, err := NewFile(t.TempDir(), FileOptions{Now: c.read})
	if err != nil {
		t.Fatal(err)
	}
	step(t, f, c, "not a regular file")
	if _, err := NewFile("", FileOptions{}); err == nil {
		t.Error("no path is accepted")
	}
}

func TestFileRefusesBadEntries(t *testing.T) {
	f, c := openFile(t)
	step(t, f, c, "")
	refusesBadEntries(t, f)
	if got := content(t, f.path); got != "" {
		t.Errorf("written: %s", got)
	}
}

// Run looks by itself, and forgets what has expired.
func TestFileRun(t *testing.T) {
	f, err := NewFile(filepath.Join(t.TempDir(), "revoked.jsonl"), FileOptions{Poll: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	eventually(t, "it is fresh", healthy(f))
	for i := range 50 {
		mustRevoke(t, f, jti(fmt.Sprint(i)))
	}
	appendText(t, f.path, lineOf("x"))
	eventually(t, "it knows", func() bool { return knows(f, "x") && f.View().Len() == 51 })
	eventually(t, "it is fresh", healthy(f))
}

// However the bytes of a file arrive, in pieces or at once, all entries hold in the end. In pieces there may be one more: what
// began as an entry and went on as something else.
func FuzzFile(f *testing.F) {
	f.Add([]byte(good+"\n"+strings.Replace(good, "t1", "t2", 1)), uint(7))
	f.Add([]byte(good+"\noops\n"+good+"\n{"), uint(150))
	f.Add([]byte("\n\n\r\n"+good), uint(3))
	f.Fuzz(func(t *testing.T, data []byte, cut uint) {
		at := noon.Add(-time.Minute)
		pieces, whole := &File{view: NewView(nil)}, &File{view: NewView(nil)}
		for _, file := range []*File{pieces, whole} {
			file.path = filepath.Join("/nonexistent", "folder", "file") // nothing may be written again
		}
		n := int(cut % uint(len(data)+1))
		pieces.found = pieces.take(data[:n], at)
		pieces.found = pieces.take(data, at)
		whole.found = whole.take(data, at)
		more := pieces.view.Len() - whole.view.Len()
		if more < 0 || more > 1 || pieces.read != whole.read || more == 0 && (pieces.found == nil) != (whole.found == nil) {
			t.Fatalf("in pieces %d entries %+v %v, at once %d %+v %v", pieces.view.Len(), pieces.read, pieces.found, whole.view.Len(), whole.read, whole.found)
		}
		for k, m := range whole.view.entries(at) {
			if got, ok := pieces.view.current.Load().find(k); !ok || got != m {
				t.Fatalf("%+v: %+v, want %+v", k, got, m)
			}
		}
	})
}
