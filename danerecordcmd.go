package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mjl-/mox/dane"
)

const daneMakeRecordHelp = `Make the TLSA record for a certificate or key (DANE).

The file, or what comes in, is PEM: the first certificate in it counts, or the first
key, private or public, if the selector is spki. What is printed is the value of the
record, for a name as _25._tcp.mail.example.org. "dane-ee spki sha2-256" is the one
for mail servers: it holds as long as the key does.

Usage:       pkix-ta, pkix-ee, dane-ta, dane-ee, or 0 to 3
Selector:    cert, spki, or 0 and 1
Match type:  full, sha2-256, sha2-512, or 0 to 2
`

// pemSizeMax bounds a file with certificates and keys, in bytes.
const pemSizeMax = 1 << 20

func runDANEMakeRecord(_ context.Context, inv *invocation) error {
	flags := inv.flagSet()
	if err := parseFlags(flags, inv.args); err != nil {
		return err
	}
	if n := flags.NArg(); n != 3 && n != 4 {
		return &usageError{}
	}
	usage, err1 := dane.ParseUsage(flags.Arg(0))
	selector, err2 := dane.ParseSelector(flags.Arg(1))
	matching, err3 := dane.ParseMatching(flags.Arg(2))
	if err := errors.Join(err1, err2, err3); err != nil {
		return &usageError{err.Error()}
	}
	text, err := inv.readPEM(flags.Arg(3))
	if err != nil {
		return err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		record, ok, err := recordOf(block, usage, selector, matching)
		if err != nil {
			return err
		}
		if ok {
			inv.printf("%s\n", record)
			return nil
		}
	}
	return fmt.Errorf("no certificate or key in it can be used for selector %s", selector)
}

// readPEM reads a file, or what comes in.
func (inv *invocation) readPEM(name string) ([]byte, error) {
	in := inv.stdin
	if name != "" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, pemSizeMax+1))
	if err == nil && len(text) > pemSizeMax {
		err = fmt.Errorf("more than %d bytes are no certificates and keys", pemSizeMax)
	}
	return text, err
}

// recordOf returns the record for a certificate or key, false if it is something
// else, or a key where a certificate is needed.
func recordOf(block *pem.Block, usage dane.Usage, selector dane.Selector, matching dane.Matching) (dane.Record, bool, error) {
	if block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return dane.Record{}, false, fmt.Errorf("parsing certificate: %w", err)
		}
		record, err := dane.MakeRecord(usage, selector, matching, cert)
		return record, err == nil, err
	}
	key, known, err := publicKey(block)
	if err != nil {
		return dane.Record{}, false, fmt.Errorf("parsing key: %w", err)
	}
	if !known || selector != dane.SPKI {
		return dane.Record{}, false, nil
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return dane.Record{}, false, err
	}
	record, err := dane.MakeKeyRecord(usage, matching, spki)
	return record, err == nil, err
}

// publicKey returns the public key of a block with a key, false for others.
func publicKey(block *pem.Block) (key crypto.PublicKey, known bool, err error) {
	var private any
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
		return key, true, err
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, true, errors.New("it can't be that of a TLS server")
	}
	return signer.Public(), true, nil
}
