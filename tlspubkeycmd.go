package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/authdb"
)

const tlspubkeyListHelp = `List TLS public keys, with which users log in.

The columns are the fingerprint, the type, the name, the account, and the address
that logs in; "no preauth" is behind those with which IMAP connections don't begin
logged in.

	-json  print an array with all there is to know of each
`

const tlspubkeyGetHelp = `Print a TLS public key, and its certificate in PEM form.

A fingerprint that begins with - comes behind --.

	-json  print it as JSON
`

const tlspubkeyAddHelp = `Let who has the key of a certificate log in.

The certificate is read from standard input, in PEM form. Only its key matters: who
issued it, and until when it is valid, does not. A private key beside it is not sent
to the server. The address is one of the account that the key is for; by default the
name is the certificate's common name.

	-no-imap-preauth  IMAP connections don't begin logged in: the client chooses
	                  an address with AUTHENTICATE EXTERNAL
	-json             print the key as JSON
`

const tlspubkeyRmHelp = `Remove a TLS public key.

Nobody can log in with it any more, and all connections of its account are ended. A
fingerprint that begins with - comes behind --.

	-json  print what it was as JSON
`

const tlspubkeyGenHelp = `Make a private key and a certificate to log in with.

Three files are made that only you can read, with the time in their names:

	stem.TIME.ed25519privatekey.pkcs8.pem
	stem.TIME.certificate.pem, for "config tlspubkey add"
	stem.TIME.ed25519privatekey-certificate.pem, with both

On standard error are the private key as sendmail's ClientAuthEd25519PrivateKey has
it, and the fingerprint.
`

// Limits of certificates.
const (
	certificateInputMax = 64 << 10                   // Bytes of a file with a certificate, and perhaps its key.
	certificateTime     = 100 * 365 * 24 * time.Hour // That a new one is valid: nobody looks at it.
)

func runTLSPubkeyList(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	req := admin.TLSPublicKeyListRequest{}
	switch args := flags.Args(); len(args) {
	case 0:
	case 1:
		req.Account = args[0]
	default:
		return &usageError{}
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.TLSPublicKeyList](ctx, c, "tlsPublicKeyList", req)
	if err != nil {
		return err
	}
	return inv.print(flags.json, list.Keys, func() {
		w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
		for _, k := range list.Keys {
			preauth := ""
			if k.NoIMAPPreauth {
				preauth = "\tno preauth"
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s%s\n", k.Fingerprint, k.Type, cell(k.Name, keyNameMax), k.Account, k.LoginAddress, preauth)
		}
		_ = w.Flush() // As with other lists.
	})
}

// keyNameMax is the width of names in lists, in characters.
const keyNameMax = 40

func runTLSPubkeyGet(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "tlsPublicKeyGet", admin.TLSPublicKeyRequest{Fingerprint: inv.args[0]}, func(k admin.TLSPublicKey) {
		inv.printf("fingerprint   %s\ntype          %s\nname          %s\naccount       %s\nlogin address %s\nIMAP preauth  %v\ncreated       %s\n\n%s",
			k.Fingerprint, k.Type, k.Name, k.Account, k.LoginAddress, !k.NoIMAPPreauth, tableTime(k.Created), k.Certificate)
	})
}

func runTLSPubkeyAdd(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	req := admin.TLSPublicKeyAddRequest{}
	flags.BoolVar(&req.NoIMAPPreauth, "no-imap-preauth", false, "")
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	switch args := flags.Args(); len(args) {
	case 1:
		req.LoginAddress = args[0]
	case 2:
		req.LoginAddress, req.Name = args[0], args[1]
	default:
		return &usageError{}
	}
	var err error
	if req.Certificate, err = readCertificate(inv.stdin); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "tlsPublicKeyAdd", req, func(k admin.TLSPublicKey) {
		inv.printf("TLS public key %s added for %s of account %s\n", k.Fingerprint, k.LoginAddress, k.Account)
	})
}

// readCertificate returns the one certificate in what r has, in PEM form.
func readCertificate(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, certificateInputMax+1))
	if err != nil {
		return "", fmt.Errorf("reading certificate: %w", err)
	}
	if len(text) > certificateInputMax {
		return "", fmt.Errorf("standard input has more than %d bytes, too many for a certificate", certificateInputMax)
	}
	var found []byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			continue
		}
		if found != nil {
			return "", errors.New("standard input has several certificates, where one is needed")
		}
		found = pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
	}
	if found == nil {
		return "", errors.New("standard input has no certificate in PEM form")
	}
	return string(found), nil
}

// Types of PEM blocks.
const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
)

func runTLSPubkeyRm(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "tlsPublicKeyRemove", admin.TLSPublicKeyRequest{Fingerprint: inv.args[0]}, func(k admin.TLSPublicKey) {
		inv.printf("TLS public key %s removed from account %s\n", k.Fingerprint, k.Account)
	})
}

func runTLSPubkeyGen(_ context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 1); err != nil {
		return err
	}
	now := time.Now()
	k, err := newLoginKey(filepath.Base(inv.args[0]), now)
	if err != nil {
		return err
	}
	names, err := k.write(inv.args[0] + "." + now.UTC().Format("20060102T150405Z"))
	if err != nil {
		return err
	}
	for _, name := range names {
		_, _ = fmt.Fprintf(inv.stderr, "wrote %s\n", name)
	}
	_, _ = fmt.Fprintf(inv.stderr, "private key, as raw-url-base64 seed: %s\nfingerprint of the public key: %s\n", k.seed, k.fingerprint)
	return nil
}

// loginKey is a new key to log in with.
type loginKey struct {
	private, certificate []byte // In PEM.
	seed                 string // Of the private key, in raw base64url.
	fingerprint          string
}

// newLoginKey makes a key, with a certificate that is signed with itself.
func newLoginKey(name string, now time.Time) (loginKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return loginKey{}, fmt.Errorf("making key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return loginKey{}, fmt.Errorf("making key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return loginKey{}, fmt.Errorf("making certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateTime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return loginKey{}, fmt.Errorf("making certificate: %w", err)
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		return loginKey{}, fmt.Errorf("making certificate: %w", err)
	}
	return loginKey{
		private:     pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der}),
		certificate: pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert}),
		seed:        base64.RawURLEncoding.EncodeToString(private.Seed()),
		fingerprint: authdb.Fingerprint(parsed),
	}, nil
}

// write writes the files, all or none, and returns their names. Files that are
// there stay.
func (k loginKey) write(stem string) (names []string, err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, name := range names {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	for _, file := range []struct {
		name string
		text []byte
	}{
		{stem + ".ed25519privatekey.pkcs8.pem", k.private},
		{stem + ".certificate.pem", k.certificate},
		{stem + ".ed25519privatekey-certificate.pem", bytes.Join([][]byte{k.private, k.certificate}, nil)},
	} {
		f, err := os.OpenFile(file.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return names, fmt.Errorf("writing key: %w", err)
		}
		names = append(names, file.name)
		_, err = f.Write(file.text)
		if err := errors.Join(err, f.Close()); err != nil {
			return names, fmt.Errorf("writing key: %w", err)
		}
	}
	return names, nil
}
