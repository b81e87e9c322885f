package conformance

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// titles names the RFCs that claims are about.
var titles = map[int]string{
	2177: "IDLE",
	2342: "NAMESPACE",
	2971: "ID",
	3501: "IMAP4rev1",
	3502: "MULTIAPPEND",
	3516: "BINARY",
	3691: "UNSELECT",
	4315: "UIDPLUS",
	4731: "ESEARCH",
	4959: "SASL-IR",
	4978: "COMPRESS=DEFLATE",
	5032: "WITHIN",
	5161: "ENABLE",
	5182: "SEARCHRES",
	5255: "I18NLEVEL=1",
	5256: "SORT and THREAD",
	5258: "LIST-EXTENDED",
	5267: "ESORT, CONTEXT=SEARCH and CONTEXT=SORT",
	5464: "METADATA",
	5465: "NOTIFY",
	5466: "FILTERS",
	5819: "LIST-STATUS",
	5957: "SORT=DISPLAY",
	6154: "SPECIAL-USE",
	6851: "MOVE",
	6855: "UTF8=ACCEPT",
	7162: "CONDSTORE and QRESYNC",
	7377: "MULTISEARCH",
	7888: "LITERAL+ and LITERAL-",
	7889: "APPENDLIMIT",
	8437: "UNAUTHENTICATE",
	8438: "STATUS=SIZE",
	8457: "$Important and \\Important",
	8474: "OBJECTID",
	8508: "REPLACE",
	8514: "SAVEDATE",
	8970: "PREVIEW",
	9051: "IMAP4rev2",
	9208: "QUOTA",
	9394: "PARTIAL",
	9585: "INPROGRESS",
	9586: "UIDONLY",
	9590: "LIST-METADATA",
	9738: "MESSAGELIMIT",
	9755: "UTF8=ACCEPT",
}

const intro = `# What IMAP's RFCs demand, and which test shows it

Made by ` + "`make gen`" + ` from comments in transcripts and tests; don't edit. Package internal/conformance
describes the comments. A section's sentences with an upper-case MUST, SHALL or REQUIRED are numbered; the
requirement is in our words. What a server can't violate, as what is said to clients, is listed with the
reason in internal/conformance/exempt.txt.
`

// Markdown returns the document. Claims are in the order of Collect.
func Markdown(claims []Claim, exempt, open []Entry) string {
	var b strings.Builder
	b.WriteString(intro)
	writeCounts(&b, claims, exempt, open)
	for i, c := range claims {
		if i == 0 || claims[i-1].RFC != c.RFC {
			fmt.Fprintf(&b, "\n## RFC %d: %s\n\n| section | requirement | test |\n|---|---|---|\n", c.RFC, cmp.Or(titles[c.RFC], "?"))
		}
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", sectionCell(c), escape(c.Text), c.Test)
	}
	writeOpen(&b, open)
	return b.String()
}

// counts holds numbers of sentences.
type counts struct{ shown, exempt, open int }

func writeCounts(b *strings.Builder, claims []Claim, exempt, open []Entry) {
	b.WriteString("\n| RFC | | sentences shown | can't be violated by a server | not shown yet |\n|---|---|---|---|---|\n")
	byRFC := count(claims, exempt, open)
	rfcs := make([]int, 0, len(byRFC))
	for rfc := range byRFC {
		rfcs = append(rfcs, rfc)
	}
	slices.Sort(rfcs)
	for _, rfc := range rfcs {
		n := byRFC[rfc]
		fmt.Fprintf(b, "| %d | %s | %d | %d | %d |\n", rfc, cmp.Or(titles[rfc], "?"), n.shown, n.exempt, n.open)
	}
}

func count(claims []Claim, exempt, open []Entry) map[int]*counts {
	byRFC := map[int]*counts{}
	of := func(rfc int) *counts {
		if byRFC[rfc] == nil {
			byRFC[rfc] = &counts{}
		}
		return byRFC[rfc]
	}
	seen := map[place]bool{}
	for _, c := range claims {
		for _, n := range c.Ordinals {
			if p := (place{c.RFC, c.Section, n}); !seen[p] {
				seen[p] = true
				of(c.RFC).shown++
			}
		}
	}
	for _, e := range exempt {
		of(e.RFC).exempt++
	}
	for _, e := range open {
		of(e.RFC).open++
	}
	return byRFC
}

func writeOpen(b *strings.Builder, open []Entry) {
	if len(open) == 0 {
		return
	}
	b.WriteString("\n## Not shown yet\n\n| RFC | section | sentence | what is missing |\n|---|---|---|---|\n")
	for _, e := range open {
		fmt.Fprintf(b, "| %d | %s #%d | %s … | %s |\n", e.RFC, e.Section, e.Ordinal, escape(e.Begin), escape(e.Reason))
	}
}

// sectionCell is as "6.3.2" or "6.3.2 #2,3".
func sectionCell(c Claim) string {
	if slices.Equal(c.Ordinals, []int{1}) {
		return c.Section
	}
	words := make([]string, len(c.Ordinals))
	for i, n := range c.Ordinals {
		words[i] = strconv.Itoa(n)
	}
	return c.Section + " #" + strings.Join(words, ",")
}

// escape keeps text from ending a cell or becoming markup.
func escape(s string) string {
	return strings.NewReplacer("|", `\|`, `\`, `\\`, "*", `\*`, "<", "&lt;", "[", `\[`, "`", "\\`").Replace(s)
}
