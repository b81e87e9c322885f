package system

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
)

// TestConfigTold changes the configuration of a running server and looks at the
// log, the metrics and the status.
func TestConfigTold(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	opts := options(t, path)
	r := start(t, opts)
	adm, err := r.Admin(func() {})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(path), "domains.conf")
	log := opts.Log.(*logBuffer)
	for _, step := range []struct {
		name, text string
		metrics    string // Lines.
		log        string
		problem    string // Part of it.
	}{
		{"an account more", dynamic + "\tthird:\n\t\tDomain: localhost\n",
			"mox_config_problem 0\nmox_config_reload_total{result=\"ok\"} 1\nmox_config_reload_total{result=\"problem\"} 0\n", `l=info m="configuration reloaded" pkg=config`, ""},
		{"a mistake", dynamic + "X: 1\n",
			"mox_config_problem 1\nmox_config_reload_total{result=\"ok\"} 1\nmox_config_reload_total{result=\"problem\"} 1\n", `l=error m="reloading configuration" pkg=config`, "domains.conf:12: X: unknown setting"},
		{"an old form of an address", strings.Replace(dynamic, "other@localhost", "other", 1),
			"mox_config_problem 0\nmox_config_reload_total{result=\"ok\"} 2\nmox_config_reload_total{result=\"problem\"} 1\n", `an address without domain is deprecated`, ""},
	} {
		if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := opts.Config.Reload(t.Context())
		if (err != nil) != (step.problem != "") {
			t.Errorf("%s: got %v", step.name, err)
		}
		_, body := r.get(t, "/metrics")
		var got strings.Builder
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "mox_config_") {
				got.WriteString(line)
			}
		}
		if got.String() != step.metrics {
			t.Errorf("%s: got metrics:\n%s\nwant:\n%s", step.name, got.String(), step.metrics)
		}
		if !strings.Contains(log.String(), step.log) {
			t.Errorf("%s: log has no %s:\n%s", step.name, step.log, log.String())
		}
		s, err := adm.Status(t.Context(), struct{}{})
		if err != nil || s.Config == nil || !strings.Contains(s.Config.Problem, step.problem) || (s.Config.Problem == "") != (step.problem == "") || s.Config.Loaded.IsZero() {
			t.Errorf("%s: got status %+v, %v", step.name, s.Config, err)
		}
	}
}

// TestConfigWatched saves a file while the server runs.
func TestConfigWatched(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	opts := options(t, path)
	r := start(t, opts)
	changed := make(chan struct{}, 1)
	opts.Config.OnReload(func(live.Outcome) { changed <- struct{}{} })
	file := filepath.Join(filepath.Dir(path), "domains.conf")
	if err := os.WriteFile(file, []byte(dynamic+"\tthird:\n\t\tDomain: localhost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	<-changed
	if _, ok := r.current().Dynamic.Accounts["third"]; !ok {
		t.Errorf("got accounts %v", r.current().Accounts())
	}
}

// TestCRAMMD5Offered looks for the mechanism where it is allowed.
func TestCRAMMD5Offered(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{false, true} {
		path := writeConfig(t)
		text := strings.Replace(static, "\t\tIMAPS:\n", "\t\tSubmission:\n\t\t\tEnabled: true\n\t\t\tNoRequireSTARTTLS: true\n\t\tIMAPS:\n", 1)
		if allowed {
			text = "AllowCRAMMD5: true\n" + text
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := start(t, options(t, path))
		for service, hello := range map[config.Service]string{config.ServiceSubmission: "EHLO localhost\r\n", config.ServiceIMAP: "a CAPABILITY\r\n"} {
			conn, err := net.Dial("tcp", r.address(service))
			if err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			greeting, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte(hello)); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, 4096) // Comes in one piece.
			n, err := in.Read(answer)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(answer[:n]), "CRAM-MD5"); got != allowed {
				t.Errorf("%s: CRAM-MD5 is offered: %v, after %q: %q", service, got, greeting, answer[:n])
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIMAPSwitchedOff switches an extension of IMAP off for an account of a running
// server: who logs in afterwards is not offered it.
func TestIMAPSwitchedOff(t *testing.T) {
	t.Parallel()
	r := start(t, options(t, writeConfig(t)))
	idle := func() bool {
		_, after, ok := strings.Cut(imap(t, r.dialIMAPS(t), "LOGIN mox@localhost moxmoxmox", "LOGOUT"), "a0 OK [CAPABILITY ")
		if !ok {
			t.Error("not logged in")
		}
		list, _, _ := strings.Cut(after, "]")
		return strings.Contains(list, " IDLE ")
	}
	if !idle() {
		t.Error("IDLE is not offered")
	}
	err := r.opts.Config.Update(t.Context(), func(d *config.Dynamic) error {
		a := d.Accounts["mox"]
		a.IMAPCapabilitiesDisabled = []string{"IDLE"}
		d.Accounts["mox"] = a
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if idle() {
		t.Error("IDLE is offered though it is switched off")
	}
}
