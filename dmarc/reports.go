package dmarc

import (
	"context"
	"errors"
	"fmt"

	"github.com/mjl-/mox/dns"
)

var (
	// ErrNotAuthorised means that the domain of an address for reports doesn't want
	// them from the domain with the record. Nothing may be sent there.
	ErrNotAuthorised = errors.New("destination does not take reports for this domain")

	// ErrScheme means that an address for reports is not one for mail.
	ErrScheme = errors.New("not a mailto: address")

	// ErrReportAddresses means that an address comes after reportAddressesMax others.
	ErrReportAddresses = fmt.Errorf("more than %d addresses for reports", reportAddressesMax)
)

// ReportAddress is an address of a record, checked.
type ReportAddress struct {
	URI       URI  // As in the record.
	External  bool // It belongs to another organisation, so that this has to agree.
	Send      []URI
	Authentic bool // All answers are.

	// Err is why there is nothing to Send: ErrNotAuthorised, ErrScheme,
	// ErrReportAddresses, or that of a lookup, which can be tried again.
	Err error
}

// CheckReportAddresses finds where the reports may go that a record at domain asks
// for (RFC 9990, section 4). There is one element for each of uris, in their order.
func CheckReportAddresses(ctx context.Context, r dns.Resolver, domain dns.Domain, uris []URI) []ReportAddress {
	w := newWalker(r)
	var list []ReportAddress
	for i, u := range uris {
		a := ReportAddress{URI: u}
		switch {
		case u.Address.Domain.IsZero():
			a.Err = ErrScheme
		case i >= reportAddressesMax:
			a.Err = ErrReportAddresses
		default:
			w.authentic = true
			a.External, a.Send, a.Err = w.destinations(ctx, domain, u)
			a.Authentic = a.Err == nil && w.authentic
		}
		list = append(list, a)
	}
	return list
}

// destinations returns where reports for an address go: to itself, or where its
// domain wants them.
func (w *walker) destinations(ctx context.Context, domain dns.Domain, u URI) (external bool, send []URI, err error) {
	host := u.Address.Domain
	same, err := w.sameOrganisation(ctx, domain, host)
	switch {
	case err != nil:
		return false, nil, err
	case same:
		return false, []URI{u}, nil
	}
	texts, result, err := w.resolver.LookupTXT(ctx, domain.ASCII+"._report._dmarc."+host.Absolute())
	if errors.Is(err, dns.ErrName) || dns.IsNone(err) {
		return true, nil, ErrNotAuthorised
	} else if err != nil {
		return true, nil, err
	}
	w.authentic = w.authentic && result.Authentic
	send, err = authorised(texts, u)
	return true, send, err
}

// sameOrganisation tells whether two domains have the same organisational domain.
func (w *walker) sameOrganisation(ctx context.Context, a, b dns.Domain) (bool, error) {
	if a == b {
		return true, nil
	}
	ta, err := w.walk(ctx, a.ASCII)
	if err != nil {
		return false, err
	}
	tb, err := w.walk(ctx, b.ASCII)
	return err == nil && ta.org == tb.org, err
}

// authorised returns where reports for u go, by the records of its domain about
// that. They may name other addresses, in the same domain only: if they don't keep
// to that, nothing is sent at all.
func authorised(texts []string, u URI) ([]URI, error) {
	any := false
	var send []URI
	for _, text := range texts {
		record, err := ParseRecord(text)
		if errors.Is(err, ErrNoRecord) {
			continue
		}
		any = true
		send = append(send, record.AggregateReports...)
	}
	if !any {
		return nil, ErrNotAuthorised
	}
	if len(send) == 0 {
		return []URI{u}, nil
	}
	for _, s := range send {
		if s.Address.Domain != u.Address.Domain {
			return nil, fmt.Errorf("%w: it names an address elsewhere", ErrNotAuthorised)
		}
	}
	return send, nil
}
