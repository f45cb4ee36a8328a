package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

// recordQueue is how many lines wait for the disk. A line is at most 64 KiB.
const recordQueue = 256

// recordFlags say what is kept of requests, so that another policy can be asked about them.
type recordFlags struct{ file, sample string }

func (f *recordFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.file, "record", "", "append requests to this file, one JSON line each, for policy diff: what rules read, never tokens")
	flags.StringVar(&f.sample, "sample", "", "how many requests --record takes, in percent: 0.1%, or 100% for all (required with it)")
}

var percentage = regexp.MustCompile(`^(\d{1,3}(?:\.\d{1,9})?)%$`)

// share is the sample as a threshold for a random number of 64 bits.
func (f *recordFlags) share() (uint64, error) {
	if f.sample == "" {
		return 0, errors.New("--record needs --sample: how many requests in percent, such as 0.1%")
	}
	found := percentage.FindStringSubmatch(f.sample)
	if found == nil {
		return 0, fmt.Errorf("--sample %s is no percentage: write one such as 0.1%%", f.sample)
	}
	percent, err := strconv.ParseFloat(found[1], 64)
	if err != nil || percent <= 0 || percent > 100 {
		return 0, errors.New("--sample is more than 0% and at most 100%")
	}
	if percent == 100 {
		return math.MaxUint64, nil
	}
	return uint64(percent / 100 * math.MaxUint64), nil
}

// openRecord opens the file that --record names and lets the daemon drive its writing; nil where it is off.
func openRecord(d *daemon.Daemon, f recordFlags, service string) (*requestRecord, error) {
	if f.file == "" {
		if f.sample != "" {
			return nil, daemon.Unable(errors.New("--sample says how many requests --record takes, and there is no --record"))
		}
		return nil, nil //nolint:nilnil // a nil record is one that is off
	}
	share, err := f.share()
	if err != nil {
		return nil, daemon.Unable(err)
	}
	file, err := audit.Open(f.file)
	if err != nil {
		return nil, daemon.Unable(fmt.Errorf("--record: %w", err))
	}
	r := newRequestRecord(share, service, file.Write, d.Log)
	d.Registry.MustRegister(r.lines, r.dropped)
	d.OnHangup("record", file.Reopen)
	d.Task("record", r.run)
	d.Closer("record", func(context.Context) error { return file.Close() })
	return r, nil
}

// requestRecord takes a sample of the requests.
type requestRecord struct {
	share   uint64
	service string // --service
	write   func([]byte) (int, error)
	log     *slog.Logger
	queue   chan []byte

	reads atomic.Pointer[policyReads]

	lines               prometheus.Counter
	dropped             *prometheus.CounterVec
	full, failed, unfit prometheus.Counter
}

func newRequestRecord(share uint64, service string, write func([]byte) (int, error), log *slog.Logger) *requestRecord {
	r := &requestRecord{
		share: share, service: service, write: write, log: log, queue: make(chan []byte, recordQueue),
		lines: prometheus.NewCounter(prometheus.CounterOpts{Name: "sallyport_record_lines_total", Help: "Requests that were written for replay."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_record_dropped_total", Help: "Sampled requests that were not written: the queue was full, the write failed, or they cannot be replayed.",
		}, []string{"why"}),
	}
	r.full, r.failed, r.unfit = r.dropped.WithLabelValues("queue"), r.dropped.WithLabelValues("write"), r.dropped.WithLabelValues("unfit")
	return r
}

// policyReads is what the services of one policy read.
type policyReads struct {
	policy   string
	services sync.Map // *policy.Service to *offline.Reads
}

// Record implements authz.Recorder. A request that is not in the sample costs one random number.
func (r *requestRecord) Record(d *authz.Decision, q *authz.Request) {
	if r.share != math.MaxUint64 && rand.Uint64() >= r.share { //nolint:gosec // which request is sampled is no secret
		return
	}
	if len(r.queue) == cap(r.queue) {
		r.full.Inc()
		return
	}
	line, ok := offline.Line(d, q, r.service, r.readsOf(d))
	if !ok {
		r.unfit.Inc()
		return
	}
	select {
	case r.queue <- line:
	default:
		r.full.Inc()
	}
}

// readsOf is what the decision's service reads, gathered once for each policy.
func (r *requestRecord) readsOf(d *authz.Decision) *offline.Reads {
	of := r.reads.Load()
	if of == nil || of.policy != d.Policy {
		of = &policyReads{policy: d.Policy}
		r.reads.Store(of)
	}
	known, _ := of.services.Load(d.Service)
	if reads, ok := known.(*offline.Reads); ok {
		return reads
	}
	fresh := offline.ReadsOf(d.Service)
	of.services.Store(d.Service, fresh)
	return fresh
}

// run writes lines until ctx ends, and then what waits.
func (r *requestRecord) run(ctx context.Context) error {
	var said time.Time
	write := func(line []byte) {
		_, err := r.write(line)
		if err == nil {
			r.lines.Inc()
			return
		}
		r.failed.Inc()
		if now := time.Now(); now.Sub(said) >= auditQuiet {
			said = now
			r.log.Error("requests are not recorded, decisions go on", "err", err)
		}
	}
	for {
		select {
		case line := <-r.queue:
			write(line)
		case <-ctx.Done():
			for len(r.queue) > 0 {
				write(<-r.queue)
			}
			return nil
		}
	}
}
