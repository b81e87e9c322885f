package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/mjl-/mox/arc"
)

const arcVerifyHelp = `Verify the ARC chain of a message in a file, or from standard input with -.

It is explained set by set, the last server's first: who has sealed it, what that
server had found, whether its seal is good, and whether the message is still as that
server has seen it. It exits with status 1 if the chain fails.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port
	-json     print it as JSON
`

// arcReport is what is known of a chain.
type arcReport struct {
	Result     string // "none", "pass" or "fail".
	OldestPass int    // The lowest instance that saw the message as it is now, 0 if all did.
	Sets       []arcSetReport
	Error      string
}

// arcSetReport is what is known of what one server added.
type arcSetReport struct {
	Instance     int
	Domain       string
	Selector     string
	Status       string // Of the chain before it, as it says.
	Time         *time.Time
	Results      string // Its Authentication-Results.
	DNSSEC       bool   // DNSSEC protects its keys.
	SealError    string // Empty if the seal is good.
	MessageError string // Empty if the message is as it was.
}

func runARCVerify(ctx context.Context, inv *invocation) error {
	flags, r, content, err := inv.verifiedMessage()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	e, err := arc.Verify(ctx, r, bytes.NewReader(content), int64(len(content)), arc.Options{Now: time.Now()})
	if err != nil {
		return fmt.Errorf("verifying chain: %w", err)
	}
	report := arcReport{Result: string(e.Result), OldestPass: e.OldestPass, Sets: []arcSetReport{}, Error: errorText(e.Err)}
	for _, s := range e.Sets {
		set := arcSetReport{
			Instance: s.Instance, Domain: s.Domain.Name(), Selector: s.Selector, Status: string(s.Status), Results: s.Results, DNSSEC: s.Authentic,
			SealError: errorText(s.SealErr), MessageError: errorText(s.MessageErr),
		}
		if !s.Time.IsZero() {
			set.Time = &s.Time
		}
		report.Sets = append(report.Sets, set)
	}
	return inv.printChecked(flags.json, report, e.Result == arc.Fail, func() { inv.printARC(report) })
}

func (inv *invocation) printARC(r arcReport) {
	inv.printf("chain: %s\n", r.Result)
	if r.Error != "" {
		inv.printf("error: %q\n", r.Error)
	}
	for i := len(r.Sets) - 1; i >= 0; i-- {
		inv.printARCSet(r.Sets[i], r.Result == "pass")
	}
	switch {
	case r.Result == "pass" && r.OldestPass == 0:
		inv.printf("the message is as all these servers have seen it\n")
	case r.Result == "pass":
		inv.printf("the message was changed before the server of instance %d has sealed it\n", r.OldestPass)
	}
}

// printARCSet prints a set. Verified is false if its signatures may not have been
// looked at.
func (inv *invocation) printARCSet(s arcSetReport, verified bool) {
	domain := s.Domain
	if domain == "" {
		domain = "an unknown domain"
	}
	inv.printf("instance %d, sealed by %s", s.Instance, domain)
	if s.Time != nil {
		inv.printf(" at %s", s.Time.Format(time.RFC3339))
	}
	inv.printf(", %s\n", withDNSSEC(s.DNSSEC))
	if s.Status != "" {
		inv.printf("\tfound the chain before: %s\n", s.Status)
	}
	if s.Results != "" {
		inv.printf("\tfound: %q\n", s.Results)
	}
	switch {
	case s.SealError != "":
		inv.printf("\tseal: %q\n", s.SealError)
	case verified:
		inv.printf("\tseal: good\n")
	}
	switch {
	case s.MessageError != "":
		inv.printf("\tmessage: %q\n", s.MessageError)
	case verified:
		inv.printf("\tmessage: as it was\n")
	}
}
