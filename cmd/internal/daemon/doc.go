// Package daemon is the shell that both gates stand in: it opens their sockets, shows the right certificate to the right
// clients, tells operators how the gate fares, hands over changed files, and leaves without dropping a call. It knows neither
// service, so that what is true of one gate on the network, in its probes and at its end is true of the other. Nothing here is
// global: a process may hold several daemons, each with its own context, registry and log.
package daemon
