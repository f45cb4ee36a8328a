package redisstore

import "time"

// SetClockForTest lets a test be the server's clock.
func (s *Store) SetClockForTest(millis func() int64) { s.clockForTest = millis }

// ScriptHash is how EVALSHA names the script.
var ScriptHash = sourceHash

// MaxFlying and MaxWaiting bound what is sent and what waits.
const (
	MaxFlying  = maxFlying
	MaxWaiting = maxWaiting
)

// SetPatienceForTest says how long commands wait for the trip under way before another begins.
func (s *Store) SetPatienceForTest(d time.Duration) {
	s.together.mu.Lock()
	defer s.together.mu.Unlock()
	s.together.patience = d
}

// TrafficForTest is how many trips are under way, and how many commands wait.
func (s *Store) TrafficForTest() (flying, waiting int) {
	s.together.mu.Lock()
	defer s.together.mu.Unlock()
	return s.together.flying, len(s.together.waiting)
}
