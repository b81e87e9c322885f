package arc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/mjl-/mox/dkim"
)

// collect returns the sets of a message, each complete and in order, or why there
// is no such chain: RFC 8617, section 5.2, steps 1 and 3, A and B.
func collect(m *dkim.Message) ([]Set, error) {
	results, messages, seals := m.Fields("ARC-Authentication-Results"), m.Fields("ARC-Message-Signature"), m.Fields("ARC-Seal")
	n := max(len(results), len(messages), len(seals))
	if n > setsMax {
		return nil, fmt.Errorf("%w: %d", ErrTooMany, n)
	}
	sets := make([]Set, n)
	for i := range sets {
		sets[i].Instance = i + 1
	}
	for _, field := range results {
		if err := addResults(sets, field); err != nil {
			return sets, err
		}
	}
	for _, field := range messages {
		if err := addMessage(sets, field); err != nil {
			return sets, err
		}
	}
	for _, field := range seals {
		if err := addSeal(sets, field); err != nil {
			return sets, err
		}
	}
	for i := range sets {
		s := &sets[i]
		if s.fields == nil || s.message == nil || s.seal == nil {
			return sets, fmt.Errorf("%w: instance %d", ErrIncomplete, s.Instance)
		}
	}
	return sets, nil
}

// at returns the set of an instance that a field names.
func at(sets []Set, instance string) (*Set, error) {
	n, err := strconv.ParseUint(instance, 10, 8)
	if err != nil || n == 0 || n > setsMax {
		return nil, fmt.Errorf("%w: instance %.20q", ErrField, instance)
	}
	if n > uint64(len(sets)) {
		return nil, fmt.Errorf("%w: instance %d of %d", ErrIncomplete, n, len(sets))
	}
	return &sets[n-1], nil
}

// addResults adds an ARC-Authentication-Results field. It begins with the instance
// (RFC 8617, section 4.1.1).
func addResults(sets []Set, field []byte) error {
	_, value, _ := bytes.Cut(field, []byte(":"))
	text := strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
	first, rest, ok := strings.Cut(text, ";")
	name, instance, _ := strings.Cut(first, "=")
	if !ok || strings.TrimSpace(name) != "i" {
		return fmt.Errorf("%w: ARC-Authentication-Results must begin with its instance", ErrField)
	}
	s, err := at(sets, strings.TrimSpace(instance))
	if err != nil {
		return err
	}
	if s.fields != nil {
		return fmt.Errorf("%w: several ARC-Authentication-Results for instance %d", ErrField, s.Instance)
	}
	s.Results = strings.TrimSpace(rest)
	s.fields = [][]byte{field, nil, nil}
	return nil
}

// addMessage adds an ARC-Message-Signature field.
func addMessage(sets []Set, field []byte) error {
	s, sig, err := parse(sets, field, dkim.ARCMessageSignature)
	switch {
	case err != nil:
		return fmt.Errorf("ARC-Message-Signature: %w", err)
	case s.message != nil:
		return fmt.Errorf("%w: several ARC-Message-Signature for instance %d", ErrField, s.Instance)
	case sig.Signs("ARC-Seal"):
		// What comes above it can't be signed by it (RFC 8617, section 4.1.2).
		return fmt.Errorf("%w: ARC-Message-Signature signs seals", ErrField)
	}
	s.message, s.MessageDomain = sig, sig.Domain
	if s.fields != nil {
		s.fields[1] = field
	}
	return nil
}

// addSeal adds an ARC-Seal field.
func addSeal(sets []Set, field []byte) error {
	s, sig, err := parse(sets, field, dkim.ARCSeal)
	if err != nil {
		return fmt.Errorf("ARC-Seal: %w", err)
	}
	if s.seal != nil {
		return fmt.Errorf("%w: several ARC-Seal for instance %d", ErrField, s.Instance)
	}
	// RFC 8617, section 4.1.3: it would say that something else is sealed.
	for _, name := range []string{"h", "bh"} {
		if _, ok := sig.Tag(name); ok {
			return fmt.Errorf("%w: ARC-Seal with tag %s", ErrField, name)
		}
	}
	status, _ := sig.Tag("cv")
	switch s.Status = Result(status); s.Status {
	case None, Pass, Fail:
	default:
		return fmt.Errorf("%w: ARC-Seal with status %.20q", ErrField, status)
	}
	s.seal, s.Domain, s.Selector, s.Time = sig, sig.Domain, sig.Selector, sig.Time
	if s.fields != nil {
		s.fields[2] = field
	}
	return nil
}

// parse parses a signature and finds its set.
func parse(sets []Set, field []byte, kind dkim.Kind) (*Set, *dkim.Signature, error) {
	sig, err := dkim.ParseSignature(field, kind)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrField, err)
	}
	instance, _ := sig.Tag("i")
	s, err := at(sets, instance)
	return s, sig, err
}
