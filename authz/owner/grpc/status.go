package grpc

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-dev/sallyport/authz"
)

// maxMessage bounds what is repeated of a server's own words.
const maxMessage = 200

// errRefused marks INVALID_ARGUMENT, for Probe.
var errRefused = errors.New("refused")

func isRefusal(err error) bool { return errors.Is(err, errRefused) }

// explain makes one of authz's two errors of a status. A status that speaks of what was asked is an answer, if a bad one: the object's
// name decides it, so the client must not learn of it, and it must not count as an outage, or a strange id would make the gate stop
// asking about others. Everything else says that the server could not be asked. INTERNAL and UNKNOWN are of this kind although an
// object may cause them: it is what libraries answer for a handler that failed, most of the time because its database is away, and
// told as an answer an outage would be a wave of 403 that nobody tries again.
func explain(err error) error {
	s := status.Convert(err)
	text := strings.ToValidUTF8(s.Message(), "\uFFFD")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	switch s.Code() {
	case codes.InvalidArgument:
		return fmt.Errorf("owner/grpc: %w: %w: %s %q", authz.ErrLookupAnswer, errRefused, s.Code(), text)
	case codes.OutOfRange, codes.FailedPrecondition, codes.NotFound, codes.AlreadyExists, codes.DataLoss:
		return fmt.Errorf("owner/grpc: %w: %s %q", authz.ErrLookupAnswer, s.Code(), text)
	}
	return fmt.Errorf("owner/grpc: %w: %s %q%s", authz.ErrLookupUnavailable, s.Code(), text, cure(s.Code()))
}

// cure says what to do, where there is one thing.
func cure(code codes.Code) string {
	switch code {
	case codes.Unauthenticated:
		return "; it does not take the gate's credentials, see `token_file` and `cert_file`"
	case codes.PermissionDenied:
		return "; it knows the gate and does not let it ask"
	case codes.Unimplemented:
		return "; nothing there serves sallyport.owner.v1.OwnerService"
	}
	return ""
}
