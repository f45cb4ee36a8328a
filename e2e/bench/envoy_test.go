package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// mostRequests bounds what one run sends to each door.
const mostRequests = 2000

// BenchmarkThroughEnvoy sends a person's GET through a real Envoy: by the door with an address limit, both gates and an audit log, and
// by the door without filters, in turns. Latency is one caller's, request by request; throughput is that of sixteen callers.
func BenchmarkThroughEnvoy(b *testing.B) {
	m := startMesh(b)
	b.Run("latency", func(b *testing.B) { latency(b, m) })
	b.Run("throughput", func(b *testing.B) { throughput(b, m) })
}

func latency(b *testing.B, m *mesh) {
	n := min(b.N, mostRequests)
	gated, ungated := make([]float64, 0, n), make([]float64, 0, n)
	for range n {
		for _, door := range []struct {
			port int
			into *[]float64
		}{{m.gated, &gated}, {m.ungated, &ungated}} {
			start := time.Now()
			if err := m.get(door.port); err != nil {
				b.Fatal(err)
			}
			*door.into = append(*door.into, float64(time.Since(start).Microseconds()))
		}
	}
	slices.Sort(gated)
	slices.Sort(ungated)
	p := func(percent int, sorted []float64) float64 { return sorted[len(sorted)*percent/100] }
	b.ReportMetric(0, "ns/op") // it would be the sum of both doors
	b.ReportMetric(p(50, gated), "gated-p50-us")
	b.ReportMetric(p(99, gated), "gated-p99-us")
	b.ReportMetric(p(50, ungated), "ungated-p50-us")
	b.ReportMetric(p(99, ungated), "ungated-p99-us")
	b.ReportMetric(p(50, gated)-p(50, ungated), "added-p50-us")
	m.reportOutages(b)
}

func throughput(b *testing.B, m *mesh) {
	n := min(b.N, mostRequests)
	var gated, ungated time.Duration
	for done := 0; done < n; done += batch {
		size := min(batch, n-done)
		for _, door := range []struct {
			port int
			into *time.Duration
		}{{m.gated, &gated}, {m.ungated, &ungated}} {
			start := time.Now()
			if err := turn(size, 16, 0, func(int) error { return m.get(door.port) }); err != nil {
				b.Fatal(err)
			}
			*door.into += time.Since(start)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n)/gated.Seconds(), "gated-req/s")
	b.ReportMetric(float64(n)/ungated.Seconds(), "ungated-req/s")
	m.reportOutages(b)
}

// mesh is everything behind the two doors.
type mesh struct {
	gated, ungated int
	token          string
	client         *http.Client
	outages        atomic.Int64
}

// get asks for the person's own orders. A 503 is a gate that missed Envoy's deadline of a tenth of a second, which a busy machine can
// bring about; it is counted and shown, since an answer that did not come says nothing about what answers cost.
func (m *mesh) get(port int) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(port)+"/users/alice/things-500", nil)
	if err != nil {
		return err
	}
	req.Host = "shop.test"
	req.Header.Set("Authorization", "Bearer "+m.token)
	req.Header.Set("X-Forwarded-For", "198.51.100.7")
	resp, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusServiceUnavailable:
		m.outages.Add(1)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return nil
}

func (m *mesh) reportOutages(b *testing.B) {
	if n := m.outages.Swap(0); n > 0 {
		b.ReportMetric(float64(n), "outages")
	}
}

// startUpstream is a service that answers at once.
func startUpstream(b *testing.B) *httptest.Server {
	b.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served\n") }))
	b.Cleanup(s.Close)
	return s
}
