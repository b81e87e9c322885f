package receive

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnsbl"
	"github.com/mjl-/mox/screen"
)

const (
	// blocklistWait bounds the question to one list.
	blocklistWait = 30 * time.Second

	// healthAge is how long a list is taken to work, or not to, before it is asked
	// again: a list that is given up often answers that everything is in it.
	healthAge = 4 * time.Hour
)

// health remembers which lists work.
type health struct {
	mu    sync.Mutex
	lists map[dns.Domain]healthOf
}

type healthOf struct {
	at time.Time
	ok bool
}

// listings asks the lists about the peer, one after the other. A list that does
// not work, or doesn't answer, says nothing.
func (j *judge) listings(ctx context.Context) *screen.Blocklists {
	if j.blocklists != nil {
		return j.blocklists
	}
	j.blocklists = &screen.Blocklists{}
	if j.r.opts.Resolver == nil || !j.t.Peer.IP.IsValid() {
		return j.blocklists
	}
	for _, zone := range j.t.Peer.Blocklists {
		if !j.r.works(ctx, zone) {
			continue
		}
		l, err := j.r.lookupListing(ctx, zone, j.t.Peer.IP)
		if err != nil {
			j.r.log.WarnContext(ctx, "asking a blocklist", "zone", zone.String(), "err", err)
			continue
		}
		if l.Listed {
			j.blocklists.Listed = append(j.blocklists.Listed, zone.Name())
			if j.blocklists.Text == "" {
				j.blocklists.Text = strings.TrimSpace(l.Explanation)
			}
		}
	}
	return j.blocklists
}

// lookupListing asks one list.
func (r *Receiver) lookupListing(ctx context.Context, zone dns.Domain, ip netip.Addr) (dnsbl.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, blocklistWait)
	defer cancel()
	start := time.Now()
	l, err := dnsbl.Lookup(ctx, r.opts.Resolver, zone, ip)
	status := map[bool]string{true: "listed", false: "unlisted"}[l.Listed]
	if err != nil {
		status = "error"
	}
	took(r.metrics.blocklists, start, status)
	return l, err
}

// works tells whether a list works, looking again now and then.
func (r *Receiver) works(ctx context.Context, zone dns.Domain) bool {
	now := time.Now()
	r.health.mu.Lock()
	h, known := r.health.lists[zone]
	r.health.mu.Unlock()
	if known && now.Sub(h.at) < healthAge {
		return h.ok
	}
	ctx, cancel := context.WithTimeout(ctx, blocklistWait)
	defer cancel()
	err := dnsbl.CheckHealth(ctx, r.opts.Resolver, zone)
	if err != nil {
		r.log.WarnContext(ctx, "a blocklist doesn't work and is not asked", "zone", zone.String(), "again_after", healthAge, "err", err)
	}
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	if r.health.lists == nil {
		r.health.lists = map[dns.Domain]healthOf{}
	}
	r.health.lists[zone] = healthOf{now, err == nil}
	return err == nil
}
