// Package main is example-owner, a server of sallyport.owner.v1.OwnerService: what a team writes that knows whose objects are, and lets a
// gate ask. It keeps to everything that proto/owner/v1/owner.proto says, and owners.go, where it does, can be read in one sitting; yours
// has a database where this one has facts in a YAML file:
//
//	facts:
//	  - {issuer: shop, subject: alice, objects: [order-1, order-2]}
//	  - {issuer: shop, subject: bob, objects: [order-3]}
//	  - {issuer: shop, subject: alice, relation: viewer, objects: [order-3]}
//	  - {tenant: acme, issuer: shop, kind: machine, subject: billing, objects: [order-1]}
//
// Start it, and hold it, or yours, to the protocol by the same facts:
//
//	go run ./cmd/example-owner --facts facts.yaml
//	sallyport lookup conform --address 127.0.0.1:9300 --facts facts.yaml
//
// A policy asks it by
//
//	lookups:
//	  orders: {issuer: shop, grpc: {address: "127.0.0.1:9300"}}
//
// It speaks no TLS and asks nobody who they are, so it listens on the loopback and nowhere else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"

	"github.com/sallyport-dev/sallyport/authz/owner/grpc/conformance"
	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "example-owner:", err)
		os.Exit(2)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("example-owner", flag.ContinueOnError)
	flags.SetOutput(out)
	listen := flags.String("listen", "127.0.0.1:9300", "where to serve, on the loopback")
	path := flags.String("facts", "", "the YAML file that says whose objects are")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if address, err := netip.ParseAddrPort(*listen); err != nil || !address.Addr().IsLoopback() {
		return fmt.Errorf("--listen %s is not an address of the loopback: everybody could ask", *listen)
	}
	if *path == "" {
		return errors.New("--facts is missing")
	}
	data, err := os.ReadFile(*path)
	if err != nil {
		return err
	}
	facts, errs := conformance.Parse(*path, data)
	if len(errs) > 0 {
		return errs
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "example-owner: serving on %s\n", listener.Addr())
	return serve(ctx, listener, facts)
}

// serve serves until ctx ends; calls in flight finish.
func serve(ctx context.Context, listener net.Listener, facts conformance.Facts) error {
	server := grpc.NewServer()
	ownerv1.RegisterOwnerServiceServer(server, newOwners(facts))
	defer context.AfterFunc(ctx, server.GracefulStop)()
	if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
		return err
	}
	return nil
}
