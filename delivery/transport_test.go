package delivery

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/sasl"
)

// secret is the password at servers that mail is handed to. It must be nowhere but
// there.
const secret = "correct horse battery"

// withTransports gives the configuration transports and routes of all.
func withTransports(t *testing.T, transports map[string]config.Transport, routes ...config.Route) func(*Options) {
	t.Helper()
	dynamic := testConfig
	dynamic.Routes = routes
	c, err := config.Check(config.Static{
		DataDir: "data", LogLevel: "info", Hostname: "mx.example.org", Postmaster: config.Postmaster{Account: "mox", Mailbox: "Inbox"}, Transports: transports,
		Listeners: map[string]config.Listener{"public": {IPs: []string{"192.0.2.100"}, SMTP: config.SMTP{Enabled: true, NoSTARTTLS: true}}},
	}, dynamic, nil)
	check(t, err)
	return func(o *Options) { o.Config = func() *config.Config { return c } }
}

// toAll is a route to a transport, without conditions.
func toAll(name string) config.Route { return config.Route{Transport: name} }

// user returns what logs in at a server, with mechanisms or those that are the
// default.
func user(mechanisms ...string) *config.TransportAuth {
	return &config.TransportAuth{Username: "user", Password: secret, Mechanisms: mechanisms}
}

// loginsFor returns the server's side of mechanisms for one user. Offered are those
// that the server has.
func loginsFor(t *testing.T, password string, offered ...string) func(string, *tls.ConnectionState) sasl.Server {
	t.Helper()
	keys := func(h crypto.Hash) sasl.SCRAMUser {
		k, err := sasl.DeriveSCRAM(h, password, []byte("salt"), sasl.SCRAMIterationsMin)
		check(t, err)
		return sasl.SCRAMUser{Salt: []byte("salt"), Iterations: sasl.SCRAMIterationsMin, Keys: []sasl.SCRAMKeys{k}}
	}
	users := map[crypto.Hash]sasl.SCRAMUser{crypto.SHA1: keys(crypto.SHA1), crypto.SHA256: keys(crypto.SHA256)}
	return func(mechanism string, cs *tls.ConnectionState) sasl.Server {
		if !slices.Contains(offered, mechanism) {
			return nil
		}
		if mechanism == sasl.Plain {
			return &checkedPlain{password: password}
		}
		h := crypto.SHA256
		if strings.HasPrefix(mechanism, sasl.SCRAM1) {
			h = crypto.SHA1
		}
		return &sasl.SCRAMServer{
			Hash: h, Plus: strings.HasSuffix(mechanism, "-PLUS"), Rand: rand.Reader, Channel: &sasl.Channel{State: cs},
			PlusOffered: slices.Contains(offered, sasl.SCRAM256Plus),
			Lookup:      func(string) (sasl.SCRAMUser, error) { return users[h], nil },
		}
	}
}

// checkedPlain is PLAIN with one password.
type checkedPlain struct {
	sasl.PlainServer
	password string
}

func (p *checkedPlain) Next(resp []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = p.PlainServer.Next(resp)
	if err == nil && done && (p.Username != "user" || p.Password != p.password) {
		err = sasl.ErrProof
	}
	return challenge, done, err
}

// outcome tells what came of the only attempt for a message, in a few words.
func (e *env) outcome(id int64) string {
	e.Helper()
	list, err := e.queue.List(e.Context(), queue.Filter{IDs: []int64{id}}, queue.Sort{})
	check(e.T, err)
	if len(list) == 0 {
		if n := e.notices("alice"); len(n) > 0 {
			return strings.Join(n, ", ")
		}
		return "sent"
	}
	if len(list[0].Results) != 1 {
		e.Fatalf("got results %+v", list[0].Results)
	}
	r := list[0].Results[0]
	return fmt.Sprintf("waits %d %s %s", r.Code, r.Enhanced, r.Transport)
}

// TestRelay hands mail to a server of the configuration that is protected in all
// ways, and does all that a server can do wrong. Nothing is sent where what is
// demanded is not fulfilled, and nothing bounces for what an operator can mend.
func TestRelay(t *testing.T) {
	t.Parallel()
	ca, far := newAuthority(t), time.Now().Add(1000*time.Hour)
	good, other, self := ca.issue(t, "relay.example", far), ca.issue(t, "other.example", far), certificate(t)
	const sent, sentTLS = "alice@example.org: bob@other.example", "alice@example.org: bob@other.example (tls)"
	host := func(t config.TransportSMTP) *config.TransportSMTP {
		t.Host = "relay.example"
		return &t
	}
	plain := config.Transport{SMTP: host(config.TransportSMTP{NoSTARTTLS: true})}
	verified := config.Transport{Submission: host(config.TransportSMTP{})}
	unverified := config.Transport{Submission: host(config.TransportSMTP{STARTTLSInsecureSkipVerify: true})}
	immediate := config.Transport{Submissions: host(config.TransportSMTP{})}
	yes, no := true, false
	for _, test := range []struct {
		name      string
		transport config.Transport
		peer      *peer
		require   *bool
		want      string // What the server has got.
		outcome   string
		log       string // Words of the line about the delivery.
	}{
		{"plain text", plain, &peer{extensions: "STARTTLS", cert: good}, nil, sent, "sent", "tls=none"},
		{"plain text, and TLS is required", plain, &peer{}, &yes, "", "failed 5.7.30 bob@other.example", "5.7.30"},
		{"STARTTLS", verified, &peer{extensions: "STARTTLS", cert: good}, nil, sentTLS, "sent", "tls=pkix"},
		{"STARTTLS that is not offered", verified, &peer{}, nil, "", "waits 0 4.7.5 relay", "level=ERROR"},
		{"STARTTLS that is refused", verified, &peer{extensions: "STARTTLS", cert: good, answers: map[string][]string{"STARTTLS": {"554 5.7.0 no"}}}, nil, "", "waits 451 4.3.5 relay", "level=ERROR"},
		{"a certificate for another name", verified, &peer{extensions: "STARTTLS", cert: other}, nil, "", "waits 0 4.7.5 relay", "level=ERROR"},
		{"a certificate of nobody", verified, &peer{extensions: "STARTTLS", cert: self}, nil, "", "waits 0 4.7.5 relay", "level=ERROR"},
		{"a certificate of nobody, and TLS is not needed", verified, &peer{extensions: "STARTTLS", cert: self}, &no, "", "waits 0 4.7.5 relay", "level=ERROR"},
		{"a certificate of nobody that is not verified", unverified, &peer{extensions: "STARTTLS", cert: self}, nil, sentTLS, "sent", "tls=unverified"},
		{"STARTTLS that is not offered, without verifying", unverified, &peer{}, nil, "", "waits 0 4.7.5 relay", "level=ERROR"},
		{"not verified, and TLS is required", unverified, &peer{extensions: "STARTTLS,REQUIRETLS", cert: good}, &yes, "", "failed 5.7.30 bob@other.example", "5.7.30"},
		{"TLS from the beginning", immediate, &peer{immediate: true, cert: good}, nil, sentTLS, "sent", "tls=pkix"},
		{"TLS from the beginning, and a promise to require it", immediate, &peer{immediate: true, cert: good, extensions: "REQUIRETLS"}, &yes, sentTLS, "sent", "tls=pkix"},
		{"TLS from the beginning, and no promise", immediate, &peer{immediate: true, cert: good}, &yes, "", "failed 5.7.30 bob@other.example", "5.7.30"},
		{"TLS from the beginning with nobody", immediate, &peer{immediate: true, cert: self}, nil, "", "waits 0 4.7.5 relay", "level=ERROR"},
		{"a greeting that refuses", plain, &peer{answers: map[string][]string{"": {"554 go away"}}}, nil, "", "waits 451 4.3.5 relay", "level=ERROR"},
		{"EHLO is refused for good", plain, &peer{answers: map[string][]string{"EHLO": {"550 no"}, "HELO": {"550 no"}}}, nil, "", "waits 451 4.3.5 relay", "level=ERROR"},
		{"it wants a login", plain, &peer{answers: map[string][]string{"MAIL": {"530 5.7.0 authentication required"}}}, nil, "", "waits 451 4.3.5 relay", "level=ERROR"},
		{"it is busy", plain, &peer{answers: map[string][]string{"": {"421 4.3.2 busy"}}}, nil, "", "waits 421 4.3.2 relay", "level=INFO"},
		{"it refuses the recipient", plain, &peer{answers: map[string][]string{"RCPT": {"550 5.1.1 who?"}}}, nil, "", "failed 5.1.1 bob@other.example", "level=INFO"},
		{"it refuses the message", plain, &peer{answers: map[string][]string{".": {"554 5.7.1 spam"}}}, nil, "", "failed 5.7.1 bob@other.example", "level=INFO"},
		{"it takes less", plain, &peer{extensions: "SIZE 10"}, nil, "", "failed 5.3.4 bob@other.example", "level=INFO"},
		{"it says nothing", plain, &peer{answers: map[string][]string{"": {"stall"}}}, nil, "", "waits 0 4.4.2 relay", "took=1m"},
		{"it stalls after the message", plain, &peer{answers: map[string][]string{".": {"stall"}}}, nil, sent, "waits 0 4.4.2 relay", "took=1m"},
	} {
		t.Run(test.name, func(t *testing.T) {
			trust := func(o *Options) { o.Roots = ca.pool() }
			run(t, func(e *env) {
				e.records("other.example MX 10 mx.other.example; relay.example A 203.0.113.5; relay.example MX 10 not.example")
				for _, at := range []string{"203.0.113.5", "203.0.113.5:587", "203.0.113.5:465"} {
					e.peers[at] = test.peer
				}
				m := newMessage("bob@other.example")
				m.RequireTLS = test.require
				list := e.send(m)
				e.settle(2 * time.Minute)
				if got := test.peer.summary(); got != test.want {
					e.Errorf("it has %q, want %q", got, test.want)
				}
				if got := e.outcome(list[0].ID); got != test.outcome {
					e.Errorf("got %q, want %q", got, test.outcome)
				}
				e.wantLog("msg=delivery", "transport=relay", test.log)
				if e.counter("mox_queue_delivery_duration_seconds", "transport=relay") != 1 || e.counter("mox_queue_destinations_total") != 0 {
					e.Errorf("not one attempt by the transport, or servers of the domain were looked up")
				}
			}, withTransports(t, map[string]config.Transport{"relay": test.transport}, toAll("relay")), trust)
		})
	}
}

// TestRelayLogin logs in with all mechanisms, and can't with a wrong password, nor
// where there is nothing to log in with. Then the message waits and the operator is
// told, and nobody else: neither of the password nor of what the server said.
func TestRelayLogin(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert := ca.issue(t, "relay.example", time.Now().Add(1000*time.Hour))
	const refused = "waits 451 4.3.5 relay"
	for _, test := range []struct {
		name     string
		auth     *config.TransportAuth
		offered  []string
		password string // There.
		answers  map[string][]string
		login    string // The mechanism that succeeded.
		outcome  string
		text     string // Of the result.
	}{
		{"the best of all", user(), []string{"LOGIN", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}, secret, nil, "SCRAM-SHA-256-PLUS", "sent", ""},
		{"without binding", user(), []string{"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"}, secret, nil, "SCRAM-SHA-256", "sent", ""},
		{"an old one", user(), []string{"PLAIN", "SCRAM-SHA-1"}, secret, nil, "SCRAM-SHA-1", "sent", ""},
		{"the order of the configuration", user("PLAIN", "SCRAM-SHA-256"), []string{"SCRAM-SHA-256", "PLAIN"}, secret, nil, "PLAIN", "sent", ""},
		{"binding is there and not wanted", user("SCRAM-SHA-256"), []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}, secret, nil, "SCRAM-SHA-256", "sent", ""},
		{"PLAIN only if it is named", user(), []string{"PLAIN"}, secret, nil, "", refused, "relay.example, which takes mail for this server, offers no way to log in that is configured"},
		{"nothing is offered", user(), nil, secret, nil, "", refused, "relay.example, which takes mail for this server, offers no way to log in that is configured"},
		{"another password, with binding", user(), []string{"SCRAM-SHA-256-PLUS"}, "other", nil, "", refused, "relay.example, which takes mail for this server, doesn't let it log in"},
		{"another password", user(), []string{"SCRAM-SHA-256"}, "other", nil, "", refused, "relay.example, which takes mail for this server, doesn't let it log in"},
		{"another password, as it is", user("PLAIN"), []string{"PLAIN"}, "other", nil, "", refused, "relay.example, which takes mail for this server, doesn't let it log in"},
		{"no logins now", user(), []string{"SCRAM-SHA-256"}, secret, map[string][]string{"AUTH": {"454 4.7.0 user unknown to the database"}}, "", refused, "relay.example, which takes mail for this server, doesn't let it log in"},
		{"all are welcome, without proof", user(), []string{"SCRAM-SHA-256"}, secret, map[string][]string{"AUTH": {"235 2.7.0 come in"}}, "", refused, "relay.example, which takes mail for this server, doesn't let it log in"},
	} {
		t.Run(test.name, func(t *testing.T) {
			transport := config.Transport{Submissions: &config.TransportSMTP{Host: "relay.example", Auth: test.auth}}
			run(t, func(e *env) {
				e.records("relay.example A 203.0.113.5")
				p := &peer{immediate: true, cert: cert, login: loginsFor(t, test.password, test.offered...), answers: test.answers}
				if len(test.offered) > 0 {
					p.extensions = "AUTH " + strings.Join(test.offered, " ")
				}
				e.peers["203.0.113.5:465"] = p
				id := e.send(newMessage("bob@other.example"))[0].ID
				e.settle(time.Minute)
				if got := strings.Join(p.logins, " "); got != test.login {
					e.Errorf("got logins %q, want %q", got, test.login)
				}
				if got := e.outcome(id); got != test.outcome {
					e.Errorf("got %q, want %q", got, test.outcome)
				}
				if test.outcome == refused {
					e.wantLog("level=ERROR", "msg=delivery", "transport=relay")
					if got := e.get(id).Results[0].Error; got != test.text {
						e.Errorf("got %q, want %q", got, test.text)
					}
				}
				if len(p.mails()) != len(p.logins) {
					e.Errorf("there are %d messages after %d logins", len(p.mails()), len(p.logins))
				}
				if log := e.logged(); strings.Contains(log, secret) || strings.Contains(log, "battery") {
					e.Errorf("the password is in the log:\n%s", log)
				}
			}, withTransports(t, map[string]config.Transport{"relay": transport}, toAll("relay")), func(o *Options) { o.Roots = ca.pool() })
		})
	}
}

// TestRoutes sends one message to recipients that go different ways, at once and
// after attempts.
func TestRoutes(t *testing.T) {
	transports := map[string]config.Transport{
		"never": {Fail: &config.TransportFail{SMTPMessage: "not from here"}},
		"later": {Fail: &config.TransportFail{SMTPCode: 450}},
		"next":  {SMTP: &config.TransportSMTP{Host: "localhost", Port: 2525, NoSTARTTLS: true}},
	}
	run(t, func(e *env) {
		e.records("other.example MX 10 mx.other.example; mx.other.example A 198.51.100.1")
		next, direct := &peer{}, &peer{answers: map[string][]string{"": {"421 busy"}}}
		e.peers["127.0.0.1:2525"], e.peers["198.51.100.1"] = next, direct
		list := e.send(newMessage("a@other.example", "b@never.example", "c@later.example", "d@sub.far.example", "e@far.example"))
		e.settle(time.Minute)
		for i, want := range []string{"waits 421 4.0.0 direct", "", "waits 450 4.7.1 later"} {
			if want != "" && e.outcome(list[i].ID) != want {
				e.Errorf("got %q, want %q", e.outcome(list[i].ID), want)
			}
		}
		e.wantNotices("failed 5.7.1 b@never.example")
		if got := next.summary(); !strings.Contains(got, "d@sub.far.example") || !strings.Contains(got, "e@far.example") || len(direct.mails()) != 0 {
			e.Errorf("the next server has %q, that of the domain %q", got, direct.summary())
		}
		// The first attempt was made directly, the second is not.
		e.settle(time.Hour)
		if got := next.summary(); !strings.HasSuffix(got, "alice@example.org: a@other.example") {
			e.Errorf("the next server has %q", got)
		}
		e.wantLog("msg=delivery", "transport=next", "rcptto=a@other.example", "result=delivered")
		if text := strings.Join(e.inbox("alice"), ""); !strings.Contains(text, "not from here") {
			e.Errorf("got %s", text)
		}
	}, withTransports(t, transports,
		config.Route{ToDomain: []string{"never.example"}, Transport: "never"}, config.Route{ToDomain: []string{"later.example"}, Transport: "later"},
		config.Route{ToDomain: []string{".far.example"}, Transport: "next"}, config.Route{MinimumAttempts: 1, Transport: "next"},
	))
}

// TestOverride has a transport that was chosen for a message alone, and one that is
// no longer there.
func TestOverride(t *testing.T) {
	transports := map[string]config.Transport{"never": {Fail: &config.TransportFail{}}, "usual": {}}
	run(t, func(e *env) {
		p := e.oneHost(&peer{answers: map[string][]string{"": {"421 busy", "220 ready"}}})
		id := e.send(newMessage("a@other.example"))[0].ID
		e.settle(time.Minute)
		if got := e.outcome(id); got != "waits 450 4.7.1 never" && !strings.HasPrefix(got, "failed") {
			e.Errorf("got %q", got)
		}
		for _, name := range []string{"gone", "usual"} {
			m := newMessage("b@other.example")
			m.Hold = true
			id := e.send(m)[0].ID
			changed, err := e.queue.SetTransport(e.Context(), queue.Filter{IDs: []int64{id}}, name)
			check(e.T, err)
			if len(changed) != 1 || changed[0].Transport != name {
				e.Errorf("got %+v", changed)
			}
			check(e.T, e.queue.Release(e.Context(), []int64{id}))
			e.settle(time.Minute)
			if name == "gone" {
				if got := e.outcome(id); got != "waits 451 4.3.5 unknown" {
					e.Errorf("got %q", got)
				}
				e.wantLog("level=ERROR", "msg=delivery", `the transport \"gone\" for the message is not configured`, "never", "usual")
			} else if r := e.get(id).Results; len(r) != 1 || r[0].Transport != "usual" || r[0].Code != 421 {
				e.Errorf("got %+v", r)
			}
		}
		e.settle(time.Hour)
		if got := p.summary(); got != "alice@example.org: b@other.example" {
			e.Errorf("got %q", got)
		}
	}, withTransports(t, transports, toAll("never")))
}

// TestDirectFamilies sends over one version of IP only.
func TestDirectFamilies(t *testing.T) {
	transports := map[string]config.Transport{
		"ipv4": {Direct: &config.TransportDirect{DisableIPv6: true}}, "ipv6": {Direct: &config.TransportDirect{DisableIPv4: true}},
	}
	run(t, func(e *env) {
		e.records("one.example MX 10 both.example; two.example MX 10 both.example; three.example MX 10 four.example; both.example A 198.51.100.1; both.example AAAA 2001:db8::1; four.example A 198.51.100.2")
		for _, at := range []string{"198.51.100.1", "198.51.100.2", "2001:db8::1"} {
			e.peers[at] = &peer{}
		}
		list := e.send(newMessage("a@one.example", "b@two.example", "c@three.example"))
		e.settle(time.Minute)
		if one, two := e.peers["198.51.100.1"].summary(), e.peers["2001:db8::1"].summary(); one != "alice@example.org: a@one.example" || two != "alice@example.org: b@two.example" {
			e.Errorf("got %q over IPv4, %q over IPv6", one, two)
		}
		// Another route may be for a later attempt.
		if got := e.outcome(list[2].ID); got != "waits 451 4.4.4 ipv6" {
			e.Errorf("got %q", got)
		}
	}, withTransports(t, transports, config.Route{ToDomain: []string{"one.example"}, Transport: "ipv4"}, toAll("ipv6")))
}

// TestRelayNotFound has servers without address, or that are this one.
func TestRelayNotFound(t *testing.T) {
	t.Parallel()
	for host, text := range map[string]string{
		"gone.example":        "gone.example, which takes mail for this server, can't be used: the mail server gone.example has no address",
		"mx.example.org":      "mx.example.org, which takes mail for this server, can't be used: mail for mx.example.org is to go to this server, which doesn't know the domain",
		"unspecified.example": "unspecified.example, which takes mail for this server, can't be used: the mail server unspecified.example has no address that can be used",
	} {
		t.Run(host, func(t *testing.T) {
			run(t, func(e *env) {
				e.records("mx.example.org A 192.0.2.100; unspecified.example A 0.0.0.0")
				id := e.send(newMessage("bob@other.example"))[0].ID
				e.settle(time.Minute)
				if got := e.outcome(id); got != "waits 451 4.3.5 relay" || e.get(id).Results[0].Error != text {
					e.Errorf("got %q: %q, want %q", got, e.get(id).Results[0].Error, text)
				}
				e.wantLog("level=ERROR", "msg=delivery", "transport=relay")
			}, withTransports(t, map[string]config.Transport{"relay": {SMTP: &config.TransportSMTP{Host: host}}}, toAll("relay")))
		})
	}
}

// TestRelayBusy has many messages for a server of the configuration: it has so many
// connections at a time, and each is used for messages to all domains.
func TestRelayBusy(t *testing.T) {
	transport := config.Transport{SMTP: &config.TransportSMTP{Host: "relay.example", NoSTARTTLS: true}}
	run(t, func(e *env) {
		e.records("relay.example A 203.0.113.5")
		p := &peer{answers: map[string][]string{"": append(slices.Repeat([]string{"stall"}, relayAttempts), "220 ready")}}
		e.peers["203.0.113.5"] = p
		const messages = 3 * relayAttempts
		for n := range messages {
			e.send(newMessage(fmt.Sprintf("bob@d%d.example", n)))
		}
		e.settle(relaySetupMax - time.Second)
		if got := p.connectionCount(); got != relayAttempts {
			e.Errorf("got %d connections at a time, want %d", got, relayAttempts)
		}
		e.settle(time.Minute)
		if got, want := len(p.mails()), messages-relayAttempts; got != want {
			e.Errorf("it has %d messages, want %d", got, want)
		}
		if got := p.connectionCount(); got > 2*relayAttempts {
			e.Errorf("got %d connections for %d messages", got, messages)
		}
		e.wantLog("msg=delivery", "result=delayed", "enhanced=4.4.2")
	}, withTransports(t, map[string]config.Transport{"relay": transport}, toAll("relay")), func(o *Options) { o.Workers = 100 })
}

// TestLoginPause has many messages for a server that refuses the login: it isn't
// asked for each of them, and again after a while.
func TestLoginPause(t *testing.T) {
	transport := config.Transport{SMTP: &config.TransportSMTP{Host: "relay.example", NoSTARTTLS: true, Auth: user()}}
	run(t, func(e *env) {
		e.records("relay.example A 203.0.113.5")
		p := &peer{extensions: "AUTH SCRAM-SHA-256", login: loginsFor(t, "other", "SCRAM-SHA-256")}
		e.peers["203.0.113.5"] = p
		var ids []int64
		for n := range 3 * relayAttempts {
			ids = append(ids, e.send(newMessage(fmt.Sprintf("bob@d%d.example", n)))[0].ID)
		}
		e.settle(loginPause - time.Second)
		if got := p.connectionCount(); got > relayAttempts {
			e.Errorf("it was asked %d times", got)
		}
		for _, id := range ids {
			if got := e.outcome(id); got != "waits 451 4.3.5 relay" {
				e.Errorf("got %q", got)
			}
		}
		before := p.connectionCount()
		e.settle(time.Second)
		e.send(newMessage("bob@later.example"))
		e.settle(time.Second)
		if got := p.connectionCount(); got != before+1 {
			e.Errorf("after the pause it was asked %d times more, want once", got-before)
		}
	}, withTransports(t, map[string]config.Transport{"relay": transport}, toAll("relay")))
}
