package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/bstore"
)

// sentAddressMax is the largest address in bytes that is remembered: that of a
// key in the database.
const sentAddressMax = 512

// domainLevelsMax is how many of the domains above that of a recipient are
// remembered: as far as organisational domains are looked for (RFC 9989).
const domainLevelsMax = 8

// SentTo is an address that the account has sent to. It stays, so that a
// recipient is known for good.
//
// There are rows for domains too: "@" and a domain for an address there, and "." and
// a domain for an address at or below it. When the sender of a message is looked
// for, its organisational domain is known; when one is sent, nobody has looked for
// that of the recipient.
type SentTo struct {
	Address string // Localpart in lower case and domain in A-labels, in canonical form if it is ours.
	First   time.Time
	Last    time.Time // Not exact: see Account.RecordSent.
}

// SentHour is how much the account has sent in an hour, for limits. It goes when
// no limit looks back so far.
type SentHour struct {
	Hour      int64 // Since 1970.
	Messages  int64 // Counted for each recipient.
	FirstTime int64 // Of these, to addresses that were not known.
}

// HasSentTo tells for each address whether the account has sent to it.
func (a *Account) HasSentTo(ctx context.Context, addresses []string) ([]bool, error) {
	known := make([]bool, len(addresses))
	err := a.ViewContent(ctx, func(tx *Tx) error {
		for i, address := range addresses {
			err := getSentTo(tx, &SentTo{Address: address})
			if err != nil && !errors.Is(err, bstore.ErrAbsent) {
				return fmt.Errorf("looking up recipient: %w", err)
			}
			known[i] = err == nil
		}
		return nil
	})
	return known, err
}

// Sent is when the account has last sent to somebody, give or take a day; zero for
// never.
type Sent struct {
	Address time.Time
	Domain  time.Time // To any address of the domain.
	Org     time.Time // To any address of the organisational domain, or of domains below it.
}

// SentTo tells when the account has sent to an address, to its domain and to its
// organisational domain. Each of them can be "". What was sent in the last seconds
// may be missing: see RecordSent.
func (a *Account) SentTo(ctx context.Context, address, domain, org string) (sent Sent, err error) {
	err = a.ViewContent(ctx, func(tx *Tx) error {
		for _, ask := range []struct {
			prefix, value string
			last          *time.Time
		}{{"", address, &sent.Address}, {"@", domain, &sent.Domain}, {".", org, &sent.Org}} {
			if ask.value == "" {
				continue
			}
			row := SentTo{Address: ask.prefix + ask.value}
			if err := getSentTo(tx, &row); err != nil && !errors.Is(err, bstore.ErrAbsent) {
				return err
			} else if err == nil {
				*ask.last = row.Last
			}
		}
		return nil
	})
	if err != nil {
		return Sent{}, fmt.Errorf("looking up recipient: %w", err)
	}
	return sent, nil
}

// getSentTo reads a row by its address. One that can't be a key is absent.
func getSentTo(tx *Tx, s *SentTo) error {
	s.Address = strings.ToLower(s.Address)
	if s.Address == "" || len(s.Address) > sentAddressMax {
		return bstore.ErrAbsent
	}
	return tx.b.Get(s)
}

// SentHours returns what was sent from an hour on, in order.
func (a *Account) SentHours(ctx context.Context, from int64) (hours []SentHour, err error) {
	err = a.ViewContent(ctx, func(tx *Tx) error {
		hours, err = bstore.QueryTx[SentHour](tx.b).FilterGreaterEqual("Hour", from).SortAsc("Hour").List()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what was sent: %w", err)
	}
	return hours, nil
}

// RecordSent adds addresses to those known, at most a few thousand, and sets the
// counts of hours; counts of hours before from are removed. It is called now and
// then, not for each message: who calls it keeps what is new until then.
//
// Of addresses that are known the time is set, unless it is that of the same day
// already.
func (a *Account) RecordSent(ctx context.Context, to []SentTo, hours []SentHour, from int64) error {
	return a.Update(ctx, func(tx *Tx) error {
		if err := tx.RecordSent(to); err != nil {
			return err
		}
		for _, h := range hours {
			if err := recordSentHour(tx, h); err != nil {
				return fmt.Errorf("recording what was sent: %w", err)
			}
		}
		if _, err := bstore.QueryTx[SentHour](tx.b).FilterLess("Hour", from).Delete(); err != nil {
			return fmt.Errorf("removing what was sent before: %w", err)
		}
		return nil
	})
}

// RecordSent adds addresses to those known, as Account.RecordSent does.
func (tx *Tx) RecordSent(to []SentTo) error {
	tx.touch()
	for _, s := range withDomains(to) {
		if err := recordSentTo(tx, s); err != nil {
			return fmt.Errorf("recording recipient: %w", err)
		}
	}
	return nil
}

// withDomains adds rows for the domains of addresses. Each is there once, with
// the times of the first and the last.
func withDomains(to []SentTo) []SentTo {
	var all []SentTo
	index := map[string]int{}
	add := func(s SentTo) {
		s.Address = strings.ToLower(s.Address)
		if i, ok := index[s.Address]; !ok {
			index[s.Address] = len(all)
			all = append(all, s)
		} else if all[i].Last.Before(s.Last) {
			all[i].Last = s.Last
		}
	}
	for _, s := range to {
		add(s)
		i := strings.LastIndexByte(s.Address, '@')
		domain := strings.ToLower(s.Address[i+1:])
		if i < 0 || domain == "" || domain[0] == '[' {
			continue
		}
		s.Address = "@" + domain
		add(s)
		labels := strings.Split(domain, ".")
		for labels = labels[max(0, len(labels)-domainLevelsMax):]; len(labels) > 0; labels = labels[1:] {
			s.Address = "." + strings.Join(labels, ".")
			add(s)
		}
	}
	return all
}

func recordSentTo(tx *Tx, s SentTo) error {
	if s.Address == "" || len(s.Address) > sentAddressMax {
		return nil
	}
	old := SentTo{Address: s.Address}
	err := getSentTo(tx, &old)
	switch {
	case errors.Is(err, bstore.ErrAbsent):
		return tx.b.Insert(&s)
	case err != nil:
		return err
	case s.Last.Sub(old.Last) < 24*time.Hour:
		return nil
	}
	old.Last = s.Last
	return tx.b.Update(&old)
}

func recordSentHour(tx *Tx, h SentHour) error {
	err := tx.b.Get(&SentHour{Hour: h.Hour})
	if errors.Is(err, bstore.ErrAbsent) {
		return tx.b.Insert(&h)
	} else if err != nil {
		return err
	}
	return tx.b.Update(&h)
}
