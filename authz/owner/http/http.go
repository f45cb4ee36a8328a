// Package http knows whose objects are from a service that answers in JSON: one GET for an object, or one POST for many. It is the door
// for teams whose service has such an endpoint already; a service that is written for this had better speak owner/v1 (owner/grpc).
package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/owner/httpclient"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

const (
	// maxAnswer bounds an answer about one object, maxBatch one about many.
	maxAnswer = 64 << 10
	maxBatch  = 1 << 20
	// together is how many objects are asked about at once where there is no batch.
	together = 8
	// maxURL is the longest request target.
	maxURL = 8 << 10
)

// Backend is an owner.Backend on an HTTP service. It is safe for concurrent use.
type Backend struct {
	lookup *policy.HTTPLookup
	client *http.Client
}

// New makes a Backend with at most so many connections, zero for 16. It asks nobody. A token goes in the clear to no other machine.
func New(l *policy.HTTPLookup, connections int) (*Backend, error) {
	one := string(l.URL.Append(nil, &policy.TemplateValues{ID: "x", Relation: "x", Tenant: "x", Subject: "x"}, escape))
	if err := usable(l, l.URL.String(), one); err != nil {
		return nil, err
	}
	if l.Batch != "" {
		if err := usable(l, l.Batch, l.Batch); err != nil {
			return nil, err
		}
	}
	client, err := httpclient.New(httpclient.Options{
		CAFile: l.CAFile, CertFile: l.CertFile, KeyFile: l.KeyFile, TokenFile: l.TokenFile, Connections: connections, MaxAnswer: maxBatch,
	})
	if err != nil {
		return nil, fmt.Errorf("owner/http: %w", err)
	}
	return &Backend{lookup: l, client: client}, nil
}

// usable refuses what would ask somebody whom the policy does not name, or the same for every object: a fragment is never sent, so an id
// in it would be in no question.
func usable(l *policy.HTTPLookup, written, example string) error {
	_, rest, _ := strings.Cut(written, "://")
	host, _, _ := strings.Cut(rest, "/")
	u, err := url.Parse(example)
	switch {
	case strings.Contains(host, "@"): // before anything that shows the URL
		return errors.New("owner/http: a URL with a user or password in it is refused: write token_file")
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", strings.ContainsAny(host, "{}?"):
		return fmt.Errorf("owner/http: %q is no URL of a known host", written)
	case strings.Contains(written, "#"):
		return fmt.Errorf("owner/http: %q has a fragment, which is never sent: write %%23 for a #", written)
	case dotted(example):
		return fmt.Errorf("owner/http: %q has a . or .. for a part of its path", written)
	case u.Scheme == "http" && !loopback(u.Hostname()) && (!l.PlainHTTP || l.TokenFile != ""):
		return errors.New("owner/http: plain http beyond loopback needs plain_http, and carries no token")
	}
	return nil
}

func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// Close lets the connections go.
func (b *Backend) Close() error {
	b.client.CloseIdleConnections()
	return nil
}

// Ask implements owner.Backend. Several objects are one POST where the policy names a batch, else a few GETs at a time.
func (b *Backend) Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	if b.lookup.Batch != "" && len(q.Objects) > 1 {
		return b.batch(ctx, q, answers)
	}
	if len(q.Objects) == 1 {
		standing, err := b.one(ctx, q, q.Objects[0])
		answers[0] = standing
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for i, id := range q.Objects {
		group.Go(func() (err error) {
			answers[i], err = b.one(ctx, q, id)
			return err
		})
	}
	return group.Wait()
}

// one asks about one object.
func (b *Backend) one(ctx context.Context, q *authz.Question, id string) (authz.Standing, error) {
	target, ok := b.target(q, id)
	if !ok {
		return authz.NotThere, nil // no path can name it, so the service has none of this name
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return authz.NotThere, nil //nolint:nilerr // a URL that the library does not take names nothing
	}
	answer, there, err := b.exchange(request, maxAnswer)
	switch {
	case err != nil:
		return authz.StandingUnknown, err
	case !there:
		return authz.NotThere, nil
	}
	return b.judge(answer, q.Subject)
}

// target is the URL of one object; false where its id cannot stand in one.
func (b *Backend) target(q *authz.Question, id string) (string, bool) {
	values := policy.TemplateValues{ID: id, Relation: q.Relation, Tenant: q.Tenant, Subject: q.Subject}
	for _, value := range []string{values.ID, values.Relation, values.Tenant, values.Subject} {
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return "", false
		}
	}
	target := string(b.lookup.URL.Append(nil, &values, escape))
	return target, len(target) <= maxURL && !dotted(target)
}

// dotted reports whether a server could take a part of the path for the way up. Servers and proxies resolve dot segments, escaped or not;
// some take an escaped slash or a backslash for a slash besides, or leave out what follows a semicolon. It would be another object's URL.
func dotted(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	plain, err := url.PathUnescape(path)
	if err != nil {
		return true
	}
	for segment := range strings.SplitSeq(strings.ReplaceAll(plain, `\`, "/"), "/") {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return true
		}
	}
	return false
}

// escape writes a value so that it stands in one segment of a path, or one value of a query, and in no other part.
func escape(b []byte, value string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(value) {
		c := value[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '_' || c == '.' || c == '~' {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// question is what is posted for many objects. What the question does not have is left out.
type question struct {
	IDs      []string `json:"ids"`
	Subject  string   `json:"subject,omitempty"`
	Relation string   `json:"relation,omitempty"`
	Tenant   string   `json:"tenant,omitempty"`
}

// batch asks about many objects at once. The answer is a list with one object for each id that is there: its `id`, and the owner where it
// stands in a single answer too. It is a list because ids that differ by case alone are two ids, and two names that do are one to some readers.
func (b *Backend) batch(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	asked := question{Subject: q.Subject, Relation: q.Relation, Tenant: q.Tenant}
	standings := make(map[string]authz.Standing, len(q.Objects))
	for _, id := range q.Objects {
		if _, twice := standings[id]; !twice && utf8.ValidString(id) && strings.IndexByte(id, 0) < 0 {
			asked.IDs = append(asked.IDs, id)
		}
		standings[id] = authz.NotThere
	}
	if len(asked.IDs) > 0 && utf8.ValidString(q.Subject+q.Relation+q.Tenant) {
		if err := b.post(ctx, &asked, standings); err != nil {
			return err
		}
	}
	for i, id := range q.Objects {
		answers[i] = standings[id]
	}
	return nil
}

// post sends a question about many objects and reads who owns each.
func (b *Backend) post(ctx context.Context, asked *question, standings map[string]authz.Standing) error {
	body, err := json.Marshal(asked)
	if err != nil {
		return fmt.Errorf("owner/http: %w: write the question: %w", authz.ErrLookupAnswer, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.lookup.Batch, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("owner/http: %w: the batch's URL is none", authz.ErrLookupUnavailable)
	}
	request.Header.Set("Content-Type", "application/json")
	// It is a question and changes nothing, so it goes out again where the service had let the connection go, as a GET does. An empty value
	// tells the library so and is not sent.
	request.Header["Idempotency-Key"] = nil
	answer, there, err := b.exchange(request, maxBatch)
	switch {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("owner/http: %w: the batch's URL answers that there is nothing", authz.ErrLookupUnavailable)
	case answer.Kind() != strictjson.Array:
		return unreadable("the answer to a batch is no list")
	}
	told := make(map[string]bool, len(asked.IDs))
	for _, element := range answer.Elements() {
		member, _ := element.Member("id")
		id, ok := member.Text()
		if _, known := standings[id]; !ok || !known || told[id] {
			return unreadable("the answer to a batch holds an object that was not asked about, or one twice")
		}
		told[id] = true
		if standings[id], err = b.judge(element, asked.Subject); err != nil {
			return err
		}
	}
	return nil
}

func unreadable(why string) error {
	return fmt.Errorf("owner/http: %w: %s", authz.ErrLookupAnswer, why)
}

// judge finds the owners in an answer: a text, or a list of texts. Nobody is nobody, whether it is null or missing.
func (b *Backend) judge(answer strictjson.Value, subject string) (authz.Standing, error) {
	for _, name := range b.lookup.Owner {
		if answer.Kind() == strictjson.Null {
			return authz.NotThere, nil
		}
		if answer.Kind() != strictjson.Object {
			return authz.StandingUnknown, unreadable("the owner's place is in no object")
		}
		var ok bool
		if answer, ok = answer.Member(name); !ok {
			return authz.NotThere, nil
		}
	}
	if text, ok := answer.Text(); ok {
		return owner.Judge([]string{text}, subject), nil
	}
	if texts, ok := answer.Strings(); ok {
		return owner.Judge(texts, subject), nil
	}
	if answer.Kind() == strictjson.Null {
		return authz.NotThere, nil
	}
	return authz.StandingUnknown, unreadable("the owner is neither a text nor a list of texts")
}

// exchange sends a request and reads the answer; there is false where the service says that nothing is. Errors never hold the URL, in which
// an id stands.
func (b *Backend) exchange(request *http.Request, most int64) (answer strictjson.Value, there bool, err error) {
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "sallyport")
	response, err := b.client.Do(request)
	if err != nil {
		return strictjson.Value{}, false, fmt.Errorf("owner/http: %w: %w", authz.ErrLookupUnavailable, cause(err))
	}
	defer response.Body.Close()
	if there, err = status(response.StatusCode); !there {
		_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // so that the connection can be used again
		return strictjson.Value{}, false, err
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return strictjson.Value{}, false, unreadable("the answer is not application/json")
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil && !errors.As(err, new(*http.MaxBytesError)):
		return strictjson.Value{}, false, fmt.Errorf("owner/http: %w: the answer broke off: %w", authz.ErrLookupUnavailable, cause(err))
	case err != nil || int64(len(data)) > most:
		return strictjson.Value{}, false, unreadable("the answer is too long")
	}
	answer, err = strictjson.Parse(data, strictjson.Limits{Bytes: int(most), Elements: 10_000})
	if err != nil {
		return strictjson.Value{}, false, unreadable("the answer is not the JSON that it says it is")
	}
	return answer, true, nil
}

// cause is an error without the URL that the library puts around it, and without what it quotes of an answer that is no HTTP: both can hold
// an id. What stands before the quote says what was wrong.
func cause(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if said, _, quotes := strings.Cut(err.Error(), `"`); quotes {
		return errors.New(strings.TrimRight(said, " :[("))
	}
	return err
}

// status judges a status: there is something, there is nothing, or an error. What may be about the object is an answer that cannot be
// read; what is about us or the service's day is an outage.
func status(code int) (there bool, err error) {
	switch {
	case code == http.StatusOK:
		return true, nil
	case code == http.StatusNotFound, code == http.StatusGone:
		return false, nil
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return false, fmt.Errorf("owner/http: %w: the service refuses our credentials (%d): look at token_file and cert_file", authz.ErrLookupUnavailable, code)
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return false, fmt.Errorf("owner/http: %w: status %d", authz.ErrLookupUnavailable, code)
	}
	return false, unreadable(fmt.Sprintf("status %d", code))
}
