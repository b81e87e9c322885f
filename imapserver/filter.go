package imapserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// Where filters are kept, as annotations of the account (RFC 5466, section 3.1). Of
// two with the same name the private one is used.
const (
	privateFilters = "/private/filters/values/"
	sharedFilters  = "/shared/filters/values/"
)

const (
	// filterDepthMax bounds how deep filters may name others: RFC 5466, section 3.1,
	// wants 3 at least.
	filterDepthMax = 10

	// filterKeysMax bounds the keys of a search when all filters are in their places.
	filterKeysMax = 2000
)

// filterExpander puts the values of filters in the place of their names.
type filterExpander struct {
	tx   *store.Tx
	path []string // Names of the filters that are being expanded, in lower case.
	keys int
}

// expandFilters returns a search key with the values of filters in place of their
// names, as they are now. Each is one key, as if it were in parentheses: the negation
// of a filter is that of all of it.
func (s *session) expandFilters(ctx context.Context, key imap.SearchKey) (out imap.SearchKey, err error) {
	if !key.Has("FILTER") {
		return key, nil
	}
	err = s.account.View(ctx, func(tx *store.Tx) error {
		x := &filterExpander{tx: tx}
		out, err = x.expand(key)
		return err
	})
	return out, err
}

func (x *filterExpander) expand(key imap.SearchKey) (imap.SearchKey, error) {
	x.keys++
	if x.keys > filterKeysMax {
		return imap.SearchKey{}, imap.No("LIMIT", "search program has too many keys with its filters")
	}
	if key.Key == "FILTER" {
		return x.filter(key.Text)
	}
	keys := make([]imap.SearchKey, 0, len(key.Keys))
	for _, k := range key.Keys {
		k, err := x.expand(k)
		if err != nil {
			return imap.SearchKey{}, err
		}
		keys = append(keys, k)
	}
	key.Keys = keys
	return key, nil
}

// filter returns the value of a filter, expanded. One that leads back to itself is
// taken for one that does not exist, as is one that is too deep.
func (x *filterExpander) filter(name string) (imap.SearchKey, error) {
	folded := strings.ToLower(name)
	switch {
	case slices.Contains(x.path, folded):
		return imap.SearchKey{}, undefinedFilter(x.path[0], "filter leads back to itself")
	case len(x.path) == filterDepthMax:
		return imap.SearchKey{}, undefinedFilter(x.path[0], "filter names others too deep")
	}
	value, ok, err := x.value(folded)
	if err != nil {
		return imap.SearchKey{}, fmt.Errorf("reading filter %q: %w", name, err)
	}
	if !ok {
		return imap.SearchKey{}, undefinedFilter(name, "no such filter")
	}
	key, err := imap.ParseFilter(string(value))
	if err != nil {
		return imap.SearchKey{}, undefinedFilter(name, "filter is no search program")
	}
	x.path = append(x.path, folded)
	defer func() { x.path = x.path[:len(x.path)-1] }()
	return x.expand(key)
}

func (x *filterExpander) value(name string) (value []byte, ok bool, err error) {
	for _, kind := range []string{privateFilters, sharedFilters} {
		if value, ok, err = x.tx.Annotation(0, kind+name); ok || err != nil {
			return value, ok, err
		}
	}
	return nil, false, nil
}

// undefinedFilter is the refusal of a filter, RFC 5466, section 3.1.
func undefinedFilter(name, why string) error {
	return imap.No("UNDEFINED-FILTER "+name, "%s", why)
}

// checkFilter fails if an annotation of the account is to be a filter and is no
// complete search program, which RFC 5466, section 3.2, has a server look at. What it
// names need not exist yet.
func checkFilter(entry string, value []byte) error {
	entry = strings.ToLower(entry)
	name, ok := strings.CutPrefix(entry, privateFilters)
	if !ok {
		name, ok = strings.CutPrefix(entry, sharedFilters)
	}
	if !ok || value == nil {
		return nil
	}
	d := imap.NewDecoder(name)
	if d.FilterName(); d.End() != nil {
		return imap.Bad("%+q is no filter name", name)
	}
	if _, err := imap.ParseFilter(string(value)); err != nil {
		var e *imap.Error
		if errors.As(err, &e) {
			return &imap.Error{Response: imap.No("", "filter is no search program: %s", e.Text).Response, Err: err}
		}
		return err
	}
	return nil
}
