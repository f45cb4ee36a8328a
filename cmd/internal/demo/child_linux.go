package demo

import "syscall"

// attributes put a child into a process group of its own, and have the kernel end it when we die without a chance to. (The signal is
// tied to the thread that started the child; Go ends a thread only with a goroutine that locked it, and none here does.)
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
