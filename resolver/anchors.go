package resolver

import (
	"fmt"
	"strings"

	mdns "github.com/miekg/dns"
)

const (
	// anchorsDefault are the DS records of the root's keys that are in use: the one
	// of 2017, and the one of 2024 that takes its place from October 2026 on. From
	// https://data.iana.org/root-anchors/root-anchors.xml.
	anchorsDefault = `
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
`

	// anchorsMax bounds the anchors. There are two while a key is replaced, and three
	// at worst.
	anchorsMax = 10
)

// CheckAnchors checks the DS records of Options.Anchors.
func CheckAnchors(text string) error {
	_, err := parseAnchors(text)
	return err
}

// parseAnchors parses DS records of the root, at least one of which we can use.
// Empty: those of IANA.
func parseAnchors(text string) ([]*mdns.DS, error) {
	if text == "" {
		text = anchorsDefault
	}
	var list []*mdns.DS
	parser := mdns.NewZoneParser(strings.NewReader(text), ".", "")
	parser.SetDefaultTTL(1) // As in the records of others, TTLs may be left out. They do not count.
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		ds, is := rr.(*mdns.DS)
		if !is || ds.Hdr.Name != "." {
			return nil, fmt.Errorf("%q is no DS record of the root", rr.String())
		}
		list = append(list, ds)
	}
	switch err := parser.Err(); {
	case err != nil:
		return nil, fmt.Errorf("parsing DS records: %w", err)
	case len(list) > anchorsMax:
		return nil, fmt.Errorf("%d DS records, at most %d are used", len(list), anchorsMax)
	case len(usableDS(list)) == 0:
		return nil, fmt.Errorf("no DS record with an algorithm and a digest that we know, of %d", len(list))
	}
	return list, nil
}
