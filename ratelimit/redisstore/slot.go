package redisstore

import (
	"errors"
	"strconv"
	"strings"
	"sync"
)

// Slots is how many parts a Redis Cluster spreads its keys over.
const Slots = 16384

// crcTable is that of CRC-16/XMODEM (polynomial 0x1021, most significant bit first), which the cluster specification names.
var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if carry := crc&0x8000 != 0; carry {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()

// crc goes on with a checksum over more bytes.
func crc(sum uint16, s string) uint16 {
	for i := range len(s) {
		sum = sum<<8 ^ crcTable[byte(sum>>8)^s[i]]
	}
	return sum
}

// hashTag is the part of a key that chooses its slot: what stands between the first { and the first } after it, if that is anything.
func hashTag(key string) (tag string, ok bool) {
	_, rest, opened := strings.Cut(key, "{")
	tag, _, closed := strings.Cut(rest, "}")
	return tag, opened && closed && tag != ""
}

// slotter says which slot keys behind a prefix have, without joining the two.
type slotter struct {
	sum   uint16 // of the prefix
	fixed bool   // the prefix has a hash tag, so that every key is in the slot of sum
}

var errHalfTag = errors.New("redisstore: a brace in the key prefix of a cluster must be that of a whole hash tag, such as {limits}")

func newSlotter(prefix string) (slotter, error) {
	if tag, ok := hashTag(prefix); ok {
		return slotter{sum: crc(0, tag), fixed: true}, nil
	}
	if strings.Contains(prefix, "{") {
		return slotter{}, errHalfTag // clients would write the rest of the tag
	}
	return slotter{sum: crc(0, prefix)}, nil
}

func (s slotter) slot(key string) int {
	sum := s.sum
	if !s.fixed {
		if tag, ok := hashTag(key); ok {
			sum = crc(0, tag)
		} else {
			sum = crc(sum, key)
		}
	}
	return int(sum % Slots)
}

// tagsOfSlots has a hash tag for each slot, made when the first cluster is opened: for keys that must be where others are.
var tagsOfSlots = sync.OnceValue(func() *[Slots]string {
	var tags [Slots]string
	for missing, n := Slots, int64(0); missing > 0; n++ {
		tag := strconv.FormatInt(n, 36)
		if place := &tags[crc(0, tag)%Slots]; *place == "" {
			*place = tag
			missing--
		}
	}
	return &tags
})
