package receive

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/dnstest"
)

// TestMetrics checks what is counted of a message.
func TestMetrics(t *testing.T) {
	t.Parallel()
	r, err := dnstest.New(judgedZone())
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	j := &judged{env: newEnv(t, func(o *Options) { o.Resolver, o.Registerer = r, reg }), dns: r}
	m := mail{mailFrom: "ann@good.example", content: text("ann@good.example", "x"), signed: []string{"good.example"}, lists: []string{"bl.example", "gone.example"}}
	if got := j.deliver(m); got != "ok" {
		t.Fatal(got)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			n := float64(metric.GetHistogram().GetSampleCount()) + metric.GetCounter().GetValue()
			var labels []string
			for _, l := range metric.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if n > 0 {
				got = append(got, fmt.Sprintf("%s %s %v", f.GetName(), strings.Join(labels, ","), n))
			}
		}
	}
	want := []string{
		"mox_dkim_verify_duration_seconds pass 1", "mox_dmarc_verify_duration_seconds pass 1", "mox_dnsbl_lookup_duration_seconds unlisted 1",
		"mox_iprev_lookup_total pass 1", "mox_smtpserver_delivery_total no-bad-signals,accept 1", "mox_spf_verify_duration_seconds pass 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
