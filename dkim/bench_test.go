package dkim

import (
	"crypto"
	"crypto/rand"
	"strings"
	"testing"
)

// bench10KiB is a message of 10 KiB.
func bench10KiB() string {
	return mail + strings.Repeat("The quick brown fox jumps over the lazy dog, and does so again and again.\r\n", 136)
}

// BenchmarkVerify verifies a message of 10 KiB with a signature of RSA with 2048
// bits, whose key is at hand.
func BenchmarkVerify(b *testing.B) {
	key, err := GenerateRSA(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	r := &records{texts: map[string][]string{keyName1: {text(b, key)}}}
	for _, canon := range []Canonicalization{{}, {true, true}} {
		b.Run(canon.String(), func(b *testing.B) {
			msg := sign(b, bench10KiB(), Selector{Name: "sel", Key: key, Hash: "sha256", Canon: canon})
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if e := verify(b, r, msg, VerifyOptions{}); len(e) != 1 || e[0].Result != Pass {
					b.Fatalf("got %+v", e)
				}
			}
		})
	}
}

// BenchmarkSign signs a message of 10 KiB.
func BenchmarkSign(b *testing.B) {
	rsaKey, err := GenerateRSA(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		key  crypto.Signer
	}{{"rsa", rsaKey}, {"ed25519", testEd25519()}} {
		b.Run(c.name, func(b *testing.B) {
			msg := bench10KiB()
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				sign(b, msg, Selector{Name: "sel", Key: c.key, Hash: "sha256"})
			}
		})
	}
}
