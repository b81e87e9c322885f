package mtasts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
)

// getterFunc is a Getter for tests of what becomes of its responses.
type getterFunc func(Request) (Response, error)

func (f getterFunc) Get(_ context.Context, r Request) (Response, error) { return f(r) }

func TestFetch(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	for _, test := range []struct {
		name     string
		response Response
		err      error
		want     error
		failure  Failure
		text     string // Of the error, in part.
	}{
		{"a policy", Response{200, "text/plain", []byte(rfcPolicy)}, nil, nil, "", ""},
		{"with parameters", Response{200, "Text/Plain ;charset=latin1; x", []byte(rfcPolicy)}, nil, nil, "", ""},
		{"not there", Response{404, "text/plain", nil}, nil, ErrFetch, FailureFetch, "mta-sts.a.example: status 404 instead of 200"},
		{"another success", Response{203, "text/plain", []byte(rfcPolicy)}, nil, ErrFetch, FailureFetch, "status 203"},
		{"a redirect", Response{301, "text/plain", []byte(rfcPolicy)}, nil, ErrFetch, FailureFetch, "status 301"},
		{"HTML", Response{200, "text/html; x=text/plain", []byte(rfcPolicy)}, nil, ErrFetch, FailureFetch, `content type "text/html; x=text/plain" instead of text/plain`},
		{"no type", Response{200, "", []byte(rfcPolicy)}, nil, ErrFetch, FailureFetch, `content type "" instead`},
		{"too large", Response{200, "text/plain", make([]byte, PolicySizeMax+1)}, nil, ErrFetch, FailureFetch, "more than 65536 bytes"},
		{"no policy", Response{200, "text/plain", []byte("hello")}, nil, ErrPolicy, FailurePolicy, "line 1, byte 1"},
		{"a failure", Response{}, other, ErrFetch, FailureFetch, "fetching MTA-STS policy: other"},
		{"a certificate", Response{}, fmt.Errorf("%w: expired", ErrWebPKI), ErrWebPKI, FailureWebPKI, "expired"},
	} {
		calls := 0
		g := getterFunc(func(r Request) (Response, error) {
			calls++
			if want := (Request{"mta-sts.a.example", "/.well-known/mta-sts.txt", PolicySizeMax}); r != want {
				t.Errorf("%s: got request %+v, want %+v", test.name, r, want)
			}
			return test.response, test.err
		})
		p, text, err := Fetch(t.Context(), g, dns.Domain{ASCII: "a.example"})
		if !errors.Is(err, test.want) || FailureOf(err) != test.failure || calls != 1 || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, %q, with %d calls", test.name, err, FailureOf(err), calls)
		}
		if test.want == nil && (p.Mode != Enforce || text != rfcPolicy) || test.failure == FailurePolicy && text != "hello" {
			t.Errorf("%s: got %+v, %q", test.name, p, text)
		}
	}
}

func TestFetchLongName(t *testing.T) {
	t.Parallel()
	g := getterFunc(func(Request) (Response, error) {
		t.Error("a request was made")
		return Response{}, nil
	})
	long := strings.Repeat(strings.Repeat("a", 49)+".", 4) + strings.Repeat("b", 48)
	if _, _, err := Fetch(t.Context(), g, dns.Domain{ASCII: long}); !errors.Is(err, ErrFetch) || !errors.Is(err, dns.ErrName) {
		t.Errorf("got %v", err)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	if got := URL(dns.Domain{ASCII: "example.com"}); got != "https://mta-sts.example.com/.well-known/mta-sts.txt" {
		t.Errorf("got %s", got)
	}
}
