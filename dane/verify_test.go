package dane

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestVerifyAll has every usage, selector and matching type, about each certificate
// of a chain and about a stranger's, with the anchor presented and not.
func TestVerifyAll(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	roots := x509.NewCertPool()
	roots.AddCert(tree.root.Certificate)
	about := map[string]*issued{"root": tree.root, "middle": tree.middle, "leaf": tree.leaf, "stranger": tree.stranger}
	presented := map[string][]*x509.Certificate{
		"all": chain(tree.leaf, tree.middle, tree.root), "usual": chain(tree.leaf, tree.middle), "leaf only": chain(tree.leaf),
	}
	for usage := range Usage(4) {
		for selector := range Selector(2) {
			for matching := range Matching(3) {
				for who, cert := range about {
					for how, certs := range presented {
						r := mustMake(t, usage, selector, matching, cert)
						got, err := Verifier{Records: []Record{r}, Names: []string{"mx.example.org"}, Now: testNow, Roots: roots}.Verify(certs)
						what := fmt.Sprintf("%v %v %v about the %s, presenting %s", usage, selector, matching, who, how)
						if want := isGood(usage, matching, who, how); (err == nil) != want {
							t.Errorf("%s: got %v, want good: %v", what, err, want)
						}
						if err == nil && got.String() != r.String() {
							t.Errorf("%s: good by %v", what, got)
						}
					}
				}
			}
		}
	}
}

// isGood says what TestVerifyAll expects.
func isGood(usage Usage, matching Matching, who, how string) bool {
	switch usage {
	case DANEEE:
		return who == "leaf"
	case PKIXEE:
		return who == "leaf" && how != "leaf only" // Without what is between, no CA is reached.
	case PKIXTA:
		return (who == "middle" || who == "root") && how != "leaf only"
	}
	whole := matching == Full
	switch who {
	case "middle":
		return whole || how != "leaf only"
	case "root":
		return how == "all" || how == "usual" && whole
	}
	return false
}

func TestVerify(t *testing.T) {
	t.Parallel()
	good, late := newTree(t), newTree(t, expired)
	self := issue(t, "self", nil, named("mx.example.org"))
	old := issue(t, "old", nil, authority, expired)
	below := issue(t, "below", old, named("mx.example.org"))
	common := newTree(t, named(), func(c *x509.Certificate) { c.Subject.CommonName = "mx.example.org" })
	wild := newTree(t, named("*.example.org"))
	partly := newTree(t, named("m*.example.org"))
	narrow := issue(t, "narrow", nil, authority, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	under := issue(t, "under", narrow, authority)
	tooLow := issue(t, "low", under, named("mx.example.org"))
	plain := issue(t, "no authority", nil)
	forged := issue(t, "forged", plain, named("mx.example.org"))
	noMail := []string{"mail.example.com"}
	for _, test := range []struct {
		name    string
		usage   Usage
		about   *issued
		shown   []*x509.Certificate
		names   []string // Nil: mx.example.org.
		problem error    // Nil: good.
	}{
		{"DANE-EE with another name", DANEEE, good.leaf, chain(good.leaf), noMail, nil},
		{"DANE-EE that has expired", DANEEE, late.leaf, chain(late.leaf), nil, nil},
		{"DANE-EE without its chain", DANEEE, good.leaf, chain(good.leaf), nil, nil},
		{"DANE-EE about an authority", DANEEE, good.middle, chain(good.leaf, good.middle), nil, ErrMismatch},
		{"DANE-TA with another name", DANETA, good.root, chain(good.leaf, good.middle, good.root), noMail, x509.HostnameError{}},
		{"DANE-TA with no names", DANETA, good.root, chain(good.leaf, good.middle, good.root), []string{}, x509.HostnameError{}},
		{"DANE-TA with one of many names", DANETA, good.root, chain(good.leaf, good.middle, good.root), []string{"example.com", "mail.example.com", "mx.example.org"}, nil},
		{"DANE-TA with a certificate that has expired", DANETA, late.root, chain(late.leaf, late.middle, late.root), nil, x509.CertificateInvalidError{}},
		{"DANE-TA with an authority that has expired", DANETA, old, chain(below, old), nil, x509.CertificateInvalidError{}},
		{"DANE-TA of an intermediate", DANETA, good.middle, chain(good.leaf, good.middle), nil, nil},
		{"DANE-TA in another order", DANETA, good.root, chain(good.leaf, good.root, good.middle), nil, nil},
		{"DANE-TA with the common name", DANETA, common.root, chain(common.leaf, common.middle, common.root), nil, nil},
		{"DANE-TA with a common name that does not count", DANETA, good.root, chain(good.leaf, good.middle, good.root), []string{"leaf"}, x509.HostnameError{}},
		{"DANE-TA with a wildcard", DANETA, wild.root, chain(wild.leaf, wild.middle, wild.root), nil, nil},
		{"DANE-TA with a wildcard for one label only", DANETA, wild.root, chain(wild.leaf, wild.middle, wild.root), []string{"a.mx.example.org"}, x509.HostnameError{}},
		{"DANE-TA with a wildcard within a label", DANETA, partly.root, chain(partly.leaf, partly.middle, partly.root), nil, x509.HostnameError{}},
		{"DANE-TA of a certificate that signed itself", DANETA, self, chain(self), nil, nil},
		{"DANE-TA of the server's certificate", DANETA, good.leaf, chain(good.leaf, good.middle), nil, ErrMismatch},
		{"DANE-TA of what has not signed", DANETA, good.stranger, chain(good.leaf, good.middle, good.stranger), nil, x509.UnknownAuthorityError{}},
		{"DANE-TA with too long a path", DANETA, narrow, chain(tooLow, under, narrow), nil, x509.CertificateInvalidError{}},
		{"DANE-TA of what is no authority", DANETA, plain, chain(forged, plain), nil, x509.UnknownAuthorityError{}},
		{"DANE-EE, nothing shown", DANEEE, good.leaf, nil, nil, ErrNoCertificate},
	} {
		names := test.names
		if names == nil {
			names = []string{"mx.example.org"}
		}
		v := Verifier{Records: []Record{mustMake(t, test.usage, Cert, SHA256, test.about)}, Names: names, Now: testNow}
		_, err := v.Verify(test.shown)
		if !isLike(err, test.problem) {
			t.Errorf("%s: got %v, want %T %v", test.name, err, test.problem, test.problem)
		}
	}
	if _, err := (Verifier{Now: testNow}).Verify(chain(good.leaf)); !errors.Is(err, ErrNoRecords) {
		t.Errorf("no records: got %v", err)
	}
}

// isLike tells whether err is want, or of its type if that is one of package x509.
func isLike(err, want error) bool {
	var ok bool
	switch want.(type) { //nolint:errorlint // It is a sample, that wraps nothing.
	case x509.HostnameError:
		_, ok = errors.AsType[x509.HostnameError](err)
	case x509.CertificateInvalidError:
		_, ok = errors.AsType[x509.CertificateInvalidError](err)
	case x509.UnknownAuthorityError:
		_, ok = errors.AsType[x509.UnknownAuthorityError](err)
	default:
		ok = errors.Is(err, want)
	}
	return ok
}

// TestVerifySeveral has several records: any of them may make a certificate good.
func TestVerifySeveral(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	leaf, root := mustMake(t, DANEEE, SPKI, SHA256, tree.leaf), mustMake(t, DANETA, SPKI, Full, tree.root)
	wrong, other := mustMake(t, DANEEE, SPKI, SHA256, tree.stranger), mustMake(t, DANETA, SPKI, Full, tree.stranger)
	for _, test := range []struct {
		name    string
		records []Record
		want    string // Empty: none.
	}{
		{"the key to come and that in use", []Record{wrong, leaf}, leaf.String()},
		{"the certificate before an authority", []Record{root, leaf}, leaf.String()},
		{"an authority where the certificate is wrong", []Record{wrong, root}, root.String()},
		{"one of several authorities", []Record{other, root}, root.String()},
		{"none of them", []Record{wrong, other}, ""},
	} {
		r, err := Verifier{Records: test.records, Names: []string{"mx.example.org"}, Now: testNow}.Verify(chain(tree.leaf, tree.middle))
		if err == nil && r.String() != test.want || err != nil && test.want != "" {
			t.Errorf("%s: got %v, %v, want %q", test.name, r, err, test.want)
		}
	}
}

// TestVerifyBound has more certificates than are looked at.
func TestVerifyBound(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	long := slices.Concat(chain(tree.leaf), slices.Repeat(chain(tree.stranger), chainMax-2), chain(tree.middle))
	v := Verifier{Records: []Record{mustMake(t, DANETA, Cert, SHA256, tree.middle)}, Names: []string{"mx.example.org"}, Now: testNow}
	if _, err := v.Verify(long); err != nil {
		t.Errorf("%d certificates: %v", len(long), err)
	}
	if _, err := v.Verify(slices.Insert(long, 1, tree.stranger.Certificate)); !errors.Is(err, ErrMismatch) {
		t.Errorf("one more: got %v", err)
	}
}

// TestVerifyConnection verifies within a handshake.
func TestVerifyConnection(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	for _, about := range []*issued{tree.leaf, tree.stranger} {
		v := Verifier{Records: []Record{mustMake(t, DANEEE, SPKI, SHA256, about)}, Now: testNow}
		err := v.VerifyConnection(tls.ConnectionState{PeerCertificates: chain(tree.leaf)})
		if (err == nil) != (about == tree.leaf) {
			t.Errorf("record about the %s: got %v", about.Subject.CommonName, err)
		}
	}
}
