package message

import (
	"net/netip"
	"strings"
	"testing"
)

func TestReceivedSPF(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		r    ReceivedSPF
		want string
	}{
		{"a pass", ReceivedSPF{
			Result: "pass", Comment: "myhost.example.org: domain of myname@example.com designates 192.0.2.1 as permitted sender",
			ClientIP: netip.MustParseAddr("::ffff:192.0.2.1"), EnvelopeFrom: "myname@example.com", Hello: "foo.example.com",
			Receiver: "mybox.example.org", Identity: "mailfrom", Mechanism: "ip4:192.0.2.1",
		}, `Received-SPF: pass (myhost.example.org: domain of myname@example.com
 designates 192.0.2.1 as permitted sender) client-ip=192.0.2.1;
 envelope-from="myname@example.com"; helo=foo.example.com;
 receiver=mybox.example.org; identity=mailfrom; mechanism="ip4:192.0.2.1"
`},
		{"a problem, with text of a stranger", ReceivedSPF{
			Result: "permerror", ClientIP: netip.MustParseAddr("fe80::1%eth0"), Hello: "[IPv6:fe80::1]", Problem: "bad \"x\"\r\nBcc: a; b",
		}, `Received-SPF: permerror client-ip="fe80::1"; helo="[IPv6:fe80::1]";
 problem="bad \"x\" Bcc: a; b"
`},
		{"nothing known", ReceivedSPF{Result: "none"}, "Received-SPF: none\n"},
	} {
		var w HeaderWriter
		w.ReceivedSPF(tc.r)
		if got := strings.ReplaceAll(string(w.Bytes()), "\r\n", "\n"); got != tc.want {
			t.Errorf("%s: got:\n%s\nwant:\n%s", tc.name, got, tc.want)
		}
	}
}
