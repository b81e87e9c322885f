// Package dane binds the certificates of TLS servers to their names in DNS, with
// TLSA records (RFC 6698, RFC 7671, RFC 7672 for SMTP): it looks records up, says
// which can be used, verifies certificates against them, and makes them.
//
// Records protect only as far as DNSSEC does. What resolving the names on the way
// to a server said of that is given in by callers: package delivery and the
// commands. Verifying is for tls.Config or for package smtpclient.
package dane

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mjl-/mox/dns"
)

// Usage says what a record is about, RFC 6698, section 2.1.1.
type Usage uint8

// The usages, with the names of RFC 7218.
const (
	PKIXTA Usage = 0 // A CA that must be in the chain, which must be valid by common CAs too.
	PKIXEE Usage = 1 // The server's own certificate, likewise.
	DANETA Usage = 2 // A CA, and no other is asked.
	DANEEE Usage = 3 // The server's own certificate: nothing else of it matters.
)

// Selector says which part of a certificate a record is about.
type Selector uint8

// The selectors. SPKI is the public key, SubjectPublicKeyInfo.
const (
	Cert Selector = 0
	SPKI Selector = 1
)

// Matching says how that part is given.
type Matching uint8

// The matching types.
const (
	Full   Matching = 0
	SHA256 Matching = 1
	SHA512 Matching = 2
)

// Names of values are those of RFC 7218.
var (
	usageNames    = []string{"PKIX-TA", "PKIX-EE", "DANE-TA", "DANE-EE"}
	selectorNames = []string{"Cert", "SPKI"}
	matchingNames = []string{"Full", "SHA2-256", "SHA2-512"}
)

// recordsMax bounds the usable records of a server. More than a few are never
// needed: for the key that is used and the one to come, of two or three algorithms.
const recordsMax = 64

// dataMax bounds the data of a record in bytes, as DNS does.
const dataMax = 1<<16 - 1

// String returns the name, or the number if there is none.
func (u Usage) String() string    { return nameOf(usageNames, uint8(u)) }
func (s Selector) String() string { return nameOf(selectorNames, uint8(s)) }
func (m Matching) String() string { return nameOf(matchingNames, uint8(m)) }

func nameOf(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return strconv.Itoa(int(n))
}

// ParseUsage parses a usage that is known: its name, in any case, or its number.
func ParseUsage(s string) (Usage, error) {
	n, err := parseName("usage", usageNames, s)
	return Usage(n), err
}

// ParseSelector is the same for a selector.
func ParseSelector(s string) (Selector, error) {
	n, err := parseName("selector", selectorNames, s)
	return Selector(n), err
}

// ParseMatching is the same for a matching type.
func ParseMatching(s string) (Matching, error) {
	n, err := parseName("matching type", matchingNames, s)
	return Matching(n), err
}

func parseName(what string, names []string, s string) (uint8, error) {
	for i, name := range names {
		if strings.EqualFold(s, name) || s == strconv.Itoa(i) {
			return uint8(i), nil
		}
	}
	return 0, fmt.Errorf("dane: %+q is no %s: those are %s, or their numbers from 0", s, what, strings.Join(names, ", "))
}

// Record is a TLSA record.
type Record struct {
	Usage    Usage
	Selector Selector
	Matching Matching
	Data     []byte
}

// String returns the record as in a zone file.
func (r Record) String() string {
	return fmt.Sprintf("%d %d %d %x", uint8(r.Usage), uint8(r.Selector), uint8(r.Matching), r.Data)
}

// ParseRecord parses a record as in a zone file, on one line: numbers, and data in
// hexadecimal, maybe with spaces in it. It need not be usable.
func ParseRecord(s string) (Record, error) {
	words := strings.Fields(s)
	if len(words) < 4 {
		return Record{}, errors.New("dane: a record has a usage, a selector, a matching type and data")
	}
	var numbers [3]uint8
	for i := range numbers {
		n, err := strconv.ParseUint(words[i], 10, 8)
		if err != nil {
			return Record{}, fmt.Errorf("dane: %+q is no number of 8 bits", words[i])
		}
		numbers[i] = uint8(n)
	}
	data, err := hex.DecodeString(strings.Join(words[3:], ""))
	if err != nil {
		return Record{}, fmt.Errorf("dane: data: %w", err)
	}
	if len(data) > dataMax {
		return Record{}, fmt.Errorf("dane: data has more than %d bytes", dataMax)
	}
	return Record{Usage(numbers[0]), Selector(numbers[1]), Matching(numbers[2]), data}, nil
}

// MakeRecord returns the record for a certificate. It fails for values that are not
// known.
func MakeRecord(usage Usage, selector Selector, matching Matching, cert *x509.Certificate) (Record, error) {
	part := cert.Raw
	if selector == SPKI {
		part = cert.RawSubjectPublicKeyInfo
	}
	return makeRecord(usage, selector, matching, part)
}

// MakeKeyRecord returns the record for a public key, in the form of
// SubjectPublicKeyInfo, DER.
func MakeKeyRecord(usage Usage, matching Matching, spki []byte) (Record, error) {
	return makeRecord(usage, SPKI, matching, spki)
}

func makeRecord(usage Usage, selector Selector, matching Matching, part []byte) (Record, error) {
	if usage > DANEEE || selector > SPKI || matching > SHA512 {
		return Record{}, fmt.Errorf("dane: no record has usage %s, selector %s and matching type %s", usage, selector, matching)
	}
	return Record{usage, selector, matching, associate(matching, part)}, nil
}

// associate returns the data of a record for a part of a certificate.
func associate(matching Matching, part []byte) []byte {
	switch matching {
	case SHA256:
		sum := sha256.Sum256(part)
		return sum[:]
	case SHA512:
		sum := sha512.Sum512(part)
		return sum[:]
	}
	return bytes.Clone(part)
}

// Usable returns the records that a client can use which knows these usages: what
// they say must be understood, and be well-formed. SMTPUsages are those of mail.
//
// Where there are digests by several algorithms, those by the strongest count only
// (RFC 7671, section 9). The records are in order, DANE-EE first. If there are more
// than 64 the last ones are left out.
func Usable(records []dns.TLSA, usages ...Usage) []Record {
	var list []Record
	for _, tlsa := range records {
		r := Record{Usage(tlsa.Usage), Selector(tlsa.Selector), Matching(tlsa.Matching), tlsa.Data}
		if slices.Contains(usages, r.Usage) && r.check() == nil {
			list = append(list, r)
		}
	}
	strong := slices.DeleteFunc(slices.Clone(list), func(r Record) bool {
		return slices.ContainsFunc(list, func(other Record) bool {
			return r.Usage == other.Usage && r.Selector == other.Selector && r.Matching == SHA256 && other.Matching == SHA512
		})
	})
	slices.SortFunc(strong, func(a, b Record) int {
		return cmp.Or(cmp.Compare(b.Usage, a.Usage), cmp.Compare(a.Selector, b.Selector), cmp.Compare(a.Matching, b.Matching), bytes.Compare(a.Data, b.Data))
	})
	return strong[:min(len(strong), recordsMax)]
}

// SMTPUsages returns the usages for mail between servers. Common CAs add nothing
// there, and records about them can't be used: RFC 7672, section 3.1.3.
func SMTPUsages() []Usage { return []Usage{DANETA, DANEEE} }

// AllUsages returns those for other protocols.
func AllUsages() []Usage { return []Usage{PKIXTA, PKIXEE, DANETA, DANEEE} }

// check returns why a record can't be used.
func (r Record) check() error {
	if r.Usage > DANEEE || r.Selector > SPKI || r.Matching > SHA512 {
		return errors.New("dane: unknown usage, selector or matching type")
	}
	if size := map[Matching]int{SHA256: sha256.Size, SHA512: sha512.Size}[r.Matching]; r.Matching != Full && len(r.Data) != size {
		return fmt.Errorf("dane: digest of %d bytes", len(r.Data))
	}
	if r.Matching != Full {
		return nil
	}
	var err error
	if r.Selector == Cert {
		_, err = x509.ParseCertificate(r.Data)
	} else {
		_, err = x509.ParsePKIXPublicKey(r.Data)
	}
	return err
}
