package redisstore

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// The checksum is that of the cluster specification, whose own example this is.
func TestCRC(t *testing.T) {
	if got := crc(0, "123456789"); got != 0x31c3 {
		t.Errorf("%#x, want 0x31c3", got)
	}
}

// Slots are those that a real server names, for keys with hash tags whole, broken, empty and nested, behind prefixes of every kind.
func TestSlotsAreTheServers(t *testing.T) {
	server := redis.NewClient(&redis.Options{Addr: storetest.RunCluster(t, 1, 0).Nodes[0].Addr, Protocol: 2, DisableIdentity: true})
	defer server.Close()
	for _, prefix := range []string{"sp1:", "{limits}:", "a}b:", "x{y}z{", "{}"} {
		s, err := newSlotter(prefix)
		if err != nil {
			if !strings.Contains(prefix, "{}") {
				t.Errorf("%q: %v", prefix, err)
			}
			continue
		}
		rapid.Check(t, func(t *rapid.T) {
			key := rapid.StringOfN(rapid.RuneFrom([]rune("ab{}:\x00é")), 0, 12, -1).Draw(t, "key")
			want, err := server.ClusterKeySlot(t.Context(), prefix+key).Result()
			if err != nil {
				t.Fatal(err)
			}
			if got := s.slot(key); got != int(want) {
				t.Fatalf("%q + %q is in slot %d, by the server %d", prefix, key, got, want)
			}
		})
	}
}

func TestHalfATagIsRefused(t *testing.T) {
	for _, prefix := range []string{"{", "a{b:", "{}:", "}{"} {
		if _, err := newSlotter(prefix); err == nil {
			t.Errorf("%q: clients would write the rest of the tag", prefix)
		}
	}
}

// Every slot has a tag that leads there.
func TestTagsOfSlots(t *testing.T) {
	for slot, tag := range tagsOfSlots() {
		if got := (slotter{sum: crc(0, "sp1:")}).slot("!{" + tag + "}x"); got != slot {
			t.Fatalf("the tag %q of slot %d leads to %d", tag, slot, got)
		}
	}
}

func BenchmarkSlot(b *testing.B) {
	s := slotter{sum: crc(0, "sp1:")}
	key := "l4:meshl3:who" + strings.Repeat("x", 40)
	b.ReportAllocs()
	for b.Loop() {
		if s.slot(key) < 0 {
			b.Fatal("never")
		}
	}
}
