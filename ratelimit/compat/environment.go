package compat

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// defaults are those of the reference. Hosts are every interface, as there.
func defaults() *Settings {
	return &Settings{
		HTTP: Address{"0.0.0.0", 8080}, GRPC: Address{"0.0.0.0", 8081}, Debug: Address{"0.0.0.0", 6070},
		MaxConnectionAge: 24 * time.Hour, MaxConnectionAgeGrace: time.Hour,
		LogLevel: "warn", LogFormat: "text", ConfigType: FromFiles,
		Runtime: Runtime{Root: "/srv/runtime_data/current", AppDirectory: "config", WatchRoot: true},
		XDS: XDS{
			NodeID: "default", Server: "localhost:18000", RetryInterval: 3 * time.Second,
			BackoffInitial: 10 * time.Second, BackoffMax: 60 * time.Second, BackoffFactor: 0.5, BackoffJitter: true,
		},
		Stats:          Stats{Server: Address{"localhost", 8125}, Network: "tcp", FlushInterval: 10 * time.Second},
		Scrape:         Scrape{Address: Address{"", 9090}, Path: "/metrics"},
		NearLimitRatio: 0.8,
		Headers:        Headers{Limit: "RateLimit-Limit", Remaining: "RateLimit-Remaining", Reset: "RateLimit-Reset"},
	}
}

// Why a variable has no effect.
const (
	whyTrip     = "what a request asks goes to the store in one trip, in no window of time"
	whyStartup  = "the service starts without its store and connects when it comes"
	whyMemcache = "counters are kept in Redis or Valkey, never in memcache"
	whyTracing  = "no traces are written"
	whyMapper   = "the names and labels are those of the reference's default mapping; a mapping of your own is for a statsd_exporter behind USE_STATSD"
	whyUnknown  = "the reference this service stands in for does not read it"
	whyJitter   = "a counter expires with its window, and windows of different keys end at different times"
	whyLocal    = "keys over their limit are remembered without a cache that needs a size"
	whyCalendar = "a month is 30 days and a year 365"
	whyFlush    = "STATS_FLUSH_INTERVAL says it"
	whyEmpty    = "who finds every connection busy waits for one as long as the caller's deadline says"
)

// raw are the switches that several settings come from.
type raw struct {
	statsd, dogStatsd, prometheus, disable bool
	statsdSet                              bool
	perSecond                              bool
	main, second                           redis
	tls                                    redisTLS
	backend                                string
	mogrifiers                             string
}

// variables lists what the reference reads, each with where its value goes.
func variables(s *Settings, r *raw) map[string]reader {
	all := map[string]reader{}
	for _, some := range []map[string]reader{listeners(s), sources(s), statistics(s, r), counting(s, r), stores(r), nothing()} {
		maps.Copy(all, some)
	}
	return all
}

func listeners(s *Settings) map[string]reader {
	return map[string]reader{
		"HOST": text(&s.HTTP.Host), "PORT": port(&s.HTTP.Port),
		"DEBUG_HOST": text(&s.Debug.Host), "DEBUG_PORT": port(&s.Debug.Port),
		"GRPC_HOST": text(&s.GRPC.Host), "GRPC_PORT": port(&s.GRPC.Port), "GRPC_UDS": text(&s.Socket),
		"GRPC_MAX_CONNECTION_AGE": age(&s.MaxConnectionAge), "GRPC_MAX_CONNECTION_AGE_GRACE": duration(&s.MaxConnectionAgeGrace),
		"GRPC_SERVER_USE_TLS": truth(&s.TLS.On), "GRPC_SERVER_TLS_CERT": text(&s.TLS.Cert), "GRPC_SERVER_TLS_KEY": text(&s.TLS.Key),
		"GRPC_CLIENT_TLS_CACERT": text(&s.TLS.ClientCA), "GRPC_CLIENT_TLS_SAN": text(&s.TLS.ClientSAN),
		"LOG_LEVEL": level(&s.LogLevel), "LOG_FORMAT": func(value string) (string, error) {
			// Whatever is not json is text there.
			if s.LogFormat = "text"; strings.EqualFold(value, "json") {
				s.LogFormat = "json"
			}
			return "", nil
		},
	}
}

func sources(s *Settings) map[string]reader {
	return map[string]reader{
		"CONFIG_TYPE": oneOf(&s.ConfigType, FromFiles, FromXDS), "FORCE_START_WITHOUT_INITIAL_CONFIG": truth(&s.StartWithoutConfig),
		"RUNTIME_ROOT": text(&s.Runtime.Root), "RUNTIME_SUBDIRECTORY": text(&s.Runtime.Subdirectory), "RUNTIME_APPDIRECTORY": text(&s.Runtime.AppDirectory),
		"RUNTIME_IGNOREDOTFILES": truth(&s.Runtime.IgnoreDotFiles), "RUNTIME_WATCH_ROOT": truth(&s.Runtime.WatchRoot), "MERGE_DOMAIN_CONFIG": truth(&s.MergeDomains),
		"CONFIG_GRPC_XDS_NODE_ID": text(&s.XDS.NodeID), "CONFIG_GRPC_XDS_NODE_METADATA": nodeMetadata(&s.XDS.NodeMetadata),
		"CONFIG_GRPC_XDS_SERVER_URL": text(&s.XDS.Server), "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL": interval(&s.XDS.RetryInterval),
		"CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS": pairs(&s.XDS.Headers), "CONFIG_GRPC_XDS_SERVER_USE_TLS": truth(&s.XDS.TLS),
		"CONFIG_GRPC_XDS_CLIENT_TLS_CERT": text(&s.XDS.Cert), "CONFIG_GRPC_XDS_CLIENT_TLS_KEY": text(&s.XDS.Key),
		"CONFIG_GRPC_XDS_SERVER_TLS_CACERT": text(&s.XDS.CA), "CONFIG_GRPC_XDS_SERVER_TLS_SAN": text(&s.XDS.SAN),
		"XDS_CLIENT_BACKOFF_INITIAL_INTERVAL": interval(&s.XDS.BackoffInitial), "XDS_CLIENT_BACKOFF_MAX_INTERVAL": interval(&s.XDS.BackoffMax),
		"XDS_CLIENT_BACKOFF_RANDOM_FACTOR": ratio(&s.XDS.BackoffFactor), "XDS_CLIENT_BACKOFF_JITTER": truth(&s.XDS.BackoffJitter),
		"XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES": number(&s.XDS.MaxMessageBytes, 0, math.MaxInt32),
	}
}

func statistics(s *Settings, r *raw) map[string]reader {
	return map[string]reader{
		"USE_STATSD": func(value string) (string, error) {
			r.statsdSet = true
			return truth(&r.statsd)(value)
		},
		"STATSD_HOST": text(&s.Stats.Server.Host), "STATSD_PORT": port(&s.Stats.Server.Port), "STATSD_PROTOCOL": oneOf(&s.Stats.Network, "tcp", "udp"),
		"USE_DOG_STATSD": truth(&r.dogStatsd), "USE_DOG_STATSD_MOGRIFIERS": text(&r.mogrifiers), "EXTRA_TAGS": pairs(&s.Stats.Tags),
		"STATS_FLUSH_INTERVAL": interval(&s.Stats.FlushInterval), "DISABLE_STATS": truth(&r.disable), "USE_PROMETHEUS": truth(&r.prometheus),
		"PROMETHEUS_ADDR": listenAddress(&s.Scrape.Address), "PROMETHEUS_PATH": text(&s.Scrape.Path), "PROMETHEUS_MAPPER_YAML": ignored(whyMapper),
		"PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS": truth(&s.Scrape.Milliseconds),
	}
}

func counting(s *Settings, r *raw) map[string]reader {
	return map[string]reader{
		"NEAR_LIMIT_RATIO": ratio(&s.NearLimitRatio), "CACHE_KEY_PREFIX": text(&s.KeyPrefix), "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT": truth(&s.SpareDenied),
		"LIMIT_RESPONSE_HEADERS_ENABLED": truth(&s.Headers.On), "LIMIT_LIMIT_HEADER": text(&s.Headers.Limit),
		"LIMIT_REMAINING_HEADER": text(&s.Headers.Remaining), "LIMIT_RESET_HEADER": text(&s.Headers.Reset),
		"SHADOW_MODE": truth(&s.Shadow), "QUOTA_MODE": truth(&s.Quota), "RESPONSE_DYNAMIC_METADATA": truth(&s.DynamicMetadata),
		"HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED": truth(&s.HealthyWithConfig), "BACKEND_TYPE": text(&r.backend),
		"USE_CALENDAR_MONTH_RATE_LIMIT": onlyOff(whyCalendar),
	}
}

func stores(r *raw) map[string]reader {
	all := map[string]reader{
		"REDIS_TLS_CLIENT_CERT": text(&r.tls.cert), "REDIS_TLS_CLIENT_KEY": text(&r.tls.key), "REDIS_TLS_CACERT": text(&r.tls.ca),
		"REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": truth(&r.tls.anyName), "REDIS_PERSECOND": truth(&r.perSecond),
		"REDIS_HEALTH_CHECK_ACTIVE_CONNECTION": truth(&r.main.health), "REDIS_CLUSTER_PIPELINE_PARALLELISM": ignored(whyTrip),
	}
	for prefix, to := range map[string]*redis{"REDIS_": &r.main, "REDIS_PERSECOND_": &r.second} {
		maps.Copy(all, map[string]reader{
			prefix + "SOCKET_TYPE": oneOf(&to.socket, "unix", "tcp"), prefix + "TYPE": oneOf(&to.kind, single, sentinel, cluster),
			prefix + "URL": text(&to.url), prefix + "POOL_SIZE": number(&to.pool, 1, 1<<16), prefix + "AUTH": text(&to.auth),
			prefix + "SENTINEL_AUTH": text(&to.sentinelAuth), prefix + "TLS": truth(&to.tls), prefix + "TIMEOUT": interval(&to.timeout),
			prefix + "PIPELINE_WINDOW": ignored(whyTrip), prefix + "PIPELINE_LIMIT": ignored(whyTrip), prefix + "POOL_ON_EMPTY_BEHAVIOR": onEmpty,
		})
	}
	return all
}

// onEmpty reads what a pool does whose connections are all busy. Waiting is what this one does too.
func onEmpty(value string) (string, error) {
	word := ""
	if _, err := oneOf(&word, "WAIT", "CREATE", "ERROR")(value); err != nil || word == "WAIT" {
		return "", err
	}
	return whyEmpty, nil
}

// nothing lists what the reference reads and this service has no use for.
func nothing() map[string]reader {
	return map[string]reader{
		"EXPIRATION_JITTER_MAX_SECONDS": ignored(whyJitter), "LOCAL_CACHE_SIZE_IN_BYTES": ignored(whyLocal),
		"GOSTATS_FLUSH_INTERVAL_SECONDS": ignored(whyFlush), "GOSTATS_LOGGING_SINK_DISABLED": ignored("statistics are never written to the standard output"),
		"TRACING_ENABLED": onlyOff(whyTracing), "TRACING_SERVICE_NAME": ignored(whyTracing), "TRACING_SERVICE_NAMESPACE": ignored(whyTracing),
		"TRACING_SERVICE_INSTANCE_ID": ignored(whyTracing), "TRACING_EXPORTER_PROTOCOL": ignored(whyTracing), "TRACING_SAMPLING_RATE": ignored(whyTracing),
		"MEMCACHE_HOST_PORT": ignored(whyMemcache), "MEMCACHE_MAX_IDLE_CONNS": ignored(whyMemcache), "MEMCACHE_SRV": ignored(whyMemcache),
		"MEMCACHE_SRV_REFRESH": ignored(whyMemcache), "MEMCACHE_TLS": ignored(whyMemcache), "MEMCACHE_TLS_CLIENT_CERT": ignored(whyMemcache),
		"MEMCACHE_TLS_CLIENT_KEY": ignored(whyMemcache), "MEMCACHE_TLS_CACERT": ignored(whyMemcache),
		"MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION": ignored(whyMemcache),
	}
}

// Families of names that are the reference's, though not every member is known here: whoever sets one means it.
var families = []struct{ prefix, why string }{
	{"REDIS_STARTUP_", whyStartup}, {"MEMCACHE_", whyMemcache}, {"TRACING_", whyTracing}, {"CONFIG_GRPC_XDS_", whyUnknown}, {"XDS_CLIENT_", whyUnknown},
	{"REDIS_", whyUnknown}, {"GRPC_SERVER_", whyUnknown}, {"GRPC_CLIENT_", whyUnknown}, {"PROMETHEUS_", whyUnknown}, {"RUNTIME_", whyUnknown},
}

// serviceLink matches what Kubernetes puts into every container beside a Service (and Docker beside a link): nobody's setting.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|^[A-Z0-9_]+_PORT$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

// familyOf says why an unknown variable of a known family has no effect; false: it is none of the reference's.
func familyOf(name string) (string, bool) {
	if serviceLink.MatchString(name) {
		return "", false
	}
	for _, family := range families {
		if strings.HasPrefix(name, family.prefix) {
			return family.why, true
		}
	}
	return "", false
}

// shared are names that many programs read, so that they mean the reference only beside another of its names.
var shared = []string{"HOST", "PORT", "LOG_LEVEL", "LOG_FORMAT"}

// Found lists the reference's variables in an environment (os.Environ or a test's own), sorted, for a process that does not read
// them. Names that many programs use count only beside another.
func Found(environ []string) []string {
	known := variables(&Settings{}, &raw{})
	var found, common []string
	for name := range split(environ) {
		_, family := familyOf(name)
		switch {
		case slices.Contains(shared, name):
			common = append(common, name)
		case known[name] != nil || family:
			found = append(found, name)
		}
	}
	if len(found) > 0 {
		found = append(found, common...)
	}
	slices.Sort(found)
	return found
}

// split reads NAME=value entries; of two of one name the last counts, as for a process that is started with them.
func split(environ []string) map[string]string {
	values := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[name] = value
		}
	}
	return values
}

// Parse reads an environment (os.Environ or a test's own). The error joins everything that is wrong with it, each naming its
// variable and none quoting a value, for some are secrets.
func Parse(environ []string) (*Settings, error) {
	s, r := defaults(), &raw{statsd: true, main: defaultRedis("/var/run/nutcracker/ratelimit.sock"), second: defaultRedis("/var/run/nutcracker/ratelimitpersecond.sock")}
	known, values := variables(s, r), split(environ)
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		read := known[name]
		if read == nil {
			why, family := familyOf(name)
			if !family || strings.HasPrefix(name, mogrifierPrefix) {
				continue
			}
			read = ignored(why)
		}
		why, err := read(values[name])
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %w", name, err))
		}
		if why != "" {
			s.NoEffect = append(s.NoEffect, NoEffect{name, why})
		}
	}
	wrong = append(wrong, s.settle(r, values)...)
	return s, errors.Join(wrong...)
}

// settle makes settings of what several variables say together.
func (s *Settings) settle(r *raw, values map[string]string) []error {
	var wrong []error
	note := func(err error) {
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	note(s.sink(r))
	note(s.TLS.check())
	if r.backend != "" && r.backend != "redis" {
		note(errors.New("BACKEND_TYPE is not redis: counters are kept in Redis or Valkey"))
	}
	store, err := r.main.store("REDIS_", r.tls)
	note(err)
	s.Store, s.HealthyWithStore = store, r.main.health
	if r.perSecond {
		second, err := r.second.store("REDIS_PERSECOND_", r.tls)
		note(err)
		s.PerSecond = &second
	}
	s.Stats.Mogrifiers, err = mogrifiers(r.mogrifiers, values)
	note(err)
	if s.Scrape.Path == "" || s.Scrape.Path[0] != '/' {
		note(errors.New("PROMETHEUS_PATH does not begin with a slash"))
	}
	for name, header := range map[string]string{"LIMIT_LIMIT_HEADER": s.Headers.Limit, "LIMIT_REMAINING_HEADER": s.Headers.Remaining, "LIMIT_RESET_HEADER": s.Headers.Reset} {
		if s.Headers.On && !headerName.MatchString(header) {
			note(fmt.Errorf("%s does not hold the name of a header", name))
		}
	}
	return wrong
}

// headerName is a field name of RFC 9110, section 5.1.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// sink chooses where statistics go. Statsd is the reference's default, and gives way to one that is asked for.
func (s *Settings) sink(r *raw) error {
	if !r.statsdSet && (r.dogStatsd || r.prometheus) {
		r.statsd = false
	}
	on := 0
	for sink, chosen := range map[string]bool{Statsd: r.statsd, DogStatsd: r.dogStatsd, Prometheus: r.prometheus} {
		if chosen {
			s.Sink = sink
			on++
		}
	}
	switch {
	case r.disable:
		s.Sink = NoSink
	case on > 1:
		return errors.New("unable to use more than one stats sink at the same time: set one of USE_DOG_STATSD, USE_STATSD, USE_PROMETHEUS")
	}
	return nil
}

// check refuses what would be weaker than it looks. The reference ignores a name to look for where it asks for no certificate.
func (t ListenerTLS) check() error {
	switch {
	case !t.On && (t.ClientCA != "" || t.ClientSAN != ""):
		return errors.New("GRPC_CLIENT_TLS_CACERT and GRPC_CLIENT_TLS_SAN need GRPC_SERVER_USE_TLS=true: without TLS no client shows a certificate")
	case !t.On:
		return nil
	case t.Cert == "" || t.Key == "":
		return errors.New("GRPC_SERVER_USE_TLS=true needs GRPC_SERVER_TLS_CERT and GRPC_SERVER_TLS_KEY")
	case t.ClientSAN != "" && t.ClientCA == "":
		return errors.New("GRPC_CLIENT_TLS_SAN needs GRPC_CLIENT_TLS_CACERT: a name is worth what its signer is worth")
	}
	return nil
}

const mogrifierPrefix = "DOG_STATSD_MOGRIFIER_"

// mogrifiers reads those that USE_DOG_STATSD_MOGRIFIERS lists, each from three variables of its own.
func mogrifiers(list string, values map[string]string) ([]Mogrifier, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var found []Mogrifier
	for name := range strings.SplitSeq(list, ",") {
		prefix := mogrifierPrefix + name
		m := Mogrifier{Pattern: values[prefix+"_PATTERN"], Name: values[prefix+"_NAME"]}
		if _, err := pairs(&m.Tags)(values[prefix+"_TAGS"]); err != nil {
			return nil, fmt.Errorf("%s_TAGS %w", prefix, err)
		}
		if m.Pattern == "" || m.Name == "" {
			return nil, fmt.Errorf("USE_DOG_STATSD_MOGRIFIERS names %q, so %s_PATTERN and %s_NAME must be set", name, prefix, prefix)
		}
		if _, err := regexp.Compile(m.Pattern); err != nil {
			return nil, fmt.Errorf("%s_PATTERN: %w", prefix, err)
		}
		found = append(found, m)
	}
	return found, nil
}

// nodeMetadata reads "key1:value1,key2=value2", both signs as the reference takes them.
func nodeMetadata(to *map[string]string) reader {
	return func(value string) (string, error) {
		if value == "" {
			return "", nil
		}
		m := map[string]string{}
		for pair := range strings.SplitSeq(value, ",") {
			i := strings.IndexAny(pair, ":=")
			if i <= 0 {
				return "", errors.New("does not hold key=value,key=value")
			}
			m[pair[:i]] = pair[i+1:]
		}
		*to = m
		return "", nil
	}
}
