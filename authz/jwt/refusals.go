package jwt

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
)

// refusalBytes estimates one refusal from above, its key's name and its error included.
const refusalBytes = 512

// refusals remember tokens that were refused, apart from the good ones, so that a flood of bad tokens pushes out bad tokens only. It
// is a table of fixed size without a policy: the latest refusal has the place, and who loses it costs a signature once more.
type refusals struct {
	slots []atomic.Pointer[refusal]
}

// refusal is why a token is refused, and what would have to change for it to be asked again.
type refusal struct {
	trial
	err error
}

func (r *refusals) slot(name fingerprint) *atomic.Pointer[refusal] {
	return &r.slots[binary.LittleEndian.Uint64(name[:8])%uint64(len(r.slots))]
}

func (r *refusals) get(name fingerprint) *refusal {
	if refused := r.slot(name).Load(); refused != nil && refused.name == name {
		return refused
	}
	return nil
}

func (r *refusals) put(t trial, err error) { r.slot(t.name).Store(&refusal{trial: t, err: err}) }

// refused answers for a token that was refused before; nil is a token that must be asked again. It never accepts: what time or other
// keys may have made good is proved from the beginning.
func (v *Verifier) refused(name fingerprint, now time.Time) error {
	r := v.pool.refusals.get(name)
	if r == nil {
		return nil
	}
	if r.keyed {
		if same, err := v.sameKeys(r.kid, r.alg, r.generation, now); err != nil || !same {
			return err
		}
	}
	if r.dated {
		return r.times.judge(now, v.issuer.Leeway)
	}
	return r.err
}

// sameKeys reports whether what was found with a key still holds: the key is there, of the same generation.
func (v *Verifier) sameKeys(kid, alg string, generation uint64, now time.Time) (bool, error) {
	_, current, err := v.keys.Key(kid, alg, now)
	if err != nil {
		return false, keyError(err)
	}
	return current == generation, nil
}

// trial is how far a token came.
type trial struct {
	name       fingerprint
	kid, alg   string
	generation uint64
	// settled says that the same token will be refused again, unless the keys change (keyed) or time passes (dated).
	settled, keyed, dated bool
	times                 times
}

// refuses reports whether an error is a refusal, and not an inability to decide.
func refuses(err error) bool {
	var refused *authz.TokenError
	return errors.As(err, &refused) && refused.Reason == authz.InvalidToken
}
