package admin

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
)

// pemCertificate is the type of a PEM block with a certificate.
const pemCertificate = "CERTIFICATE"

// TLSPublicKey is a key with which somebody can log in, by showing a certificate
// that has it.
type TLSPublicKey struct {
	Fingerprint   string    `json:"fingerprint"` // SHA-256 of the public key, in raw base64url.
	Type          string    `json:"type"`        // As "ed25519", "ecdsap256" or "rsa2048".
	Name          string    `json:"name"`        // For people.
	Account       string    `json:"account"`
	LoginAddress  string    `json:"loginAddress"`
	NoIMAPPreauth bool      `json:"noImapPreauth"` // IMAP connections don't begin logged in.
	Created       time.Time `json:"created"`
	Certificate   string    `json:"certificate,omitempty"` // That was given, in PEM. Not in lists.
}

func tlsPublicKey(k authdb.TLSPublicKey) TLSPublicKey {
	return TLSPublicKey{
		Fingerprint: k.Fingerprint, Type: k.Type, Name: k.Name, Account: k.Account, LoginAddress: k.LoginAddress,
		NoIMAPPreauth: k.NoPreauth, Created: k.Created.UTC().Round(0),
	}
}

// TLSPublicKeyList is keys, the oldest first.
type TLSPublicKeyList struct {
	Keys []TLSPublicKey `json:"keys"`
}

// TLSPublicKeyListRequest is for TLSPublicKeyList.
type TLSPublicKeyListRequest struct {
	Account string `json:"account,omitempty"` // Empty: of all accounts.
}

// TLSPublicKeyList returns the keys of an account, or all.
func (a *Admin) TLSPublicKeyList(ctx context.Context, req TLSPublicKeyListRequest) (TLSPublicKeyList, error) {
	if _, ok := a.opts.Config().Dynamic.Accounts[req.Account]; !ok && req.Account != "" {
		return TLSPublicKeyList{}, noAccount(req.Account)
	}
	keys, err := a.opts.Logins.TLSPublicKeys(ctx, req.Account)
	if err != nil {
		return TLSPublicKeyList{}, err
	}
	list := TLSPublicKeyList{Keys: []TLSPublicKey{}}
	for _, k := range keys {
		list.Keys = append(list.Keys, tlsPublicKey(k))
	}
	return list, nil
}

// TLSPublicKeyRequest names a key.
type TLSPublicKeyRequest struct {
	Fingerprint string `json:"fingerprint"`
}

// TLSPublicKeyGet returns a key with its certificate.
func (a *Admin) TLSPublicKeyGet(ctx context.Context, req TLSPublicKeyRequest) (TLSPublicKey, error) {
	k, err := a.opts.Logins.TLSPublicKey(ctx, req.Fingerprint)
	if err != nil {
		return TLSPublicKey{}, noKey(req.Fingerprint, err)
	}
	res := tlsPublicKey(k)
	res.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: k.CertDER}))
	return res, nil
}

func noKey(fingerprint string, err error) error {
	if errors.Is(err, authdb.ErrNoKey) {
		return &Error{Code: NotFound, Message: fmt.Sprintf("no TLS public key %q", fingerprint)}
	}
	return err
}

// TLSPublicKeyAddRequest is for TLSPublicKeyAdd.
type TLSPublicKeyAddRequest struct {
	LoginAddress  string `json:"loginAddress"`            // Of the account that the key is for.
	Name          string `json:"name,omitempty"`          // Empty: the common name in the certificate.
	NoIMAPPreauth bool   `json:"noImapPreauth,omitempty"` // IMAP connections shall not begin logged in.
	Certificate   string `json:"certificate"`             // In PEM, without a private key. Nothing but its key matters.
}

// TLSPublicKeyAdd lets who has the key of a certificate log in.
func (a *Admin) TLSPublicKeyAdd(ctx context.Context, req TLSPublicKeyAddRequest) (TLSPublicKey, error) {
	address, err := parseFullAddress(req.LoginAddress)
	if err != nil {
		return TLSPublicKey{}, err
	}
	der, err := parseCertificate(req.Certificate)
	if err != nil {
		return TLSPublicKey{}, err
	}
	// Between the look at the configuration and the end nobody removes the account.
	a.opts.Keeper.mu.Lock()
	defer a.opts.Keeper.mu.Unlock()
	account, canonical, err := a.opts.Config().Login(address)
	switch {
	case errors.Is(err, config.ErrNoDomain):
		return TLSPublicKey{}, noDomain(address.Domain)
	case err != nil:
		return TLSPublicKey{}, &Error{Code: NotFound, Message: fmt.Sprintf("%s is not an address of an account", address)}
	}
	k, err := a.opts.Logins.AddTLSPublicKey(ctx, authdb.TLSPublicKey{
		Created: time.Now(), Name: req.Name, NoPreauth: req.NoIMAPPreauth, CertDER: der, Account: account, LoginAddress: canonical.String(),
	})
	if errors.Is(err, authdb.ErrKeyExists) {
		return TLSPublicKey{}, userError("this key is registered already")
	} else if err != nil {
		return TLSPublicKey{}, err
	}
	a.log.InfoContext(ctx, "TLS public key added", "fingerprint", k.Fingerprint, "account", account, "login", k.LoginAddress)
	return tlsPublicKey(k), nil
}

// parseCertificate returns the certificate in a PEM file.
func parseCertificate(text string) (der []byte, err error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, userError("no certificate in PEM form")
	case block.Type != pemCertificate || strings.TrimSpace(string(rest)) != "":
		return nil, userError("exactly one certificate is needed in PEM form, and nothing else: private keys must not leave their owners")
	}
	return block.Bytes, nil
}

// TLSPublicKeyRemove removes a key, and ends the sessions of its account: who has
// other credentials can log in again.
func (a *Admin) TLSPublicKeyRemove(ctx context.Context, req TLSPublicKeyRequest) (TLSPublicKey, error) {
	k, err := a.opts.Logins.TLSPublicKey(ctx, req.Fingerprint)
	if err == nil {
		err = a.opts.Logins.RemoveTLSPublicKey(ctx, req.Fingerprint)
	}
	if err != nil {
		return TLSPublicKey{}, noKey(req.Fingerprint, err)
	}
	a.log.InfoContext(ctx, "TLS public key removed", "fingerprint", k.Fingerprint, "account", k.Account)
	a.opts.EndSessions(k.Account)
	return tlsPublicKey(k), nil
}
