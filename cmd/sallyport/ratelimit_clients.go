package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// boundClients are the domains that each entry of --tls-client-ids may spend from, by the entry's index; nil for all of them.
type boundClients [][]string

// bindClients takes the domains out of "spiffe://td/ns/web/sa/envoy = mesh,edge", which leaves the list of names as the daemon reads it.
// The flag has split the text at its commas already: what is no name goes on with the domains of the name before it.
func bindClients(texts []string) (names []string, bound boundClients, err error) {
	for _, text := range texts {
		name, domains, binds := strings.Cut(text, "=")
		name = strings.TrimSpace(name)
		switch isName := strings.HasPrefix(name, "spiffe://") || strings.HasPrefix(name, "dns:"); {
		case isName && binds:
			names = append(names, name)
			bound = append(bound, []string{})
		case isName:
			names = append(names, name)
			bound = append(bound, nil)
			continue
		case binds || len(bound) == 0 || bound[len(bound)-1] == nil:
			names = append(names, text) // for the daemon to refuse
			bound = append(bound, nil)
			continue
		default:
			domains = text
		}
		domain := strings.TrimSpace(domains)
		if domain == "" {
			return nil, nil, fmt.Errorf("--tls-client-ids %q: write the domains behind the =, or leave the = out, for all of them", text)
		}
		if last := &bound[len(bound)-1]; !slices.Contains(*last, domain) {
			*last = append(*last, domain)
		}
	}
	return names, bound, nil
}

// any says that some entry is bound, so that calls need looking at.
func (b boundClients) any() bool {
	return slices.ContainsFunc(b, func(domains []string) bool { return domains != nil })
}

// admits says whether the caller may spend from a domain: whether one of the entries that it answers to may. A caller that answers to
// none is nobody's, which cannot be where there is a list.
func (b boundClients) admits(ctx context.Context, domain string) bool {
	for _, entry := range daemon.Client(ctx) {
		if domains := b[entry]; domains == nil || slices.Contains(domains, domain) {
			return true
		}
	}
	return false
}

// unknownDomains names the domains that clients are bound to and no file has: a client that is bound to nothing else is limited to
// nothing, which nobody means.
func (b boundClients) unknownDomains(known []string) error {
	for _, domains := range b {
		for _, domain := range domains {
			if !slices.Contains(known, domain) {
				return errors.New("--tls-client-ids names the domain " + domain + ", which no limits file has; there are: " + strings.Join(known, ", "))
			}
		}
	}
	return nil
}
