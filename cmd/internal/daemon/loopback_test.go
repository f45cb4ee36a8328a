package daemon

import "testing"

func TestOnLoopback(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "localhost:1": true, "unix:/run/gate.sock": true,
		"0.0.0.0:1": false, "[::]:1": false, "192.0.2.1:1": false,
	} {
		if got, err := (Options{Listen: listen}).OnLoopback(); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", listen, got, err, want)
		}
	}
	for _, listen := range []string{"", "name:1", "127.0.0.1", "unix:gate.sock"} {
		if got, err := (Options{Listen: listen}).OnLoopback(); got || err == nil {
			t.Errorf("%q: %v, %v", listen, got, err)
		}
	}
}
