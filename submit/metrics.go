package submit

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what is submitted, by whatever way.
type metrics struct{ messages *prometheus.CounterVec }

// results are the values of the label "result", by cause.
var results = []struct {
	cause error
	label string
}{
	{ErrSender, "badfrom"},
	{ErrFromID, "fromid"},
	{ErrDisabled, "domaindisabled"},
	{ErrRecipient, "badrecipient"},
	{ErrMessage, "badmessage"},
	{ErrMessageLimit, "messagelimit"},
	{ErrRecipientLimit, "recipientlimit"},
	{ErrFutureLimit, "futurelimit"},
	{ErrRoom, "noroom"},
	{ErrSpecial, "special"},
}

const (
	resultOK    = "ok"
	resultError = "error"
)

// Result returns the name of what became of a submission, for metrics: "ok",
// "error" for trouble of our own, or a name for the cause of its refusal.
func Result(err error) string {
	if err == nil {
		return resultOK
	}
	for _, r := range results {
		if errors.Is(err, r.cause) {
			return r.label
		}
	}
	return resultError
}

// Results returns all names that Result can return.
func Results() []string {
	names := []string{resultOK, resultError}
	for _, r := range results {
		names = append(names, r.label)
	}
	return names
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{messages: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_submit_messages_total", Help: "Messages from users, by whatever way they came.",
	}, []string{"result"})}
	for _, name := range Results() {
		m.messages.WithLabelValues(name)
	}
	if err := reg.Register(m.messages); err != nil {
		return nil, fmt.Errorf("registering metrics of submit: %w", err)
	}
	return m, nil
}
