package message

import "strings"

// TLSNotRequired tells whether a message asks to be sent even where TLS fails, by the
// field TLS-Required (RFC 8689, section 3). Whoever was given REQUIRETLS with the message
// must not ask (section 4.1).
func TLSNotRequired(h Header) bool {
	values := h.Values("TLS-Required")
	for _, v := range values {
		if !strings.EqualFold(v, "No") {
			return false
		}
	}
	return len(values) > 0
}
