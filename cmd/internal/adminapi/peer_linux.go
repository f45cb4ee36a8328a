package adminapi

import (
	"net"
	"syscall"
)

// callerOf asks the kernel who is at the other end.
func callerOf(conn net.Conn) Caller {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return Caller{}
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return Caller{}
	}
	var cred *syscall.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		cred, asked = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || asked != nil {
		return Caller{}
	}
	return Caller{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid, Known: true}
}
