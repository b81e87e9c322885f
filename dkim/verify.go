package dkim

import (
	"context"
	"errors"
	"io"

	"github.com/mjl-/mox/dns"
)

// Verify evaluates the signatures of a message of size bytes, in the order of the
// header, at most 25 of them. The error is one of reading, or ErrHeader. Lookups
// end with ctx.
func Verify(ctx context.Context, resolver dns.Resolver, r io.ReaderAt, size int64, opts VerifyOptions) ([]Evaluation, error) {
	return nil, errors.ErrUnsupported
}
