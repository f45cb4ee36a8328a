package doctor

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoListener says that a file holds no listener: nothing passes through it, so nothing can be said of it.
var ErrNoListener = errors.New("no listener in it: give Envoy's bootstrap file, or its /config_dump (with ?include_eds)")

// Config is what an Envoy is told, from a bootstrap file, an admin interface's config_dump, or a file of resources as Envoy's file
// subscriptions read it. It is immutable.
type Config struct {
	file *file

	admin     value
	listeners []value
	routes    map[string]value // by name: those that come over RDS
	clusters  map[string]value
	secrets   map[string]value
	filters   map[string]value // by name: those that come over ECDS

	// What is fetched from a management server and is not here.
	listenersElsewhere, clustersElsewhere value
}

// Read reads a configuration: YAML or JSON. The name is used in errors and never opened. The error is [ErrNoListener], or says what
// cannot be read and where.
func Read(name string, data []byte) (*Config, error) {
	f, err := readFile(name, data)
	if err != nil {
		return nil, err
	}
	c := &Config{
		file: f, routes: map[string]value{}, clusters: map[string]value{}, secrets: map[string]value{}, filters: map[string]value{},
	}
	c.top(value{n: f.root, pos: f.root.pos})
	if len(c.listeners) == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrNoListener)
	}
	return c, nil
}

// top finds out which of the three shapes a file has.
func (c *Config) top(root value) {
	switch {
	case root.n.kind == list:
		c.dump(root.items())
	case root.get("configs").there():
		c.dump(root.get("configs").items())
	case root.get("resources").there():
		for _, resource := range root.get("resources").items() {
			c.resource(resource)
		}
	default:
		c.bootstrap(root, true)
	}
}

func (c *Config) dump(parts []value) {
	// The bootstrap's own listeners are in the dump of the listeners once more.
	whole := true
	for _, part := range parts {
		whole = whole && !strings.HasSuffix(part.field("@type").str(), "ListenersConfigDump")
	}
	for _, part := range parts {
		switch typeName(part.field("@type").str()) {
		case "envoy.admin.v3.BootstrapConfigDump":
			c.bootstrap(part.get("bootstrap"), whole)
		case "envoy.admin.v3.ListenersConfigDump":
			c.listenersDump(part)
		case "envoy.admin.v3.RoutesConfigDump":
			named(c.routes, part, "route_config", "static_route_configs", "dynamic_route_configs")
		case "envoy.admin.v3.ClustersConfigDump":
			named(c.clusters, part, "cluster", "static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters")
		case "envoy.admin.v3.SecretsConfigDump":
			named(c.secrets, part, "secret", "static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets")
		case "envoy.admin.v3.EcdsConfigDump":
			named(c.filters, part, "ecds_filter", "ecds_filters")
		default:
			c.dump(part.get("configs").items()) // several dumps in one file
		}
	}
}

// named files the resources of a dump under their names.
func named(into map[string]value, dump value, inner string, lists ...string) {
	for _, key := range lists {
		for _, item := range dump.get(key).items() {
			if resource := item.get(inner); resource.get("name").str() != "" {
				into[resource.get("name").str()] = resource
			}
		}
	}
}

func (c *Config) listenersDump(dump value) {
	for _, item := range dump.get("static_listeners").items() {
		c.listener(item.get("listener"))
	}
	for _, item := range dump.get("dynamic_listeners").items() {
		state := item.get("active_state")
		if !state.there() {
			state = item.get("warming_state")
		}
		c.listener(state.get("listener"))
	}
}

func (c *Config) listener(v value) {
	if v.there() {
		c.listeners = append(c.listeners, v)
	}
}

// resource is one of a file of resources.
func (c *Config) resource(v value) {
	kind, config := v.unpack()
	switch kind {
	case "envoy.config.listener.v3.Listener":
		c.listener(config)
	case "envoy.config.route.v3.RouteConfiguration":
		c.routes[config.get("name").str()] = config
	case "envoy.config.cluster.v3.Cluster":
		c.clusters[config.get("name").str()] = config
	case "envoy.extensions.transport_sockets.tls.v3.Secret":
		c.secrets[config.get("name").str()] = config
	}
}

func (c *Config) bootstrap(v value, withListeners bool) {
	c.admin = v.get("admin")
	static := v.get("static_resources")
	for _, item := range static.get("clusters").items() {
		c.clusters[item.get("name").str()] = item
	}
	for _, item := range static.get("secrets").items() {
		c.secrets[item.get("name").str()] = item
	}
	c.clustersElsewhere = v.get("dynamic_resources", "cds_config")
	if !withListeners {
		return
	}
	c.listenersElsewhere = v.get("dynamic_resources", "lds_config")
	for _, item := range static.get("listeners").items() {
		c.listener(item)
	}
}
