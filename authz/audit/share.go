package audit

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
)

// Share is how many of the allows are recorded. The zero value is all of them. It is immutable.
type Share struct {
	// odds is compared with a random number of 64 bits; it has no meaning where partial is false.
	odds    uint64
	partial bool
	rate    string // as a fraction in JSON
	text    string
}

var percentage = regexp.MustCompile(`^(\d{1,3}(?:\.\d{1,9})?)%$`)

// ParseShare reads "all", "off", or a percentage such as "1%" or "0.05%".
func ParseShare(text string) (Share, error) {
	switch text {
	case "all", "100%":
		return Share{}, nil
	case "off", "0%":
		return Share{partial: true, rate: "0", text: "off"}, nil
	}
	found := percentage.FindStringSubmatch(text)
	if found == nil {
		return Share{}, fmt.Errorf("audit: %q is no share of the allows: write all, off, or a percentage such as 1%%", text)
	}
	percent, err := strconv.ParseFloat(found[1], 64)
	if err != nil || percent <= 0 || percent > 100 {
		return Share{}, errors.New("audit: a share of the allows is more than 0% and at most 100%")
	}
	if percent == 100 {
		return Share{}, nil
	}
	// Dividing by a hundred in floating point would write 0.07 as 0.07000000000000001.
	rate := strconv.FormatFloat(math.Round(percent*1e9)/1e11, 'f', -1, 64)
	return Share{odds: uint64(percent / 100 * math.MaxUint64), partial: true, rate: rate, text: text}, nil
}

// All says that no allow is left out.
func (s Share) All() bool { return !s.partial }

// String is "all", "off" or the percentage.
func (s Share) String() string {
	if !s.partial {
		return "all"
	}
	return s.text
}

// leavesOut draws whether an allow is left out.
func (s Share) leavesOut() bool {
	return s.partial && rand.Uint64() >= s.odds //nolint:gosec // G404: which allow is recorded is no secret
}
