package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/atomicfile"
)

// lastName is a file in the data directory that keeps when the last backup was,
// so that an alarm for its age goes on after a restart. It is in no backup: a
// server that was restored has none yet.
const lastName = "lastbackup.json"

// Last is how the last backup ended, other than those that were refused.
type Last struct {
	Path     string    `json:"path"`
	Finished time.Time `json:"finished"`
	Complete bool      `json:"complete"`
	Error    string    `json:"error,omitempty"` // Why it isn't complete.
	Success  time.Time `json:"success"`         // When the last complete one was finished.
}

// readLast returns what is kept in a data directory. The zero Last if nothing is.
func readLast(dir string) (Last, error) {
	var l Last
	text, err := os.ReadFile(filepath.Join(dir, lastName))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil {
		return Last{}, fmt.Errorf("reading %s: %w", lastName, err)
	}
	return l, nil
}

func writeLast(dir string, l Last) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, lastName), append(text, '\n'), 0o640)
}

// metrics tell of backups.
type metrics struct {
	total    *prometheus.CounterVec
	seconds  prometheus.Gauge
	lastTime prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, success time.Time) (*metrics, error) {
	m := &metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_backup_total", Help: "Backups, by how they ended.",
		}, []string{"result"}),
		seconds: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mox_backup_duration_seconds", Help: "Time that the last complete backup since the start took.",
		}),
		lastTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mox_backup_last_success_timestamp_seconds", Help: "When the last complete backup was finished, in Unix time; 0 if there was none.",
		}),
	}
	for _, result := range []string{"complete", "incomplete", "failed", "refused"} {
		m.total.WithLabelValues(result)
	}
	if !success.IsZero() {
		m.lastTime.Set(float64(success.Unix()))
	}
	for _, c := range []prometheus.Collector{m.total, m.seconds, m.lastTime} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of backups: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) count(result string) { m.total.WithLabelValues(result).Inc() }

func (m *metrics) success(at time.Time, took time.Duration) {
	m.lastTime.Set(float64(at.Unix()))
	m.seconds.Set(took.Seconds())
}
