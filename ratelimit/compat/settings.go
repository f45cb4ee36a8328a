package compat

import (
	"path"
	"strings"
	"time"
)

// The values of CONFIG_TYPE.
const (
	// FromFiles reads the limits from RUNTIME_ROOT.
	FromFiles = "FILE"
	// FromXDS subscribes to a management server.
	FromXDS = "GRPC_XDS_SOTW"
)

// The sinks that the reference's statistics may go to; it has one at a time.
const (
	// NoSink sends nothing anywhere.
	NoSink = ""
	// Statsd is the sink of USE_STATSD, the reference's default.
	Statsd = "statsd"
	// DogStatsd is the sink of USE_DOG_STATSD.
	DogStatsd = "dogstatsd"
	// Prometheus is the sink of USE_PROMETHEUS.
	Prometheus = "prometheus"
)

// Settings are what an environment says, defaults filled in.
type Settings struct {
	// HTTP serves /json and /healthcheck, Debug /rlconfig and /stats, GRPC the service.
	HTTP, Debug, GRPC Address
	// Socket is the path of a Unix socket for gRPC (GRPC_UDS), instead of GRPC; empty for none.
	Socket string
	// MaxConnectionAge and its grace bound a connection's life; zero is for ever.
	MaxConnectionAge, MaxConnectionAgeGrace time.Duration
	// TLS is that of the gRPC listener.
	TLS ListenerTLS
	// LogLevel is debug, info, warn or error; LogFormat text or json.
	LogLevel, LogFormat string

	// ConfigType is FromFiles or FromXDS.
	ConfigType string
	// StartWithoutConfig serves before any limits are there (FORCE_START_WITHOUT_INITIAL_CONFIG): every request is an error then.
	StartWithoutConfig bool
	// Runtime says where the files are, XDS where the management server is; ConfigType says which counts.
	Runtime Runtime
	XDS     XDS
	// MergeDomains lets several files speak of one domain.
	MergeDomains bool

	// Sink is where statistics are pushed to, or Prometheus.
	Sink  string
	Stats Stats
	// Scrape is where Prometheus finds them, if Sink is Prometheus.
	Scrape Scrape

	// NearLimitRatio is the part of a limit above which hits count as near it, from 0 to 1.
	NearLimitRatio float64
	// KeyPrefix stands before every key of the store; empty for none.
	KeyPrefix string
	// SpareDenied does not count the hits that are refused (STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT).
	SpareDenied bool
	// Headers are those of the answer to the client.
	Headers Headers
	// Shadow refuses nobody, Quota treats every descriptor as one in quota mode, DynamicMetadata describes the request to Envoy.
	Shadow, Quota, DynamicMetadata bool
	// HealthyWithConfig makes /healthcheck fail until limits are loaded, HealthyWithStore while the store does not answer.
	HealthyWithConfig, HealthyWithStore bool

	// Store holds the counters, PerSecond those of limits per second; nil where both are one.
	Store     Store
	PerSecond *Store

	// NoEffect lists the variables that are set and mean nothing here, in the order of their names.
	NoEffect []NoEffect
}

// NoEffect is a variable that is set and means nothing here.
type NoEffect struct{ Name, Why string }

// Address is where a listener stands. An empty host is every interface.
type Address struct {
	Host string
	Port int
}

// ListenerTLS is the TLS of the gRPC listener. The files are PEM.
type ListenerTLS struct {
	On        bool
	Cert, Key string
	// ClientCA signs the clients that may connect; empty: any client may.
	ClientCA string
	// ClientSAN is the name that a client's certificate must be valid for; empty: any. It needs ClientCA.
	ClientSAN string
}

// Runtime says where the limits files are.
type Runtime struct {
	// Root, Subdirectory and AppDirectory make the path of the folder, see Folder.
	Root, Subdirectory, AppDirectory string
	// IgnoreDotFiles leaves out files and folders whose names begin with a dot.
	IgnoreDotFiles bool
	// WatchRoot says that Root is a link which is swapped; then every file counts whose path below Subdirectory begins with
	// the name of AppDirectory.
	WatchRoot bool
}

// XDS says where a management server is, and who asks it.
type XDS struct {
	// NodeID and NodeMetadata name this process to the server.
	NodeID       string
	NodeMetadata map[string]string
	// Server is host:port.
	Server string
	// RetryInterval is the time between attempts to connect.
	RetryInterval time.Duration
	// Headers are sent with the stream.
	Headers map[string]string
	// TLS asks for TLS; Cert and Key are the client's own, CA signs the server's, SAN is the name in it; PEM files.
	TLS                bool
	Cert, Key, CA, SAN string
	// BackoffInitial, BackoffMax, BackoffFactor and BackoffJitter space the attempts after a failed stream.
	BackoffInitial, BackoffMax time.Duration
	BackoffFactor              float64
	BackoffJitter              bool
	// MaxMessageBytes is the largest answer; zero is gRPC's default.
	MaxMessageBytes int
}

// Stats say how statistics are pushed.
type Stats struct {
	// Server is where to, over Network: tcp or udp.
	Server  Address
	Network string
	// Tags are added to every name.
	Tags map[string]string
	// FlushInterval is the time between two batches.
	FlushInterval time.Duration
	// Mogrifiers rename for dogstatsd, the first that matches.
	Mogrifiers []Mogrifier
}

// Mogrifier renames a statistic for dogstatsd: where Pattern matches, Name and the values of Tags are the new ones, with $1 for
// what the first parenthesis matched.
type Mogrifier struct {
	Pattern, Name string
	Tags          map[string]string
}

// Scrape is where Prometheus reads. Milliseconds keeps the response time in the unit that old dashboards expect.
type Scrape struct {
	Address      Address
	Path         string
	Milliseconds bool
}

// Headers are the response headers' names, sent if On.
type Headers struct {
	On                      bool
	Limit, Remaining, Reset string
}

// Folder is where the files are, and which of them count by their path below it. Links are that folder and those above it,
// down from RUNTIME_ROOT: each may be swapped, or come later.
func (r Runtime) Folder() (root string, keep func(rel string) bool, links []string) {
	root, links = path.Clean(r.Root), []string{path.Clean(r.Root)}
	below := []string{r.Subdirectory, r.AppDirectory}
	if r.WatchRoot {
		below = below[:1]
	}
	for _, name := range below {
		if name != "" {
			root = path.Join(root, name)
			links = append(links, root)
		}
	}
	return root, func(rel string) bool {
		if r.IgnoreDotFiles && (strings.HasPrefix(rel, ".") || strings.Contains(rel, "/.")) {
			return false
		}
		// The reference joins a path by dots before it looks at its beginning, so config.yaml counts as config/a.yaml does.
		return !r.WatchRoot || strings.HasPrefix(strings.ReplaceAll(rel, "/", "."), r.AppDirectory+".")
	}, links
}
