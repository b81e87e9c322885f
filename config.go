package main

import (
	"context"
	"fmt"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
)

const configTestHelp = `Check mox.conf and domains.conf.

Reads both files, and the keys and certificates they name, and prints all
mistakes with their places, or "config OK". Settings that hardly do what was meant
are warnings.
`

func runConfigTest(_ context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 0); err != nil {
		return err
	}
	c, err := live.Open(inv.config, live.Options{})
	if err != nil {
		return err
	}
	inv.printWarnings(c.Current().Warnings)
	inv.printf("config OK\n")
	return nil
}

// printWarnings tells of settings that hardly do what was meant.
func (inv *invocation) printWarnings(warnings config.Problems) {
	for _, w := range warnings {
		inv.printf("warning: %v\n", w)
	}
}

const configReloadHelp = `Let the server read domains.conf and the files of TLS keys and certificates again.

It does so by itself when they are changed; the command is for knowing at once how
it went. If there are mistakes, all are printed with their places, and the server
goes on with what it has. Changes in mox.conf need a restart.

	-json  print the number of domains and accounts, and warnings, as JSON
`

func runConfigReload(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	asJSON := flags.Bool("json", false, "")
	if err := inv.parse(flags, 0); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	res, err := ctlCallPlain[admin.ConfigReloadResult](ctx, c, "configReload", admin.Nothing{})
	if err != nil {
		return err
	}
	return inv.print(*asJSON, res, func() {
		for _, w := range res.Warnings {
			inv.printf("warning: %s\n", w)
		}
		inv.printf("configuration reloaded, domains: %d, accounts: %d\n", res.Domains, res.Accounts)
	})
}

const configExampleHelp = `Print an example of a part of the configuration.

Without a name, lists the examples.
`

func runConfigExample(_ context.Context, inv *invocation) error {
	flags := inv.flagSet()
	if err := parseFlags(flags, inv.args); err != nil {
		return err
	}
	switch args := flags.Args(); len(args) {
	case 0:
		for _, e := range config.Examples() {
			inv.printf("%-12s %s\n", e.Name, e.About)
		}
		return nil
	case 1:
		for _, e := range config.Examples() {
			if e.Name == args[0] {
				inv.printf("%s", e.Text)
				return nil
			}
		}
		return &usageError{fmt.Sprintf("no example %q", args[0])}
	}
	return &usageError{}
}

const describeStaticHelp = `Print an example of mox.conf with the documentation of each setting.

Settings marked as optional can be left out.
`

func runDescribeStatic(_ context.Context, inv *invocation) error {
	return inv.describe(config.DescribeStatic)
}

const describeDomainsHelp = `Print an example of domains.conf with the documentation of each setting.

Settings marked as optional can be left out.
`

func runDescribeDomains(_ context.Context, inv *invocation) error {
	return inv.describe(config.DescribeDynamic)
}

const describeSendmailHelp = `Print an example of moxsubmit.conf with the documentation of each setting.

It is the configuration of the sendmail command. Settings marked as optional can be
left out.
`

func runDescribeSendmail(_ context.Context, inv *invocation) error {
	return inv.describe(config.DescribeSubmit)
}

func (inv *invocation) describe(text func() ([]byte, error)) error {
	if err := inv.parse(inv.flagSet(), 0); err != nil {
		return err
	}
	b, err := text()
	if err != nil {
		return err
	}
	inv.printf("%s", b)
	return nil
}
