package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

var _ ratelimit.Refunder = (*Store)(nil)

// SpendRefundable implements [ratelimit.Refunder].
func (s *Store) SpendRefundable(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, ratelimit.Receipt, error) {
	answer, err := s.spend(ctx, batch)
	if err != nil || answer == nil {
		return nil, ratelimit.Receipt{}, err
	}
	return answer.outcomes, answer.receipt(batch), nil
}

// receipt names what a batch wrote.
func (a *answer) receipt(batch []ratelimit.Charge) ratelimit.Receipt {
	r := ratelimit.Receipt{At: a.now}
	// Its error is always nil: the Go runtime ends the program rather than hand out what is not random.
	_, _ = rand.Read(r.Nonce[:])
	for i := range batch {
		c := &batch[i]
		if c.Hits > 0 && !c.CountDenied && a.fates[i]&written != 0 { // all of a batch without fates count denials
			r.Spent = append(r.Spent, ratelimit.Spent{Key: c.Key, Rule: c.Rule, Hits: c.Hits, Marks: a.marks(i, c)})
		}
	}
	return r
}

// marks say where the hits of a charge went.
func (a *answer) marks(i int, c *ratelimit.Charge) []window.Mark {
	if t := &a.targets[i]; t.plain {
		return []window.Mark{{Shape: c.Windows[0].Shape(c.Algorithm), At: t.cell}}
	}
	return a.counters[i].AppendMarks(nil, c.Ask())
}

// isPlain says whether hits were spent from a plain counter: the only kind with a single window of a single cell.
func isPlain(s *ratelimit.Spent) bool { return len(s.Marks) == 1 && s.Marks[0].Shape.Cells == 1 }

// Refund implements [ratelimit.Refunder]: one script on one server, never sent twice by itself; its nonce makes it safe to ask
// again.
func (s *Store) Refund(ctx context.Context, r ratelimit.Receipt) error {
	if err := ctx.Err(); err != nil {
		return &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: err}
	}
	if len(r.Spent) == 0 {
		return nil
	}
	reply, err := s.run(ctx, s.refundArguments(s.nonceKey(r), r))
	if err != nil {
		return classified(err)
	}
	if parts, ok := reply.([]any); !ok || len(parts) != 2 {
		return &ratelimit.StoreError{Class: ratelimit.StoreOther, Err: fmt.Errorf("%w: %T for a refund", errGarbage, reply)}
	}
	return nil
}

// nonceKey is the key that remembers a receipt. A counter's key begins with the tag of a component, and never with this mark. In a
// cluster it is in the slot of the counters.
func (s *Store) nonceKey(r ratelimit.Receipt) string {
	nonce := base64.RawURLEncoding.EncodeToString(r.Nonce[:])
	if s.cluster == nil {
		return s.prefix + "!" + nonce
	}
	return s.prefix + "!{" + tagsOfSlots()[s.Slot(r.Spent[0].Key)] + "}" + nonce
}

// refundArguments are those of EVALSHA for a refund.
func (s *Store) refundArguments(nonceKey string, r ratelimit.Receipt) []any {
	args := make([]any, 0, 6+2*len(r.Spent))
	args = append(args, "evalsha", sourceHash, 1+len(r.Spent), nonceKey)
	for i := range r.Spent {
		if spent := &r.Spent[i]; isPlain(spent) {
			args = append(args, s.plainKey(spent.Key, spent.Marks[0].Shape.Grain, spent.Marks[0].At))
		} else {
			args = append(args, s.prefix+spent.Key)
		}
	}
	clock := ""
	if s.clockForTest != nil {
		clock = strconv.FormatInt(s.clockForTest(), 10)
	}
	header := appendUint48(appendUint48([]byte{refund}, r.At), ratelimit.RefundWithin.Milliseconds())
	args = append(args, clock, header)
	for i := range r.Spent {
		args = append(args, appendSpent(nil, &r.Spent[i]))
	}
	return args
}

// appendSpent appends what is to be taken back from one counter in the form that the script reads.
func appendSpent(b []byte, s *ratelimit.Spent) []byte {
	flags := byte(refund)
	if isPlain(s) {
		flags |= plain
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Hits))
	b = append(b, byte(len(s.Marks)))
	for _, m := range s.Marks {
		b = appendShape(b, m.Shape)
		b = appendUint48(b, m.At)
		b = appendUint48(b, m.Level.Hits)
		b = appendUint48(b, m.Level.Part)
		b = binary.BigEndian.AppendUint32(b, m.Limit)
		b = appendUint48(b, int64(m.Taken))
	}
	return b
}
