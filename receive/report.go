package receive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dmarc"
	"github.com/mjl-/mox/dmarcrpt"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/tlsrpt"
)

// structure returns the parts of the message.
func (j *judge) structure() (*message.Part, error) {
	if j.part == nil {
		p, err := message.ParsePart(j.letter.analysis.Tree)
		if err != nil {
			return nil, fmt.Errorf("reading structure of message: %w", err)
		}
		j.part = &p
	}
	return j.part, nil
}

// report tells what report a message for an address for reports is. What is wrong
// with one is kept with the message, since nobody else would learn of it.
func (j *judge) report(ctx context.Context, out *judgement) (screen.Report, error) {
	wanted := out.target.Reports
	if !wanted.DMARC && !wanted.TLS {
		return screen.NoReport, nil
	}
	p, err := j.structure()
	if err != nil {
		return screen.NoReport, err
	}
	h, ours := j.letter.header, j.reportsAbout
	if c, ok := dmarcrpt.Recognize(h, p); ok && wanted.DMARC {
		err := c.Check(j.inv.dmarc.Result == dmarc.ResultPass, ours, j.now)
		if err == nil {
			return screen.DMARCReport, nil
		}
		out.problem("X-Mox-DMARCReport-Error", err)
	}
	if c, ok := tlsrpt.Recognize(h, p); ok && wanted.TLS {
		signatures, err := j.reportSignatures(ctx)
		if err != nil {
			return screen.NoReport, err
		}
		err = c.Check(signatures, j.inv.from.Domain, j.inv.dmarc.OrgDomain, ours)
		if err == nil {
			return screen.TLSReport, nil
		}
		out.problem("X-Mox-TLSReport-Error", err)
	}
	return screen.NoReport, nil
}

// reportSignatures returns the signatures of a message that looks like a report about
// TLS. Those with a key for such reports only count here, and for no other mail (RFC
// 8460, section 3).
func (j *judge) reportSignatures(ctx context.Context) ([]dkim.Evaluation, error) {
	own := func(e dkim.Evaluation) bool {
		return errors.Is(e.Err, dkim.ErrKeyUse) && e.Record != nil && e.Record.Allows(tlsrpt.Service)
	}
	if !slices.ContainsFunc(j.inv.dkim, own) {
		return j.inv.dkim, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	list, err := dkim.Verify(ctx, j.r.opts.Resolver, j.content, j.size, dkim.VerifyOptions{Now: j.now, Service: tlsrpt.Service})
	if err != nil {
		return nil, fmt.Errorf("checking signatures of report: %w", err)
	}
	return list, nil
}

// reportsAbout tells whether others may tell us of a domain.
func (j *judge) reportsAbout(d dns.Domain) bool {
	c := j.r.opts.Config()
	return c.IsLocal(d) || c.IsHost(d)
}

// problem adds a header field with a problem.
func (out *judgement) problem(field string, err error) {
	var w message.HeaderWriter
	w.Field(field)
	w.Add(strings.Fields(err.Error())...)
	out.problems = append(out.problems, w.Bytes()...)
}
