package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/sallyport-dev/sallyport/envoy"
)

// door is a way to the orders service.
type door interface {
	send(ctx context.Context, r request) (reply, error)
}

// doors are the ways to the service: without any gate, with both gates for people, and with both gates for one workload.
type doors struct {
	ungated, gated door
	mesh           func(workload) (door, error)
}

// asked is the door without Envoy: the stand-in asks both gates what Envoy would have asked them, and if both agree the request goes
// to the service as Envoy would have sent it.
type asked struct {
	standIn   *envoy.StandIn
	service   socket
	principal string // of the workload, "" for people
	pin       string // the service that Envoy's route would name
}

func (a asked) send(ctx context.Context, r request) (reply, error) {
	ask := envoy.StandInRequest{
		Method: r.verb(), Target: r.target, Host: a.service.address, Address: r.from, Principal: a.principal, Service: a.pin,
	}
	// Envoy's own doing, in the order of its filters: who the client is, and a name for the request.
	fields := r.fields
	if r.token != "" {
		fields = append([]field{{"authorization", "Bearer " + r.token}}, fields...)
	}
	fields = append(fields, field{"x-request-id", rand.Text()})
	for _, f := range fields {
		ask.Header = append(ask.Header, envoy.StandInField{Name: f.name, Value: f.value})
	}
	answer, err := a.standIn.Ask(ctx, ask)
	if err != nil {
		return reply{}, err
	}
	if !answer.Pass {
		header := http.Header{}
		for _, f := range answer.Header {
			header.Add(f.Name, f.Value)
		}
		return replyOf(answer.Status, header, answer.Body), nil
	}
	forward := request{method: r.method, target: r.target}
	for _, f := range answer.Header {
		forward.fields = append(forward.fields, field{f.Name, f.Value})
	}
	got, err := a.service.send(ctx, forward)
	if err != nil {
		return reply{}, errors.Join(errors.New("demo: the service did not answer the stand-in"), err)
	}
	return got, nil
}
