package resolver

// Limits that tests from outside hold lookups to.
const (
	QueriesMax    = queriesMax
	SignaturesMax = signaturesMax
	HashesMax     = hashesMax
)
