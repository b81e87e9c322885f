package imap

import "strings"

// FilterName reads the name of a filter (RFC 5466, section 4): of characters of
// atoms, but not "/", which ends the names of entries.
func (d *Decoder) FilterName() string {
	s := d.Atom()
	if strings.Contains(s, "/") {
		d.Fail("filter name with slash")
	}
	return s
}

// ParseFilter reads the value of a filter, which is what SEARCH takes after its
// options and charset. It fails for a value that is not complete.
func ParseFilter(value string) (SearchKey, error) {
	d := NewDecoder(value)
	p := searchParser{d: d}
	k := SearchKey{Key: SearchAnd, Keys: p.keys()}
	if err := d.End(); err != nil {
		return SearchKey{}, err
	}
	return k, nil
}
