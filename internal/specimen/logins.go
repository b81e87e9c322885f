package specimen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/store"
)

// makeLogins leaves login attempts and a TLS public key.
func (s *specimen) makeLogins(ctx context.Context) error {
	cert, err := s.certificate()
	if err != nil {
		return err
	}
	attempts := []authdb.LoginAttempt{
		{
			Account: Main, Login: Main + "@" + Domain, RemoteIP: "192.0.2.3", LocalIP: "192.0.2.2", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
			Protocol: "imap", UserAgent: "client 1.0", Mechanism: "scram-sha-256-plus", Result: authdb.OK, Count: 1, First: s.now, Last: s.now,
		},
		{
			Account: Main, Login: Main + "@" + Domain, RemoteIP: "192.0.2.4", LocalIP: "192.0.2.2",
			Protocol: "smtp", Mechanism: "plain", Result: authdb.BadPassword, Count: 1, First: s.now, Last: s.now,
		},
		{
			Account: authdb.UnknownAccount, Login: "root", RemoteIP: "192.0.2.5", LocalIP: "192.0.2.2",
			Protocol: "imap", Mechanism: "login", Result: authdb.BadUser, Count: 2, First: s.now, Last: s.now,
		},
	}
	return s.withLogins(func(db *authdb.DB) error {
		_, err := db.AddTLSPublicKey(ctx, authdb.TLSPublicKey{
			Created: s.now, Name: "laptop", NoPreauth: true, CertDER: cert, Account: Main, LoginAddress: Main + "@" + Domain,
		})
		return errors.Join(err, db.AddLoginAttempts(ctx, attempts))
	})
}

// certificate returns a new certificate of a client.
func (s *specimen) certificate() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "laptop"}, NotBefore: s.now, NotAfter: s.now.Add(farAhead),
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// makeUnwritten inserts rows of types that nothing writes yet. They are as later
// versions may find them.
func (s *specimen) makeUnwritten(ctx context.Context) error {
	account := s.path("accounts", Main, "index.db")
	token := sha256.Sum256([]byte("token"))
	return errors.Join(
		insert(ctx, account, store.Training{EmailID: 1, ModSeq: 2, Junk: true}),
		insert(ctx, s.path("auth.db"), authdb.WebSession{
			TokenHash: hex.EncodeToString(token[:]), CSRFHash: hex.EncodeToString(token[:]),
			Account: Main, LoginAddress: Main + "@" + Domain, Created: s.now, Expires: s.now.Add(24 * time.Hour),
		}),
	)
}

// insert inserts a row into the database at path, which nobody has open.
func insert[T any](ctx context.Context, path string, row T) error {
	var zero T
	kind, schema, err := database.Schema(path)
	if err != nil {
		return err
	}
	db, err := database.Open(path, kind, schema, zero)
	if err != nil {
		return err
	}
	if err := errors.Join(db.Insert(ctx, &row), db.Close()); err != nil {
		return fmt.Errorf("inserting %T: %w", row, err)
	}
	return nil
}
