package redisstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// oldestServer is the first version whose scripts may read the clock and write.
const oldestServer = 5

// Probe asks the server once whether it is fit to hold limits. Warnings are what weakens the limits, in words for an operator:
// a policy that evicts counters, a server that is a replica. An error is a [*ratelimit.StoreError]: the server does not
// answer, or cannot hold limits at all.
func (s *Store) Probe(ctx context.Context) (warnings []string, err error) {
	cmd := redis.NewStringCmd(ctx, "info")
	if err := s.client.Process(ctx, cmd); err != nil {
		return nil, classified(fmt.Errorf("redisstore: probe: %w", err))
	}
	info := readInfo(cmd.Val())
	if err := unfit(info); err != nil {
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
func unfit(info map[string]string) error {
	version, known := info["redis_version"]
	if !known {
		return errors.New("the answer to INFO is not that of a Redis or Valkey server")
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < oldestServer {
		return fmt.Errorf("the server speaks Redis %s, and version %d is needed", version, oldestServer)
	}
	if info["cluster_enabled"] == "1" {
		return errors.New("the server is part of a cluster, which is not supported")
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
