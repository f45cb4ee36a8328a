package policy

import (
	"time"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// maxShadow is the longest trial. One without an end in sight is a gate that stands open, or shut, for good.
const maxShadow = 366 * 24 * time.Hour

// shadow reads for how long a service's rules are on trial. Its end is a day, because a trial that nobody ends is an open door.
func (c *compiler) shadow(src *source, n *strictyaml.Node) *Shadow {
	if n == nil {
		return nil
	}
	m := src.Map(n, "answer", "until")
	s := &Shadow{}
	if answer := src.Require(m, "answer", "write `answer: allow`, or `answer: deny`"); answer != nil {
		text, ok := src.Text(answer)
		if s.Allow = text == "allow"; ok && !s.Allow && text != "deny" {
			src.Errorf(answer, "write allow, or deny", "a service in shadow can allow or deny, not %q", text)
		}
	}
	if until := src.Require(m, "until", "write the day on which the rules are enforced: until: 2027-01-15"); until != nil {
		s.Until = c.until(src, until)
	}
	return s
}

// until reads the day on which a trial ends. How far away it is can only be judged where the time is known.
func (c *compiler) until(src *source, n *strictyaml.Node) time.Time {
	text := strictyaml.SourceText(n)
	day, err := time.Parse(time.DateOnly, text)
	switch {
	case err != nil:
		src.Errorf(n, "write a day: 2027-01-15", "%q is no day", text)
	case c.now.IsZero():
	case day.Sub(c.now) > maxShadow:
		src.Errorf(n, "write a day within the next 366, and move it when it comes", "a trial until %s would be one that nobody ends", text)
	case !day.After(c.now):
		c.warn(src, n.Pos(), "remove `shadow`", "the trial is over: the rules are enforced since %s", text)
	}
	return day
}
