package screen

import (
	"encoding/json"
	"unicode/utf8"
)

const (
	// recordMax bounds a Record in bytes: it is stored with each message.
	recordMax = 16 << 10

	// findingMax bounds the text of a step in a Record, in bytes.
	findingMax = 400
)

// Record is a verdict as it is stored with a message, in JSON.
type Record struct {
	Action      string `json:"action"`
	Reason      Reason `json:"reason"`
	Explanation string `json:"explanation"`
	Method      Method `json:"method,omitempty"`
	Override    string `json:"override,omitempty"`
	Steps       []Step `json:"steps,omitempty"`
}

// Record returns the verdict for storing, at most 16 KiB: long texts are cut, and
// of many steps the first are kept.
func (v Verdict) Record() []byte {
	r := Record{v.Action.String(), v.Reason, cut(v.Explanation), v.Method, v.Override, nil}
	for _, s := range v.Steps {
		r.Steps = append(r.Steps, Step{s.Name, cut(s.Finding), cut(s.Effect)})
	}
	for {
		b, err := json.Marshal(r)
		if err != nil {
			return nil // Its types can all be marshalled.
		}
		if len(b) <= recordMax || len(r.Steps) == 0 {
			return b
		}
		r.Steps = r.Steps[:len(r.Steps)/2]
	}
}

// ParseRecord parses what Record returned.
func ParseRecord(b []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(b, &r)
	return r, err
}

// cut shortens a text.
func cut(s string) string {
	if len(s) <= findingMax {
		return s
	}
	i := findingMax
	for i > 0 && !utf8.RuneStart(s[i]) {
		i--
	}
	return s[:i] + "…"
}
