package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mjl-/mox/dnstest"
)

// TestARCVerify explains the chain of a message that a list has sealed twice.
func TestARCVerify(t *testing.T) {
	t.Parallel()
	_, addr := serveTree(t, dnstest.SignedZone{Name: "example", Text: "sel._domainkey.list TXT \"v=DKIM1;k=ed25519;p=/sFChnP2r+iSZLOAc0SuiyadElpQOFUgJofbWnEoV58=\"\n"})
	text, err := os.ReadFile("testdata/arc/chain.eml")
	if err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none.conf")
	verify := func(msg string, args ...string) (int, string) {
		t.Helper()
		code, stdout, stderr := runWith(t, msg, append([]string{"-config", none, "arc", "verify", "-server", addr, "-mode", "system-ad"}, append(args, "-")...)...)
		if stderr != "" {
			t.Errorf("got error %q", stderr)
		}
		return code, stdout
	}
	const second = "instance 2, sealed by list.example at 1970-01-01T00:00:01Z, without DNSSEC\n\tfound the chain before: pass\n" +
		"\tfound: \"list.example; spf=pass smtp.mailfrom=example.org\"\n\tseal: good\n\tmessage: as it was\n"
	want := "chain: pass\n" + second + strings.NewReplacer("instance 2", "instance 1", "before: pass", "before: none", "message: as it was", "message: \"dkim: header is not what was signed\"").Replace(second) +
		"the message was changed before the server of instance 2 has sealed it\n"
	if code, stdout := verify(string(text)); code != 0 || stdout != want {
		t.Errorf("got %d, %s, want %s", code, stdout, want)
	}
	changed := strings.Replace(string(text), "[list]", "[other]", 1)
	if code, stdout := verify(changed); code != 1 || !strings.HasPrefix(stdout, "chain: fail\nerror: \"arc: message is not what the last sealer has seen: dkim: header is not what was signed\"\n") {
		t.Errorf("a changed message: got %d, %s", code, stdout)
	}
	_, stdout := verify(string(text), "-json")
	var report arcReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	first := report.Sets[0]
	first.Time = nil
	wantFirst := arcSetReport{Instance: 1, Domain: "list.example", Selector: "sel", Status: "none", Results: "list.example; spf=pass smtp.mailfrom=example.org", MessageError: "dkim: header is not what was signed"}
	if report.Result != "pass" || report.OldestPass != 2 || len(report.Sets) != 2 || !reflect.DeepEqual(first, wantFirst) {
		t.Errorf("JSON: got %+v", report)
	}
}
