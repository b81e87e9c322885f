package authdb

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/mjl-/bstore"
)

const (
	// certificateMax bounds a certificate in bytes. Only its key matters, but it is
	// kept as it was given.
	certificateMax = 16 << 10

	// keysMax bounds the keys of an account.
	keysMax = 100

	// rsaBitsMin is the least size of an RSA key.
	rsaBitsMin = 2048
)

var (
	// ErrNoKey means no such TLS public key is registered.
	ErrNoKey = errors.New("authdb: TLS public key is not registered")

	// ErrKeyExists means the key is registered already, perhaps for another account.
	ErrKeyExists = errors.New("authdb: TLS public key is registered already")

	// ErrKey means a certificate or its key can't be used, or there are too many.
	// The text is for the user.
	ErrKey = errors.New("TLS public key is not possible")
)

// Fingerprint returns what identifies the key of a certificate: the SHA-256 of its
// SubjectPublicKeyInfo, in raw base64url. Whatever else is in the certificate can
// change.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// AddTLSPublicKey registers the key of k.CertDER for k.Account. It computes
// Fingerprint and Type, and takes the certificate's common name for an empty Name;
// the row as stored is returned. That LoginAddress is one of the account's is up
// to the caller. The error is ErrKey or ErrKeyExists for what the user can change.
func (db *DB) AddTLSPublicKey(ctx context.Context, k TLSPublicKey) (TLSPublicKey, error) {
	if k.Account == "" || k.LoginAddress == "" {
		return TLSPublicKey{}, fmt.Errorf("%w: it needs an account and a login address", ErrKey)
	}
	if err := k.fill(); err != nil {
		return TLSPublicKey{}, err
	}
	err := db.file.Write(ctx, func(tx *bstore.Tx) error {
		err := tx.Get(&TLSPublicKey{Fingerprint: k.Fingerprint})
		if err == nil {
			return ErrKeyExists
		} else if !errors.Is(err, bstore.ErrAbsent) {
			return err
		}
		n, err := bstore.QueryTx[TLSPublicKey](tx).FilterEqual("Account", k.Account).Count()
		if err != nil {
			return err
		}
		if n >= keysMax {
			return fmt.Errorf("%w: account has %d of them", ErrKey, n)
		}
		return tx.Insert(&k)
	})
	if err != nil {
		return TLSPublicKey{}, fmt.Errorf("adding TLS public key for %q: %w", k.Account, err)
	}
	return k, nil
}

// fill sets the fields that come from the certificate.
func (k *TLSPublicKey) fill() error {
	if len(k.CertDER) > certificateMax {
		return fmt.Errorf("%w: certificate is larger than %d bytes", ErrKey, certificateMax)
	}
	cert, err := x509.ParseCertificate(k.CertDER)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	if k.Type, err = keyType(cert.PublicKey); err != nil {
		return err
	}
	k.Fingerprint = Fingerprint(cert)
	if k.Name == "" {
		k.Name = cert.Subject.CommonName
	}
	k.Name = clean(k.Name)
	return nil
}

// keyType names the kind and size of a key that can be used.
func keyType(key any) (string, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n >= rsaBitsMin {
			return fmt.Sprintf("rsa%d", n), nil
		}
		return "", fmt.Errorf("%w: RSA with less than %d bits", ErrKey, rsaBitsMin)
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsap%d", key.Params().BitSize), nil
	case ed25519.PublicKey:
		return "ed25519", nil
	}
	return "", fmt.Errorf("%w: a key of type %T", ErrKey, key)
}

// TLSPublicKey returns a key by fingerprint. The error is ErrNoKey if there is
// none.
func (db *DB) TLSPublicKey(ctx context.Context, fingerprint string) (TLSPublicKey, error) {
	k := TLSPublicKey{Fingerprint: fingerprint}
	err := db.file.Get(ctx, &k)
	switch {
	case fingerprint == "" || errors.Is(err, bstore.ErrAbsent):
		return TLSPublicKey{}, ErrNoKey
	case err != nil:
		return TLSPublicKey{}, fmt.Errorf("looking up TLS public key: %w", err)
	}
	return k, nil
}

// TLSPublicKeys returns the keys of an account, oldest first; of all accounts, if
// it is empty.
func (db *DB) TLSPublicKeys(ctx context.Context, account string) ([]TLSPublicKey, error) {
	q := bstore.QueryDB[TLSPublicKey](ctx, db.file)
	if account != "" {
		q.FilterEqual("Account", account)
	}
	keys, err := q.SortAsc("Created", "Fingerprint").List()
	if err != nil {
		return nil, fmt.Errorf("listing TLS public keys of %q: %w", account, err)
	}
	return keys, nil
}

// RemoveTLSPublicKey removes a key by fingerprint. Connections that logged in with
// it stay. The error is ErrNoKey if there is none.
func (db *DB) RemoveTLSPublicKey(ctx context.Context, fingerprint string) error {
	err := db.file.Write(ctx, func(tx *bstore.Tx) error { return tx.Delete(&TLSPublicKey{Fingerprint: fingerprint}) })
	switch {
	case fingerprint == "" || errors.Is(err, bstore.ErrAbsent):
		return ErrNoKey
	case err != nil:
		return fmt.Errorf("removing TLS public key: %w", err)
	}
	return nil
}

// RemoveTLSPublicKeys removes all keys of an account, and returns how many. It
// belongs to the removal of an account: another of the same name has other users.
func (db *DB) RemoveTLSPublicKeys(ctx context.Context, account string) (removed int, err error) {
	err = db.file.Write(ctx, func(tx *bstore.Tx) error {
		removed, err = bstore.QueryTx[TLSPublicKey](tx).FilterEqual("Account", account).Delete()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("removing TLS public keys of %q: %w", account, err)
	}
	return removed, nil
}
