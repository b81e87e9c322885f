package submit

import (
	"net/textproto"
	"strings"

	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
)

// extraPrefix is in front of the names of header fields whose values webhooks are
// told, with what becomes of the message. They stay in the message.
const extraPrefix = "X-Mox-Extra-"

// extraOf returns what the header has for webhooks, by the rest of the names of the
// fields, as "Order-Id": case doesn't count there. Each can be given once.
func extraOf(h message.Header) (map[string]string, error) {
	var extra map[string]string
	size := 0
	for f := range h.Fields() {
		key, ok := strings.CutPrefix(textproto.CanonicalMIMEHeaderKey(f.Name), extraPrefix)
		if !ok || key == "" {
			continue
		}
		if _, ok := extra[key]; ok {
			return nil, malformed("message has more than one header field %s%s", extraPrefix, key)
		}
		if extra == nil {
			extra = map[string]string{}
		}
		extra[key] = strings.ToValidUTF8(message.DecodeHeader(f.Value()), "\uFFFD")
		if size += len(key) + len(extra[key]); size > queue.ExtraMax {
			return nil, malformed("header fields %s... have more than %d bytes", extraPrefix, queue.ExtraMax)
		}
	}
	return extra, nil
}
