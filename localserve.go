package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/system"
)

const localserveHelp = `Run a mail server on this machine for trying out, and for developing programs.

It needs no configuration: on first use a directory is made with a configuration,
a self-signed certificate and an account, mox@localhost with password moxmoxmox.
All mail that comes in over SMTP, for whatever address, goes to that account, and
nothing is ever sent out. Peers on this machine have no limits and no delays.

Some recipients fail on purpose, by the end of the part before the @:

	temperror   451
	permerror   550
	450, 555    that code; any from 400 to 599
	timeout     451 after an hour

They fail when the message has been received, or with "mailfrom" or "rcptto" in
front at that command; "mailfrom..." also as sender.

The server stops at an interrupt (ctrl-c).

	-dir directory  configuration and data; by default mox-localserve in the user's
	                directory for configurations
	-initonly       make the directory, and stop
	-ip address     listen on this address instead of loopback; only when the
	                directory is made
	-pedantic       refuse whatever breaks a protocol
`

// Of the account in a new directory.
const (
	localAccount  = "mox"
	localAddress  = "mox@localhost"
	localPassword = "moxmoxmox"
)

// Ports in a new configuration.
const (
	localSMTP        = 1025
	localSubmission  = 1587
	localSubmissions = 1465
	localIMAP        = 1143
	localIMAPS       = 1993
	localMetrics     = 1081
)

// localCertTime is how long the certificate is valid.
const localCertTime = 4 * 365 * 24 * time.Hour

// localLogMax is the size in bytes from which a log is put aside at start.
const localLogMax = 10 << 20

func runLocalserve(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	dir := flags.String("dir", "", "")
	initOnly := flags.Bool("initonly", false, "")
	ip := flags.String("ip", "", "")
	flags.BoolVar(&inv.pedantic, "pedantic", inv.pedantic, "")
	if err := inv.parse(flags, 0); err != nil {
		return err
	}
	if *dir == "" {
		home, err := os.UserConfigDir()
		if err != nil {
			return fmt.Errorf("finding a directory, give one with -dir: %w", err)
		}
		*dir = filepath.Join(home, "mox-localserve")
	}
	if err := prepareLocal(ctx, inv, *dir, *ip); err != nil {
		return fmt.Errorf("preparing %s: %w", *dir, err)
	}
	err := inv.localserve(ctx, *dir, *initOnly)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil // Stopped while it was starting.
	case errors.Is(err, config.ErrUnknown), errors.Is(err, config.ErrLater), errors.Is(err, database.ErrForeign):
		return fmt.Errorf("%w\n%s", err, foreignHint)
	}
	return err
}

// foreignHint is for those whose directory belongs to something else, as another
// mail server with the same habits.
const foreignHint = "If the directory belongs to another program, it can't be used here: choose another with -dir,\n" +
	"and copy mail over with a program that speaks IMAP to both. Otherwise remove the settings named above."

// localserve serves from a directory that is there.
func (inv *invocation) localserve(ctx context.Context, dir string, initOnly bool) error {
	c, err := live.Open(filepath.Join(dir, config.StaticName), live.Options{})
	if err != nil {
		return err
	}
	logFile, err := openLocalLog(filepath.Join(dir, "localserve.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	opts := system.Options{
		Config:   c,
		Log:      logFile,
		Local:    &system.Local{Account: localAccount, Password: localPassword},
		Version:  version(),
		Pedantic: inv.pedantic,
		Offline:  initOnly,
	}
	if inv.loglevel != "" {
		level, err := logfmt.ParseLevel(inv.loglevel)
		if err != nil {
			return &usageError{err.Error()}
		}
		opts.Levels = logfmt.NewLevels(level)
	}
	s, err := system.New(ctx, opts)
	if err != nil {
		return err
	}
	if initOnly {
		inv.printf("%s is ready\n", dir)
		return s.Close()
	}
	return serveSystem(ctx, s, serveHooks{ready: func() { inv.printLocal(dir, s.Bound()) }, stopping: func() {}})
}

// printLocal tells what to connect to.
func (inv *invocation) printLocal(dir string, bound []system.Bound) {
	inv.printf("mox %s\n\nlog in as %s with password %s; mail for any address goes there\n\n", version(), localAddress, localPassword)
	user := url.UserPassword(localAddress, localPassword)
	for _, b := range bound {
		u := url.URL{Host: b.Address().String()}
		note := ""
		switch b.Service {
		case config.ServiceSMTP:
			u.Scheme, note = "smtp", "no login"
		case config.ServiceSubmission:
			u.Scheme, u.User = "smtp", user
		case config.ServiceSubmissions:
			u.Scheme, u.User, note = "smtps", user, "certificate: "+filepath.Join(dir, "localhost.crt")
		case config.ServiceIMAP:
			u.Scheme, u.User = "imap", user
		case config.ServiceIMAPS:
			u.Scheme, u.User, note = "imaps", user, "certificate: "+filepath.Join(dir, "localhost.crt")
		case config.ServiceMetrics:
			u.Scheme, u.Path = "http", "/metrics"
		}
		inv.printf("%s\n", strings.TrimSpace(fmt.Sprintf("%-11s %s  %s", b.Service, u.String(), note)))
	}
	inv.printf("\nconfiguration and data: %s\nlog:                    %s\nstop with ctrl-c\n", dir, filepath.Join(dir, "localserve.log"))
}

// openLocalLog opens the log for appending, and puts a large one aside.
func openLocalLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > localLogMax {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, fmt.Errorf("putting log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	return f, nil
}

// prepareLocal makes what is missing in the directory. The configuration comes
// last: if it is there, all is.
func prepareLocal(ctx context.Context, inv *invocation, dir, ip string) error {
	path := filepath.Join(dir, config.StaticName)
	_, err := os.Stat(path)
	if err == nil {
		if ip != "" {
			inv.errorf("%s exists, -ip has no effect", path)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ips := []string{"127.0.0.1"}
	if ip != "" {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return &usageError{fmt.Sprintf("-ip: %q is not an address", ip)}
		}
		ips = []string{addr.String()}
	} else if ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "[::1]:0"); err == nil {
		ips = append(ips, "::1")
		if err := ln.Close(); err != nil {
			return err
		}
	}
	if err := atomicfile.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := writeLocalCert(dir, ips, time.Now()); err != nil {
		return err
	}
	dynamic, err := config.FormatDynamic(localDynamic())
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, config.DynamicName), dynamic, 0o640); err != nil {
		return err
	}
	static, err := config.FormatStatic(localStatic(ips))
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, static, 0o640)
}

func localStatic(ips []string) config.Static {
	return config.Static{
		DataDir:  "data",
		LogLevel: "debug", // Not lower, so that no password gets into the log.
		Hostname: "localhost",
		Listeners: map[string]config.Listener{
			"local": {
				IPs:         ips,
				TLS:         &config.TLS{KeyCerts: []config.KeyCert{{CertFile: "localhost.crt", KeyFile: "localhost.key"}}},
				SMTP:        config.SMTP{Enabled: true, Port: localSMTP},
				Submission:  config.Submission{Enabled: true, Port: localSubmission, NoRequireSTARTTLS: true},
				Submissions: config.Submissions{Enabled: true, Port: localSubmissions},
				IMAP:        config.IMAP{Enabled: true, Port: localIMAP, NoRequireSTARTTLS: true},
				IMAPS:       config.IMAPS{Enabled: true, Port: localIMAPS},
				MetricsHTTP: config.MetricsHTTP{Enabled: true, Port: localMetrics},
			},
		},
		Postmaster: config.Postmaster{Account: localAccount, Mailbox: "Postmaster"},
	}
}

func localDynamic() config.Dynamic {
	return config.Dynamic{
		Domains: map[string]config.Domain{"localhost": {LocalpartCatchallSeparator: "+"}},
		Accounts: map[string]config.Account{
			localAccount: {
				Domain: "localhost", Destinations: map[string]config.Destination{localAddress: {}},
			},
		},
	}
}

// writeLocalCert writes a new key, and its certificate for localhost and the
// addresses, signed with itself.
func writeLocalCert(dir string, ips []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("making certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "localhost, mox for trying out " + strconv.Itoa(now.Year())},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    now.Add(-time.Hour), // Clocks differ.
		NotAfter:     now.Add(localCertTime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, ip := range ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("making certificate: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("making key: %w", err)
	}
	files := []struct {
		name, kind string
		raw        []byte
		perm       fs.FileMode
	}{
		{"localhost.key", "PRIVATE KEY", raw, 0o600},
		{"localhost.crt", "CERTIFICATE", cert, 0o644},
	}
	for _, f := range files {
		text := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.raw})
		if err := atomicfile.WriteFile(filepath.Join(dir, f.name), text, f.perm); err != nil {
			return err
		}
	}
	return nil
}
