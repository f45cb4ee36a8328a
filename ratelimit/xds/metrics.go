package xds

import (
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are what happened so far.
type counts struct {
	failed, accepted, refused, repeated atomic.Uint64
}

func (c *counts) took(news bool, refused error) {
	switch {
	case !news:
		c.repeated.Add(1)
	case refused != nil:
		c.refused.Add(1)
	default:
		c.accepted.Add(1)
	}
}

var (
	connectedDesc = prometheus.NewDesc("sallyport_ratelimit_xds_connected", "1 while a stream to the management server stands.", nil, nil)
	failedDesc    = prometheus.NewDesc("sallyport_ratelimit_xds_connections_lost_total", "Connections to the management server that could not be made, or ended.", nil, nil)
	responsesDesc = prometheus.NewDesc("sallyport_ratelimit_xds_responses_total",
		"Responses of the management server: accepted, refused in whole or in part, or repeated (the same as the one before).", []string{"result"}, nil)
	versionDesc = prometheus.NewDesc("sallyport_ratelimit_xds_version_info", "Always 1; the label is the version that was accepted last.", []string{"version"}, nil)
)

// maxVersion is how much of a version's name the metric shows, in bytes.
const maxVersion = 128

// Describe is part of prometheus.Collector.
func (c *Client) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectedDesc
	ch <- failedDesc
	ch <- responsesDesc
	ch <- versionDesc
}

// Collect is part of prometheus.Collector.
func (c *Client) Collect(ch chan<- prometheus.Metric) {
	connected := 0.0
	if c.connected.Load() {
		connected = 1
	}
	ch <- prometheus.MustNewConstMetric(connectedDesc, prometheus.GaugeValue, connected)
	ch <- prometheus.MustNewConstMetric(failedDesc, prometheus.CounterValue, float64(c.counts.failed.Load()))
	for result, n := range map[string]*atomic.Uint64{"accepted": &c.counts.accepted, "refused": &c.counts.refused, "repeated": &c.counts.repeated} {
		ch <- prometheus.MustNewConstMetric(responsesDesc, prometheus.CounterValue, float64(n.Load()), result)
	}
	if version := c.version.Load(); version != nil {
		shown := *version
		if len(shown) > maxVersion {
			shown = strings.ToValidUTF8(shown[:maxVersion], "")
		}
		ch <- prometheus.MustNewConstMetric(versionDesc, prometheus.GaugeValue, 1, shown)
	}
}
