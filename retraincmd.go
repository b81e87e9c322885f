package main

import (
	"context"
	"encoding/json"

	"github.com/mjl-/mox/admin"
)

const retrainHelp = `Train the junk filter of an account anew, or those of all accounts.

The filter is made from the messages that are marked as junk or not junk, beside
the one that is in use, and then takes its place; mail flows meanwhile. What was
learned from messages that were removed is forgotten by it.

It is not needed for a filter that is damaged or missing, or for which other words
were chosen in the configuration: that is noticed, and done, without it.

	-json  print what was done as JSON
`

// retrainCall makes filters for a control connection, as long as that is there.
func retrainCall(s *ctlServer, ctx context.Context, req admin.RetrainRequest, note func(admin.Note)) (admin.RetrainResult, error) {
	return s.opts.Admin.Retrain(ctx, req, note)
}

func runRetrain(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	asJSON := flags.Bool("json", false, "")
	if err := parseFlags(flags, inv.args); err != nil {
		return err
	}
	if flags.NArg() > 1 {
		return &usageError{}
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	var res admin.RetrainResult
	p := inv.progress(false, *asJSON)
	err = ctlCallStream(ctx, c, "retrain", admin.RetrainRequest{Account: flags.Arg(0)}, func(f ctlFrame) error {
		if f.Note != nil {
			p.note(*f.Note)
			return nil
		}
		return json.Unmarshal(f.Result, &res)
	})
	p.clear()
	if err != nil {
		return err
	}
	return inv.print(*asJSON, res, func() {
		for _, a := range res.Accounts {
			inv.printf("%s: trained with %s and %d not junk, %s\n", a.Account, count(a.Junk, "junk message"), a.NotJunk, count(a.Words, "word"))
		}
		if len(res.Accounts) == 0 {
			inv.printf("no account has a junk filter\n")
		}
	})
}
