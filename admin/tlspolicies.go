package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/tlsrpt"
	"github.com/mjl-/mox/tlsrptdb"
)

// Bounds of one list.
const (
	mtastsListMax  = 10_000
	tlsResultsMax  = 10_000
	refreshTimeMax = 2 * time.Minute // A lookup and a request, with others before it.
)

// TLSPolicies is what is known of TLS with other servers. All or none of its fields
// are set.
type TLSPolicies struct {
	Policies  *mtastsdb.DB
	Cache     *mtastsdb.Cache // Of Policies.
	Results   *tlsrptdb.ResultDB
	Collector *tlsrptdb.Collector // Of Results.
}

// MTASTSPolicy is what is kept of the MTA-STS policy of a domain that mail was sent to.
type MTASTSPolicy struct {
	Domain  string      `json:"domain"`
	InForce bool        `json:"inForce"`        // There is a policy, and its time is not over. It can be one that there is none.
	Mode    mtasts.Mode `json:"mode,omitempty"` // Empty: no policy was had.
	ID      string      `json:"id,omitempty"`   // Of the record with which it was fetched.
	MX      []string    `json:"mx"`             // Patterns for names of hosts.
	MaxAge  int64       `json:"maxAge"`         // Seconds that it is valid after it was fetched.

	First   time.Time `json:"first,omitzero"`   // When one was fetched first.
	Updated time.Time `json:"updated,omitzero"` // When one was fetched last.
	Expires time.Time `json:"expires,omitzero"`
	Used    time.Time `json:"used,omitzero"` // When mail was sent there last, give or take a day.

	// Failed is when the policy could not be fetched, if that was the last time it was
	// asked for, and why.
	Failed   time.Time      `json:"failed,omitzero"`
	FailedID string         `json:"failedId,omitempty"`
	Failure  mtasts.Failure `json:"failure,omitempty"`
	Error    string         `json:"error,omitempty"`

	Text string `json:"text,omitempty"` // As it was fetched. Not in lists of all domains.
}

func mtastsPolicy(e mtastsdb.Entry, now time.Time) MTASTSPolicy {
	p := MTASTSPolicy{
		Domain: e.Domain, InForce: e.Holds(now), Mode: e.Policy.Mode, ID: e.RecordID, MX: []string{}, MaxAge: int64(e.Policy.MaxAge / time.Second),
		First: utc(e.Inserted), Updated: utc(e.Updated), Expires: utc(e.ValidUntil), Used: utc(e.Used),
		Failed: utc(e.Failed), FailedID: e.FailedID, Failure: e.Failure, Error: e.FailureText, Text: e.Text,
	}
	for _, m := range e.Policy.MX {
		p.MX = append(p.MX, m.String())
	}
	return p
}

// MTASTSListRequest is for MTASTSList.
type MTASTSListRequest struct {
	Domain string `json:"domain,omitempty"` // Empty: all.
}

// MTASTSList is what is kept of policies, by domain.
type MTASTSList struct {
	Policies []MTASTSPolicy `json:"policies"`
	More     bool           `json:"more"` // There are more than one list can have.
}

// MTASTSList returns what is kept of MTA-STS policies.
func (a *Admin) MTASTSList(ctx context.Context, req MTASTSListRequest) (MTASTSList, error) {
	if a.opts.TLS.Policies == nil {
		return MTASTSList{}, noTLSPolicies()
	}
	list, now := MTASTSList{Policies: []MTASTSPolicy{}}, time.Now()
	if req.Domain != "" {
		domain, err := otherDomain(req.Domain)
		if err != nil {
			return list, err
		}
		e, err := a.opts.TLS.Policies.Lookup(ctx, domain.ASCII)
		if err != nil {
			return list, err
		}
		if e.Text == "" && e.Failed.IsZero() {
			return list, &Error{Code: NotFound, Message: fmt.Sprintf("nothing is kept of a policy of %s", domain.Name())}
		}
		list.Policies = append(list.Policies, mtastsPolicy(e, now))
		return list, nil
	}
	entries, err := a.opts.TLS.Policies.Entries(ctx)
	if err != nil {
		return list, err
	}
	list.More = len(entries) > mtastsListMax
	for _, e := range entries[:min(len(entries), mtastsListMax)] {
		p := mtastsPolicy(e, now)
		p.Text = ""
		list.Policies = append(list.Policies, p)
	}
	return list, nil
}

// MTASTSRefreshRequest is for MTASTSRefresh.
type MTASTSRefreshRequest struct {
	Domain string `json:"domain"`
}

// MTASTSRefresh asks for the policy of a domain now, and returns what is kept of it
// then. A policy that is in force stays if there is no other.
func (a *Admin) MTASTSRefresh(ctx context.Context, req MTASTSRefreshRequest) (MTASTSPolicy, error) {
	if a.opts.TLS.Cache == nil {
		return MTASTSPolicy{}, noTLSPolicies()
	}
	domain, err := otherDomain(req.Domain)
	if err != nil {
		return MTASTSPolicy{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeMax)
	defer cancel()
	e, err := a.opts.TLS.Cache.Refresh(ctx, domain)
	if err != nil {
		return MTASTSPolicy{}, &Error{Code: Unavailable, Message: fmt.Sprintf("asking for the policy of %s: %v", domain.Name(), err), err: err}
	}
	return mtastsPolicy(e, time.Now()), nil
}

// TLSResultsRequest is for TLSResults.
type TLSResultsRequest struct {
	Domain string `json:"domain,omitempty"` // Of recipients, or a host. Empty: all.
}

// TLSResult is what came of TLS on the connections of a day with the servers of a
// domain, as it is to be reported.
type TLSResult struct {
	Day             string          `json:"day"` // Of UTC, as 2026-01-02.
	RecipientDomain string          `json:"recipientDomain"`
	PolicyDomain    string          `json:"policyDomain"` // Whose policies they are.
	Host            bool            `json:"host"`         // PolicyDomain is a host of the recipient domain.
	Updated         time.Time       `json:"updated"`
	Policies        []tlsrpt.Result `json:"policies"`
}

// TLSResults is what came of TLS, the latest day first.
type TLSResults struct {
	Results []TLSResult `json:"results"`
	More    bool        `json:"more"` // There are more than one list can have.
}

// TLSResults returns what came of TLS with other servers in the last days.
func (a *Admin) TLSResults(ctx context.Context, req TLSResultsRequest) (TLSResults, error) {
	if a.opts.TLS.Results == nil {
		return TLSResults{}, noTLSPolicies()
	}
	domain := ""
	if req.Domain != "" {
		d, err := otherDomain(req.Domain)
		if err != nil {
			return TLSResults{}, err
		}
		domain = d.ASCII
	}
	if err := a.opts.TLS.Collector.Write(ctx); err != nil {
		return TLSResults{}, err
	}
	results, err := a.opts.TLS.Results.List(ctx, domain)
	if err != nil {
		return TLSResults{}, err
	}
	list := TLSResults{Results: []TLSResult{}, More: len(results) > tlsResultsMax}
	for _, r := range results[:min(len(results), tlsResultsMax)] {
		list.Results = append(list.Results, tlsResult(r))
	}
	return list, nil
}

func tlsResult(r tlsrptdb.Results) TLSResult {
	day := r.Day
	if at, err := tlsrptdb.ParseDay(r.Day); err == nil {
		day = at.Format(time.DateOnly)
	}
	return TLSResult{
		Day: day, RecipientDomain: r.RecipientDomain, PolicyDomain: r.PolicyDomain, Host: r.Host, Updated: utc(r.Updated), Policies: r.Policies,
	}
}

func noTLSPolicies() error {
	return &Error{Code: Unavailable, Message: "this server keeps nothing about TLS with others"}
}

// otherDomain parses the name of somebody's domain.
func otherDomain(s string) (dns.Domain, error) {
	d, err := dns.ParseDomain(strings.TrimSuffix(s, "."))
	if err != nil {
		return dns.Domain{}, userError("%q is not the name of a domain: %v", s, err)
	}
	return d, nil
}
