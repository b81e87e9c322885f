#!/usr/bin/env bash
# Installs the programs that tests use, all of them: tests themselves install
# nothing. With the argument "soak" it installs those of `make soak` too. On
# Debian it uses apt-get, as root or with sudo that asks for no password;
# elsewhere it names the packages. Without the programs the tests that
# need them fail, and say which program is missing; this script fails only if
# apt-get does.
#
# A package is looked for by a file or program it brings, so that with
# everything present this takes no time and needs no network.
set -euo pipefail

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Program, Debian package, purpose.
wanted=(
	'curl      curl        SMTP and IMAP from the command line'
	'python3   python3     smtplib and imaplib as second opinions'
	'mkfs.ext4 e2fsprogs   file systems for power-cut tests'
	'losetup   util-linux  loop devices for power-cut tests'
	'mount     mount       mounting them'
	'strace    strace      counting fdatasync calls'
	'ip        iproute2    network namespaces for servers that talk to each other'
	'postfix   postfix     another mail server, as next and as previous hop'
	'microsocks microsocks  a SOCKS proxy, for mail that goes through one'
	'postgrey  postgrey    makes senders wait, for that mail server'
	'nsd       nsd         an authoritative DNS server'
	'ldns-signzone ldnsutils  signs zones of DNS'
	'dnssec-signzone bind9-utils  signs zones of DNS'
	'named     bind9       another DNS server and resolver'
	'knotd     knot        a DNS server that signs zones by itself'
	'unbound   unbound     a resolver that validates, for comparison'
	'dkimverify python3-dkim  another signer and verifier of DKIM and ARC'
	'opendkim  opendkim    DKIM in another mail server, as its milter'
	'opendkim-testmsg opendkim-tools  another signer and verifier of DKIM'
	'rspamd    rspamd      another opinion about SPF, DKIM and DMARC'
	'opendmarc-check opendmarc  another reader of DMARC records'
	'/usr/share/perl5/Sisimai.pm libsisimai-perl  another reader of delivery status notifications'
	'openssl   openssl     another TLS client'
	'setpriv   util-linux  programs as other users, with capabilities'
	'systemd-analyze systemd checks the unit'
	'systemd-socket-activate systemd opens sockets for a server'
	'msmtp     msmtp       submits mail, as scripts do'
	's-nail    s-nail      submits and reads mail'
	'mutt      mutt        reads mail, as in the README'
	'alpine    alpine      reads and submits mail at a terminal'
	'tmux      tmux        the terminal for them'
	'doveadm   dovecot-core  synchronises mailboxes over IMAP'
	'/usr/lib/dovecot/imap  dovecot-imapd  shows what was synchronised'
)
if [[ ${1-} == soak ]]; then
	wanted+=(
		'thunderbird  thunderbird  a mail program with windows'
		'Xvfb         xvfb         the screen for it'
	)
fi

missing=()
for line in "${wanted[@]}"; do
	read -r program package purpose <<<"$line"
	if ! command -v "$program" >/dev/null && [[ ! -e $program ]]; then
		missing+=("$package")
		echo "test dependency missing: $program (Debian package $package): $purpose"
	fi
done
if ((${#missing[@]} == 0)); then
	exit 0
fi

if ! command -v apt-get >/dev/null; then
	echo "not a Debian system: please install: ${missing[*]}; tests that need them fail"
	exit 0
fi
sudo=()
if ((EUID != 0)); then
	if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
		echo "not root and no sudo without password: please install: ${missing[*]}; tests that need them fail"
		exit 0
	fi
	sudo=(sudo -n)
fi
export DEBIAN_FRONTEND=noninteractive

# Debian starts a service when its package is installed, and at each boot, unless
# policy-rc.d says no. Tests run servers themselves, with files and ports of
# their own; one that was here before is left alone.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap '"${sudo[@]}" rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
	"${sudo[@]}" chmod 755 "$policy"
fi
echo 'postfix postfix/main_mailer_type select No configuration' | "${sudo[@]}" debconf-set-selections
"${sudo[@]}" apt-get -q update
"${sudo[@]}" apt-get -q install -y --no-install-recommends "${missing[@]}"
if [[ -d /run/systemd/system ]]; then
	for package in "${missing[@]}"; do
		case $package in
		postfix | postgrey | nsd | knot | unbound | opendkim | rspamd | opendmarc) "${sudo[@]}" systemctl -q disable "$package.service" ;;
		bind9) "${sudo[@]}" systemctl -q disable named.service ;;
		dovecot-core) "${sudo[@]}" systemctl -q disable dovecot.service dovecot.socket ;;
		esac
	done
fi
