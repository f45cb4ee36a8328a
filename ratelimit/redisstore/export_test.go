package redisstore

// SetClockForTest lets a test be the server's clock.
func (s *Store) SetClockForTest(millis func() int64) { s.clockForTest = millis }

// ScriptHash is how EVALSHA names the script.
var ScriptHash = sourceHash
