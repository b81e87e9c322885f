package resolver

import (
	"fmt"
	"sync"

	"github.com/mjl-/mox/dns"
)

// Limits of one lookup with all its aliases and all that is needed to validate
// them. What mail needs stays far below: a name in a signed zone costs 5 to 9
// questions if nothing is known, about as many signatures, and 3 to 5 hashes. A
// lookup beyond a limit ends with dns.ErrTemporary.
//
// They bound what zones can cost that were made for it: many keys with one tag and
// many signatures for each of them (CVE-2023-50387), and names with many labels
// that are hashed many times each (CVE-2023-50868).
const (
	// queriesMax bounds questions to servers. The longest chain of mail is that of
	// an IPv6 address: 34 labels, each of which may have to be asked for.
	queriesMax = 80

	// signaturesMax bounds signatures verified, each with one key. At worst one takes
	// about a millisecond.
	signaturesMax = 100

	// signaturesPerSet bounds them for one set of records: two algorithms, and two
	// keys of each, while keys are replaced, and some that are wrong.
	signaturesPerSet = 8

	// collisionsMax bounds the keys tried for one signature: keys of one zone that
	// have the same tag and algorithm. By chance there are hardly ever two.
	collisionsMax = 3

	// hashesMax bounds names hashed for NSEC3, each at most 1+iterationsMax times.
	hashesMax = 150

	// iterationsMax bounds the additional times a name is hashed, RFC 9276, section
	// 3.2. Beyond it a zone's proofs are taken as if it were not signed.
	iterationsMax = 100

	// keysMax bounds the keys of a zone, delegationsMax its DS records. Of either
	// there are at most a handful.
	keysMax        = 64
	delegationsMax = 16

	// denialsMax bounds the NSEC or NSEC3 records looked at in one reply. A proof
	// needs at most three; replies with aliases can have one for each.
	denialsMax = 20

	// signersMax bounds the zones that records claim to be signed by.
	signersMax = 2
)

// errBudget comes with what was used up.
var errBudget = fmt.Errorf("%w: looking up costs too much", dns.ErrTemporary)

// Cost is what a lookup has taken: what an attacker could want to make much of.
type Cost struct {
	Queries    int // Questions to servers, without repetitions.
	Signatures int // Verified with a key each, valid or not.
	Hashes     int // Names hashed for NSEC3.
}

// budget is what a lookup has spent. Who made the lookup may have left while others
// wait for what it asked, so it is safe for concurrent use.
type budget struct {
	mu    sync.Mutex
	spent Cost
}

// cost returns what was spent.
func (b *budget) cost() Cost {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spent
}

func (b *budget) query() error {
	return b.spend(&b.spent.Queries, queriesMax, "questions to servers")
}

func (b *budget) signature() error {
	return b.spend(&b.spent.Signatures, signaturesMax, "signatures to verify")
}

func (b *budget) hash() error {
	return b.spend(&b.spent.Hashes, hashesMax, "names to hash for NSEC3")
}

// spend counts one in n, which is part of spent.
func (b *budget) spend(n *int, limit int, what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *n >= limit {
		return tooMany(limit, what)
	}
	*n++
	return nil
}

// tooMany is an error for more of something than there may be.
func tooMany(limit int, what string) error {
	return fmt.Errorf("%w: more than %d %s", errBudget, limit, what)
}
