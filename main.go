// Command mox is a complete mail server in one binary.
//
// This package is what a person at a terminal meets: commands with their words,
// flags, output and exit codes. The work is done below, by package system and the
// packages it puts together.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"syscall"

	"github.com/mjl-/mox/mtasts"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// commands are all commands, in the order in which help lists them. Words are
// matched greedily.
var commands = []command{
	{"serve", "", serveHelp, runServe},
	{"localserve", "[-dir directory] [-initonly] [-ip address] [-pedantic]", localserveHelp, runLocalserve},
	{"stop", "[-json]", stopHelp, runStop},
	{"status", "[-json]", statusHelp, runStatus},
	{"setaccountpassword", "[-json] account", setAccountPasswordHelp, runSetAccountPassword},
	{"loglevels", "[-json] [level [package]]", loglevelsHelp, runLoglevels},
	{"backup", "[-verbose] [-json] directory", backupHelp, runBackup},
	{"restore", "[-account name] [-config directory] [-force] [-temp directory] [-json] backup datadir", restoreHelp, runRestore},
	{"queue list", "[filter flags] [-sort by] [-asc] [-json]", queueListHelp, runQueueList},
	{"queue hold", "[filter flags] [-json]", queueHoldHelp, runQueueHold},
	{"queue unhold", "[filter flags] [-json]", queueUnholdHelp, runQueueUnhold},
	{"queue schedule", "[filter flags] [-now] [-json] duration", queueScheduleHelp, runQueueSchedule},
	{"queue transport", "[filter flags] [-json] name", queueTransportHelp, runQueueTransport},
	{"queue fail", "[filter flags] [-json]", queueFailHelp, runQueueFail},
	{"queue requiretls", "[filter flags] [-json] yes|no|default", queueRequireTLSHelp, runQueueRequireTLS},
	{"queue drop", "[filter flags] [-json]", queueDropHelp, runQueueDrop},
	{"queue dump", "id", queueDumpHelp, runQueueDump},
	{"queue holdrules list", "[-json]", holdRulesListHelp, runHoldRulesList},
	{"queue holdrules add", "[-account name] [-senderdom domain] [-recipientdom domain] [-json]", holdRulesAddHelp, runHoldRulesAdd},
	{"queue holdrules remove", "[-json] id", holdRulesRemoveHelp, runHoldRulesRemove},
	{"queue retired list", "[filter flags] [-sort by] [-asc] [-json]", retiredListHelp, runRetiredList},
	{"queue retired print", "id", retiredPrintHelp, runRetiredPrint},
	{"queue suppress list", "[-account name] [-json]", suppressListHelp, runSuppressList},
	{"queue suppress add", "[-reason text] [-json] account address", suppressAddHelp, runSuppressAdd},
	{"queue suppress remove", "[-json] account address", suppressRemoveHelp, runSuppressRemove},
	{"queue suppress lookup", "[-account name] [-json] address", suppressLookupHelp, runSuppressLookup},
	{"queue trace", "[-since when] [-until when] [-n number] [-json] -cid id | id | message-id | address", queueTraceHelp, runQueueTrace},
	{"queue webhook list", "[filter flags] [-sort by] [-asc] [-json]", queueWebhookListHelp, runQueueWebhookList},
	{"queue webhook schedule", "[filter flags] [-now] [-json] duration", queueWebhookScheduleHelp, runQueueWebhookSchedule},
	{"queue webhook cancel", "[filter flags] [-json]", queueWebhookCancelHelp, runQueueWebhookCancel},
	{"queue webhook print", "id", queueWebhookPrintHelp, runQueueWebhookPrint},
	{"queue webhook retired list", "[filter flags] [-sort by] [-asc] [-json]", queueWebhookRetiredListHelp, runQueueWebhookRetiredList},
	{"queue webhook retired print", "id", queueWebhookRetiredPrintHelp, runQueueWebhookRetiredPrint},
	{"verifydata", "[-fix] [-sizesonly] [-temp directory] [-json] [directory]", verifyDataHelp, runVerifyData},
	{"retrain", "[-json] [account]", retrainHelp, runRetrain},
	{"explain", "[-ip address] [-hello name] [-mailfrom address] [-tls true|false] [-at time] [-json] file recipient", explainHelp, runExplain},
	{"config test", "", configTestHelp, runConfigTest},
	{"config describe-static", "", describeStaticHelp, runDescribeStatic},
	{"config describe-domains", "", describeDomainsHelp, runDescribeDomains},
	{"config describe-sendmail", "", describeSendmailHelp, runDescribeSendmail},
	{"config example", "[name]", configExampleHelp, runConfigExample},
	{"config reload", "[-json]", configReloadHelp, runConfigReload},
	{"config printservice", "", printServiceHelp, runPrintService},
	{"config account add", "[-json] account address", accountAddHelp, runAccountAdd},
	{"config account rm", "[-json] account", accountRmHelp, runAccountRm},
	{"config account list", "[-json]", accountListHelp, runAccountList},
	{"config account addresses", "[-json] account", accountAddressesHelp, runAccountAddresses},
	{"config account disable", "[-json] account message", accountDisableHelp, runAccountDisable},
	{"config account enable", "[-json] account", accountEnableHelp, runAccountEnable},
	{"config address add", "[-json] address account", addressAddHelp, runAddressAdd},
	{"config address rm", "[-json] address", addressRmHelp, runAddressRm},
	{"config address account", "[-json] address", addressAccountHelp, runAddressAccount},
	{"config domain add", "[-disabled] [-json] domain account [localpart]", domainAddHelp, runDomainAdd},
	{"config domain rm", "[-json] domain", domainRmHelp, runDomainRm},
	{"config domain disable", "[-json] domain", domainDisableHelp, runDomainDisable},
	{"config domain enable", "[-json] domain", domainEnableHelp, runDomainEnable},
	{"config alias list", "[-json] domain", aliasListHelp, runAliasList},
	{"config alias print", "[-json] alias", aliasPrintHelp, runAliasPrint},
	{"config alias add", "[-json] alias address ...", aliasAddHelp, runAliasAdd},
	{"config alias update", "[-postpublic true|false] [-allowmsgfrom true|false] [-json] alias", aliasUpdateHelp, runAliasUpdate},
	{"config alias rm", "[-json] alias", aliasRmHelp, runAliasRm},
	{"config alias addaddr", "[-json] alias address ...", aliasAddaddrHelp, runAliasAddaddr},
	{"config alias rmaddr", "[-json] alias address ...", aliasRmaddrHelp, runAliasRmaddr},
	{"config tlspubkey list", "[-json] [account]", tlspubkeyListHelp, runTLSPubkeyList},
	{"config tlspubkey get", "[-json] fingerprint", tlspubkeyGetHelp, runTLSPubkeyGet},
	{"config tlspubkey add", "[-no-imap-preauth] [-json] address [name]", tlspubkeyAddHelp, runTLSPubkeyAdd},
	{"config tlspubkey rm", "[-json] fingerprint", tlspubkeyRmHelp, runTLSPubkeyRm},
	{"config tlspubkey gen", "stem", tlspubkeyGenHelp, runTLSPubkeyGen},
	{"dns check", "[-server address] [-mode mode] [-anchors file] [-json]", dnsCheckHelp, runDNSCheck},
	{"dns lookup", "[-trace] [-server address] [-mode mode] [-anchors file] [-json] [type] name", dnsLookupHelp, runDNSLookup},
	{"dane dial", "[-usages list] [-server address] [-mode mode] [-anchors file] host:port", daneDialHelp, runDANEDial},
	{"dane dialmx", "[-ehlohostname name] [-port number] [-server address] [-mode mode] [-anchors file] domain [host]", daneDialMXHelp, runDANEDialMX},
	{"dane makerecord", "usage selector matchtype [file]", daneMakeRecordHelp, runDANEMakeRecord},
	{"spf check", "[-hello name] [-server address] [-mode mode] [-json] domain|address ip", spfCheckHelp, runSPFCheck},
	{"spf lookup", "[-server address] [-mode mode] [-json] domain", spfLookupHelp, runSPFLookup},
	{"spf parse", "[-json] record", spfParseHelp, runSPFParse},
	{"dkim gened25519", "", dkimGenEd25519Help, runDKIMGenEd25519},
	{"dkim genrsa", "", dkimGenRSAHelp, runDKIMGenRSA},
	{"dkim lookup", "[-server address] [-mode mode] [-json] selector domain", dkimLookupHelp, runDKIMLookup},
	{"dkim txt", "[-json]", dkimTXTHelp, runDKIMTXT},
	{"dkim verify", "[-server address] [-mode mode] [-json] message", dkimVerifyHelp, runDKIMVerify},
	{"dkim sign", "message", dkimSignHelp, runDKIMSign},
	{"arc verify", "[-server address] [-mode mode] [-json] message", arcVerifyHelp, runARCVerify},
	{"dmarc lookup", "[-server address] [-mode mode] [-json] domain", dmarcLookupHelp, runDMARCLookup},
	{"dmarc verify", "[-server address] [-mode mode] [-json] ip mailfrom helo", dmarcVerifyHelp, runDMARCVerify},
	{"dmarc checkreportaddrs", "[-server address] [-mode mode] [-json] domain", dmarcCheckReportAddrsHelp, runDMARCCheckReportAddrs},
	{"mtasts lookup", "[-server address] [-mode mode] [-json] domain", mtastsLookupHelp, runMTASTSLookup},
	{"mtasts list", "[-json] [domain]", mtastsListHelp, runMTASTSList},
	{"mtasts refresh", "[-json] domain", mtastsRefreshHelp, runMTASTSRefresh},
	{"tlsrpt results", "[-json] [domain]", tlsrptResultsHelp, runTLSRPTResults},
	{"dnsbl check", "[-server address] [-mode mode] [-json] zone ip", dnsblCheckHelp, runDNSBLCheck},
	{"dnsbl checkhealth", "[-server address] [-mode mode] [-json] zone", dnsblCheckHealthHelp, runDNSBLCheckHealth},
	{"sendmail", "[-t] [-i] [-F name] [-f address] [-v] [-C file] [address ...]", sendmailHelp, runSendmail},
	{"cid", "id", cidHelp, runCID},
	{"version", "", versionHelp, runVersion},
}

// unlistedCommands are those that help lists nowhere, since only who works on mox
// needs them.
var unlistedCommands = []command{
	{"gentestdata", "directory", genTestDataHelp, runGenTestData},
	{"junk train", "-db file [flags] notjunk junk", junkTrainHelp, runJunkTrain},
	{"junk check", "-db file [flags] message", junkCheckHelp, runJunkCheck},
	{"junk test", "-db file [flags] notjunk junk", junkTestHelp, runJunkTest},
	{"junk analyze", "[-runs number] [-seed number] [flags] notjunk junk", junkAnalyzeHelp, runJunkAnalyze},
	{"junk play", "[flags] notjunk junk", junkPlayHelp, runJunkPlay},
}

// helpCommand is apart, since it knows the others.
var helpCommand = command{"help", "[command ...]", "Print the commands, or the help for some.\n", nil}

// command is one command. What it prints and reads goes through its invocation.
type command struct {
	words string
	args  string // For its usage line.
	help  string // First a line that stands for itself.
	run   func(context.Context, *invocation) error
}

func (c command) usage() string {
	return strings.TrimSpace("mox " + c.words + " " + c.args)
}

// invocation is one run of the program.
type invocation struct {
	command command
	args    []string // After the command's words.

	stdin          io.Reader
	stdout, stderr io.Writer

	// Global flags.
	config   string
	loglevel string
	pedantic bool
	profiles profiles

	sendmail sendmailEnv
	getter   mtasts.Getter // Nil: asks policy hosts. Tests have others.
}

// usageError is a mistake in the arguments, empty for "none of the above".
type usageError struct{ text string }

// Error returns what is wrong.
func (e *usageError) Error() string { return e.text }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // A second signal ends the process at once.
	inv := &invocation{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, sendmail: sendmailEnv{setgid: isSetgid()}}
	args, err := commandArgs(os.Args, inv.sendmail.setgid)
	if err != nil {
		inv.errorf("%v", err)
		os.Exit(exitError)
	}
	os.Exit(inv.main(ctx, args, os.Getenv))
}

// main runs the program with its arguments and returns its exit code.
func (inv *invocation) main(ctx context.Context, args []string, getenv func(string) string) int {
	rest, err := inv.parseGlobal(args, getenv)
	if err == nil {
		err = inv.dispatch(ctx, rest)
	}
	usage, ok := errors.AsType[*usageError](err)
	status, told := errors.AsType[exitStatus](err)
	switch {
	case err == nil:
		return exitOK
	case told:
		return int(status)
	case errors.Is(err, flag.ErrHelp):
		inv.printHelp(inv.stdout, rest)
		return exitOK
	case ok:
		if usage.text != "" {
			inv.errorf("%s", usage.text)
		}
		inv.printUsage(rest)
		return exitUsage
	default:
		inv.errorf("%v", err)
		return exitError
	}
}

func (inv *invocation) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(inv.stdout, format, args...)
}

// errorf prints a line that begins with the program's name, as others do.
func (inv *invocation) errorf(format string, args ...any) {
	_, _ = fmt.Fprintf(inv.stderr, "mox: "+format+"\n", args...)
}

// parseGlobal takes the flags before the command's words.
func (inv *invocation) parseGlobal(args []string, getenv func(string) string) ([]string, error) {
	flags := inv.flagSet()
	config := getenv("MOXCONF")
	if config == "" {
		config = "config/mox.conf"
	}
	flags.StringVar(&inv.config, "config", config, "")
	flags.StringVar(&inv.loglevel, "loglevel", "", "")
	flags.BoolVar(&inv.pedantic, "pedantic", false, "")
	flags.StringVar(&inv.profiles.cpu, "cpuprof", "", "")
	flags.StringVar(&inv.profiles.memory, "memprof", "", "")
	flags.StringVar(&inv.profiles.trace, "trace", "", "")
	err := parseFlags(flags, args)
	return flags.Args(), err
}

func (inv *invocation) flagSet() *flag.FlagSet {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

// parseFlags returns flag.ErrHelp as it is, other mistakes as *usageError.
func parseFlags(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return &usageError{err.Error()}
}

// parse parses the flags of a command, and checks that n arguments follow them.
func (inv *invocation) parse(flags *flag.FlagSet, n int) error {
	if err := parseFlags(flags, inv.args); err != nil {
		return err
	}
	if inv.args = flags.Args(); len(inv.args) != n {
		return &usageError{}
	}
	return nil
}

// dispatch runs the command that args begin with.
func (inv *invocation) dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == helpCommand.words {
		if len(matching(args[1:])) == 0 {
			return &usageError{"no such command: " + strings.Join(args[1:], " ")}
		}
		inv.printHelp(inv.stdout, args[1:])
		return nil
	}
	c, n := findCommand(args)
	if n == 0 {
		return &usageError{}
	}
	inv.command, inv.args = c, args[n:]
	return inv.profiles.around(func() error { return c.run(ctx, inv) })
}

// findCommand returns the command with the most words that args begin with, and their
// number, zero if there is none.
func findCommand(args []string) (found command, n int) {
	for _, c := range slices.Concat(commands, unlistedCommands) {
		words := strings.Fields(c.words)
		if len(words) > n && len(args) >= len(words) && slices.Equal(words, args[:len(words)]) {
			found, n = c, len(words)
		}
	}
	return found, n
}

// matching returns the commands that args are about: the one they begin with, or
// those that begin with them.
func matching(args []string) []command {
	if c, n := findCommand(args); n > 0 {
		return []command{c}
	}
	var list []command
	for _, c := range append(slices.Clone(commands), helpCommand) {
		words := strings.Fields(c.words)
		if len(words) >= len(args) && slices.Equal(words[:len(args)], args) {
			list = append(list, c)
		}
	}
	return list
}

// printUsage prints usage lines for the command that args are about, or that are
// below it, or all.
func (inv *invocation) printUsage(args []string) {
	list := matching(args)
	for n := len(args); len(list) == 0; n-- {
		list = matching(args[:n])
	}
	for i, c := range list {
		before := "usage: "
		if i > 0 {
			before = "       "
		}
		_, _ = fmt.Fprintln(inv.stderr, before+c.usage())
	}
}

// printHelp prints the whole help of one command, or a line for each of several.
func (inv *invocation) printHelp(w io.Writer, args []string) {
	list := matching(args)
	if len(list) == 1 {
		_, _ = fmt.Fprintf(w, "usage: %s\n\n%s", list[0].usage(), list[0].help)
		return
	}
	if len(args) == 0 {
		_, _ = fmt.Fprint(w, globalHelp)
	}
	for _, c := range list {
		first, _, _ := strings.Cut(c.help, "\n")
		_, _ = fmt.Fprintf(w, "%s\n\t%s\n", c.usage(), first)
	}
}

const globalHelp = `usage: mox [-config mox.conf] [-loglevel level] [-pedantic] command ...

Flags before the command:

-config file     configuration, with domains.conf beside it; by default the
                 environment's MOXCONF, or config/mox.conf
-loglevel level  in place of the configuration's LogLevel
-pedantic        refuse whatever breaks a protocol
-cpuprof, -memprof, -trace file
                 write a profile of the command

Commands:

`

// profiles are files for profiles of a run, empty for none.
type profiles struct{ cpu, memory, trace string }

// around calls fn and writes the profiles of it.
func (p profiles) around(fn func() error) (err error) {
	for _, start := range []func() (stop func() error, err error){p.startCPU, p.startTrace, p.startMemory} {
		stop, serr := start()
		if serr != nil {
			return serr
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	return fn()
}

func nothing() error { return nil }

func (p profiles) startCPU() (func() error, error) {
	if p.cpu == "" {
		return nothing, nil
	}
	f, err := os.Create(p.cpu)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func (p profiles) startTrace() (func() error, error) {
	if p.trace == "" {
		return nothing, nil
	}
	f, err := os.Create(p.trace)
	if err != nil {
		return nil, err
	}
	if err := trace.Start(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		trace.Stop()
		return f.Close()
	}, nil
}

func (p profiles) startMemory() (func() error, error) {
	if p.memory == "" {
		return nothing, nil
	}
	f, err := os.Create(p.memory)
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(pprof.WriteHeapProfile(f), f.Close()) }, nil
}
