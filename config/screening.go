package config

import (
	"time"

	"github.com/mjl-/mox/screen"
)

// Screening has the figures by which mail from other servers is judged. What is
// absent, or zero, is as in screen.DefaultThresholds.
type Screening struct {
	AddressWindow time.Duration `sconf:"optional" sconf-doc:"How far back mail from the same address counts. If absent, 26280h (three years)."`
	DomainWindow  time.Duration `sconf:"optional" sconf-doc:"How far back mail from the same domain counts. If absent, 17520h (two years)."`
	SignerWindow  time.Duration `sconf:"optional" sconf-doc:"How far back mail counts that the same domains were verified for, by DKIM or SPF. If absent, 4368h (half a year)."`
	NetworkWindow time.Duration `sconf:"optional" sconf-doc:"How far back mail from the same network counts. If absent, 2184h (three months)."`

	DomainGood       float64 `sconf:"optional" sconf-doc:"A domain is good if more than this part of its mail was not junk. If absent, 0.8."`
	DomainLocalparts int     `sconf:"optional" sconf-doc:"Mail from a domain with junk only is refused if the junk was from so many addresses. If absent, 3."`
	SignerGood       float64 `sconf:"optional" sconf-doc:"A verified domain is good if less than this part of its mail was junk. If absent, 0.1."`
	SignerBad        float64 `sconf:"optional" sconf-doc:"A verified domain is bad if more than this part of its mail was junk. If absent, 0.9."`
	NetworkGood      float64 `sconf:"optional" sconf-doc:"A network is good if less than this part of its mail was junk. If absent, 0.25."`
	NetworkBad       float64 `sconf:"optional" sconf-doc:"A network is bad if more than this part of its mail was junk. If absent, 0.75."`
	NetworkSure      float64 `sconf:"optional" sconf-doc:"Mail is accepted or refused for its network alone if at most this part of the network's mail was something else. If absent, 0.1."`
	NetworkMin       []int   `sconf:"optional" sconf-doc:"That takes so many messages of the address itself (for IPv6, its /64), of the network around it (/26, /48) and of the one around that (/21, /32). Three numbers; if absent, 2, 5 and 10."`

	JunkStrict      float64 `sconf:"optional" sconf-doc:"Threshold of the junk filter for mail with something suspicious about it. If absent, 0.25."`
	JunkVariation   float64 `sconf:"optional" sconf-doc:"Thresholds of accounts vary by chance, by up to this, so that senders can't find out what gets through. If absent, 0.05."`
	TrustedMessages int     `sconf:"optional" sconf-doc:"Mailing lists and forwarders that break signatures are believed after so many of their messages were marked as not junk. If absent, 3."`
}

// networkSizes is the number of networks around an address.
const networkSizes = 3

// screening checks the figures.
func (s scope) screening(g Screening) {
	for name, d := range map[string]time.Duration{
		"AddressWindow": g.AddressWindow, "DomainWindow": g.DomainWindow, "SignerWindow": g.SignerWindow, "NetworkWindow": g.NetworkWindow,
	} {
		if d < 0 {
			s.in(name).bad("cannot be negative")
		}
	}
	for name, f := range map[string]float64{
		"DomainGood": g.DomainGood, "SignerGood": g.SignerGood, "SignerBad": g.SignerBad, "NetworkGood": g.NetworkGood, "NetworkBad": g.NetworkBad,
		"NetworkSure": g.NetworkSure, "JunkStrict": g.JunkStrict, "JunkVariation": g.JunkVariation,
	} {
		if f < 0 || f > 1 {
			s.in(name).bad("need 0 to 1")
		}
	}
	for name, n := range map[string]int{"DomainLocalparts": g.DomainLocalparts, "TrustedMessages": g.TrustedMessages} {
		if n < 0 || n > screen.KeepMax(screen.FromDomain) {
			s.in(name).bad("need 0 to %d", screen.KeepMax(screen.FromDomain))
		}
	}
	if len(g.NetworkMin) != 0 && len(g.NetworkMin) != networkSizes {
		s.in("NetworkMin").bad("need %d numbers", networkSizes)
	}
	for i, n := range g.NetworkMin {
		if n < 1 || n > screen.KeepMax(screen.Net1) {
			s.in("NetworkMin").item(i).bad("need 1 to %d", screen.KeepMax(screen.Net1))
		}
	}
}

// Thresholds returns the figures by which mail from other servers is judged.
func (c *Config) Thresholds() screen.Thresholds {
	g, t := c.Static.Screening, screen.DefaultThresholds()
	set(&t.AddressWindow, g.AddressWindow)
	set(&t.DomainWindow, g.DomainWindow)
	set(&t.SignerWindow, g.SignerWindow)
	set(&t.NetworkWindow, g.NetworkWindow)
	set(&t.DomainGood, g.DomainGood)
	set(&t.DomainLocalparts, g.DomainLocalparts)
	set(&t.SignerGood, g.SignerGood)
	set(&t.SignerBad, g.SignerBad)
	set(&t.NetworkGood, g.NetworkGood)
	set(&t.NetworkBad, g.NetworkBad)
	set(&t.NetworkSure, g.NetworkSure)
	copy(t.NetworkMin[:], g.NetworkMin)
	set(&t.JunkStrict, g.JunkStrict)
	set(&t.JunkVariation, g.JunkVariation)
	set(&t.TrustedMessages, g.TrustedMessages)
	return t
}

// set sets a figure unless the other is absent.
func set[T comparable](to *T, v T) {
	var absent T
	if v != absent {
		*to = v
	}
}
