package dmarc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/mox/dns"
)

// errLookups means that an evaluation would need more than lookupsMax lookups.
var errLookups = fmt.Errorf("more than %d lookups", lookupsMax)

// Found is a record in the DNS.
type Found struct {
	Domain    dns.Domain // The record is at _dmarc.<domain>.
	Text      string
	Record    Record
	Err       error // Nil, or wraps ErrPolicy.
	Authentic bool  // The answer is protected by DNSSEC.
}

// Lookup looks up the record of a domain itself, and not of others above it. The
// error is ErrNoRecord, or that of the lookup.
func Lookup(ctx context.Context, r dns.Resolver, domain dns.Domain) (Found, error) {
	found, _, err := lookup(ctx, r, domain)
	return found, err
}

// lookup is Lookup that says too whether the answer that there is no record is
// authentic.
func lookup(ctx context.Context, r dns.Resolver, domain dns.Domain) (found Found, authentic bool, err error) {
	texts, result, err := r.LookupTXT(ctx, "_dmarc."+domain.Absolute())
	switch {
	case errors.Is(err, dns.ErrName):
		return Found{}, true, ErrNoRecord // With the label it is too long for a name: nothing can be there.
	case dns.IsNone(err):
		return Found{}, result.Authentic, ErrNoRecord
	case err != nil:
		return Found{}, false, fmt.Errorf("looking for a DMARC record: %w", err)
	}
	n := 0
	for _, text := range texts {
		record, err := ParseRecord(text)
		if errors.Is(err, ErrNoRecord) {
			continue
		}
		n++
		found = Found{domain, text, record, err, result.Authentic}
	}
	if n != 1 {
		return Found{}, result.Authentic, ErrNoRecord
	}
	return found, result.Authentic, nil
}

// walkNames returns the names whose records are looked up for a domain, from the
// longest to the shortest: the domain and those above it, and of a name with more
// than eight labels only the last seven after the name itself (RFC 9989, section
// 4.10). They are in A-labels.
func walkNames(domain string) []string {
	names := []string{domain}
	labels := strings.Split(domain, ".")
	for i := max(1, len(labels)-walkMax+1); i < len(labels); i++ {
		names = append(names, strings.Join(labels[i:], "."))
	}
	return names
}

// organisation returns the organisational domain of one for which a walk found
// records, the longest name first (RFC 9989, section 4.10.2). Above is the record
// of the public suffix right above it, if that is what tells.
func organisation(domain string, found []Found) (org string, above *Found) {
	for i, f := range found {
		switch {
		case f.Record.PSD == Organisation:
			return f.Domain.ASCII, nil
		case f.Record.PSD == PublicSuffix && f.Domain.ASCII != domain:
			return below(domain, f.Domain.ASCII), &found[i]
		}
	}
	if len(found) > 0 {
		return found[len(found)-1].Domain.ASCII, nil
	}
	return domain, nil
}

// below returns the part of domain with one label more than suffix.
func below(domain, suffix string) string {
	labels := strings.TrimSuffix(domain, "."+suffix)
	return domain[strings.LastIndexByte(labels, '.')+1:]
}

// within tells whether a name is another or below it.
func within(name, other string) bool {
	return name == other || strings.HasSuffix(name, "."+other)
}

// withForms returns the Domain for a name in A-labels: an end of a Domain.
func withForms(name string) dns.Domain {
	if d, err := dns.ParseDomain(name); err == nil {
		return d
	}
	return dns.Domain{ASCII: name}
}

// walker looks up records, each at most once.
type walker struct {
	resolver  dns.Resolver
	answers   map[string]answer // By domain, in A-labels.
	authentic bool              // All answers so far.
}

type answer struct {
	found Found
	err   error // ErrNoRecord, or of the lookup.
}

func newWalker(r dns.Resolver) *walker {
	return &walker{resolver: r, answers: map[string]answer{}, authentic: true}
}

func (w *walker) lookup(ctx context.Context, domain string) (Found, error) {
	if a, ok := w.answers[domain]; ok {
		return a.found, a.err
	}
	if len(w.answers) >= lookupsMax {
		return Found{}, errLookups
	}
	found, authentic, err := lookup(ctx, w.resolver, withForms(domain))
	w.authentic = w.authentic && authentic
	w.answers[domain] = answer{found, err}
	return found, err
}

// tree is what a walk found.
type tree struct {
	found  []Found // From the longest name to the shortest.
	org    string
	suffix *Found // The record of the public suffix above org, if it told.
}

// policy returns the record that applies to the domain where the walk started:
// its own, else that of its organisation, else that of the public suffix above.
// Records in between don't count (RFC 9989, section 4.10.1).
func (t tree) policy(domain string) *Found {
	for _, name := range []string{domain, t.org} {
		for i := range t.found {
			if t.found[i].Domain.ASCII == name {
				return &t.found[i]
			}
		}
	}
	return t.suffix
}

// walk looks for records from a domain upwards. With an error the organisation is
// not known, but the records found until then are.
func (w *walker) walk(ctx context.Context, domain string) (t tree, err error) {
	for _, name := range walkNames(domain) {
		found, err := w.lookup(ctx, name)
		if errors.Is(err, ErrNoRecord) {
			continue
		} else if err != nil {
			return t, err
		}
		t.found = append(t.found, found)
		if found.Record.PSD != Unknown {
			break
		}
	}
	t.org, t.suffix = organisation(domain, t.found)
	return t, nil
}

// OrgDomain returns the organisational domain of a domain: the one that stands for
// all that belong to the same owner. It is found by the records of DMARC, so a
// domain without any stands for itself. Authentic means that all answers are. An
// error is that of a lookup.
func OrgDomain(ctx context.Context, r dns.Resolver, domain dns.Domain) (org dns.Domain, authentic bool, err error) {
	w := newWalker(r)
	t, err := w.walk(ctx, domain.ASCII)
	if err != nil {
		return dns.Domain{}, false, err
	}
	return withForms(t.org), w.authentic, nil
}
