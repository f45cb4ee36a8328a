// Package redis asks Redis, or a server that speaks like it, whose objects are: one key, one field of a hash or one set for each object.
// It is a room of its own because what a reply means, and which of its errors is an outage, is knowledge of that protocol alone. It only
// reads, it sends nothing twice, and it holds no connection: the client comes from outside.
package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Backend is safe for concurrent use.
type Backend struct {
	client redis.UniversalClient
	l      policy.RedisLookup
}

var (
	_ owner.Backend = (*Backend)(nil)
	_ owner.Prober  = (*Backend)(nil)
)

// New makes a backend of a client whose owner closes it. The client must not retry, and must end what it does with the context's
// deadline. New asks nobody.
func New(client redis.UniversalClient, l *policy.RedisLookup) *Backend {
	return &Backend{client: client, l: *l}
}

// Ask implements [owner.Backend]. A batch is one pipeline. GET and HGET answer who the owner is, and nil or an empty text is "not there".
// SISMEMBER answers only whether the subject is a member: a set that is not there is one that the subject is not in, so it is "not theirs",
// and a second command that told the two apart would cost a trip for what no rule may show.
func (b *Backend) Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	if q.Subject == "" { // a set can hold the empty text
		return fmt.Errorf("owner/redis: %w: no subject", authz.ErrLookupAnswer)
	}
	commands := make([]*redis.Cmd, len(q.Objects))
	for i, object := range q.Objects {
		commands[i] = b.command(ctx, q, object)
	}
	b.send(ctx, commands)
	var failed error
	for i, command := range commands {
		standing, err := b.standing(command, q.Subject)
		if err != nil && (failed == nil || errors.Is(err, authz.ErrLookupUnavailable)) {
			failed = err // an outage says more than a record that cannot be read
		}
		answers[i] = standing
	}
	return failed
}

// send sends all commands in one trip. Each command holds its own error.
func (b *Backend) send(ctx context.Context, commands []*redis.Cmd) {
	if len(commands) == 1 {
		_ = b.client.Process(ctx, commands[0])
		return
	}
	pipeline := b.client.Pipeline()
	for _, command := range commands {
		_ = pipeline.Process(ctx, command) // only queues it
	}
	_, _ = pipeline.Exec(ctx)
}

// command reads what is written about one object. Arguments are counted bytes on the wire, so no id can be a command.
func (b *Backend) command(ctx context.Context, q *authz.Question, object string) *redis.Cmd {
	values := &policy.TemplateValues{ID: object, Relation: q.Relation, Tenant: q.Tenant, Subject: q.Subject}
	text := func(t policy.Template) string { return string(t.Append(nil, values, nil)) }
	switch {
	case !b.l.Set.Empty():
		return redis.NewCmd(ctx, "sismember", text(b.l.Set), q.Subject)
	case !b.l.Field.Empty():
		return redis.NewCmd(ctx, "hget", text(b.l.Key), text(b.l.Field))
	}
	return redis.NewCmd(ctx, "get", text(b.l.Key))
}

// standing reads one reply.
func (b *Backend) standing(command *redis.Cmd, subject string) (authz.Standing, error) {
	reply, err := command.Result()
	if err != nil {
		if errors.Is(err, redis.Nil) && b.l.Set.Empty() {
			return authz.NotThere, nil
		}
		return authz.StandingUnknown, classified(err)
	}
	switch reply := reply.(type) {
	case string:
		if b.l.Set.Empty() {
			return owner.Judge([]string{reply}, subject), nil
		}
	case int64:
		switch {
		case b.l.Set.Empty() || reply < 0 || reply > 1:
		case reply == 1:
			return authz.Theirs, nil
		default:
			return authz.NotTheirs, nil
		}
	}
	return authz.StandingUnknown, fmt.Errorf("owner/redis: %w: %s was answered by %T", authz.ErrLookupAnswer, command.Name(), reply)
}

// classified tells a record that is none of ours from a server that cannot be had. An unknown error is the latter: it is the operator's to
// repair, and waiting may help.
func classified(err error) error {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return fmt.Errorf("owner/redis: %w: %w", authz.ErrLookupUnavailable, err)
	}
	text := reply.Error()
	if strings.HasPrefix(text, "WRONGTYPE ") {
		return fmt.Errorf("owner/redis: %w: the record is of another type", authz.ErrLookupAnswer)
	}
	if errors.Is(err, redis.Nil) {
		return fmt.Errorf("owner/redis: %w: nil", authz.ErrLookupAnswer)
	}
	// What a reply quotes is what the command held: the ids and names of clients.
	text = text[:min(len(text), 200)]
	if quoted := strings.IndexAny(text, "'`\""); quoted >= 0 {
		text = text[:quoted]
	}
	return fmt.Errorf("owner/redis: %w: the server says %q", authz.ErrLookupUnavailable, text)
}

// Probe implements [owner.Prober] by PING, which a server that wants a password or is loading refuses.
func (b *Backend) Probe(ctx context.Context) error {
	if err := b.client.Ping(ctx).Err(); err != nil {
		return classified(err)
	}
	return nil
}
