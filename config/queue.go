package config

import (
	"fmt"
	"slices"
	"time"
)

// Queue says how often sending mail is tried, and how much of it at a time.
type Queue struct {
	RetryWaits       []time.Duration `sconf:"optional" sconf-doc:"How long to wait after the first attempt to deliver a message that failed for now, after the second, and so on. If absent: 7m30s, 15m, 30m, 1h, 2h, 4h, 8h."`
	RetryEvery       time.Duration   `sconf:"optional" sconf-doc:"How long to wait after further attempts. If absent, 12h."`
	GiveUpAfter      time.Duration   `sconf:"optional" sconf-doc:"How long after it was submitted a message is given up, and its sender told. If absent, 96h. The standard asks for 4 to 5 days."`
	NoticeAfter      time.Duration   `sconf:"optional" sconf-doc:"How long after it was submitted the sender is told that a message is delayed, once. If absent, 4h. Negative for never."`
	Deliveries       int64           `sconf:"optional" sconf-doc:"Deliveries to other servers at a time. If absent, 100."`
	DomainDeliveries int64           `sconf:"optional" sconf-doc:"Deliveries to one domain at a time. If absent, 5. More than 20 counts for the server of a transport too."`
	LocalDeliveries  int64           `sconf:"optional" sconf-doc:"Deliveries to accounts here at a time. If absent, 200."`
}

// Limits on Queue. Waits below a second would be a busy loop, and nobody reads
// mail that took longer than a month.
const (
	queueWaitMin  = time.Second
	queueWaitMax  = 31 * 24 * time.Hour
	queueWaitsMax = 100
	deliveriesMax = 10_000
)

// DefaultQueue returns the values that stand for absent ones.
func DefaultQueue() Queue {
	return Queue{
		RetryWaits: []time.Duration{
			7*time.Minute + 30*time.Second, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour,
		},
		RetryEvery: 12 * time.Hour, GiveUpAfter: 4 * 24 * time.Hour, NoticeAfter: 4 * time.Hour,
		Deliveries: 100, DomainDeliveries: 5, LocalDeliveries: 200,
	}
}

// Queue returns the settings for the queue, with a value for each. NoticeAfter
// is zero for never.
func (c *Config) Queue() Queue {
	q, d := c.Static.Queue, DefaultQueue()
	q.RetryWaits = slices.Clone(q.RetryWaits)
	if len(q.RetryWaits) == 0 {
		q.RetryWaits = d.RetryWaits
	}
	orDefault(&q.RetryEvery, d.RetryEvery)
	orDefault(&q.GiveUpAfter, d.GiveUpAfter)
	orDefault(&q.NoticeAfter, d.NoticeAfter)
	orDefault(&q.Deliveries, d.Deliveries)
	orDefault(&q.DomainDeliveries, d.DomainDeliveries)
	orDefault(&q.LocalDeliveries, d.LocalDeliveries)
	q.NoticeAfter = max(0, q.NoticeAfter)
	return q
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c *checker) queue() {
	q := c.config.Static.Queue
	wait := func(path string, d time.Duration) {
		if d != 0 && (d < queueWaitMin || d > queueWaitMax) {
			c.bad(StaticName, "Queue."+path, "need %v to %v", queueWaitMin, queueWaitMax)
		}
	}
	if len(q.RetryWaits) > queueWaitsMax {
		c.bad(StaticName, "Queue.RetryWaits", "more than %d", queueWaitsMax)
	}
	for i, d := range q.RetryWaits {
		path := fmt.Sprintf("RetryWaits[%d]", i)
		wait(path, d)
		if d == 0 {
			c.bad(StaticName, "Queue."+path, "a wait can't be zero")
		}
	}
	wait("RetryEvery", q.RetryEvery)
	wait("GiveUpAfter", q.GiveUpAfter)
	wait("NoticeAfter", max(0, q.NoticeAfter))
	for path, n := range map[string]int64{"Deliveries": q.Deliveries, "DomainDeliveries": q.DomainDeliveries, "LocalDeliveries": q.LocalDeliveries} {
		if n < 0 || n > deliveriesMax {
			c.bad(StaticName, "Queue."+path, "need 1 to %d", deliveriesMax)
		}
	}
}
