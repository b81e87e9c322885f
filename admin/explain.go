package admin

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
)

// ExplainMax bounds the content of a message for Explain in bytes: it travels in
// one request.
const ExplainMax = 100 << 20

// ExplainRequest is for Explain. What is not given of the envelope is taken from
// the header of the message, if this server has received it.
type ExplainRequest struct {
	Rcpt     string    `json:"rcpt"`
	Content  []byte    `json:"content"`            // The message.
	IP       string    `json:"ip,omitempty"`       // Of the peer.
	Hello    string    `json:"hello,omitempty"`    // What the peer calls itself.
	MailFrom *string   `json:"mailFrom,omitempty"` // Empty for the null sender.
	TLS      *bool     `json:"tls,omitempty"`      // Whether the peer uses TLS.
	At       time.Time `json:"at,omitzero"`        // When it comes.
}

// Question is an ExplainRequest that was understood.
type Question struct {
	Rcpt     smtp.Path
	Content  io.ReaderAt
	Size     int64
	IP       netip.Addr
	Hello    dns.IPDomain
	MailFrom *smtp.Path
	TLS      *bool
	At       time.Time
}

// Explanations is the result of Explain: one for each account that the recipient
// stands for.
type Explanations struct {
	List []screen.Explanation `json:"list"`
}

// Explain returns what would happen to a message, and why. Nothing is delivered or
// remembered.
func (a *Admin) Explain(ctx context.Context, req ExplainRequest) (Explanations, error) {
	if a.opts.Explain == nil {
		return Explanations{}, userError("this server judges no mail")
	}
	q, err := parseQuestion(req)
	if err != nil {
		return Explanations{}, err
	}
	list, err := a.opts.Explain(ctx, q)
	return Explanations{list}, err
}

func parseQuestion(req ExplainRequest) (Question, error) {
	q := Question{Content: bytes.NewReader(req.Content), Size: int64(len(req.Content)), TLS: req.TLS, At: req.At}
	if len(req.Content) == 0 {
		return q, userError("there is no message")
	}
	if len(req.Content) > ExplainMax {
		return q, userError("message of %d bytes, more than %d", len(req.Content), ExplainMax)
	}
	rcpt, err := smtp.ParseRcptTo("TO:<"+req.Rcpt+">", smtp.ParseOptions{})
	if err != nil {
		return q, userError("%q is not an address: %v", req.Rcpt, err)
	}
	q.Rcpt = rcpt.Path
	if req.IP != "" {
		if q.IP, err = netip.ParseAddr(req.IP); err != nil {
			return q, userError("%q is not an IP address", req.IP)
		}
	}
	if req.Hello != "" {
		h, err := smtp.ParseEHLO(req.Hello, smtp.ParseOptions{})
		if err != nil {
			return q, userError("%q is not what a server calls itself: %v", req.Hello, err)
		}
		q.Hello = h.Name
	}
	if req.MailFrom != nil {
		m, err := smtp.ParseMailFrom("FROM:<"+*req.MailFrom+"> SMTPUTF8", smtp.ParseOptions{})
		if err != nil {
			return q, userError("%q is not a sender: %v", *req.MailFrom, err)
		}
		q.MailFrom = &m.Path
	}
	return q, nil
}
