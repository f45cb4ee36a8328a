package redisstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// oldestServer is the first version whose scripts may read the clock and write.
const oldestServer = 5

// Probe asks the server once whether it is fit to hold limits, or every master of a cluster. Warnings are what weakens the limits, in
// words for an operator: a policy that evicts counters, a server that is a replica. An error is a [*ratelimit.StoreError]: a server
// does not answer, or cannot hold limits at all.
func (s *Store) Probe(ctx context.Context) (warnings []string, err error) {
	if s.cluster == nil {
		return s.probe(ctx, s.client)
	}
	var mu sync.Mutex // ForEachMaster asks them all at once
	err = s.cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		said, err := s.probe(ctx, master)
		if err != nil {
			return fmt.Errorf("%s: %w", master.Options().Addr, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, w := range said {
			warnings = append(warnings, master.Options().Addr+": "+w)
		}
		return nil
	})
	if err == nil {
		slices.Sort(warnings)
		return warnings, nil
	}
	var failed *ratelimit.StoreError
	if errors.As(err, &failed) {
		return nil, &ratelimit.StoreError{Class: failed.Class, Err: err}
	}
	return nil, classified(fmt.Errorf("redisstore: probe: %w", err))
}

// probe asks one server.
func (s *Store) probe(ctx context.Context, client Client) (warnings []string, err error) {
	cmd := redis.NewStringCmd(ctx, "info")
	if err := client.Process(ctx, cmd); err != nil {
		return nil, classified(fmt.Errorf("redisstore: probe: %w", err))
	}
	info := readInfo(cmd.Val())
	if err := unfit(info, s.cluster != nil); err != nil {
		return nil, &ratelimit.StoreError{Class: ratelimit.StoreOther, Err: fmt.Errorf("redisstore: probe: %w", err)}
	}
	switch policy, known := info["maxmemory_policy"]; {
	case !known:
		warnings = append(warnings, "the server does not say its maxmemory-policy: make sure that it is noeviction, or limits are forgotten under memory pressure")
	case policy != "noeviction":
		warnings = append(warnings, fmt.Sprintf("maxmemory-policy is %s: under memory pressure limits are forgotten and start anew; set it to noeviction", policy))
	}
	if role := info["role"]; role != "" && role != "master" {
		warnings = append(warnings, fmt.Sprintf("the server is a %s: it takes no writes, so no limit can be decided", role))
	}
	return warnings, nil
}

// unfit says why a server cannot hold limits.
func unfit(info map[string]string, cluster bool) error {
	version, known := info["redis_version"]
	if !known {
		return errors.New("the answer to INFO is not that of a Redis or Valkey server")
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < oldestServer {
		return fmt.Errorf("the server speaks Redis %s, and version %d is needed", version, oldestServer)
	}
	switch enabled := info["cluster_enabled"] == "1"; {
	case enabled && !cluster:
		return errors.New("the server is a node of a cluster: write its URL as redis+cluster://")
	case !enabled && cluster:
		return errors.New("the server is not a node of a cluster: write its URL as redis://")
	}
	return nil
}

// readInfo reads the key:value lines of INFO.
func readInfo(text string) map[string]string {
	info := make(map[string]string)
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok {
			info[key] = strings.TrimSpace(value)
		}
	}
	return info
}
