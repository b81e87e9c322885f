package dns

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestErrors holds each error against what callers ask of it.
func TestErrors(t *testing.T) {
	t.Parallel()
	canceled := fmt.Errorf("%w: %w", ErrTemporary, context.Canceled)
	for _, c := range []struct {
		name      string
		err       error
		none      bool
		temporary bool
	}{
		{"no error", nil, false, false},
		{"no such name", ErrNotFound, true, false},
		{"no records", ErrNoData, true, false},
		{"a failure", ErrTemporary, false, true},
		{"a bogus answer", ErrBogus, false, true},
		{"a bad name", ErrName, false, false},
		{"a caller who left", canceled, false, true},
		{"an error of another kind", context.Canceled, false, false},
	} {
		wrapped := c.err
		if c.err != nil {
			wrapped = fmt.Errorf("resolving: %w", &Error{Op: "MX", Name: "example.org.", Err: c.err})
		}
		if got := IsNone(wrapped); got != c.none {
			t.Errorf("%s: got none %t", c.name, got)
		}
		if got := errors.Is(wrapped, ErrTemporary); got != c.temporary {
			t.Errorf("%s: got temporary %t", c.name, got)
		}
		if !errors.Is(wrapped, c.err) {
			t.Errorf("%s: lost its kind in %v", c.name, wrapped)
		}
	}
	if errors.Is(ErrTemporary, ErrBogus) {
		t.Error("a failure counts as bogus")
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  Error
		want string
	}{
		{Error{Op: "MX", Name: "example.org.", Err: ErrNotFound}, `looking up MX of "example.org.": dns: no such name`},
		{
			Error{Op: "A", Name: "x\r\n", Err: ErrBogus, Extended: &Extended{7, "signature\nexpired"}},
			`looking up A of "x\r\n": dns: temporary failure: bogus answer (extended error 7, Signature Expired: "signature\nexpired")`,
		},
		{Error{Op: "A", Name: "x.", Err: ErrTemporary, Extended: &Extended{Code: 27}}, `looking up A of "x.": dns: temporary failure (extended error 27, Unsupported NSEC3 Iterations Value)`},
		{Error{Op: "A", Name: "x.", Err: ErrTemporary, Extended: &Extended{Code: 65535}}, `looking up A of "x.": dns: temporary failure (extended error 65535)`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
