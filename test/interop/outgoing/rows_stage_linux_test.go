package outgoing

import (
	"fmt"
	"strings"
	"time"
)

// stages are where a Postfix refuses: the setting for it.
var stages = []struct{ name, setting string }{
	{"connecting", "smtpd_client_restrictions=check_client_access"},
	{"EHLO", "smtpd_helo_restrictions=check_helo_access"},
	{"MAIL", "smtpd_sender_restrictions=check_sender_access"},
	{"RCPT", "smtpd_recipient_restrictions=check_recipient_access"},
	{"DATA", "smtpd_data_restrictions=check_client_access"},
	{"the end of the message", "smtpd_end_of_data_restrictions=check_client_access"},
}

// refusing returns a Postfix that refuses at a stage.
func refusing(stage int, reply string) *end {
	return postfix(stages[stage].setting + " static:{" + reply + "}")
}

// Numbers of stages.
const (
	atConnect = iota
	atEHLO
	atMAIL
	atRCPT
)

// stageRows are about replies of RFC 5321, section 4.2.1: what begins with 4 is tried
// again, what begins with 5 is over, except for a host that takes no mail at all when
// there are others. The sender is told what the server said.
func stageRows() (rows []*row) {
	for i, stage := range stages {
		rows = append(rows,
			&row{
				name: "refused for now at " + stage.name, domain: fmt.Sprintf("temp%d", i),
				hosts: []host{{v4: refusing(i, "450 4.7.9 come back")}}, want: []want{replied("450 4.7.9", 1), replied("450 4.7.9", 1)},
			},
			&row{
				name: "refused at " + stage.name, domain: fmt.Sprintf("perm%d", i),
				hosts: []host{{v4: refusing(i, "554 5.6.9 never")}}, want: []want{replied("554 5.6.9", 1)},
			},
			&row{
				name: "refused for now at " + stage.name + ", the second host takes it", domain: fmt.Sprintf("temp%d-second", i),
				hosts: []host{{v4: refusing(i, "450 4.7.9 come back")}, {}}, want: []want{delivered(unverified, 2).by("mx2")},
			},
		)
		second := &row{
			name: "refused at " + stage.name + ", there is a second host", domain: fmt.Sprintf("perm%d-second", i),
			hosts: []host{{v4: refusing(i, "554 5.6.9 never")}, {}}, want: []want{replied("554 5.6.9", 1)},
		}
		if i <= atEHLO { // That is about the host, and not about the message.
			second.want = []want{delivered(unverified, 2).by("mx2")}
		}
		rows = append(rows, second)
	}
	return append(rows,
		&row{name: "the host takes no mail (RFC 7504)", domain: "c521", hosts: []host{{v4: refusing(atConnect, "521 5.3.2 no mail here")}}, want: []want{replied("521 5.3.2", 1)}},
		&row{name: "the host is about to go", domain: "c421", hosts: []host{{v4: refusing(atRCPT, "421 4.3.2 going down")}}, want: []want{replied("421 4.3.2", 1)}},
		&row{name: "EHLO is unknown, HELO is not", domain: "helo", hosts: []host{{v4: says("EHLO", "502 5.5.1 what?")}}, want: []want{delivered(plain, 1)}},
		&row{
			name: "the message is larger than the host says to take (RFC 1870)", domain: "size", hosts: []host{{v4: postfix("message_size_limit=100")}},
			want: []want{{status: "5.3.4", code: 552, reason: "is larger than", connections: 1}},
		},
		&row{
			name: "an address that the host does not take (RFC 6531)", domain: "ascii", utf8: true,
			hosts: []host{{v4: postfix("smtputf8_enable=no")}}, want: []want{{status: "5.6.7", code: 550, reason: "can't take internationalised mail", connections: 1}},
		},
		&row{name: "an address that is not in ASCII", domain: "utf8", utf8: true, hosts: []host{{}}, want: []want{delivered(unverified, 1)}},
		&row{
			name: "a code without an enhanced one", domain: "bare", hosts: []host{{v4: says("RCPT", "550 no such user")}},
			want: []want{{status: "5.0.0", code: 550, reason: "550 no such user", connections: 1}},
		},
		&row{
			name: "greylisting", domain: "grey", greylisted: true,
			hosts: []host{{v4: postfix("smtpd_recipient_restrictions=check_policy_service inet:" + greylistAddr + ", permit")}},
			want:  []want{replied("450 4.2.0", 1), delivered(unverified, 1)},
		},
	)
}

// slowAt returns a peer that answers a command so, and to which we have little
// patience.
func slowAt(command string, list ...string) *end {
	return hasty(&script{answers: answers{command: list}})
}

// slowRows are about peers that are slow, fall silent, hang up, or don't stop
// talking, RFC 5321, sections 4.5.3.2 and 4.5.4.
func slowRows() (rows []*row) {
	const (
		lost     = "was lost, or it took too long"
		nonsense = "doesn't speak SMTP as it should"
		unknown  = "didn't say whether it has taken the message"
	)
	for _, command := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA"} {
		for _, answer := range []struct{ what, status, reason string }{
			{"drop", "4.4.2", lost}, {"stall", "4.4.2", lost}, {"drip", "4.4.2", lost}, {"flood", "4.5.0", nonsense},
		} {
			r := &row{
				name: "at " + command + " the server does this: " + answer.what, domain: answer.what + "-" + strings.ToLower(command),
				hosts: []host{{v4: slowAt(command, answer.what)}}, want: []want{deferred(answer.status, answer.reason, 1)},
			}
			rows = append(rows, r)
		}
	}
	return append(rows,
		&row{
			name: "silence at the greeting of the first host, the second takes it", domain: "stall-second",
			hosts: []host{{v4: slowAt("greeting", "stall")}, {}}, want: []want{delivered(unverified, 2).by("mx2")},
		},
		&row{
			name: "the connection is lost in the middle of the message", domain: "content-drop",
			hosts: []host{{v4: slowAt("content", "drop")}}, want: []want{deferred("4.4.2", "", 1)},
		},
		&row{
			name: "the message is taken, and nothing said: it may come twice, and not to another host (5321, 4.5.3.2.6)", domain: "message-stall",
			hosts: []host{{v4: slowAt("message", "stall", "")}, {}}, want: []want{deferred("4.4.2", unknown, 1), delivered(unverified, 1)}, copies: 2,
		},
		&row{
			name: "the message is taken, and the connection lost", domain: "message-drop",
			hosts: []host{{v4: slowAt("message", "drop", "")}, {}}, want: []want{deferred("4.4.2", unknown, 1), delivered(unverified, 1)}, copies: 2,
		},
		&row{name: "the connection is lost after the message is taken", domain: "late", hosts: []host{{v4: slowAt("message", "late")}}, want: []want{delivered(unverified, 1)}},
		&row{name: "no answer to QUIT", domain: "quit-stall", hosts: []host{{v4: slowAt("QUIT", "stall")}}, want: []want{delivered(unverified, 1)}},
		&row{
			name: "a server that makes all wait a little", domain: "tarpit",
			hosts: []host{{v4: peer(&script{pause: 300 * time.Millisecond})}}, want: []want{delivered(unverified, 1)},
		},
		&row{
			name: "a server that is always just in time, for longer than a conversation may last", domain: "crawl",
			hosts: []host{{v4: peer(&script{pause: sessionTime/3 + time.Second})}}, want: []want{deferred("4.4.2", lost, 1)},
		},
	)
}
