package delivery

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
)

// successHeadMax bounds what is read of a message for a notification of success, in
// bytes. It waits in the database until it is told, and nobody needs all of the
// header to know what he has sent.
const successHeadMax = 16 << 10

// success is a recipient whose sender is to be told that he has the message.
type success struct {
	index  int // In the work.
	rcpt   *queue.Message
	try    try
	action dsn.Action
}

// succeed adds to reports what senders are to be told of list. There is one notice
// for all recipients of a Work: it is on disk in the same commit as what it says, so
// that it is told neither twice nor for some of them only.
//
// Who can't be told is not: the message has been taken.
func (d *delivery) succeed(ctx context.Context, reports []queue.Report, list []success) {
	for len(list) > 0 {
		// Recipients of one Work can have senders of their own.
		var now, later []success
		for _, one := range list {
			if one.rcpt.MailFrom == list[0].rcpt.MailFrom {
				now = append(now, one)
			} else {
				later = append(later, one)
			}
		}
		list = later
		first := now[0]
		n, id, err := d.sender.successNotice(d.work, now)
		d.tracedSuccess(now, id, err)
		if err != nil {
			d.sender.metrics.notices.WithLabelValues(string(first.action), resultError).Inc()
			d.log.ErrorContext(ctx, "composing notification of success", "queue_id", first.rcpt.ID, "account", first.rcpt.Account, "action", string(first.action), "err", err)
			continue
		}
		reports[first.index].Notice = n
	}
}

// successNotice returns a notice about recipients of w with the same sender, and its
// Message-ID.
func (s *Sender) successNotice(w *queue.Work, list []success) (n *queue.Notice, id string, err error) {
	m := list[0].rcpt
	d, err := s.newNotice(m)
	if err != nil {
		return nil, "", err
	}
	head, err := readHead(w, m.Prefix, successHeadMax)
	if err != nil {
		return nil, "", fmt.Errorf("reading header: %w", err)
	}
	d.Subject = noticeSubject(list[0].action, m.Subject)
	d.Original = wholeFields(head, successHeadMax)
	for _, one := range list {
		about, err := aboutRecipient(one.rcpt, one.action, resultOf(one.try))
		if err != nil {
			return nil, "", err
		}
		about.Diagnostic = one.try.reply
		about.Status = statusOfReply(one.try.reply)
		d.Recipients = append(d.Recipients, about)
	}
	d.Text = successText(m, list)
	utf8 := noticeUTF8(m, d.To)
	content, err := d.Compose(utf8)
	if err != nil {
		return nil, "", err
	}
	n = &queue.Notice{
		Key: m.Key + ":success", Account: m.Account, To: m.MailFrom, Action: string(list[0].action), Content: content, UTF8: utf8,
	}
	return n, d.MessageID, nil
}

// statusOfReply returns the enhanced status code of a reply on one line, or what
// stands in the place of one.
func statusOfReply(reply string) string {
	_, rest, _ := strings.Cut(reply, " ")
	status, _, _ := strings.Cut(rest, " ")
	return status
}

// wholeFields returns head without the field at its end that may not be whole, if
// head has as many bytes as were read at most.
func wholeFields(head []byte, max int) []byte {
	h := message.NewHeader(head).Raw()
	if len(head) < max || len(h) < len(head) {
		return h
	}
	for end := len(h); ; {
		end = bytes.LastIndexByte(h[:end], '\n')
		if end < 0 {
			return nil
		}
		if next := end + 1; next < len(h) && h[next] != ' ' && h[next] != '\t' {
			return h[:next]
		}
	}
}

// successText returns what a notification of success says to people.
func successText(m *queue.Message, list []success) string {
	var b strings.Builder
	for _, part := range []struct {
		action      dsn.Action
		begin, then string
	}{
		{dsn.Delivered, "Your message was delivered to the mailbox of:", "That doesn't mean that somebody has read it."},
		{dsn.Expanded, "Your message was delivered to the members of this list:", "There is no notification for each of them."},
		{
			dsn.Relayed, "Your message was taken by the mail server of:",
			"That server doesn't tell of deliveries. You will hear no more, unless the message\ncan't be delivered.",
		},
	} {
		var rcpts []string
		for _, one := range list {
			if one.action == part.action {
				rcpts = append(rcpts, one.rcpt.Rcpt)
			}
		}
		if len(rcpts) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s\n\n", part.begin)
		for _, rcpt := range rcpts {
			fmt.Fprintf(&b, "    %s\n", rcpt)
		}
		fmt.Fprintf(&b, "\n%s\n\n", part.then)
	}
	b.WriteString(messageText(m))
	return b.String()
}
