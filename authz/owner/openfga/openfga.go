package openfga

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	fga "github.com/openfga/go-sdk"
	"github.com/openfga/go-sdk/telemetry"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner/httpclient"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

const (
	// defaultChecks is what a server takes in one batch that was not told otherwise (--max-checks-per-batch-check).
	defaultChecks = 50
	mostChecks    = 1000
	// maxBatch bounds a batch in bytes, well below the 600 KB of a message that a server takes: nobody can send ids of which every
	// batch fails.
	maxBatch = 256 << 10
	// concurrent is how many batches of one question are on their way at once.
	concurrent = 4
)

// ulid is how OpenFGA names stores and models.
var ulid = regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)

// OpenFGA's bounds of the words of a model.
const (
	maxType     = 254
	maxRelation = 50
)

// isWord reports whether a model can call a type or a relation so.
func isWord(text string, most int) bool {
	return text != "" && len(text) <= most && !strings.ContainsAny(text, ":#@* \t\r\n\v\f")
}

// quiet keeps the client from describing questions to anybody's meters. There is one of it, since the client keeps each for ever.
var quiet = &telemetry.Configuration{Metrics: &telemetry.MetricsConfiguration{}}

// Backend asks one store of one OpenFGA. It is safe for concurrent use and connects when it is first asked. OpenFGA knows no tenants and
// cannot tell an object that is not there from one that is somebody else's: both are [authz.NotTheirs].
type Backend struct {
	base          string // without a slash at its end
	store, model  string
	typ, userType string
	checks        int
	http          *http.Client
	api           fga.OpenFgaApi
}

// New is the backend of the settings, with at most that many connections (16 for 0). It connects to nothing and opens no file. An error
// means that the settings cannot be meant, or would be readable to others on their way.
func New(l *policy.OpenFGALookup, connections int) (*Backend, error) {
	base, err := checked(l)
	if err != nil {
		return nil, fmt.Errorf("owner/openfga: %w", err)
	}
	client, err := httpclient.New(httpclient.Options{CAFile: l.CAFile, TokenFile: l.TokenFile, Connections: connections})
	if err != nil {
		return nil, fmt.Errorf("owner/openfga: %w", err)
	}
	// Without RetryParams the client does not try again: whoever waits has no time for that, and the breaker must see the failure.
	settings, err := fga.NewConfiguration(fga.Configuration{ApiUrl: base, HTTPClient: client, UserAgent: "sallyport", Telemetry: quiet})
	if err != nil {
		return nil, fmt.Errorf("owner/openfga: %w", err)
	}
	b := &Backend{
		base: base, store: l.Store, model: l.Model, typ: l.Type, userType: l.User, checks: l.MaxChecks, http: client,
		api: fga.NewAPIClient(settings).OpenFgaApi,
	}
	if b.userType == "" {
		b.userType = "user"
	}
	if b.checks <= 0 {
		b.checks = defaultChecks
	}
	return b, nil
}

// checked is the base of all URLs.
func checked(l *policy.OpenFGALookup) (string, error) {
	u, err := url.Parse(strings.TrimRight(l.URL, "/"))
	switch {
	case err == nil && u.User != nil:
		return "", errors.New("there is no password in the URL of an OpenFGA: put a token into a file")
	case err != nil, u.Host == "", u.RawQuery != "", u.ForceQuery, u.Fragment != "", u.String() != strings.TrimRight(l.URL, "/"):
		return "", fmt.Errorf("%q is not the URL of an OpenFGA: write https://openfga.internal", l.URL)
	case u.Scheme == "http" && !l.PlainHTTP && !isLoopback(u.Hostname()):
		return "", errors.New("plain http to a host that is not loopback: whoever stands between says whose objects are")
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("OpenFGA is asked by https or http, not by %q", u.Scheme)
	case u.Scheme == "http" && l.CAFile != "":
		return "", errors.New("a CA file needs a URL of https")
	case u.Scheme == "http" && l.TokenFile != "" && !isLoopback(u.Hostname()):
		return "", errors.New("a token is sent by TLS or within this machine: without TLS whoever stands between can take it")
	case !ulid.MatchString(l.Store):
		return "", fmt.Errorf("%q is not the id of a store, which is 26 letters and digits", l.Store)
	case l.Model != "" && !ulid.MatchString(l.Model):
		return "", fmt.Errorf("%q is not the id of a model, which is 26 letters and digits", l.Model)
	case !isWord(l.Type, maxType), l.User != "" && !isWord(l.User, maxType):
		return "", fmt.Errorf("%q and %q are not types of a model", l.Type, l.User)
	case l.MaxChecks < 0 || l.MaxChecks > mostChecks:
		return "", fmt.Errorf("%d checks in one call: at most %d", l.MaxChecks, mostChecks)
	}
	return u.String(), nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Close ends the connections that nobody uses.
func (b *Backend) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

// Ask is authz.Lookup's. One object is one Check; more are batches of as many as the server takes, in one trip where that is enough and
// several at once where it is not. Names that are longer than OpenFGA's are not there, and it is not asked about them.
func (b *Backend) Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	if !isWord(q.Relation, maxRelation) {
		return fmt.Errorf("owner/openfga: %w: %q is not a relation of a model", authz.ErrLookupAnswer, q.Relation)
	}
	items := b.items(q, answers)
	switch {
	case len(items) == 0:
		return nil
	case len(items) == 1:
		return b.checkOne(ctx, items[0], answers)
	case b.next(items) == len(items):
		return b.checkBatch(ctx, items, answers)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrent)
	for len(items) > 0 {
		n := b.next(items)
		batch := items[:n]
		group.Go(func() error { return b.checkBatch(ctx, batch, answers) })
		items = items[n:]
	}
	return group.Wait()
}

// item is one object to be asked about, and where its answer belongs.
type item struct {
	key   fga.CheckRequestTupleKey
	place int
}

// items are the objects that OpenFGA can know; it answers NotThere for the others.
func (b *Backend) items(q *authz.Question, answers []authz.Standing) []item {
	user, sayable := b.user(q.Subject)
	items := make([]item, 0, len(q.Objects))
	for i, id := range q.Objects {
		object, ok := b.object(id)
		if !ok || !sayable {
			answers[i] = authz.NotThere
			continue
		}
		items = append(items, item{fga.CheckRequestTupleKey{User: user, Relation: q.Relation, Object: object}, i})
	}
	return items
}

// next is how many of the items make the next batch; at least one.
func (b *Backend) next(items []item) int {
	size := 0
	for i, item := range items {
		size += len(item.key.User) + len(item.key.Relation) + len(item.key.Object) + len(`{"correlation_id":"999","tuple_key":{"user":"","relation":"","object":""}},`)
		if i > 0 && (i == b.checks || size > maxBatch) {
			return i
		}
	}
	return len(items)
}

// nowhere is a relation that no model has.
const nowhere = "sallyport-probe"

// Probe asks about a relation that no model has: an OpenFGA that can be asked, and has the store, the model and the types, refuses that.
func (b *Backend) Probe(ctx context.Context) error {
	_, status, err := b.check(ctx, fga.CheckRequestTupleKey{User: b.userType + ":probe", Relation: nowhere, Object: b.typ + ":probe"})
	if err == nil {
		return nil
	}
	answer, refused := errors.AsType[fga.FgaApiValidationError](err)
	if !refused || modelMissing(answer.ResponseCode()) {
		return explain(status, err)
	}
	for _, missing := range []string{b.typ, b.userType} {
		if strings.Contains(answer.Error(), "type '"+missing+"' not found") {
			return fmt.Errorf("owner/openfga: the model has no type %q", missing)
		}
	}
	return nil
}
