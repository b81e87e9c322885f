package dmarc

// difference is where two verdicts differ, with the text that says we are right, or
// why we chose so.
type difference struct{ ours, theirs, reason string }

const (
	// Reasons for SPF.
	spfError = "RFC 7208, section 4.6 and 5.2: a record that can't be understood, one that includes nothing, and several records are a permerror; rspamd counts them as a match of the rest"
	spfLimit = "RFC 7208, section 4.6.4: more than 10 lookups, or more than 2 that find nothing, are a permerror; rspamd has higher limits"

	// Reasons for DKIM.
	keyUse  = "RFC 6376, section 3.6.1: the tags k, h and s of a key say what it is for; rspamd verifies with it, or calls it a failure"
	testKey = "RFC 6376, section 3.6.1, tag t=y: mail with a key that is tested is treated as unsigned; either result leads to the same"
	expired = "RFC 6376, section 3.5, tag x: an expired signature may be taken as invalid; we tell so, rspamd ignores it"

	// Reasons for DMARC.
	several  = "RFC 9989, section 4.10, step 2: several records are discarded, as if there were none"
	newTag   = "RFC 9989, section 4.7, tags np and t: rspamd 3.4 is of RFC 7489"
	treeWalk = "RFC 9989, section 4.10: organisations and the records of public suffixes are found by the tree walk, with psd; rspamd has a list"
)

// differences are those that there are, by the name of the case.
var differences = map[string]difference{
	"spf syntax 192.0.2.1":     {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfError},
	"spf syntax 198.51.100.9":  {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfError},
	"spf two 192.0.2.1":        {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfError},
	"spf two 198.51.100.9":     {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfError},
	"spf missing 192.0.2.1":    {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfError},
	"spf missing 198.51.100.9": {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfError},
	"spf many 192.0.2.1":       {"spf=permerror dkim=none dmarc=fail/reject", "spf=pass dkim=none dmarc=pass", spfLimit},
	"spf many 198.51.100.9":    {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfLimit},
	"spf void 192.0.2.1":       {"spf=permerror dkim=none dmarc=fail/reject", "spf=pass dkim=none dmarc=pass", spfLimit},
	"spf void 198.51.100.9":    {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfLimit},
	"spf loop 192.0.2.1":       {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfLimit},
	"spf loop 198.51.100.9":    {"spf=permerror dkim=none dmarc=fail/reject", "spf=fail dkim=none dmarc=fail/reject", spfLimit},

	"a key of another algorithm": {"spf=none dkim=permerror dmarc=fail/reject", "spf=none dkim=fail dmarc=fail/reject", keyUse},
	"a key for reports only":     {"spf=none dkim=permerror dmarc=fail/reject", "spf=none dkim=pass dmarc=pass", keyUse},
	"a key for sha1 only":        {"spf=none dkim=permerror dmarc=fail/reject", "spf=none dkim=pass dmarc=pass", keyUse},
	"a key that is tested, fail": {"spf=none dkim=none dmarc=fail/reject", "spf=none dkim=fail dmarc=fail/reject", testKey},
	"expired":                    {"spf=none dkim=permerror dmarc=fail/reject", "spf=none dkim=none dmarc=fail/reject", expired},

	"two records":                   {"spf=none dkim=none dmarc=none", "spf=none dkim=none dmarc=permerror", several},
	"policy for what doesn't exist": {"spf=none dkim=none dmarc=fail/reject", "spf=none dkim=none dmarc=fail/none", newTag},
	"testing":                       {"spf=none dkim=none dmarc=fail/none", "spf=none dkim=none dmarc=fail/quarantine", newTag},
	"below a public suffix, without a record": {"spf=none dkim=pass dmarc=pass", "spf=none dkim=pass dmarc=none", treeWalk},
	"an organisation of its own":              {"spf=pass dkim=none dmarc=fail/reject", "spf=pass dkim=none dmarc=pass", treeWalk},
}
