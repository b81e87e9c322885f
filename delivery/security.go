package delivery

import (
	"errors"
	"strings"

	"github.com/mjl-/mox/smtpclient"
)

// securityTextMax bounds a text of security in bytes: it is kept with each attempt, and
// errors repeat what certificates say.
const securityTextMax = 300

// security is what was decided about TLS with a host, and what came of it, for who
// follows a message. Texts are printable, and at most securityTextMax bytes. It has
// only values, so that it can be compared and copied.
type security struct {
	why string // What decided: a value of why…. Empty: no connection was to be made.

	// sts is the mode of the domain's MTA-STS policy, "unknown" if it could not be had.
	// Empty: none was asked for. Matches tells whether the host is in it.
	sts     string
	matches bool

	// dane is what the TLSA records of the host say: "none", "unknown", "unusable" or
	// "usable". Empty: none were asked for.
	dane string

	pkixErr string // Why its certificate is not good by common CAs, also where that doesn't matter.
	daneErr string // Likewise by TLSA records, or why those are unknown.
	tlsErr  string // Why TLS failed, also if the message went without it.
}

// String returns the words of evidence for people.
func (e daneEvidence) String() string {
	return [daneEvidenceCount]string{"none", "unknown", "unusable", "usable"}[e]
}

// mode returns the mode of a policy for people.
func (p domainPolicy) mode() string {
	switch {
	case !p.asked:
		return ""
	case p.err != nil:
		return "unknown"
	}
	return string(p.Mode)
}

// security returns what is decided about a host before a connection is made.
func (a *attempt) security(e tlsEvidence, p tlsPolicy, known promise) security {
	s := security{why: p.why, sts: a.policy.mode(), matches: e.sts.matches}
	if known.asked {
		s.dane, s.daneErr = known.evidence.String(), errorText(known.err)
	}
	return s
}

// decidedAgain returns what is decided for another message that goes over a connection,
// with what came of verifying the host for the first.
func (s security) decidedAgain(now security) security {
	now.pkixErr, now.daneErr, now.tlsErr = s.pkixErr, s.daneErr, s.tlsErr
	return now
}

// verified notes what came of verifying a host.
func (s *security) verified(v smtpclient.Verified) {
	if v.PKIX.Checked {
		s.pkixErr = errorText(v.PKIX.Err)
	}
	if v.DANE.Checked {
		s.daneErr = errorText(v.DANE.Err)
	}
}

// failed notes that a conversation did not begin, if that is about TLS.
func (s *security) failed(err error) {
	if e, ok := errors.AsType[*smtpclient.VerifyError](err); ok {
		s.verified(e.Verified)
	}
	if errors.Is(err, smtpclient.ErrTLS) || errors.Is(err, smtpclient.ErrNoTLS) {
		s.tlsErr = errorText(err)
	}
}

// errorText returns an error as it is kept, empty for none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return bounded(err.Error(), securityTextMax)
}

// bounded returns a text of others as it is kept: printable, and at most so many bytes.
func bounded(text string, sizeMax int) string {
	if len(text) > sizeMax {
		text = text[:sizeMax]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// attrs returns what the log has of it.
func (s security) attrs() (list []any) {
	for _, a := range []struct{ name, value string }{
		{"tls_policy", s.why}, {"sts", s.sts}, {"dane", s.dane}, {"pkix_err", s.pkixErr}, {"dane_err", s.daneErr}, {"tls_err", s.tlsErr},
	} {
		if a.value != "" {
			list = append(list, a.name, a.value)
		}
	}
	return list
}
