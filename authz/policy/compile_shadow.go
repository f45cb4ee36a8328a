package policy

import (
	"time"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// shadow reads for how long a service's rules are on trial. Its end is a day, because a trial that nobody ends is an open door.
func shadow(src *source, n *strictyaml.Node) *Shadow {
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
		if text := strictyaml.SourceText(until); text != "" {
			day, err := time.Parse(time.DateOnly, text)
			if err != nil {
				src.Errorf(until, "write a day: 2027-01-15", "%q is no day", text)
			}
			s.Until = day
		}
	}
	return s
}
