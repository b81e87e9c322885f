package config

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestGoldenSubmit(t *testing.T) {
	t.Parallel()
	text, err := DescribeSubmit()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/config-sendmail.txt", text)
	allSettings(t, text, reflect.TypeFor[Submit]())
	s, err := LoadSubmit(text)
	if err != nil {
		t.Fatalf("the example is not valid:\n%v", err)
	}
	short, err := FormatSubmit(s.Submit)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := LoadSubmit(short); err != nil || !reflect.DeepEqual(s, again) {
		t.Errorf("got %+v, %v, want %+v", again, err, s)
	}
}

const testSubmit = `LocalHostname: host.example.org
Host: mail.example.org
TLS: true
Username: user@example.org
Password: secret
From: user@example.org
`

// testSeed is one for Ed25519.
const testSeed = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

func TestLoadSubmit(t *testing.T) {
	t.Parallel()
	without := func(text string, keys ...string) string {
		var lines []string
		for line := range strings.Lines(text) {
			key, _, _ := strings.Cut(line, ":")
			if !strings.Contains(strings.Join(keys, " "), key) {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	plain := without(testSubmit, "TLS")
	keyless := without(testSubmit, "Password")
	for _, tc := range []struct {
		name, text string
		want       string // What the error has; empty for none.
	}{
		{"the least", testSubmit, ""},
		{"STARTTLS", plain + "STARTTLS: true\n", ""},
		{"plain text", plain, ""},
		{"an address as host", strings.Replace(testSubmit, "mail.example.org", "::1", 1), ""},
		{"a key", keyless + "ClientAuthEd25519PrivateKey: " + testSeed + "\n", ""},
		{"a certificate", keyless + "ClientAuthCertPrivateKeyPEMFile: cert.pem\nAuthMethod: EXTERNAL\n", ""},
		{"a method", testSubmit + "AuthMethod: SCRAM-SHA-256-PLUS\n", ""},
		{"PLAIN in plain text, if it is wanted", plain + "AuthMethod: PLAIN\n", ""},
		{"RequireTLS", testSubmit + "RequireTLS: yes\n", ""},

		{"a setting that doesn't exist", testSubmit + "Nope: x\n", "moxsubmit.conf:7: Nope: unknown setting"},
		{"a setting that is missing", without(testSubmit, "From"), "From"},
		{"not sconf", "hello\n", "moxsubmit.conf:1: "},
		{"not a text", "\xff", "not a text"},
		{"not a host", strings.Replace(testSubmit, "mail.example.org", "mail..org", 1), "moxsubmit.conf:2: Host: "},
		{"a local name that is none", strings.Replace(testSubmit, "host.example.org", "a b", 1), "moxsubmit.conf:1: LocalHostname: "},
		{"a port that is none", testSubmit + "Port: 65536\n", "moxsubmit.conf:7: Port: 65536 is not a port"},
		{"TLS twice", testSubmit + "STARTTLS: true\n", "moxsubmit.conf:7: STARTTLS: only one"},
		{"no username", strings.Replace(testSubmit, "Username: user@example.org", "Username: ", 1), "Username: must not be empty"},
		{"no secret", keyless, "moxsubmit.conf:4: Username: need exactly one of"},
		{"two secrets", testSubmit + "ClientAuthEd25519PrivateKey: " + testSeed + "\n", "need exactly one of"},
		{"a short seed", keyless + "ClientAuthEd25519PrivateKey: AAEC\n", "moxsubmit.conf:6: ClientAuthEd25519PrivateKey: not a seed"},
		{"a seed that is not base64", keyless + "ClientAuthEd25519PrivateKey: !\n", "not a seed"},
		{"a certificate in plain text", without(keyless, "TLS") + "ClientAuthCertPrivateKeyPEMFile: x\n", "needs TLS"},
		{"an unknown method", testSubmit + "AuthMethod: DIGEST-MD5\n", "moxsubmit.conf:7: AuthMethod: unknown method"},
		{"EXTERNAL with a password", testSubmit + "AuthMethod: EXTERNAL\n", "is for certificates"},
		{"PLAIN with a certificate", keyless + "ClientAuthCertPrivateKeyPEMFile: x\nAuthMethod: PLAIN\n", "is for certificates"},
		{"channel binding without channel", plain + "AuthMethod: SCRAM-SHA-1-PLUS\n", "needs TLS"},
		{"a sender that is none", strings.Replace(testSubmit, "From: user@example.org", "From: user", 1), "moxsubmit.conf:6: From: "},
		{"a destination that is none", testSubmit + "DefaultDestination: root\n", "moxsubmit.conf:7: DefaultDestination: "},
		{"RequireTLS perhaps", testSubmit + "RequireTLS: perhaps\n", "is not yes, no or empty"},
		{"RequireTLS without TLS", plain + "RequireTLS: yes\n", "needs TLS"},
	} {
		s, err := LoadSubmit([]byte(tc.text))
		switch {
		case tc.want == "" && (err != nil || s == nil):
			t.Errorf("%s: got %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestSubmitClient(t *testing.T) {
	t.Parallel()
	keyless := strings.Replace(testSubmit, "Password: secret\n", "", 1)
	for _, tc := range []struct {
		name, text string
		port       uint16
		mechanisms string
	}{
		{"TLS", testSubmit, 465, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"},
		{"STARTTLS", strings.Replace(testSubmit, "TLS:", "STARTTLS:", 1), 587, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"},
		{"plain text", strings.Replace(testSubmit, "TLS: true\n", "", 1), 25, "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5"},
		{"another port", testSubmit + "Port: 1465\nAuthMethod: CRAM-MD5\n", 1465, "CRAM-MD5"},
		{"a key", keyless + "ClientAuthEd25519PrivateKey: " + testSeed + "\n", 465, "EXTERNAL"},
		{"a name in Unicode", strings.Replace(testSubmit, "mail.example.org", "möwe.example", 1) + "AuthMethod: PLAIN\n", 465, "PLAIN"},
	} {
		s, err := LoadSubmit([]byte(tc.text))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if s.Port != tc.port || strings.Join(s.Mechanisms, " ") != tc.mechanisms || s.Hello.ASCII != "host.example.org" || s.From.String() != "user@example.org" {
			t.Errorf("%s: got %+v", tc.name, s)
		}
		if host := s.Host; host != "mail.example.org" && host != "xn--mwe-sna.example" {
			t.Errorf("%s: got host %q", tc.name, host)
		}
		if seed := []byte("\x00\x01\x02\x03"); tc.mechanisms == "EXTERNAL" && !bytes.HasPrefix(s.Key.Seed(), seed) {
			t.Errorf("%s: got key %x", tc.name, s.Key.Seed())
		}
	}
	for _, value := range []string{"yes", "no", ""} {
		s, err := LoadSubmit([]byte(testSubmit + "RequireTLS: " + value + "\n"))
		if err != nil {
			t.Errorf("%q: %v", value, err)
			continue
		}
		if got := s.RequireTLS; (got == nil) != (value == "") || got != nil && *got != (value == "yes") {
			t.Errorf("RequireTLS %q: got %v", value, got)
		}
	}
}

// FuzzLoadSubmit checks that a file that is taken can be written, and is the same
// then.
func FuzzLoadSubmit(f *testing.F) {
	f.Add(testSubmit)
	f.Add(testSubmit + "Port: 1\nAuthMethod: PLAIN\nRequireTLS: no\nDefaultDestination: \"a b\"@x.org\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := LoadSubmit([]byte(text))
		if err != nil {
			return
		}
		out, err := FormatSubmit(s.Submit)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if again, err := LoadSubmit(out); err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%q: got %+v, %v, want %+v", text, again, err, s)
		}
	})
}
