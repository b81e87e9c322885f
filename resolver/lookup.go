package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// lookupMax bounds one lookup with all its aliases and tries.
const lookupMax = 30 * time.Second

// looked is what a lookup found.
type looked struct {
	dns.Result
	records []mdns.RR
	cost    Cost
}

// lookup looks up the records of a name and a type. For the type CNAME it goes
// to the end of the chain. The error is nil or a *dns.Error.
func (r *Resolver) lookup(ctx context.Context, name string, typ uint16) (looked, error) {
	start := time.Now()
	c := chain{r: r, typ: typ, budget: &budget{}, result: dns.Result{Authentic: true, Name: lower(escape(name))}}
	err := dns.CheckName(name)
	if err == nil {
		err = c.follow(ctx)
	}
	res := looked{Result: c.result, records: c.last.records}
	cost := c.budget.cost()
	if err != nil && !dns.IsNone(err) {
		res = looked{}
	}
	r.observe(Event{
		Kind:      "lookup",
		Type:      mdns.TypeToString[typ],
		Result:    resultName(err),
		Cached:    c.cached && (err == nil || dns.IsNone(err)),
		Authentic: res.Authentic,
		Took:      time.Since(start),
		Cost:      cost,
	})
	res.cost = cost
	if err != nil {
		return res, c.wrap(name, err)
	}
	return res, nil
}

// wrap returns the error of a lookup of name.
func (c *chain) wrap(name string, err error) *dns.Error {
	e := &dns.Error{Op: mdns.TypeToString[c.typ], Name: name, Server: c.last.server, Extended: c.last.extended, Err: err}
	var failed *failedError
	var invalid *bogusError
	switch {
	case errors.As(err, &failed):
		e.Server, e.Extended = failed.server, failed.extended
	case errors.As(err, &invalid):
		e.Server, e.Extended = invalid.server, &invalid.extended
	}
	return e
}

// resultName returns the name of a result for an Event.
func resultName(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, dns.ErrNoData):
		return "nodata"
	case errors.Is(err, dns.ErrNotFound):
		return "notfound"
	case errors.Is(err, dns.ErrBogus):
		return "bogus"
	case errors.Is(err, dns.ErrName):
		return "invalid"
	}
	return "temporary"
}

// chain is a lookup on its way from alias to alias.
type chain struct {
	r       *Resolver
	typ     uint16
	budget  *budget
	result  dns.Result // Name is the next to be asked for.
	aliases int
	last    answer
	cached  bool // All answers came from the cache.
}

// follow asks until there is an answer.
func (c *chain) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookupMax)
	defer cancel()
	c.cached = true
	for {
		a, cached, err := c.r.query(ctx, question{c.result.Name, c.typ}, c.budget)
		if err != nil {
			return err
		}
		c.cached = c.cached && cached
		again := c.add(a)
		switch {
		case c.aliases > aliasesMax:
			return fmt.Errorf("%w: %w", dns.ErrTemporary, errAliases)
		case again:
			continue
		case c.typ == mdns.TypeCNAME && c.aliases > 0: // This is the end of the chain, be it there or not.
			return nil
		}
		return a.none
	}
}

// add takes an answer into account. It returns whether there is another question.
func (c *chain) add(a answer) (again bool) {
	c.last = a
	c.result.Authentic = c.result.Authentic && a.authentic
	c.result.Name = a.name
	c.aliases += a.aliases
	if c.typ == mdns.TypeCNAME && len(a.records) > 0 {
		c.aliases++
		c.result.Name = lower(a.records[0].(*mdns.CNAME).Target)
		return true
	}
	return a.more
}
