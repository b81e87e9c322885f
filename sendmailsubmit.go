package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

// submitter submits messages to the configured server.
type submitter struct {
	inv     *invocation
	config  *config.SubmitClient
	dir     string // Of the configuration.
	verbose bool
}

// send submits a message, and returns the recipients that did not get it.
func (s *submitter) send(ctx context.Context, m *composedMessage) (open []string, err error) {
	all := func(err error) ([]string, error) {
		for _, to := range m.to {
			open = append(open, to.String())
		}
		return open, fmt.Errorf("submitting to %s: %w", s.config.Host, err)
	}
	c, err := s.connect(ctx)
	if err != nil {
		return all(err)
	}
	defer func() { _ = c.Close() }() // What became of the message is known.
	var errs []error
	for rest := m.to; len(rest) > 0; {
		var failed []failedRcpt
		failed, rest = s.transaction(ctx, c, m, rest)
		for _, f := range failed {
			open = append(open, f.to.String())
			errs = append(errs, f)
		}
	}
	if len(open) == 0 {
		return nil, nil
	}
	return open, fmt.Errorf("submitting to %s: %w", s.config.Host, errors.Join(errs...))
}

// failedRcpt is a recipient that did not get a message.
type failedRcpt struct {
	to  smtp.Path
	err error
}

// Error returns the reason, with the recipient.
func (f failedRcpt) Error() string { return f.to.String() + ": " + f.err.Error() }

// Unwrap returns the reason.
func (f failedRcpt) Unwrap() error { return f.err }

// transaction sends a message to as many recipients as the server takes at a time,
// and returns those that are left for another transaction.
func (s *submitter) transaction(ctx context.Context, c *smtpclient.Client, m *composedMessage, to []smtp.Path) (failed []failedRcpt, rest []smtp.Path) {
	if limit := c.Extensions().RcptMax; limit > 0 && int64(len(to)) > limit {
		to, rest = to[:limit], to[limit:]
	}
	asked := make([]smtp.RcptDSN, len(to))
	for i := range asked {
		asked[i].Notify = m.notify
	}
	result, _ := c.Send(ctx, smtpclient.Transaction{ // The error is in those of the recipients.
		From:       m.from,
		To:         to,
		EightBit:   m.eightBit,
		SMTPUTF8:   m.smtputf8,
		RequireTLS: s.config.RequireTLS != nil && *s.config.RequireTLS,
		DSN:        m.dsn,
		RcptDSN:    asked,
		Size:       int64(len(m.text)),
		Content:    func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.text)), nil },
	})
	for i, err := range result.Rcpts {
		refused, ok := errors.AsType[*smtpclient.Reply](err)
		switch {
		case err == nil:
		case ok && refused.TooMany && !c.Broken():
			rest = append(rest[:len(rest):len(rest)], to[i])
		case result.MaybeSent && !ok:
			failed = append(failed, failedRcpt{to[i], fmt.Errorf("may have been sent: %w", err)})
		default:
			failed = append(failed, failedRcpt{to[i], err})
		}
	}
	return failed, rest
}

// connect connects to the server and logs in.
func (s *submitter) connect(ctx context.Context) (*smtpclient.Client, error) {
	opts, err := s.options(time.Now())
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: sendmailDialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.config.Host, strconv.Itoa(int(s.config.Port))))
	if err != nil {
		return nil, err
	}
	return smtpclient.New(ctx, conn, opts)
}

func (s *submitter) options(now time.Time) (smtpclient.Options, error) {
	c := s.config
	opts := smtpclient.Options{Hello: c.Hello.ASCII}
	switch {
	case c.Submit.TLS:
		opts.TLS = smtpclient.TLSImmediate
	case c.Submit.STARTTLS:
		opts.TLS = smtpclient.TLSRequired
	}
	opts.TLSConfig = &tls.Config{
		ServerName:         c.Host,
		RootCAs:            s.inv.sendmail.roots,
		InsecureSkipVerify: c.Submit.TLSInsecureSkipVerify,
		MinVersion:         tls.VersionTLS12,
	}
	cert, err := s.certificate(now)
	if err != nil {
		return smtpclient.Options{}, fmt.Errorf("client certificate: %w", err)
	}
	if cert != nil {
		opts.TLSConfig.Certificates = []tls.Certificate{*cert}
	}
	opts.Auth = func(mechanisms []string, cs *tls.ConnectionState) (sasl.Client, error) {
		return sasl.Choose(c.Mechanisms, mechanisms, sasl.ClientOptions{
			Username: c.Submit.Username, Password: c.Submit.Password, Rand: rand.Reader,
			Channel: sasl.ClientChannel(cs), Certificate: cert != nil,
		})
	}
	if s.verbose {
		opts.Trace = func(sent bool, line string) {
			if sent {
				s.inv.printf(">>> %s\n", line)
			} else {
				s.inv.printf("%s\n", line)
			}
		}
	}
	return opts, nil
}

// certificate returns the client certificate, nil if there is none.
func (s *submitter) certificate(now time.Time) (*tls.Certificate, error) {
	if s.config.Key != nil {
		return composeCertificate(s.config.Key, now)
	}
	path := s.config.Submit.ClientAuthCertPrivateKeyPEMFile
	if path == "" {
		return nil, nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}

// composeCertificate returns a certificate for a key. Servers look at the key only.
func composeCertificate(key ed25519.PrivateKey, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		NotBefore:    now.Add(-time.Hour), // Clocks differ.
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), crypto.Signer(key))
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Header fields at the beginning of messages that failed.
const (
	failedField      = "X-Moxsubmit-Error"
	failedRcptsField = "X-Moxsubmit-Recipients"
)

// keepFailed stores a message that could not be submitted, and returns cause with
// where it is.
func (inv *invocation) keepFailed(m *submission, cause error) error {
	path, err := inv.storeFailed(m, cause)
	if err != nil {
		return fmt.Errorf("%w\nthe message is lost: %w", cause, err)
	}
	return fmt.Errorf("%w\nthe message is kept in %s", cause, path)
}

func (inv *invocation) storeFailed(m *submission, cause error) (path string, err error) {
	home, err := inv.homeDir()
	if err != nil {
		return "", fmt.Errorf("finding home directory: %w", err)
	}
	dir := filepath.Join(home, submitFailures)
	if err := atomicfile.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(dir, rand.Text())
	return path, atomicfile.WriteFile(path, m.failedText(cause), 0o600)
}

// failedText returns what is stored: the message as it would have been sent, or as
// it was read if that could not be made of it, with LF line ends.
func (m *submission) failedText(cause error) []byte {
	var w message.HeaderWriter
	w.Field(failedField)
	w.Add(strings.Fields(cause.Error())...)
	if len(m.open) > 0 {
		w.Field(failedRcptsField)
		w.Join(",", m.open...)
	}
	text := w.Bytes()
	if m.mail != nil {
		text = append(text, m.mail.text...)
	} else {
		fields, body := splitMail(crlf(m.raw))
		for _, f := range fields {
			text = append(text, f.raw...)
		}
		text = append(append(text, "\r\n"...), body...)
	}
	return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
}

// homeDir returns the user's home directory. With the rights of another group the
// environment isn't asked: files must not get to where the user can't write.
func (inv *invocation) homeDir() (string, error) {
	if inv.sendmail.home != "" {
		return inv.sendmail.home, nil
	}
	if !inv.sendmail.setgid {
		if home, err := os.UserHomeDir(); err == nil {
			return home, nil
		}
	}
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	if u.HomeDir == "" {
		return "", errors.New("the user has none")
	}
	return u.HomeDir, nil
}
