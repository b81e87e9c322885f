package system

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnsbl"
)

// Times of the monitor of blocklists.
const (
	// blocklistsEvery is how often it looks whether anything is due.
	blocklistsEvery = 5 * time.Minute

	// blocklistAge is how old what a list has said may become. Lists don't like to be
	// asked often.
	blocklistAge = 3 * time.Hour

	// blocklistConnections is the number of connections to other servers after which
	// lists are asked sooner: who sends much can become listed.
	blocklistConnections = 100

	// blocklistPause is between two lookups.
	blocklistPause = time.Second

	// healthAge is how long a list counts as working after that was checked.
	healthAge = 4 * time.Hour

	// lookupWait bounds one lookup, of an address or of the health of a list.
	lookupWait = 30 * time.Second

	// blocklistLookupsMax bounds the lookups of one round: addresses times lists.
	blocklistLookupsMax = 1000
)

// Values of the metric.
const (
	blocklistOK      = 1
	blocklistListed  = 0
	blocklistUnknown = -1
)

// blocklistKey is an address that is looked up in a list.
type blocklistKey struct {
	zone dns.Domain
	ip   netip.Addr
}

// blocklists looks up our own addresses in lists of addresses that send spam, so that
// the operator knows before users tell.
type blocklists struct {
	config      func() *config.Config
	resolver    dns.Resolver
	connections func() int64                 // To other servers, since the start.
	addresses   func() ([]netip.Addr, error) // Of this host.
	log         *slog.Logger
	gauge       *prometheus.GaugeVec

	// Owned by the goroutine that calls look.
	asked  []blocklistKey // In the last round.
	at     time.Time      // When that began.
	sent   int64          // Connections at that time.
	health map[dns.Domain]blocklistHealth

	mu     sync.Mutex
	status map[blocklistKey]admin.Blocklist
}

// blocklistHealth is whether a list works.
type blocklistHealth struct {
	at  time.Time
	err error
}

// newBlocklists returns a monitor, which has asked nothing yet.
func newBlocklists(s *System) (*blocklists, error) {
	b := &blocklists{
		config: s.current, resolver: s.opts.Resolver, connections: s.delivery.Connections, addresses: interfaceAddrs, log: s.log.With("pkg", "system"),
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mox_dnsbl_ips_success",
			Help: "Whether an address of ours is in a blocklist: 1 if not, 0 if it is listed, -1 if that is not known.",
		}, []string{"zone", "ip"}),
		health: map[dns.Domain]blocklistHealth{}, status: map[blocklistKey]admin.Blocklist{},
	}
	if err := s.registry.Register(b.gauge); err != nil {
		return nil, fmt.Errorf("registering metrics of blocklists: %w", err)
	}
	return b, nil
}

// interfaceAddrs returns the addresses of this host.
func interfaceAddrs() (ips []netip.Addr, err error) {
	addrs, err := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			ips = append(ips, p.Addr().Unmap())
		}
	}
	return ips, err
}

// Status returns what lists have said about our addresses, by list and address.
func (b *blocklists) Status() []admin.Blocklist {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]admin.Blocklist, 0, len(b.status))
	for _, s := range b.status {
		list = append(list, s)
	}
	slices.SortFunc(list, admin.Blocklist.Compare)
	return list
}

// look asks the lists if that is due.
func (b *blocklists) look(ctx context.Context) {
	keys := b.keys()
	now, sent := time.Now(), b.connections()
	if slices.Equal(keys, b.asked) && now.Sub(b.at) < blocklistAge && sent-b.sent < blocklistConnections {
		return
	}
	b.asked, b.at, b.sent = keys, now, sent
	b.forget(keys)
	for i, k := range keys {
		if i > 0 && !sleep(ctx, blocklistPause) {
			return
		}
		s := b.ask(ctx, k)
		if ctx.Err() != nil {
			return
		}
		b.note(k, s)
	}
}

// keys returns what is to be asked for now: nothing if no lists are configured.
func (b *blocklists) keys() (keys []blocklistKey) {
	c := b.config()
	zones := c.MonitoredBlocklists()
	if len(zones) == 0 {
		return nil
	}
	ips := b.ips(c.PublicMailIPs())
	for _, zone := range zones {
		for _, ip := range ips {
			keys = append(keys, blocklistKey{zone, ip})
		}
	}
	if len(keys) > blocklistLookupsMax {
		b.log.Warn("not all addresses are looked up in blocklists", "wanted", len(keys), "max", blocklistLookupsMax)
		keys = keys[:blocklistLookupsMax]
	}
	return keys
}

// ips returns addresses, with those of this host in place of unspecified ones.
func (b *blocklists) ips(configured []netip.Addr) (ips []netip.Addr) {
	for _, ip := range configured {
		if !ip.IsUnspecified() {
			ips = append(ips, ip)
			continue
		}
		own, err := b.addresses()
		if err != nil {
			b.log.Error("finding out the addresses of this host, to look them up in blocklists", "err", err)
		}
		for _, o := range own {
			if o.Is4() == ip.Is4() && config.IsPublic(o) {
				ips = append(ips, o)
			}
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return slices.Compact(ips)
}

// ask looks up an address in a list that works.
func (b *blocklists) ask(ctx context.Context, k blocklistKey) admin.Blocklist {
	s := admin.Blocklist{Zone: k.zone.Name(), IP: k.ip.String(), Checked: time.Now().UTC().Round(0)}
	err := b.healthy(ctx, k.zone)
	var l dnsbl.Listing
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, lookupWait)
		defer cancel()
		l, err = dnsbl.Lookup(ctx, b.resolver, k.zone, k.ip)
	}
	if err != nil {
		s.Error = err.Error()
	}
	s.Listed, s.Explanation = l.Listed, l.Explanation
	return s
}

// healthy returns an error if a list does not work. What does not, is checked again
// each time.
func (b *blocklists) healthy(ctx context.Context, zone dns.Domain) error {
	h, ok := b.health[zone]
	if ok && time.Since(h.at) < healthAge && (h.err == nil || !h.at.Before(b.at)) {
		return h.err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupWait)
	defer cancel()
	err := dnsbl.CheckHealth(ctx, b.resolver, zone)
	b.health[zone] = blocklistHealth{time.Now(), err}
	return err
}

// note keeps what a list has said, and logs what is news.
func (b *blocklists) note(k blocklistKey, s admin.Blocklist) {
	b.mu.Lock()
	last, known := b.status[k]
	b.status[k] = s
	b.mu.Unlock()

	value := blocklistOK
	switch {
	case s.Error != "":
		value = blocklistUnknown
		b.log.Info("blocklist gives no answer about an address of ours", "zone", s.Zone, "ip", s.IP, "err", errors.New(s.Error))
	case s.Listed:
		value = blocklistListed
		b.log.Warn("an address of ours is in a blocklist", "zone", s.Zone, "ip", s.IP, "explanation", s.Explanation)
	case known && last.Listed:
		b.log.Info("an address of ours is no longer in a blocklist", "zone", s.Zone, "ip", s.IP)
	}
	b.gauge.WithLabelValues(s.Zone, s.IP).Set(float64(value))
}

// forget drops what is known of addresses and lists that are not asked for any more.
func (b *blocklists) forget(keys []blocklistKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, s := range b.status {
		if !slices.Contains(keys, k) {
			delete(b.status, k)
			b.gauge.DeleteLabelValues(s.Zone, s.IP)
		}
	}
	for zone := range b.health {
		if !slices.ContainsFunc(keys, func(k blocklistKey) bool { return k.zone == zone }) {
			delete(b.health, zone)
		}
	}
}

// sleep waits, and returns false if ctx is done before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
