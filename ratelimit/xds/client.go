package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// Client keeps limits in step with a management server. Run is for one goroutine; [Client.Collect] and [Client.Describe] are safe
// for any.
type Client struct {
	options Options
	node    *corev3.Node
	book    book
	counts  counts
	after   func(time.Duration) <-chan time.Time // time.After, or a test's own

	// What the metrics show of now.
	connected atomic.Bool
	version   atomic.Pointer[string]
}

// New checks the options and reads the files that they name once, so that a wrong path ends the start. It does not connect.
func New(o Options) (*Client, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	c := &Client{options: o, node: node(o.Node), book: book{build: limits.BuildOptions{MergeDomains: o.MergeDomains, SpareDenied: o.SpareDenied}}, after: time.After}
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	if _, err := c.withHeaders(context.Background()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, conn.Close()
}

func node(n Node) *corev3.Node {
	fields := map[string]*structpb.Value{}
	for key, value := range n.Metadata {
		fields[key] = structpb.NewStringValue(value)
	}
	return &corev3.Node{Id: n.ID, Cluster: n.Cluster, Metadata: &structpb.Struct{Fields: fields}, UserAgentName: "sallyport"}
}

// Run connects, and connects again, until ctx ends; it returns nil then. Nothing that the server does or fails to do ends it.
func (c *Client) Run(ctx context.Context) error {
	for failed := 0; ; failed++ {
		stood, answered, err := c.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.lost(err)
		if answered {
			failed = 0
		}
		wait := c.options.Retry
		if !stood {
			wait = c.options.Reach
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.after(wait.wait(failed)):
		}
	}
}

// once runs one connection to its end, and says whether a stream came to stand and whether the server sent anything on it.
func (c *Client) once(ctx context.Context) (stood, answered bool, err error) {
	conn, err := c.dial()
	if err != nil {
		return false, false, err
	}
	defer func() { _ = conn.Close() }() // it is given up, whatever that says
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if ctx, err = c.withHeaders(ctx); err != nil {
		return false, false, err
	}
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return false, false, err
	}
	x := exchange{client: c, stream: stream}
	err = x.run(ctx)
	return true, x.answered, err
}

func (c *Client) lost(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("the server ended the stream")
	}
	c.connected.Store(false)
	c.counts.failed.Add(1)
	if c.options.OnConnection != nil {
		c.options.OnConnection(fmt.Errorf("xds: %s: %w", c.options.Server, err))
	}
}

func (c *Client) found() {
	c.connected.Store(true)
	if c.options.OnConnection != nil {
		c.options.OnConnection(nil)
	}
}

// exchange is one stream.
type exchange struct {
	client *Client
	stream grpc.BidiStreamingClient[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]

	answered bool
	accepted string // the version that was accepted last on this stream: versions of a server before a restart mean nothing after it
	stale    int    // responses in a row that brought nothing which could be taken
}

type received struct {
	response *discoveryv3.DiscoveryResponse
	err      error
}

// run asks, and answers each response, until the stream ends. Every stream begins without a version: a server that was restarted may
// give an old version's name to something new, and a client that said it had it would never be sent the new one.
func (x *exchange) run(ctx context.Context) error {
	if err := x.stream.Send(&discoveryv3.DiscoveryRequest{Node: x.client.node, TypeUrl: TypeURL}); err != nil {
		return x.reason(err)
	}
	x.client.found()
	responses := x.receive(ctx)
	var answer *discoveryv3.DiscoveryRequest
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-responses:
			if r.err != nil {
				return r.err
			}
			answer, due = x.answer(r.response)
		case <-due:
			due = nil
			if err := x.stream.Send(answer); err != nil {
				return x.reason(err)
			}
		}
	}
}

// receive hands over responses one by one, and the error that ends them.
func (x *exchange) receive(ctx context.Context) <-chan received {
	out := make(chan received)
	go func() {
		for {
			response, err := x.stream.Recv()
			select {
			case out <- received{response, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// reason is why a stream ended: of a send that failed, gRPC tells only at the next receive.
func (x *exchange) reason(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, err := x.stream.Recv(); err != nil {
			return err
		}
	}
}

// now is a wait that is over.
var now = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()

// answer takes a response and says what to tell the server, and when. A server sends again at once what was refused, and would for
// ever, so from the second response in a row that brings nothing the answer is held back; the next response is read all the same.
func (x *exchange) answer(response *discoveryv3.DiscoveryResponse) (*discoveryv3.DiscoveryRequest, <-chan time.Time) {
	x.answered = true
	news, refused := x.client.take(response)
	request := &discoveryv3.DiscoveryRequest{TypeUrl: TypeURL, ResponseNonce: response.GetNonce()}
	if refused == nil {
		x.accepted = response.GetVersionInfo()
	} else {
		request.ErrorDetail = &status.Status{Code: int32(codes.InvalidArgument), Message: refused.Error()}
	}
	request.VersionInfo = x.accepted
	if news && refused == nil {
		x.stale = 0
		return request, now
	}
	if x.stale++; x.stale == 1 {
		return request, now
	}
	return request, x.client.after(held.wait(x.stale - 2))
}

// take takes a response into the book and tells of it.
func (c *Client) take(response *discoveryv3.DiscoveryResponse) (news bool, refused error) {
	update := Update{Version: response.GetVersionInfo()}
	if url := response.GetTypeUrl(); url != TypeURL {
		// Nothing else was asked for, and its resources, if any, say nothing about limits.
		news, update.Err = true, fmt.Errorf("the response is of type %q, %s was asked for", url, TypeURL)
	} else {
		news, update.Err = c.book.take(response.GetResources())
		update.Domains, update.Unknown = c.book.domains, c.book.unknown
	}
	update.Table = c.book.table()
	c.counts.took(news, update.Err)
	if update.Err == nil {
		c.version.Store(&update.Version)
	}
	if news && c.options.OnUpdate != nil {
		c.options.OnUpdate(update)
	}
	return news, update.Err
}
