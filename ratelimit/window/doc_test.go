package window_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

var update = flag.Bool("update", false, "write the pictures and figures of docs/limits.md anew")

const page = "../../docs/limits.md"

// An adversary knows the rule, and takes at each millisecond whatever it is given, from an instant on. What passed is a log.
func adversary(a window.Ask, from, to int64) []hit {
	var c window.Counter
	var passed []hit
	for now := from; now < to; now++ {
		for {
			a.Hits = max(int64(c.AppendStates(nil, a, now, window.Verdict{})[0].Remaining), 1)
			if c.Evaluate(a, now).Denied() {
				break
			}
			c.Spend(a, now)
			passed = append(passed, hit{now, a.Hits})
		}
	}
	return passed
}

// mostIn is the most that a log has in any stretch of so many milliseconds, wherever it begins.
func mostIn(log []hit, millis int64) (most int64) {
	for i, last := range log {
		var sum int64
		for j := i; j >= 0 && log[j].at > last.at-millis; j-- {
			sum += log[j].hits
		}
		most = max(most, sum)
	}
	return most
}

// shown are the rules that the page has figures of: a hundred a minute, each in its way.
var shown = []struct {
	name, promise string
	ask           window.Ask
	minute        int64 // the most that passes in a minute
	second        int64 // and in a second
}{
	{"`sliding_window`", "limit", sliding(100, time.Minute, 60), 100, 100},
	{"`token_bucket`", "burst + limit", bucket(100, 100, time.Minute), 199, 101},
	{"`token_bucket`, `burst: 10`", "burst + limit", bucket(100, 10, time.Minute), 109, 11},
	{"`fixed_window`", "2 × limit", fixed(100, time.Minute), 200, 200},
}

// worst is what an adversary gets out of a rule at the worst instant to begin at.
func worst(a window.Ask) (minute, second int64) {
	for _, quiet := range []int64{0, 30_000, 59_900, 59_999} {
		log := adversary(a, epoch+quiet, epoch+quiet+70_000)
		minute, second = max(minute, mostIn(log, 60_000)), max(second, mostIn(log, 1_000))
	}
	return minute, second
}

// The worst cases are not only bounds: an adversary reaches them.
func TestWorstCasesAreReached(t *testing.T) {
	table := "| 100 a minute | promised in any span of the window's length | most in any minute | most in any second |\n|---|---|---|---|\n"
	for _, s := range shown {
		minute, second := worst(s.ask)
		if minute != s.minute || second != s.second {
			t.Errorf("%s: %d pass in a minute and %d in a second, want %d and %d", s.name, minute, second, s.minute, s.second)
		}
		table += fmt.Sprintf("| %s | %s | %d | %d |\n", s.name, s.promise, minute, second)
	}
	inPage(t, "worst cases", table)
}

// A picture is what passes in each ten seconds of a client that has been quiet until 50 seconds past a minute, and then asks as fast
// as it can.
func picture(a window.Ask) string {
	const from, to, row = 50_000, 190_000, 10_000
	log := adversary(a, epoch+from, epoch+to)
	var b strings.Builder
	b.WriteString("```text\n  from    passed                                in the minute up to then\n")
	for at := int64(from); at < to; at += row {
		passed := during(log, epoch+at-1, epoch+at+row-1)
		minute := during(log, epoch+at+row-1-60_000, epoch+at+row-1)
		line := fmt.Sprintf("  %d:%02d  %4d  %-30s  %3d", at/60_000, at/1_000%60, passed, strings.Repeat("█", int(passed+3)/4), minute)
		b.WriteString(line + "\n")
	}
	b.WriteString("```\n")
	return b.String()
}

func TestPicturesOfTheDocumentation(t *testing.T) {
	inPage(t, "picture of sliding_window", picture(sliding(100, time.Minute, 60)))
	inPage(t, "picture of token_bucket", picture(bucket(100, 20, time.Minute)))
	inPage(t, "picture of fixed_window", picture(fixed(100, time.Minute)))
}

// inPage wants a text between the marks of its name, or writes it there.
func inPage(t *testing.T, name, text string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	between := regexp.MustCompile("(?s)(<!-- " + name + " -->\n).*?(<!-- end -->)")
	found := between.FindString(string(data))
	want := "<!-- " + name + " -->\n" + text + "<!-- end -->"
	switch {
	case found == "":
		t.Errorf("%s has no place for the %s", page, name)
	case found == want:
	case *update:
		if err := os.WriteFile(page, []byte(strings.Replace(string(data), found, want, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what happens; go test ./ratelimit/window -update writes\n%s", page, text)
	}
}
