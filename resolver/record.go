package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// ErrType means that records of a type can't be traced.
var ErrType = errors.New("resolver: type that is not looked up")

// recorder collects the steps of a Trace. All its methods, and those of a nil Step,
// do nothing for a nil one.
type recorder struct {
	mu    sync.Mutex
	steps []Step
}

// Trace looks up records of a type, as "MX", and tells how. Nothing comes from the
// cache, and nothing gets there. The error is ErrType; what the lookup itself ends
// with is in the Trace.
func (r *Resolver) Trace(ctx context.Context, name, typ string) (Trace, error) {
	number := mdns.StringToType[strings.ToUpper(typ)]
	switch number {
	case mdns.TypeA, mdns.TypeAAAA, mdns.TypeMX, mdns.TypeTXT, mdns.TypePTR, mdns.TypeSRV, mdns.TypeTLSA, mdns.TypeNS, mdns.TypeCNAME:
	default:
		return Trace{}, fmt.Errorf("%w: %q", ErrType, typ)
	}
	start := time.Now()
	alone := r.alone()
	res, err := alone.lookup(ctx, name, number)
	t := Trace{Name: name, Type: mdns.TypeToString[number], Steps: alone.trace.steps, Records: texts(res.records), Result: res.Result, Err: err, Cost: res.cost, Took: time.Since(start)}
	t.Validated = len(t.Steps) == 0 || t.Steps[0].Kind != stepBelieved
	t.conclude()
	return t, nil
}

// alone returns a Resolver that knows the same servers, keeps nothing and records
// what it does.
func (r *Resolver) alone() *Resolver {
	return &Resolver{
		dial: r.dial, observe: r.observe, config: r.config, slots: r.slots, mode: r.mode, anchors: r.anchors, unsigned: r.unsigned, peers: r.peers,
		cache: cache{max: r.cache.max}, forget: r.forget, trace: &recorder{},
	}
}

// conclude sets the verdict from the steps.
func (t *Trace) conclude() {
	switch {
	case errors.Is(t.Err, dns.ErrBogus):
		t.Verdict = Bogus
	case t.Err != nil && !dns.IsNone(t.Err):
		t.Why = t.Err.Error()
		return
	case t.Result.Authentic:
		t.Verdict, t.Why = Secure, "all is signed, from the trust anchor to the answer"
		if !t.Validated {
			t.Why = "a trusted server says so"
		}
		return
	default:
		t.Verdict, t.Why = Insecure, "nobody trusted says that it is authentic"
	}
	for _, s := range t.Steps { // The first that is not secure is why.
		if s.Verdict == t.Verdict {
			t.Why = s.Why
			return
		}
		if s.Proof != nil && s.Proof.OptOut && t.Verdict == Insecure {
			t.Why = "by opt-out, unsigned names may be there that the proof does not tell of"
		}
	}
	if e := extendedOf(t.Err); e != nil {
		t.Why = e.Text
	}
}

// stepBelieved is the kind of steps in which nothing is validated.
const stepBelieved = "answer of a server"

// believed adds an answer that is not validated.
func (t *recorder) believed(q question, rep replied, err error) {
	if t == nil {
		return
	}
	s := Step{Kind: stepBelieved, Name: q.name, Type: typeName(q.typ), Records: texts(rep.answer.records), Server: rep.answer.server, Verdict: Insecure, TTL: rep.answer.ttl}
	switch {
	case err != nil:
		s.Verdict, s.Why = "", err.Error()
		if errors.Is(err, dns.ErrBogus) {
			s.Verdict = Bogus
		}
	case rep.answer.authentic:
		s.Verdict, s.Why = Secure, "the server is trusted, and says that the answer is authentic"
	case rep.server.trusted:
		s.Why = "the server is trusted, and does not say that the answer is authentic"
	default:
		s.Why = "the server is not trusted to tell what is authentic"
	}
	t.append(s)
}

// step begins a step.
func (rd *reading) step(kind, name string, typ uint16) *Step {
	if rd.r.trace == nil {
		return nil
	}
	return &Step{Kind: kind, Name: name, Type: typeName(typ), Server: rd.server}
}

// add ends a step, made with the keys of by. What it found is in z, or part of it.
func (t *recorder) add(s *Step, by, z *zone, err error) {
	if t == nil || s == nil {
		return
	}
	if by != nil && by.secure() {
		s.Zone = by.name
	}
	switch {
	case errors.Is(err, dns.ErrBogus):
		s.Verdict, s.Extended = Bogus, extendedOf(err)
		if s.Extended != nil {
			s.Why = s.Extended.Text
		}
	case err != nil:
		s.Why = err.Error()
	case z != nil && !z.secure():
		s.Verdict, s.Why, s.Extended = Insecure, z.why, z.extended
	default:
		s.Verdict, s.Why = Secure, s.valid()
	}
	t.append(*s)
}

// valid tells why a step is secure.
func (s *Step) valid() string {
	if s.Proof != nil && len(s.Proof.Shows) > 0 {
		return strings.Join(s.Proof.Shows, "; ")
	}
	for _, sig := range s.Signatures {
		if sig.Valid {
			return fmt.Sprintf("signed with key %d of %s, algorithm %s", sig.KeyTag, sig.Signer, sig.Algorithm)
		}
	}
	return "signed"
}

func (t *recorder) append(s Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, s)
}

// set puts records into a step.
func (s *Step) set(records []mdns.RR, ttl time.Duration) {
	if s != nil {
		s.Records, s.TTL = texts(records), ttl
	}
}

// keys puts the keys of a zone into a step, with the DS records that lead to them.
func (s *Step) keys(keys []zoneKey, all []*mdns.DS) {
	if s == nil {
		return
	}
	entries, err := entryKeys(keys, usableDS(all))
	if err != nil {
		entries = nil // The step says so itself.
	}
	s.DS, s.Keys = traceDS(all, keys), traceKeys(keys, entries)
}

// delegation puts DS records into a step.
func (s *Step) delegation(all []*mdns.DS) {
	if s != nil {
		s.DS = traceDS(all, nil)
	}
}

// proof puts a proof into a step.
func (s *Step) proof(d *denial, p proven) {
	if s == nil || d == nil {
		return
	}
	t := &TraceProof{Kind: "NSEC", Shows: p.shows, OptOut: p.optOut}
	for _, r := range d.nsec {
		t.Records = append(t.Records, r.String())
	}
	if len(d.nsec3) > 0 {
		t.Kind = "NSEC3"
	}
	for _, r := range d.nsec3 {
		t.Records = append(t.Records, r.String())
	}
	s.Proof, s.TTL = t, d.ttl
}

// texts returns records as in a zone file.
func texts(records []mdns.RR) (list []string) {
	for _, rr := range records {
		list = append(list, rr.String())
	}
	return list
}
