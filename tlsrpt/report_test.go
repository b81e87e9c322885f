package tlsrpt

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/mtasts"
)

// rfcJSON is the example of RFC 8460, appendix B, with mx-host as the list that section
// 4.4 has.
const rfcJSON = `{
  "organization-name": "Company-X",
  "date-range": {
    "start-datetime": "2016-04-01T00:00:00Z",
    "end-datetime": "2016-04-01T23:59:59Z"
  },
  "contact-info": "sts-reporting@company-x.example",
  "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
  "policies": [
    {
      "policy": {
        "policy-type": "sts",
        "policy-string": [
          "version: STSv1",
          "mode: testing",
          "mx: *.mail.company-y.example",
          "max_age: 86400"
        ],
        "policy-domain": "company-y.example",
        "mx-host": [
          "*.mail.company-y.example"
        ]
      },
      "summary": {
        "total-successful-session-count": 5326,
        "total-failure-session-count": 303
      },
      "failure-details": [
        {
          "result-type": "certificate-expired",
          "sending-mta-ip": "2001:db8:abcd:0012::1",
          "receiving-mx-hostname": "mx1.mail.company-y.example",
          "failed-session-count": 100
        },
        {
          "result-type": "starttls-not-supported",
          "sending-mta-ip": "2001:db8:abcd:0013::1",
          "receiving-mx-hostname": "mx2.mail.company-y.example",
          "receiving-ip": "203.0.113.56",
          "failed-session-count": 200,
          "additional-information": "https://reports.company-x.example/report_info?id=5065427c-23d3#StarttlsNotSupported"
        },
        {
          "result-type": "validation-failure",
          "sending-mta-ip": "198.51.100.62",
          "receiving-mx-hostname": "mx-backup.mail.company-y.example",
          "receiving-ip": "203.0.113.58",
          "failed-session-count": 3,
          "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"
        }
      ]
    }
  ]
}
`

// TestReportJSON reads the example of the RFC, and writes the same.
func TestReportJSON(t *testing.T) {
	t.Parallel()
	var r Report
	d := json.NewDecoder(strings.NewReader(rfcJSON))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if !r.DateRange.End.Equal(time.Date(2016, 4, 1, 23, 59, 59, 0, time.UTC)) || r.Policies[0].Summary != (Summary{5326, 303}) || r.Policies[0].Policy.Type != PolicySTS {
		t.Errorf("got %+v", r)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		t.Fatal(err)
	}
	if b.String() != rfcJSON {
		t.Errorf("got\n%s", b.String())
	}
}

// TestAdd adds up results: failures that are alike are counted, and there is a limit
// for those that are not.
func TestAdd(t *testing.T) {
	t.Parallel()
	var r Result
	one := Result{Summary: Summary{Failure: 1}, Failures: []Failure{{Type: CertificateExpired, ReceivingIP: "203.0.113.1", Sessions: 1}}}
	r.Add(one)
	r.Add(Result{Summary: Summary{Success: 2}})
	r.Add(one)
	if len(r.Failures) != 1 || r.Failures[0].Sessions != 2 || r.Summary != (Summary{2, 2}) || one.Failures[0].Sessions != 1 {
		t.Errorf("got %+v", r)
	}
	for i := range 2 * FailuresMax {
		other := one
		other.Failures = []Failure{{Type: CertificateExpired, ReceivingIP: fmt.Sprint("198.51.100.", i), Sessions: 1}}
		r.Add(other)
	}
	r.Add(one)
	if len(r.Failures) != FailuresMax || r.Failures[0].Sessions != 3 || r.Summary != (Summary{2, 2*FailuresMax + 3}) {
		t.Errorf("got %d failures, %+v", len(r.Failures), r.Summary)
	}
}

// TestPolicyEqual shows when policies are the same.
func TestPolicyEqual(t *testing.T) {
	t.Parallel()
	p := Policy{PolicySTS, []string{"mode: none"}, "a.example", []string{"mx"}}
	if !p.Equal(p) {
		t.Error("a policy is not itself")
	}
	for _, other := range []Policy{
		{PolicyTLSA, p.String, p.Domain, p.MXHost}, {p.Type, nil, p.Domain, p.MXHost}, {p.Type, p.String, "b.example", p.MXHost}, {p.Type, p.String, p.Domain, nil},
	} {
		if p.Equal(other) {
			t.Errorf("%+v is %+v", p, other)
		}
	}
}

// TestReasons shows what is told of errors.
func TestReasons(t *testing.T) {
	t.Parallel()
	for alert, want := range map[uint8]string{40: "tls-alert-40-handshake_failure", 112: "tls-alert-112-unrecognized_name", 255: "tls-alert-255-unknown"} {
		if got := AlertReason(alert); got != want {
			t.Errorf("alert %d: got %q", alert, got)
		}
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("no reason"), ""},
		{&dns.Error{Err: dns.ErrBogus}, ""},
		{fmt.Errorf("so: %w", &dns.Error{Err: dns.ErrBogus, Extended: &dns.Extended{Code: 9, Text: "say \"this\""}}), "dns-extended-error-9-dnskey-missing"},
		{&dns.Error{Err: dns.ErrBogus, Extended: &dns.Extended{Code: 4711}}, "dns-extended-error-4711-unknown"},
	} {
		if got := DNSReason(test.err); got != test.want {
			t.Errorf("%v: got %q, want %q", test.err, got, test.want)
		}
	}
	for _, test := range []struct {
		err    error
		typ    ResultType
		reason string
	}{
		{dane.ErrMismatch, CertificateNotTrusted, ReasonNoMatch},
		{dane.ErrNoCertificate, CertificateNotTrusted, "certificate-not-verified"},
		{fmt.Errorf("so: %w", x509.CertificateInvalidError{Reason: x509.Expired}), CertificateExpired, ""},
		{x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}, CertificateNotTrusted, "too-many-intermediates"},
		{x509.HostnameError{Certificate: &x509.Certificate{}}, CertificateHostMismatch, ""},
		{x509.UnknownAuthorityError{}, CertificateNotTrusted, "unknown-authority"},
	} {
		if typ, reason := CertificateFailure(test.err); typ != test.typ || reason != test.reason {
			t.Errorf("%v: got %s %q", test.err, typ, reason)
		}
	}
	for _, f := range []mtasts.Failure{mtasts.FailureFetch, mtasts.FailureWebPKI, mtasts.FailurePolicy} {
		if !isResultType(ResultType(f)) {
			t.Errorf("%s is not a result type", f)
		}
	}
}

func isResultType(t ResultType) bool {
	for _, known := range ResultTypes() {
		if t == known {
			return true
		}
	}
	return false
}
