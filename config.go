package main

import (
	"context"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
)

const configTestHelp = `Check mox.conf and domains.conf.

Reads both files, and the keys and certificates they name, and prints all
mistakes with their places, or "config OK".
`

func runConfigTest(_ context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 0); err != nil {
		return err
	}
	if _, err := live.Open(inv.config, live.Options{}); err != nil {
		return err
	}
	inv.printf("config OK\n")
	return nil
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
