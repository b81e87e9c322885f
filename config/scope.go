package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// periodMax bounds durations: what has to wait or to be kept longer than ten
// years doesn't happen.
const periodMax = 10 * 365 * 24 * time.Hour

// listMax bounds lists that are walked for a message, a request or a connection.
const listMax = 10_000

// scope is a setting while it is checked, with the common ways to check one.
// Those that return a value return the zero value after a problem.
type scope struct {
	c    *checker
	file string
	path string
}

func (c *checker) static(path string) scope  { return scope{c, StaticName, path} }
func (c *checker) dynamic(path string) scope { return scope{c, DynamicName, path} }

// in returns a setting below, a field or a key of a map.
func (s scope) in(name string) scope {
	if s.path != "" {
		name = s.path + "." + name
	}
	return scope{s.c, s.file, name}
}

// item returns a setting of a list.
func (s scope) item(i int) scope {
	return scope{s.c, s.file, fmt.Sprintf("%s[%d]", s.path, i)}
}

// bad notes a problem of the setting.
func (s scope) bad(format string, args ...any) { s.c.bad(s.file, s.path, format, args...) }

// is notes err, if there is one, as the problem of the setting.
func (s scope) is(err error) bool { return s.c.is(s.file, s.path, err) }

// warn notes what works, but hardly as it was meant.
func (s scope) warn(format string, args ...any) {
	s.c.config.Warnings = append(s.c.config.Warnings, &Problem{File: s.file, Path: s.path, Err: fmt.Errorf(format, args...)})
}

func (s scope) notEmpty(text string) {
	if text == "" {
		s.bad("must not be empty")
	}
}

func (s scope) notNegative(n int64) {
	if n < 0 {
		s.bad("must not be negative")
	}
}

// port returns the port that is meant, false if there is none.
func (s scope) port(n, ifZero int64) (uint16, bool) {
	if n < 0 || n > 65535 {
		s.bad("port %d is not 0 to 65535", n)
		return 0, false
	}
	if n == 0 {
		n = ifZero
	}
	return uint16(n), true
}

func (s scope) domain(name string) (dns.Domain, bool) {
	d, err := dns.ParseConfigDomain(name)
	return d, s.is(err)
}

// domains checks a list of domains without repetitions.
func (s scope) domains(names []string) {
	seen := map[dns.Domain]bool{}
	for i, name := range names {
		d, ok := s.item(i).domain(name)
		if ok && seen[d] {
			s.item(i).bad("%s is named twice", name)
		}
		seen[d] = true
	}
}

// once checks that nothing is named twice in a list.
func (s scope) once(names []string) {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			s.item(i).bad("%q is named twice", name)
		}
	}
}

// oneOf checks each name of a list.
func (s scope) oneOf(names, known []string) {
	for i, name := range names {
		if !slices.Contains(known, name) {
			s.item(i).bad("%q is not one of: %s", name, strings.Join(known, " "))
		}
	}
	s.once(names)
}

func (s scope) account(name string) {
	if _, ok := s.c.config.Dynamic.Accounts[name]; !ok && !s.c.without[DynamicName] {
		s.bad("no account %q in %s", name, DynamicName)
	}
}

func (s scope) mailbox(name string) { s.is(checkMailbox(name)) }

// otherMailbox is for mail that must not come into Inbox.
func (s scope) otherMailbox(name string) {
	s.mailbox(name)
	if isInbox(name) {
		s.bad("must not be Inbox")
	}
}

func isInbox(name string) bool { return strings.EqualFold(name, "inbox") }

// text checks what is told to peers.
func (s scope) text(text string) {
	if len(text) > textMax || !isPrintable(text) {
		s.bad("need at most %d printable ASCII characters", textMax)
	}
}

// period checks a duration of which zero is one.
func (s scope) period(d time.Duration) {
	if d < 0 || d > periodMax {
		s.bad("need 0s to %v", periodMax)
	}
}

// fraction checks a number from 0 to limit. It may not even be a number.
func (s scope) fraction(x, limit float64) {
	if !(x >= 0 && x <= limit) { //nolint:staticcheck // Other for NaN.
		s.bad("need 0 to %v", limit)
	}
}

// regexp checks a regular expression, empty for none.
func (s scope) regexp(text string) {
	_, err := regexp.Compile(text)
	s.is(err)
}

// url checks the address of a web server and returns it, nil after a problem.
func (s scope) url(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		s.bad("not a URL: %w", errors.Unwrap(err))
		return nil
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		s.bad("need a URL with http or https and a host")
		return nil
	}
	return u
}

// slashes checks the path of pages.
func (s scope) slashes(path string) {
	if !strings.HasPrefix(path, "/") || !strings.HasSuffix(path, "/") {
		s.bad("need a path with a slash at the start and at the end")
	}
}

// reportAddress checks the address that reports go to, and adds it to the lookup
// table. It may be one of the account already, but nobody else's. Domain is one of
// ours, or the host name.
func (s scope) reportAddress(localpart string, d dns.Domain, r destination) {
	s.in("Account").account(r.account)
	s.in("Mailbox").mailbox(r.mailbox)
	l, err := smtp.ParseLocalpart(localpart)
	if !s.in("Localpart").is(err) || d.IsZero() {
		return
	}
	if !l.IsASCII() {
		s.in("Localpart").bad("must be ASCII")
	}
	domain := s.c.config.domains[d] // The zero value for the host.
	canonical := domain.canonical(l)
	if canonical != domain.fold(l) {
		s.in("Localpart").bad("must not have a catchall separator of its domain")
	}
	address := smtp.Address{Localpart: canonical, Domain: d}
	r.address = address.String()
	if _, ok := s.c.config.Dynamic.Accounts[r.account]; ok {
		s.addReports(addressKey(address), r)
	}
}

// addReports makes a destination for reports, or makes one that is there be for
// them too.
func (s scope) addReports(key string, r destination) {
	s = s.in("Localpart")
	if _, ok := s.c.config.aliases[key]; ok {
		s.bad("address is that of an alias")
		return
	}
	dest, ok := s.c.config.destinations[key]
	same := dest.account == r.account && dest.mailbox == r.mailbox
	switch {
	case ok && dest.reports != Reports{} && !same:
		s.bad("address is for other reports, which go to %q in account %q", dest.mailbox, dest.account)
		return
	case ok && dest.account != r.account:
		s.bad("address is that of %s in account %q", dest.address, dest.account)
		return
	case ok && dest.refuse != nil:
		s.bad("address refuses mail, by its SMTPError")
		return
	case ok && (!same || len(dest.rules) > 0):
		s.warn("all mail for %s goes to %q, not only reports: Mailbox and Rulesets of the address don't count", dest.address, r.mailbox)
	}
	r.reports.DMARC = r.reports.DMARC || dest.reports.DMARC
	r.reports.TLS = r.reports.TLS || dest.reports.TLS
	s.c.config.destinations[key] = r
}

// lowerRegexp checks a regular expression for text in lower case.
func (s scope) lowerRegexp(text string) {
	s.regexp(text)
	if strings.ToLower(text) != text && hasUpper(text) {
		s.bad("upper case in %q never matches, since text is compared in lower case", text)
	}
}

// hasUpper tells whether a regular expression has letters in upper case that
// stand for themselves: not those of classes as \S, or after (?i).
func hasUpper(text string) bool {
	if strings.Contains(text, "(?") {
		return false
	}
	escaped := false
	for _, c := range text {
		if !escaped && c >= 'A' && c <= 'Z' {
			return true
		}
		escaped = c == '\\' && !escaped
	}
	return false
}
