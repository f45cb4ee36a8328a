package revocation

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// page is the most entries of one answer.
	page = 1000
	// field is the one field of an entry in the stream.
	field = "e"
)

// streamID is where an entry stands in a stream.
type streamID struct{ ms, seq uint64 }

func parseStreamID(s string) (streamID, error) {
	ms, seq, ok := strings.Cut(s, "-")
	a, errA := strconv.ParseUint(ms, 10, 64)
	b, errB := strconv.ParseUint(seq, 10, 64)
	if !ok || errA != nil || errB != nil {
		return streamID{}, errors.New("the server's answer is not an id of a stream")
	}
	return streamID{ms: a, seq: b}, nil
}

func (i streamID) String() string {
	return strconv.FormatUint(i.ms, 10) + "-" + strconv.FormatUint(i.seq, 10)
}

func (i streamID) before(j streamID) bool { return i.ms < j.ms || i.ms == j.ms && i.seq < j.seq }

// next asks for the entries after the last.
func (s *Stream) next(ctx context.Context, block time.Duration) ([]redis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, max(block, 0)+s.timeout)
	defer cancel()
	streams, err := s.client.XRead(ctx, &redis.XReadArgs{
		Streams: []string{s.key}, ID: s.last.String(), Count: page, Block: block,
	}).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil:
		return nil, err
	case len(streams) != 1:
		return nil, errors.New("the server answers for another stream than it was asked for")
	}
	return streams[0].Messages, nil
}

func decodeMessage(m redis.XMessage) (Entry, error) {
	text, ok := m.Values[field].(string)
	if !ok || len(m.Values) != 1 {
		return Entry{}, errors.New("revocation: not an entry")
	}
	return decode([]byte(text))
}

// exists says whether the stream still has an entry.
func (s *Stream) exists(ctx context.Context, id string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	found, err := s.client.XRange(ctx, s.key, id, id).Result()
	return len(found) > 0, err
}

// state is what a server says of itself and of the stream.
type state struct {
	who    string   // changes with every restart and failover
	last   streamID // the last id that it ever gave out in the stream
	first  streamID // the id of the stream's first entry, later than all where there is none
	length int64
}

// look asks the server for its state.
func (s *Stream) look(ctx context.Context) (state, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	info, err := s.info(ctx, "replication")
	if err != nil {
		return state{}, err
	}
	if err := s.primary(ctx, info); err != nil {
		return state{}, err
	}
	found := state{who: info["master_replid"], first: streamID{ms: math.MaxUint64}}
	stream, err := s.client.XInfoStream(ctx, s.key).Result()
	var reply redis.Error
	if errors.As(err, &reply) && strings.Contains(reply.Error(), "no such key") {
		return found, nil
	}
	if err != nil {
		return state{}, err
	}
	found.length = stream.Length
	if found.last, err = parseStreamID(stream.LastGeneratedID); err == nil && found.length > 0 {
		found.first, err = parseStreamID(stream.FirstEntry.ID)
	}
	return found, err
}

// primary refuses a replica, whose entries may be late. Trying to write to it makes the client give up the connection, so that a
// name that points to another server by now is looked up again.
func (s *Stream) primary(ctx context.Context, info map[string]string) error {
	role := info["role"]
	if role == "master" {
		return nil
	}
	if role == "" {
		return errors.New("the answer to INFO is not that of a Redis or Valkey server")
	}
	if err := s.client.Process(ctx, redis.NewIntCmd(ctx, "xtrim", s.key, "minid", "0")); err != nil {
		return fmt.Errorf("the server is a %s: %w", role, err)
	}
	return fmt.Errorf("the server is a %s", role)
}

// ErrUnfit says that a server answers and must not hold revocations: it evicts, or is part of a cluster. It is an error of
// configuration, which waiting does not mend.
var ErrUnfit = errors.New("unfit for revocations")

// fit says why a server cannot hold revocations.
func (s *Stream) fit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	info, err := s.info(ctx)
	if err != nil {
		return err
	}
	micros, err := strconv.ParseInt(info["server_time_usec"], 10, 64)
	if err != nil {
		micros = 0 // a server that does not say
	}
	s.serverTime.Store(micros / 1000)
	switch policy := info["maxmemory_policy"]; {
	case info["cluster_enabled"] == "1":
		return fmt.Errorf("%w: the server is part of a cluster, which is not supported", ErrUnfit)
	case policy == "":
		return fmt.Errorf("%w: the server does not say its maxmemory-policy, so nobody knows whether it forgets revocations", ErrUnfit)
	case policy != "noeviction":
		return fmt.Errorf("%w: maxmemory-policy is %s: the server may forget revocations, and revoked tokens would live again; "+
			"set it to noeviction, on a server that no cache shares", ErrUnfit, policy)
	}
	return nil
}

// info asks for sections of INFO, by default the usual ones.
func (s *Stream) info(ctx context.Context, sections ...any) (map[string]string, error) {
	cmd := redis.NewStringCmd(ctx, append([]any{"info"}, sections...)...)
	if err := s.client.Process(ctx, cmd); err != nil {
		return nil, err
	}
	info := make(map[string]string)
	for lines := bufio.NewScanner(strings.NewReader(cmd.Val())); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok {
			info[key] = strings.TrimSpace(value)
		}
	}
	return info, nil
}

// onceCmd is a command that go-redis does not send again, whatever the client's retries are set to.
type onceCmd struct{ *redis.StringCmd }

// NoRetry implements [redis.Cmder].
func (onceCmd) NoRetry() bool { return true }

// write is XADD of an entry; from trims the stream to what follows that id, "" trims nothing.
func (s *Stream) write(ctx context.Context, e Entry, from string) onceCmd {
	args := []any{"xadd", s.key}
	if from != "" {
		args = append(args, "minid", "~", from)
	}
	return onceCmd{redis.NewStringCmd(ctx, append(args, "*", field, encode(e))...)}
}

// add writes an entry, and remembers where the server put it.
func (s *Stream) add(ctx context.Context, e Entry, from string) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cmd := s.write(ctx, e, from)
	if err := s.client.Process(ctx, cmd); err != nil {
		return err
	}
	id, err := parseStreamID(cmd.Val())
	if err != nil {
		return err
	}
	s.ledger.wrote(id, millis(e.Until))
	return nil
}

// reassert writes entries that the server has lost.
func (s *Stream) reassert(ctx context.Context, lost []Entry) error {
	for len(lost) > 0 {
		n := min(len(lost), page)
		if err := s.addAll(ctx, lost[:n]); err != nil {
			return err
		}
		s.reasserted.Add(uint64(n))
		lost = lost[n:]
	}
	return nil
}

func (s *Stream) addAll(ctx context.Context, entries []Entry) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range entries {
			if err := p.Process(ctx, s.write(ctx, e, "")); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// advice is what an operator can do about error replies. They are looked for anywhere in the reply: proxies put words before it.
var advice = []struct{ text, words string }{
	{"LOADING", "the server is still loading its data"},
	{"BUSY", "the server is busy with a script"},
	{"READONLY", "the server takes no writes: it is a replica, or a failover is under way"},
	{"MASTERDOWN", "the server is a replica that has lost its primary"},
	{"MISCONF", "the server takes no writes because it cannot save its data"},
	{"NOREPLICAS", "the server takes no writes because it has too few replicas"},
	{"OOM command not allowed", "the server is full: raise maxmemory"},
	{"NOAUTH", "the server wants a password"},
	{"WRONGPASS", "the server does not accept the user or the password"},
	{"NOPERM", "the server's user may not do that: it needs info, xinfo, xread, xrange, xadd and xtrim"},
	{"WRONGTYPE", "the key holds something else: choose another prefix"},
	{"max number of clients", "the server takes no more connections"},
}

// explain puts a failure in words for an operator.
func (s *Stream) explain(err error) error {
	var reply redis.Error
	if errors.As(err, &reply) {
		for _, a := range advice {
			if strings.Contains(reply.Error(), a.text) {
				return fmt.Errorf("revocation store: %s: %w", a.words, err)
			}
		}
	}
	var slow net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &slow) && slow.Timeout() {
		return fmt.Errorf("revocation store: the server does not answer in time: %w", err)
	}
	return fmt.Errorf("revocation store: %w", err)
}
