package screen

import "time"

const day = 24 * time.Hour

// Thresholds are the figures that decisions are made by. Fractions are from 0 to 1.
type Thresholds struct {
	AddressWindow time.Duration // How far back mail of the same address counts.
	DomainWindow  time.Duration // Of the same domain, and organisational domain.
	SignerWindow  time.Duration // Of the same verified domains of DKIM, MAIL FROM and EHLO.
	NetworkWindow time.Duration // Of the same networks.

	DomainGood       float64 // More than this fraction not junk makes a domain good.
	DomainLocalparts int     // A domain with junk only is bad for certain if it is from so many addresses.
	SignerGood       float64 // Less than this fraction junk makes a verified domain good.
	SignerBad        float64 // More makes it bad.
	NetworkGood      float64 // Less than this fraction junk makes a network good.
	NetworkBad       float64 // More makes it bad.
	NetworkSure      float64 // At most this fraction, or at least the rest, is certain.
	NetworkMin       [3]int  // So many messages are enough, for each size of network.

	JunkStrict      float64 // Threshold for content if something else is suspicious.
	JunkVariation   float64 // The threshold of an account varies by up to this.
	PassMargin      float64 // A token is offered only so far below the threshold.
	TrustedMessages int     // So many messages that were not junk make a list, forwarder or sealer trusted.
}

// DefaultThresholds returns the thresholds that are used unless configured.
func DefaultThresholds() Thresholds {
	return Thresholds{
		AddressWindow: 3 * 365 * day, DomainWindow: 2 * 365 * day, SignerWindow: 182 * day, NetworkWindow: 91 * day,
		DomainGood: 0.8, DomainLocalparts: 3,
		SignerGood: 0.1, SignerBad: 0.9,
		NetworkGood: 0.25, NetworkBad: 0.75, NetworkSure: 0.1, NetworkMin: [3]int{2, 5, 10},
		JunkStrict: 0.25, JunkVariation: 0.05, PassMargin: 0.2,
		TrustedMessages: 3,
	}
}
