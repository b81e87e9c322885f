package smtpclient

import (
	"errors"
	"net"
	"reflect"
)

// Alert returns the alert of TLS by which a server has refused a handshake, or by which
// we did, if there is one in err.
func Alert(err error) (alert uint8, ok bool) {
	// The type of alerts is hidden in crypto/tls.
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" && op.Op != "local error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if !v.IsValid() || v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true //nolint:gosec // Of that kind.
}
