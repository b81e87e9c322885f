package main

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mjl-/mox/resolver"
)

// traceReport is how records of one type were found, as JSON has it.
type traceReport struct {
	resolver.Trace
	Err string // Instead of the error.
}

// traceLookup traces the lookup of a name, for each type that a command's type stands for.
func traceLookup(ctx context.Context, r *resolver.Resolver, l lookupReport) (list []traceReport, err error) {
	types := []string{l.Type}
	if l.Type == "ips" {
		types = []string{"a", "aaaa"}
	}
	for _, typ := range types {
		t, err := r.Trace(ctx, l.Name, typ)
		if err != nil {
			return nil, err
		}
		report := traceReport{Trace: t}
		if t.Err != nil {
			report.Err = t.Err.Error()
		}
		list = append(list, report)
	}
	return list, nil
}

// printTrace prints a trace: a line for each step, from the root to the answer, and
// below it what it stands on.
func (inv *invocation) printTrace(t resolver.Trace) {
	line := func(indent int, format string, args ...any) {
		inv.printf("%s%s\n", strings.Repeat("\t", indent), printable(fmt.Sprintf(format, args...)))
	}
	verdict := string(t.Verdict)
	if verdict == "" {
		verdict = "unknown"
	}
	inv.printf("\n")
	line(0, "%s of %s is %s: %s", t.Type, t.Name, verdict, t.Why)
	if !t.Validated {
		line(1, "nothing was validated here: either -mode says so, or no name server passes DNSSEC records on")
	}
	for _, s := range t.Steps {
		line(1, "%s", stepTitle(s))
		for _, detail := range stepDetails(s) {
			line(2, "%s", detail)
		}
	}
	line(1, "%d questions to servers, %d signatures verified, %d names hashed, in %s",
		t.Cost.Queries, t.Cost.Signatures, t.Cost.Hashes, t.Took.Round(time.Millisecond))
}

// stepTitle returns what a step is about, and what came of it.
func stepTitle(s resolver.Step) string {
	what := fmt.Sprintf("%s of %s", s.Type, s.Name)
	switch s.Kind {
	case "anchor":
		what = "keys of the root, by the trust anchors"
	case "delegation":
		what = "delegation of " + s.Name
	case "keys":
		what = "keys of " + s.Name
	case "alias":
		what = fmt.Sprintf("alias %s", s.Name)
	case "denial":
		what = fmt.Sprintf("proof about %s of %s", s.Type, s.Name)
	}
	verdict := string(s.Verdict)
	if verdict == "" {
		verdict = "unknown"
	}
	if s.Why == "" {
		return what + ": " + verdict
	}
	return fmt.Sprintf("%s: %s: %s", what, verdict, s.Why)
}

// stepDetails returns lines with what a step stands on.
func stepDetails(s resolver.Step) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	kind := "DS record"
	if s.Kind == "anchor" {
		kind = "trust anchor"
	}
	for _, ds := range s.DS {
		state := "no such key was seen"
		switch {
		case !ds.Used:
			state = "does not count: " + ds.Why
		case ds.Matches:
			state = "is of a key"
		case s.Kind == "delegation":
			state = "leads to a key"
		}
		add("%s %d, %s, digest %s: %s", kind, ds.KeyTag, ds.Algorithm, ds.Digest, state)
	}
	for _, k := range s.Keys {
		add("key %d, %s%s%s", k.KeyTag, k.Algorithm, bits(k.Bits), keyState(k))
	}
	if s.Kind == "answer" || s.Kind == "alias" {
		for _, rec := range s.Records {
			add("%s", strings.ReplaceAll(rec, "\t", " "))
		}
	}
	if s.Proof != nil {
		for _, rec := range s.Proof.Records {
			add("%s", strings.ReplaceAll(rec, "\t", " "))
		}
	}
	for _, sig := range s.Signatures {
		add("signature over %s of %s by key %d of %s, %s to %s: %s",
			sig.Covers, sig.Name, sig.KeyTag, sig.Signer, tableTime(sig.Inception), tableTime(sig.Expires), signatureState(sig))
	}
	if s.Extended != nil {
		add("extended error %d %q", s.Extended.Code, s.Extended.Text)
	}
	return lines
}

func bits(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d bits", n)
}

// keyState tells what a key is for.
func keyState(k resolver.TraceKey) string {
	switch {
	case k.Revoked:
		return ": revoked"
	case k.Entry:
		return ": trusted from above"
	case k.Used:
		return ": trusted by a signature of such a key"
	}
	return ": not used"
}

func signatureState(sig resolver.TraceSignature) string {
	switch {
	case sig.Valid:
		return "valid"
	case sig.Why != "":
		return "not valid: " + sig.Why
	}
	return "not needed"
}

// printable returns a text with what a terminal would take as a command replaced.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}
