package resolver

import (
	"time"

	"github.com/mjl-/mox/dns"
)

// Status is how a Resolver works now, as (*Resolver).Status() returns it.
type Status struct {
	Mode Mode // As configured.

	// Validating tells whether answers are validated by ourselves. Always so in
	// mode validate, never in system-ad. In mode auto it is false until the first
	// lookup, and while no server passes DNSSEC records on.
	Validating bool

	// Stripped tells that mode auto found only servers that do not pass DNSSEC
	// records on, since when. Answers are authentic then only if a trusted server
	// says so.
	Stripped time.Time

	Servers []ServerStatus
}

// ServerStatus is what is known of a server.
type ServerStatus struct {
	Addr    string // With port.
	Trusted bool   // Its AD bit counts, in mode system-ad and what auto falls back to.
	DNSSEC  string // "passes", "strips" or "unknown".
	Slow    bool   // It did not reply lately, and is asked after the others.
}

// Checked is what (*Resolver).Check(ctx) found.
type Checked struct {
	Status Status

	// Servers has a line for each server, in their order.
	Servers []CheckedServer

	// Root is whether the keys of the root validate with our trust anchors.
	Root Verdict
	Err  error // Why not. It can be of the network.

	// Clock is not zero if a wrong clock is likely to be the reason: how far it is
	// off at least, positive if it is ahead.
	Clock time.Duration

	Problems []string // Sentences for the operator. None if all is well.
}

// CheckedServer is a server, as it replies.
type CheckedServer struct {
	ServerStatus
	Err      error         // It does not reply, or can't.
	Took     time.Duration // For the first reply.
	AD       bool          // It validates by itself: it sets AD for the root's keys.
	TCP      bool          // It replies over TCP too.
	EDNS     bool
	Cookies  bool // RFC 7873.
	Extended *dns.Extended
}
