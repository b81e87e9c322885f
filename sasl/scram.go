package sasl

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	_ "crypto/sha1" // SCRAM-SHA-1 is all that some have.
	_ "crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// scramMessageMax bounds a message in bytes: both names, nonce and room for
	// extensions.
	scramMessageMax = 4 * fieldMax

	// scramNonceSize is the random part of a nonce, in bytes. Half of it would do:
	// each side adds its own.
	scramNonceSize = 18

	// SCRAMIterationsMin is what a client computes at least (RFC 5802, section 5.1):
	// with fewer who listens, or an impostor, could guess the password sooner.
	SCRAMIterationsMin = 4096

	// SCRAMIterationsMax is what a client computes at most: about half a second.
	// Beyond it a server wants to keep us busy.
	SCRAMIterationsMax = 1_000_000
)

// SCRAMKeys is what a server keeps of a password for SCRAM (RFC 5802, section 3).
// Who has it can't log in.
type SCRAMKeys struct {
	Stored []byte
	Server []byte
}

// DeriveSCRAM derives the keys of a password, which is prepared.
func DeriveSCRAM(h crypto.Hash, prepared string, salt []byte, iterations int) (SCRAMKeys, error) {
	client, server, err := saltedKeys(h, prepared, salt, iterations)
	if err != nil {
		return SCRAMKeys{}, err
	}
	return SCRAMKeys{Stored: digest(h, client), Server: server}, nil
}

// saltedKeys returns ClientKey and ServerKey.
func saltedKeys(h crypto.Hash, prepared string, salt []byte, iterations int) (client, server []byte, err error) {
	salted, err := pbkdf2.Key(func() hash.Hash { return h.New() }, prepared, salt, iterations, h.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("deriving SCRAM keys: %w", err)
	}
	return mac(h, salted, "Client Key"), mac(h, salted, "Server Key"), nil
}

func mac(h crypto.Hash, key []byte, text string) []byte {
	m := hmac.New(h.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func digest(h crypto.Hash, b []byte) []byte {
	sum := h.New()
	sum.Write(b)
	return sum.Sum(nil)
}

// scramName returns the name of the mechanism, empty for a hash that has none.
func scramName(h crypto.Hash, plus bool) string {
	switch {
	case h == crypto.SHA256 && plus:
		return SCRAM256Plus
	case h == crypto.SHA256:
		return SCRAM256
	case h == crypto.SHA1 && plus:
		return SCRAM1Plus
	case h == crypto.SHA1:
		return SCRAM1
	}
	return ""
}

// newNonce returns a nonce: printable, without comma.
func newNonce(random io.Reader) (string, error) {
	b := make([]byte, scramNonceSize)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("making nonce: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// attributes are the parts of a message between commas. It is read from the
// front; the first failure stays in err.
type attributes struct {
	rest []string
	err  error
}

func newAttributes(message string) *attributes {
	a := &attributes{rest: strings.Split(message, ",")}
	if len(message) > scramMessageMax || !utf8.ValidString(message) || strings.ContainsRune(message, 0) {
		a.fail("message of %d bytes, or not text", len(message))
	}
	return a
}

func (a *attributes) fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf("%w: "+format, append([]any{ErrMessage}, args...)...)
	}
}

// part takes the next part, whatever it is.
func (a *attributes) part() string {
	if a.err == nil && len(a.rest) == 0 {
		a.fail("message is too short")
	}
	if a.err != nil {
		return ""
	}
	p := a.rest[0]
	a.rest = a.rest[1:]
	return p
}

// value takes the next part, an attribute of that name, and returns its value.
// Reserved extensions are mandatory, and we know none (RFC 5802, section 5.1).
func (a *attributes) value(name string) string {
	v, ok := strings.CutPrefix(a.part(), name+"=")
	if !ok || v == "" {
		a.fail("no attribute %q where it has to be", name)
		return ""
	}
	return v
}

// extensions takes up to n parts less than there are: what is not known is
// passed over.
func (a *attributes) extensions(keep int) {
	for a.err == nil && len(a.rest) > keep {
		p := a.part()
		if len(p) < 3 || p[1] != '=' || !isAlpha(p[0]) || p[0] == 'm' {
			a.fail("malformed or mandatory extension")
		}
	}
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// nonce takes a nonce: printable characters.
func (a *attributes) nonce() string {
	v := a.value("r")
	if strings.ContainsFunc(v, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		a.fail("nonce is not printable")
	}
	return v
}

// base64 takes an attribute in base64, as it must be written: one text for one
// value.
func (a *attributes) base64(name string) []byte {
	v := a.value(name)
	b, err := base64.StdEncoding.Strict().DecodeString(v)
	if err != nil || strings.ContainsAny(v, "\r\n") {
		a.fail("attribute %q is not base64", name)
	}
	return b
}

// saslName decodes a name, in which "," and "=" are written as =2C and =3D.
func (a *attributes) saslName(v string) string {
	name := nameDecoder.Replace(v)
	if strings.Count(v, "=") != strings.Count(v, "=2C")+strings.Count(v, "=3D") {
		a.fail(`"=" in a name without 2C or 3D behind`)
	}
	if err := checkField([]byte(name)); err != nil {
		a.fail("name of %d bytes", len(name))
	}
	return name
}

var (
	nameDecoder = strings.NewReplacer("=2C", ",", "=3D", "=")
	nameEncoder = strings.NewReplacer(",", "=2C", "=", "=3D")
)

// clientFirst is the client-first-message, RFC 5802, section 7.
type clientFirst struct {
	gs2       string // Header as sent, with its second comma.
	flag      byte   // 'n', 'y', 'p'.
	binding   string // Type of channel binding, if the flag is 'p'.
	authorize string
	bare      string // What is behind gs2.
	username  string
	nonce     string
}

func parseClientFirst(message string) (f clientFirst, err error) {
	a := newAttributes(message)
	flag := a.part()
	if name, ok := strings.CutPrefix(flag, "p="); ok && name != "" {
		f.flag, f.binding = 'p', name
	} else if flag == "n" || flag == "y" {
		f.flag = flag[0]
	} else {
		a.fail("malformed channel binding flag")
	}
	authorize := a.part()
	f.gs2 = flag + "," + authorize + ","
	if v, ok := strings.CutPrefix(authorize, "a="); ok && v != "" {
		f.authorize = a.saslName(v)
	} else if authorize != "" {
		a.fail("malformed authorization identity")
	}
	f.username = a.saslName(a.value("n"))
	f.nonce = a.nonce()
	a.extensions(0)
	if a.err != nil {
		return clientFirst{}, a.err
	}
	f.bare = message[len(f.gs2):]
	return f, nil
}

// serverFirst is the server-first-message.
type serverFirst struct {
	nonce      string
	salt       []byte
	iterations int
}

func (f serverFirst) format() string {
	return "r=" + f.nonce + ",s=" + base64.StdEncoding.EncodeToString(f.salt) + ",i=" + strconv.Itoa(f.iterations)
}

func parseServerFirst(message string) (f serverFirst, err error) {
	a := newAttributes(message)
	f.nonce = a.nonce()
	f.salt = a.base64("s")
	v := a.value("i")
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || v[0] == '0' {
		a.fail("malformed number of iterations")
	}
	f.iterations = int(n)
	a.extensions(0)
	if a.err != nil {
		return serverFirst{}, a.err
	}
	return f, nil
}

// clientFinal is the client-final-message.
type clientFinal struct {
	binding      []byte // The GS2 header again, and the data of the channel.
	nonce        string
	proof        []byte
	withoutProof string
}

func parseClientFinal(message string) (f clientFinal, err error) {
	a := newAttributes(message)
	f.binding = a.base64("c")
	f.nonce = a.nonce()
	a.extensions(1)
	f.proof = a.base64("p")
	if a.err != nil {
		return clientFinal{}, a.err
	}
	f.withoutProof = message[:strings.LastIndex(message, ",p=")]
	return f, nil
}

// parseServerFinal returns the server's signature, or ErrRefused with what the
// server says.
func parseServerFinal(message string) (signature []byte, err error) {
	a := newAttributes(message)
	if text, ok := strings.CutPrefix(message, "e="); ok && a.err == nil {
		text, _, _ = strings.Cut(text, ",")
		return nil, fmt.Errorf("%w: %+q", ErrRefused, text)
	}
	signature = a.base64("v")
	a.extensions(0)
	if a.err != nil {
		return nil, a.err
	}
	return signature, nil
}

// xor returns a XOR b, which have the same length.
func xor(a, b []byte) []byte {
	c := bytes.Clone(a)
	for i := range c {
		c[i] ^= b[i]
	}
	return c
}
