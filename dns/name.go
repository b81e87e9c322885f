package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// CheckName returns ErrName unless name can be asked for: absolute, with labels
// and as a whole within the limits of RFC 1035, section 2.3.4, in printable ASCII
// without space and backslash. Names of hosts are narrower; underscores, and what
// SPF macros lead to, are allowed here.
func CheckName(name string) error {
	labels, ok := strings.CutSuffix(name, ".")
	switch {
	case !ok:
		return fmt.Errorf("%w: not absolute", ErrName)
	case labels == "":
		return nil // The root.
	case len(labels) > domainSizeMax:
		return fmt.Errorf("%w: %d bytes", ErrName, len(labels))
	}
	for label := range strings.SplitSeq(labels, ".") {
		if label == "" || len(label) > labelSizeMax {
			return fmt.Errorf("%w: label of %d bytes", ErrName, len(label))
		}
		for i := range len(label) {
			if c := label[i]; c <= ' ' || c >= 0x7f || c == '\\' {
				return fmt.Errorf("%w: character %q", ErrName, c)
			}
		}
	}
	return nil
}

// ReverseName returns the absolute name that has the names of an address: in
// in-addr.arpa (RFC 1035, section 3.5) or ip6.arpa (RFC 3596, section 2.5). The
// zone of an address counts for nothing. It is empty for the zero Addr.
func ReverseName(ip netip.Addr) string {
	ip = ip.Unmap()
	if !ip.IsValid() {
		return ""
	}
	if ip.Is4() {
		return reverseLabels(ip) + ".in-addr.arpa."
	}
	return reverseLabels(ip) + ".ip6.arpa."
}

// reverseLabels returns the bytes or half bytes of an address as labels, the last
// one first.
func reverseLabels(ip netip.Addr) string {
	var labels []string
	for _, b := range ip.AsSlice() {
		if ip.Is4() {
			labels = append(labels, strconv.Itoa(int(b)))
		} else {
			labels = append(labels, strconv.FormatInt(int64(b>>4), 16), strconv.FormatInt(int64(b&0xf), 16))
		}
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}
