package resolver

// Cost is what a lookup has taken: what an attacker could want to make much of.
type Cost struct {
	Queries    int // Questions to servers, without repetitions.
	Signatures int // Verified with a key each, valid or not.
	Hashes     int // Names hashed for NSEC3.
}
