package sasl

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

var theirHash = map[crypto.Hash]scram.HashGeneratorFcn{crypto.SHA1: scram.SHA1, crypto.SHA256: scram.SHA256}

// random returns a text of n of these characters.
func random(r *mathrand.Rand, n int, alphabet string) string {
	var b strings.Builder
	letters := []rune(alphabet)
	for range n {
		b.WriteRune(letters[r.IntN(len(letters))])
	}
	return b.String()
}

// ourClientTheirServer plays the two, and says how it ends.
func ourClientTheirServer(c Client, s *scram.ServerConversation) error {
	resp, _, err := c.Next(nil)
	for err == nil {
		var challenge string
		if challenge, err = s.Step(string(resp)); err != nil {
			return fmt.Errorf("server: %w", err)
		}
		var done bool
		if resp, done, err = c.Next([]byte(challenge)); done {
			if !s.Valid() {
				return fmt.Errorf("client is done, server is not")
			}
			return nil
		}
	}
	return fmt.Errorf("client: %w", err)
}

// theirClientOurServer is the other way round.
func theirClientOurServer(c *scram.ClientConversation, s Server) error {
	resp, err := c.Step("")
	for err == nil {
		challenge, done, serr := s.Next([]byte(resp))
		if serr != nil {
			return fmt.Errorf("server: %w", serr)
		}
		if resp, err = c.Step(string(challenge)); done && err == nil {
			if !c.Valid() {
				return fmt.Errorf("server is done, client is not")
			}
			return nil
		}
	}
	return fmt.Errorf("client: %w", err)
}

// TestSCRAMDifferential plays our clients and servers against another
// implementation, with random names and passwords, right and wrong.
func TestSCRAMDifferential(t *testing.T) {
	t.Parallel()
	seed := mathrand.Uint64()
	r := mathrand.New(mathrand.NewPCG(seed, 0))
	for i := range 40 {
		hash := []crypto.Hash{crypto.SHA1, crypto.SHA256}[i%2]
		username := random(r, 1+r.IntN(20), "abc@.=,äß€ ")
		password := random(r, 1+r.IntN(20), "abc,= äÖ世!\u3000")
		given := password
		if i%4 == 3 {
			given += "x"
		}
		salt := []byte(random(r, 1+r.IntN(20), "0123456789"))
		name := fmt.Sprintf("seed %d, round %d: %q with %q, client has %q", seed, i, username, password, given)

		keys, err := DeriveSCRAM(hash, prepare(password), salt, SCRAMIterationsMin)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := theirHash[hash].NewServer(func(u string) (scram.StoredCredentials, error) {
			if u != username {
				t.Errorf("%s: their server sees user %q", name, u)
			}
			return scram.StoredCredentials{
				KeyFactors: scram.KeyFactors{Salt: string(salt), Iters: SCRAMIterationsMin}, StoredKey: keys.Stored, ServerKey: keys.Server,
			}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c := &SCRAMClient{Hash: hash, Rand: rand.Reader, Username: username, Password: given}
		if err := ourClientTheirServer(c, theirs.NewConversation()); (err == nil) != (given == password) {
			t.Errorf("%s: our client, their server: %v", name, err)
		}

		client, err := theirHash[hash].NewClient(username, given, "")
		if err != nil {
			t.Fatal(err)
		}
		s := &SCRAMServer{Hash: hash, Rand: rand.Reader, Lookup: func(string) (SCRAMUser, error) {
			return SCRAMUser{salt, SCRAMIterationsMin, []SCRAMKeys{keys}}, nil
		}}
		if err := theirClientOurServer(client.NewConversation(), s); (err == nil) != (given == password) {
			t.Errorf("%s: their client, our server: %v", name, err)
		}
	}
}

// TestChannelDifferential does so with channel binding, of each type that the
// other implementation has.
func TestChannelDifferential(t *testing.T) {
	t.Parallel()
	cert := signedBy(t, ecdsaKey(t, elliptic.P256()))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, own := connectTo(t, &tls.Config{Certificates: []tls.Certificate{cert}}, version, nil)
		theirs := map[string]scram.ChannelBinding{}
		endPoint, err := scram.NewTLSServerEndpointBinding(&client)
		if err != nil {
			t.Fatal(err)
		}
		theirs[bindEndPoint] = endPoint
		if version == tls.VersionTLS12 {
			theirs[bindUnique] = scram.NewTLSUniqueBinding(client.TLSUnique)
		} else if theirs[bindExporter], err = scram.NewTLSExporterBinding(&client); err != nil {
			t.Fatal(err)
		}
		for name, binding := range theirs {
			c, err := scram.SHA256.NewClient("user", "pencil", "")
			if err != nil {
				t.Fatal(err)
			}
			s := server(t, crypto.SHA256, "pencil")
			s.Plus, s.PlusOffered, s.Channel = true, true, &Channel{State: &own, Certificate: cert.Leaf}
			if err := theirClientOurServer(c.NewConversationWithChannelBinding(binding), s); err != nil {
				t.Errorf("%x, %s: %v", version, name, err)
			}
		}
		credentials := func(string) (scram.StoredCredentials, error) {
			keys, err := DeriveSCRAM(crypto.SHA256, "pencil", []byte("salt"), SCRAMIterationsMin)
			return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: "salt", Iters: SCRAMIterationsMin}, StoredKey: keys.Stored, ServerKey: keys.Server}, err
		}
		s, err := scram.SHA256.NewServer(credentials)
		if err != nil {
			t.Fatal(err)
		}
		channel := ClientChannel(&client)
		c := &SCRAMClient{Hash: crypto.SHA256, Plus: true, PlusOffered: true, Channel: channel, Rand: rand.Reader, Username: "user", Password: "pencil"}
		if err := ourClientTheirServer(c, s.NewConversationWithChannelBindingRequired(theirs[channel.best()])); err != nil {
			t.Errorf("%x, our client with %s: %v", version, channel.best(), err)
		}
		// Their server notices the downgrade too.
		c = &SCRAMClient{Hash: crypto.SHA256, Channel: channel, Rand: rand.Reader, Username: "user", Password: "pencil"}
		if err := ourClientTheirServer(c, s.NewConversationWithChannelBinding(theirs[channel.best()])); err == nil {
			t.Errorf("%x: our client's flag y went unnoticed", version)
		}
	}
}
