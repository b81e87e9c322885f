package resolver

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// Names here are as in messages that were unpacked, in lower case: there is one way
// to write each, so that equal names are equal strings.

// labelsOf returns the labels of a name as their bytes, in lower case.
func labelsOf(name string) [][]byte {
	parts := mdns.SplitDomainName(name)
	labels := make([][]byte, len(parts))
	for i, part := range parts {
		labels[i] = bytes.ToLower([]byte(unescape(part)))
	}
	return labels
}

// compareNames compares names in the order of RFC 4034, section 6.1.
func compareNames(a, b string) int {
	x, y := labelsOf(a), labelsOf(b)
	for i := 1; i <= min(len(x), len(y)); i++ {
		if c := bytes.Compare(x[len(x)-i], y[len(y)-i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

// isWithin tells whether name is ancestor, or below it.
func isWithin(name, ancestor string) bool { return mdns.IsSubDomain(ancestor, name) }

// isBelow tells whether name is below ancestor.
func isBelow(name, ancestor string) bool {
	return isWithin(name, ancestor) && mdns.CountLabel(name) > mdns.CountLabel(ancestor)
}

// parent returns the name above one, of the root itself.
func parent(name string) string {
	i, end := mdns.NextLabel(name, 0)
	if end || name == "." {
		return "."
	}
	return name[i:]
}

// last returns the ancestor of a name that has so many labels.
func last(name string, labels int) string {
	starts := mdns.Split(name)
	if labels <= 0 || len(starts) == 0 {
		return "."
	}
	return name[starts[max(0, len(starts)-labels)]:]
}

// pathTo returns the names from below zone down to name.
func pathTo(name, zone string) []string {
	var list []string
	for n := name; isBelow(n, zone); n = parent(n) {
		list = append(list, n)
	}
	slices.Reverse(list)
	return list
}

// common returns the longest name that both are within.
func common(a, b string) string { return last(a, mdns.CompareDomainName(a, b)) }

// wildcard returns the wildcard directly below a name.
func wildcard(name string) string { return "*." + strings.TrimPrefix(name, ".") }

// countLabels returns how many labels a name has for signatures, which do not
// count that of a wildcard (RFC 4034, section 3.1.3).
func countLabels(name string) int {
	n := mdns.CountLabel(name)
	if strings.HasPrefix(name, "*.") {
		n--
	}
	return n
}
