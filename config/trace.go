package config

import "time"

// Trace says how much is kept of the way of messages.
type Trace struct {
	KeepFor time.Duration `sconf:"optional" sconf-doc:"How long. If absent, 720h (30 days). Negative: nothing is kept."`
	MaxSize int64         `sconf:"optional" sconf-doc:"Bytes of all that is kept, at about 1 KiB for each recipient of a message. If absent, 1073741824 (1 GiB)."`
}

// Limits on Trace. With less it would be of no use, and looking through more would
// take too long.
const (
	traceKeepMin = time.Hour
	traceKeepMax = 10 * 366 * 24 * time.Hour
	traceSizeMin = 1 << 20
	traceSizeMax = 64 << 30
)

// DefaultTrace returns the values that stand for absent ones.
func DefaultTrace() Trace { return Trace{KeepFor: 30 * 24 * time.Hour, MaxSize: 1 << 30} }

// Trace returns the settings for traces, with a value for each. KeepFor is zero for
// not at all.
func (c *Config) Trace() Trace {
	t, d := c.Static.Trace, DefaultTrace()
	orDefault(&t.KeepFor, d.KeepFor)
	orDefault(&t.MaxSize, d.MaxSize)
	t.KeepFor = max(0, t.KeepFor)
	return t
}

func (c *checker) trace() {
	t := c.config.Static.Trace
	if t.KeepFor > 0 && (t.KeepFor < traceKeepMin || t.KeepFor > traceKeepMax) {
		c.bad(StaticName, "Trace.KeepFor", "need %v to %v", traceKeepMin, traceKeepMax)
	}
	if t.MaxSize != 0 && (t.MaxSize < traceSizeMin || t.MaxSize > traceSizeMax) {
		c.bad(StaticName, "Trace.MaxSize", "need %d to %d", int64(traceSizeMin), int64(traceSizeMax))
	}
}
