package config

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/sconf"
)

// SubmitName is the name of the third file, in problems.
const SubmitName = "moxsubmit.conf"

// Submit is the content of moxsubmit.conf, which has nothing to do with the other
// two: with it the sendmail command submits mail to a server, on any host.
type Submit struct {
	LocalHostname                   string `sconf-doc:"NOTE: This file is in sconf format. Indentation must be with tabs, one for each level. Comments must be on lines of their own. Values are not quoted.\n\n\nName of this host, with which it introduces itself to the server. Hosts don't always know their full name, so it is set here."`
	Host                            string `sconf-doc:"Server to submit mail to: a name, or an IP address. Its certificate must be valid for it."`
	Port                            int64  `sconf:"optional" sconf-doc:"If zero, 465 with TLS, 587 with STARTTLS, 25 without both."`
	TLS                             bool   `sconf:"optional" sconf-doc:"Connect with TLS, as it is usual on port 465."`
	STARTTLS                        bool   `sconf:"optional" sconf-doc:"Change to TLS after connecting, as it is usual on port 587. Without that nothing is sent. Only one of the two can be set."`
	TLSInsecureSkipVerify           bool   `sconf:"optional" sconf-doc:"Don't verify the server's certificate. Somebody between could then get the password, unless AuthMethod is one that ends in -PLUS, and all mail."`
	Username                        string `sconf-doc:"For logging in, an address of the account."`
	Password                        string `sconf:"optional" sconf-doc:"For logging in. Exactly one of this and the following two is set."`
	ClientAuthEd25519PrivateKey     string `sconf:"optional" sconf-doc:"Log in with a TLS client certificate instead of a password, made for this Ed25519 key: a seed of 32 bytes in base64, in its variant for URLs and without padding. The server must know the public key."`
	ClientAuthCertPrivateKeyPEMFile string `sconf:"optional" sconf-doc:"Log in with the TLS client certificate in this file instead of a password. The file has the certificate and its private key as PEM blocks. A relative path is relative to the directory of this file."`
	AuthMethod                      string `sconf:"optional" sconf-doc:"How to log in: EXTERNAL, SCRAM-SHA-256-PLUS, SCRAM-SHA-256, SCRAM-SHA-1-PLUS, SCRAM-SHA-1, CRAM-MD5, PLAIN or LOGIN. If absent: EXTERNAL with a certificate, otherwise the first of the others that the server offers. Without TLS, PLAIN and LOGIN are only used if they are named here: they send the password as it is."`
	From                            string `sconf-doc:"Address that mail is sent from. It replaces what messages have in From, so that programs can send mail that don't know their address. Must be one that the account may use."`
	DefaultDestination              string `sconf:"optional" sconf-doc:"Address for mail to local users, as root. If absent, such mail fails."`
	RequireTLS                      string `sconf:"optional" sconf-doc:"If yes, mail must be protected by verified TLS all the way to its recipients (REQUIRETLS), and fails otherwise. If no, delivery is more important than TLS (TLS-Required: No). If absent, neither is asked for."`
}

// SubmitClient is a moxsubmit.conf that was checked.
type SubmitClient struct {
	Submit Submit // As read.

	Hello              dns.Domain // LocalHostname.
	Host               string     // A-labels, or an IP address without brackets.
	Port               uint16
	Mechanisms         []string           // To be used, best first.
	Key                ed25519.PrivateKey // Nil if there is none.
	From               smtp.Address
	DefaultDestination smtp.Address // Zero for none.
	RequireTLS         *bool        // Nil for neither.
}

// LoadSubmit parses and checks moxsubmit.conf. The error, if any, is Problems, all
// that could be found.
func LoadSubmit(text []byte) (*SubmitClient, error) {
	s, lines, problems := parse[Submit](SubmitName, text)
	if problems.malformed() {
		return nil, problems.err()
	}
	c := submitChecker{s: &SubmitClient{Submit: s}}
	c.host()
	c.login()
	c.addresses()
	c.requireTLS()
	c.problems.locate(SubmitName, lines)
	if err := append(problems, c.problems...).err(); err != nil {
		return nil, err
	}
	return c.s, nil
}

// submitChecker works out a SubmitClient.
type submitChecker struct {
	checker
	s *SubmitClient
}

func (c *submitChecker) wrong(path, format string, args ...any) {
	c.bad(SubmitName, path, format, args...)
}

// secure returns whether nobody on the way can read what is sent.
func (c *submitChecker) secure() bool { return c.s.Submit.TLS || c.s.Submit.STARTTLS }

func (c *submitChecker) host() {
	s := c.s.Submit
	hello, err := dns.ParseConfigDomain(s.LocalHostname)
	if c.is(SubmitName, "LocalHostname", err) {
		c.s.Hello = hello
	}
	c.s.Host = s.Host
	if _, err := netip.ParseAddr(s.Host); err != nil {
		host, err := dns.ParseConfigDomain(s.Host)
		c.is(SubmitName, "Host", err)
		c.s.Host = host.ASCII
	}
	if s.TLS && s.STARTTLS {
		c.wrong("STARTTLS", "only one of TLS and STARTTLS can be set")
	}
	switch port := s.Port; {
	case port < 0 || port > 65535:
		c.wrong("Port", "%d is not a port", port)
	case port > 0:
		c.s.Port = uint16(port)
	case s.TLS:
		c.s.Port = 465
	case s.STARTTLS:
		c.s.Port = 587
	default:
		c.s.Port = 25
	}
}

// submitMechanisms are those that take a password, best first.
var submitMechanisms = []string{
	sasl.SCRAM256Plus, sasl.SCRAM256, sasl.SCRAM1Plus, sasl.SCRAM1, sasl.CRAMMD5, sasl.Plain, sasl.Login,
}

func (c *submitChecker) login() {
	s := c.s.Submit
	if s.Username == "" {
		c.wrong("Username", "must not be empty")
	}
	secrets := 0
	for _, secret := range []string{s.Password, s.ClientAuthEd25519PrivateKey, s.ClientAuthCertPrivateKeyPEMFile} {
		if secret != "" {
			secrets++
		}
	}
	if secrets != 1 {
		c.wrong("Username", "need exactly one of Password, ClientAuthEd25519PrivateKey and ClientAuthCertPrivateKeyPEMFile")
	}
	certificate := s.Password == ""
	if certificate && !c.secure() {
		c.wrong("Username", "a certificate needs TLS or STARTTLS")
	}
	if text := s.ClientAuthEd25519PrivateKey; text != "" {
		seed, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(seed) != ed25519.SeedSize {
			c.wrong("ClientAuthEd25519PrivateKey", "not a seed of %d bytes in base64", ed25519.SeedSize)
		} else {
			c.s.Key = ed25519.NewKeyFromSeed(seed)
		}
	}
	c.mechanisms(certificate)
}

func (c *submitChecker) mechanisms(certificate bool) {
	switch method := c.s.Submit.AuthMethod; {
	case method == "" && certificate:
		c.s.Mechanisms = []string{sasl.External}
	case method == "":
		for _, name := range submitMechanisms {
			if c.secure() || name != sasl.Plain && name != sasl.Login && !strings.HasSuffix(name, "-PLUS") {
				c.s.Mechanisms = append(c.s.Mechanisms, name)
			}
		}
	case method != sasl.External && !slices.Contains(submitMechanisms, method):
		c.wrong("AuthMethod", "unknown method %q, need one of: %s %s", method, sasl.External, strings.Join(submitMechanisms, " "))
	case (method == sasl.External) != certificate:
		c.wrong("AuthMethod", "%s is for certificates, the others are for passwords", sasl.External)
	case strings.HasSuffix(method, "-PLUS") && !c.secure():
		c.wrong("AuthMethod", "%s needs TLS or STARTTLS", method)
	default:
		c.s.Mechanisms = []string{method}
	}
}

func (c *submitChecker) addresses() {
	var err error
	c.s.From, err = smtp.ParseAddress(c.s.Submit.From)
	c.is(SubmitName, "From", err)
	if to := c.s.Submit.DefaultDestination; to != "" {
		c.s.DefaultDestination, err = smtp.ParseAddress(to)
		c.is(SubmitName, "DefaultDestination", err)
	}
}

func (c *submitChecker) requireTLS() {
	switch text := c.s.Submit.RequireTLS; text {
	case "":
	case "yes", "no":
		yes := text == "yes"
		c.s.RequireTLS = &yes
		if yes && !c.secure() {
			c.wrong("RequireTLS", "yes needs TLS or STARTTLS")
		}
	default:
		c.wrong("RequireTLS", "%q is not yes, no or empty", text)
	}
}

// DescribeSubmit returns an example of moxsubmit.conf in which each setting
// appears, with its documentation. Not all can be set at once, so some are empty.
func DescribeSubmit() ([]byte, error) {
	var b bytes.Buffer
	err := sconf.Describe(&b, Submit{
		LocalHostname:      "host.example.org",
		Host:               "mail.example.org",
		Port:               465,
		TLS:                true,
		Username:           "host@example.org",
		Password:           "a long password",
		From:               "host@example.org",
		DefaultDestination: "admin@example.org",
	})
	if err != nil {
		return nil, fmt.Errorf("describing settings for submission: %w", err)
	}
	return b.Bytes(), nil
}

// FormatSubmit returns the text of moxsubmit.conf for s, without comments, that
// LoadSubmit reads as s.
func FormatSubmit(s Submit) ([]byte, error) {
	text, err := format(SubmitName, s)
	if err != nil {
		return nil, fmt.Errorf("formatting settings for submission: %w", err)
	}
	return text, nil
}
