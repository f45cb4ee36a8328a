package daemon

// OnLoopback reports whether only this machine can reach Listen: a loopback address or a Unix socket. It reads the address as Open
// does, and fails as Open would.
func (o Options) OnLoopback() (bool, error) {
	listen, err := parseEndpoint("--listen", o.Listen)
	return err == nil && listen.local(), err
}
