package dmarc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// patience bounds each wait for another program.
	patience = 30 * time.Second

	// workers is how many messages are judged at a time.
	workers = 8
)

// rspamdConf is a configuration with nothing but what is compared: no scores, and
// no files of the system but the program's own code.
const rspamdConf = `
options {
  filters = "dkim";
  dns { nameserver = ["DNS"]; timeout = 5s; retransmits = 2; sockets = 1; }
  tempdir = "DIR";
  url_tld = "DIR/suffixes";
  control_socket = "DIR/control mode=0600";
  hs_cache_dir = "DIR/";
  cache_file = "DIR/cache";
  local_addrs = ["10.255.0.0/16"];
}
logging { type = "console"; level = "error"; }
worker "normal" { bind_socket = "ADDR"; count = 1; }
modules {
  path = "/usr/share/rspamd/plugins/dmarc.lua";
  path = "/usr/share/rspamd/plugins/spf.lua";
}
dkim { }
dmarc { }
spf { }
`

// suffixes are the public suffixes that it knows: it has no tree walk.
const suffixes = "example\nbank.example\n"

// rspamd is a running program, to be asked over HTTP.
type rspamd struct{ addr string }

func startRspamd(t *testing.T, dnsAddr string) rspamd {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := rspamd{l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	conf := strings.NewReplacer("DNS", dnsAddr, "DIR", dir, "ADDR", r.addr).Replace(rspamdConf)
	for name, text := range map[string]string{"rspamd.conf": conf, "suffixes": suffixes} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path, err := exec.LookPath("rspamd")
	if err != nil {
		t.Fatalf("%v: see scripts/install-test-deps.sh", err)
	}
	cmd := exec.Command(path, "-f", "-i", "-c", filepath.Join(dir, "rspamd.conf"), "--var=DBDIR="+dir)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { stop(t, cmd, ended, &output) })
	for deadline := time.Now().Add(patience); ; {
		resp, err := http.Get("http://" + r.addr + "/ping") //nolint:noctx // At most patience.
		if err == nil {
			_ = resp.Body.Close()
			return r
		}
		if time.Now().After(deadline) || len(ended) > 0 {
			t.Fatalf("rspamd does not answer: %v\n%s", err, output.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop ends a program with its children, which are its workers.
func stop(t *testing.T, cmd *exec.Cmd, ended chan error, output *bytes.Buffer) {
	t.Helper()
	_ = cmd.Process.Signal(os.Interrupt)
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-ended
		t.Errorf("rspamd did not stop: %s", output.String())
	}
}

// symbols are the names of what it can find, with our names for that.
var symbols = map[string]string{
	"R_SPF_ALLOW": "pass", "R_SPF_FAIL": "fail", "R_SPF_SOFTFAIL": "softfail", "R_SPF_NEUTRAL": "neutral",
	"R_SPF_NA": "none", "R_SPF_DNSFAIL": "temperror", "R_SPF_PERMFAIL": "permerror", "R_SPF_PLUSALL": "plusall",

	"DMARC_POLICY_ALLOW": "pass", "DMARC_POLICY_REJECT": "fail/reject", "DMARC_POLICY_QUARANTINE": "fail/quarantine", "DMARC_POLICY_SOFTFAIL": "fail/none",
	"DMARC_NA": "none", "DMARC_DNSFAIL": "temperror", "DMARC_BAD_POLICY": "permerror", "DMARC_POLICY_ALLOW_WITH_FAILURES": "pass",

	"R_DKIM_ALLOW": "pass", "R_DKIM_REJECT": "fail", "R_DKIM_TEMPFAIL": "temperror", "R_DKIM_PERMFAIL": "permerror", "R_DKIM_NA": "none",
}

// check returns what it says about a message.
func (r rspamd) check(t *testing.T, m mail) (verdict, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.addr+"/checkv2", bytes.NewReader(m.content))
	if err != nil {
		return verdict{}, err
	}
	for name, value := range map[string]string{"IP": m.ip, "From": m.mailFrom, "Helo": m.hello} {
		req.Header.Set(name, value)
	}
	client := http.Client{Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return verdict{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return verdict{}, err
	}
	var found struct {
		Symbols map[string]struct{ Options []string }
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return verdict{}, fmt.Errorf("%w: %s", err, body)
	}
	var v verdict
	var dkim []string
	for name, s := range found.Symbols {
		says := symbols[name]
		switch {
		case strings.HasPrefix(name, "R_SPF_"):
			v.spf += says
		case strings.HasPrefix(name, "DMARC_"):
			v.dmarc += says
		case strings.HasPrefix(name, "R_DKIM_"):
			for range max(1, len(s.Options)) {
				dkim = append(dkim, says)
			}
		}
	}
	v.dkim = joined(dkim)
	return v, nil
}

// checkAll is check for many messages, several at a time.
func (r rspamd) checkAll(t *testing.T, mails []mail) ([]verdict, []error) {
	t.Helper()
	verdicts, errs := make([]verdict, len(mails)), make([]error, len(mails))
	todo := make(chan int)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := range todo {
				verdicts[i], errs[i] = r.check(t, mails[i])
			}
		})
	}
	for i := range mails {
		todo <- i
	}
	close(todo)
	group.Wait()
	return verdicts, errs
}

// joined returns results in an order that is always the same.
func joined(results []string) string {
	if len(results) == 0 {
		return "none"
	}
	slices.Sort(results)
	return strings.Join(results, " ")
}

// TestRspamd compares verdicts. Where they differ there is a reason, and the
// difference is expected.
func TestRspamd(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	r := k.zone(t)
	server, err := r.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	peer := startRspamd(t, server.Addr)
	cases := append(spfCases(), otherCases...)
	mails := make([]mail, len(cases))
	for i, c := range cases {
		mails[i] = c.make(t, k)
	}
	theirs, errs := peer.checkAll(t, mails)
	unused := map[string]bool{}
	for name := range differences {
		unused[name] = true
	}
	for i, c := range cases {
		if errs[i] != nil {
			t.Errorf("%s: %v", c.name, errs[i])
			continue
		}
		difference, known := differences[c.name]
		delete(unused, c.name)
		want, theirs := ours(t, r, mails[i]).String(), theirs[i].String()
		switch {
		case !known && want != theirs:
			t.Errorf("%s:\n  we say      %s\n  rspamd says %s", c.name, want, theirs)
		case known && (want != difference.ours || theirs != difference.theirs):
			t.Errorf("%s: not the difference that is expected:\n  we say      %s\n  rspamd says %s\n  the reason was: %s", c.name, want, theirs, difference.reason)
		}
	}
	for name := range unused {
		t.Errorf("%s: no such case", name)
	}
}
