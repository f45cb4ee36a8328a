package redisstore

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// replyClasses sort the error replies of servers. They are looked for anywhere in the reply: a script's error names its cause
// in the middle of older servers' replies, and proxies put words before it.
var replyClasses = []struct {
	text  string
	class ratelimit.StoreErrorClass
}{
	{"OOM command not allowed", ratelimit.StoreOOM},
	{"READONLY", ratelimit.StoreReadOnly},
	{"MISCONF", ratelimit.StoreReadOnly},
	{"NOREPLICAS", ratelimit.StoreReadOnly},
	{"LOADING", ratelimit.StoreLoading},
	{"BUSY", ratelimit.StoreLoading},
	{"MASTERDOWN", ratelimit.StoreLoading},
	{"CLUSTERDOWN", ratelimit.StoreLoading},
	{"TRYAGAIN", ratelimit.StoreLoading},
	{"NOAUTH", ratelimit.StoreRefused},
	{"WRONGPASS", ratelimit.StoreRefused},
	{"NOPERM", ratelimit.StoreRefused},
	{"max number of clients", ratelimit.StoreRefused},
}

// classified gives a failure of the client its class.
func classified(err error) error {
	return &ratelimit.StoreError{Class: classOf(err), Err: err}
}

func classOf(err error) ratelimit.StoreErrorClass {
	var reply redis.Error
	if errors.As(err, &reply) {
		for _, r := range replyClasses {
			if strings.Contains(reply.Error(), r.text) {
				return r.class
			}
		}
		return ratelimit.StoreOther
	}
	if isTimeout(err) {
		return ratelimit.StoreTimeout
	}
	if isRefusal(err) {
		return ratelimit.StoreRefused
	}
	return ratelimit.StoreOther
}

func isTimeout(err error) bool {
	var slow net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout) ||
		(errors.As(err, &slow) && slow.Timeout())
}

// isRefusal says that there was no connection, or that it went away, or that too many wait for one.
func isRefusal(err error) bool {
	var op *net.OpError
	var errno syscall.Errno
	return errors.As(err, &op) || errors.As(err, &errno) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolExhausted) ||
		errors.Is(err, errFull)
}
