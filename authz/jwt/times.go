package jwt

import (
	"math"
	"strconv"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
)

// times are a token's dates. notBefore is zero if the token has none.
type times struct{ issued, notBefore, expires time.Time }

// judge compares the dates with the clock (RFC 7519 4.1.4 to 4.1.6). It runs for every request, remembered tokens included. A token is
// dead at the instant exp + leeway itself.
func (t times) judge(now time.Time, leeway time.Duration) error {
	switch {
	case !now.Before(t.expires.Add(leeway)):
		return refuse(authz.DetailExpired)
	case now.Before(t.issued.Add(-leeway)), !t.notBefore.IsZero() && now.Before(t.notBefore.Add(-leeway)):
		return refuse(authz.DetailNotYet)
	}
	return nil
}

// lastDate is the end of the year 9999 in seconds since 1970: what time.Time, databases and people can still read as a date.
const lastDate = 253402300799

// date reads a NumericDate (RFC 7519 2): seconds since 1970 as a JSON number. A fraction is legal there and some issuers write one, so
// it counts, exactly and never rounded up. Negative, infinite and absurd numbers are no dates.
func date(number string) (time.Time, bool) {
	seconds, err := strconv.ParseFloat(number, 64)
	if err != nil || !(seconds >= 0 && seconds <= lastDate) {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}
