#!/usr/bin/env bash
# Postfix and Dovecot as peers for benchmarks and interoperability tests: with a
# configuration and directories of their own below PEERS_DIR, on loopback ports of
# their own. The system's own mail service, if any, is neither used nor changed.
#
#	bench/peers.sh install            Debian packages, without starting their services
#	bench/peers.sh configure          writes the configuration; keeps the mail
#	bench/peers.sh start [dovecot] [postfix]
#	bench/peers.sh stop
#	bench/peers.sh reset              stops, puts all mail aside, configures
#	bench/peers.sh pids [dovecot] [postfix]
#	bench/peers.sh env                addresses and so on, as shell assignments
#	bench/peers.sh remove             stops, removes PEERS_DIR
#
# With PEERS_RELAY, an address with port, Postfix hands all other mail to a server there.
# PEERS_DELIVERIES is how many messages it sends there at a time; its default if empty.
#
# Needs root. Accounts are user0@bench.test and on. START_PREFIX, if set, is a command
# that the servers are started with, as strace; a %s in it becomes the server's name.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

PEERS_DIR=${PEERS_DIR:-/var/tmp/mox-bench/peers} # must be reachable for other users, and short, for sockets
PEERS_ACCOUNTS=${PEERS_ACCOUNTS:-10}
PEERS_PASSWORD=${PEERS_PASSWORD:-benchbench}
PEERS_DOMAIN=bench.test
PEERS_UID=${PEERS_UID:-5000} # owner of all mail; needs no entry in passwd
PEERS_SMTP_PORT=${PEERS_SMTP_PORT:-12625}
PEERS_SUBMISSION_PORT=${PEERS_SUBMISSION_PORT:-12687}
PEERS_LMTP_PORT=${PEERS_LMTP_PORT:-12624}
PEERS_IMAP_PORT=${PEERS_IMAP_PORT:-12643}

# An address that a stub resolver answers on, port 53, if one runs. The servers then
# see it as the only resolver.
PEERS_DNS=${PEERS_DNS:-}

PEERS_RELAY=${PEERS_RELAY:-}
PEERS_DELIVERIES=${PEERS_DELIVERIES:-}

packages=(postfix dovecot-core dovecot-imapd dovecot-lmtpd)
postfix=$PEERS_DIR/postfix
dovecot=$PEERS_DIR/dovecot

fail() {
	echo "peers.sh: $*" >&2
	exit 1
}

installed() {
	local p
	for p in "${packages[@]}"; do
		[[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null) == ii* ]] || return 1
	done
}

# install gets the packages. Debian starts a service when its package is installed,
# unless policy-rc.d says no; where it doesn't exist it is there for that time only.
install() {
	installed && return
	command -v apt-get >/dev/null || fail "not a Debian system: please install ${packages[*]}"
	local policy=/usr/sbin/policy-rc.d fresh=() p
	for p in "${packages[@]}"; do
		dpkg-query -W "$p" >/dev/null 2>&1 || fresh+=("$p")
	done
	if [[ -e $policy ]]; then
		"$policy" postfix start >/dev/null 2>&1 && fail "$policy lets services start; not installing"
	else
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	export DEBIAN_FRONTEND=noninteractive
	debconf-set-selections <<<'postfix postfix/main_mailer_type select No configuration'
	apt-get -q update
	apt-get -q install -y --no-install-recommends "${packages[@]}"
	# Nor at the next boot, for what wasn't here before.
	if [[ -d /run/systemd/system ]]; then
		for p in "${fresh[@]}"; do
			case $p in
			postfix) systemctl -q disable postfix.service ;;
			dovecot-core) systemctl -q disable dovecot.service dovecot.socket ;;
			esac
		done
	fi
}

configure() {
	installed || fail "not installed: ${packages[*]}; see $0 install"
	mkdir -p "$postfix"/{etc,spool,data} "$dovecot"/{run,state,mail}
	chmod 755 "$PEERS_DIR" "$postfix" "$dovecot"
	chown "$PEERS_UID:$PEERS_UID" "$dovecot/mail"
	chown postfix: "$postfix/data"
	configure_dovecot
	configure_postfix
}

configure_dovecot() {
	local i
	for ((i = 0; i < PEERS_ACCOUNTS; i++)); do
		echo "user$i@$PEERS_DOMAIN:{PLAIN}$PEERS_PASSWORD:$PEERS_UID:$PEERS_UID::$dovecot/mail/user$i::"
	done >"$dovecot/passwd"
	chown root:dovecot "$dovecot/passwd"
	chmod 640 "$dovecot/passwd"
	cat >"$dovecot/dovecot.conf" <<-EOF
		protocols = imap lmtp
		listen = 127.0.0.1
		base_dir = $dovecot/run
		state_dir = $dovecot/state
		log_path = $dovecot/dovecot.log
		ssl = no
		disable_plaintext_auth = no
		mail_location = maildir:~/Maildir
		first_valid_uid = 1
		mail_max_userip_connections = 5000
		passdb {
		  driver = passwd-file
		  args = scheme=PLAIN username_format=%u $dovecot/passwd
		}
		userdb {
		  driver = passwd-file
		  args = username_format=%u $dovecot/passwd
		}
		service imap {
		  process_limit = 4000
		}
		service imap-login {
		  inet_listener imap {
		    port = $PEERS_IMAP_PORT
		  }
		  inet_listener imaps {
		    port = 0
		  }
		}
		service lmtp {
		  inet_listener lmtp {
		    port = $PEERS_LMTP_PORT
		  }
		  unix_listener lmtp-postfix {
		    mode = 0660
		    user = postfix
		    group = postfix
		  }
		}
		service auth {
		  unix_listener auth-postfix {
		    mode = 0660
		    user = postfix
		    group = postfix
		  }
		}
	EOF
}

configure_postfix() {
	local i
	for ((i = 0; i < PEERS_ACCOUNTS; i++)); do
		echo "user$i@$PEERS_DOMAIN ok"
	done >"$postfix/etc/mailboxes"
	# Rate limits are 0, no limit; otherwise what Debian has by default.
	cat >"$postfix/etc/main.cf" <<-EOF
		compatibility_level = 3.6
		queue_directory = $postfix/spool
		data_directory = $postfix/data
		daemon_directory = /usr/lib/postfix/sbin
		command_directory = /usr/sbin
		mail_owner = postfix
		setgid_group = postdrop
		maillog_file = $postfix/spool/postfix.log
		maillog_file_prefixes = $postfix
		myhostname = peer.mailbench.example
		mydestination =
		inet_interfaces = 127.0.0.1
		inet_protocols = ipv4
		mynetworks = 127.0.0.0/8
		alias_maps =
		local_recipient_maps =
		virtual_mailbox_domains = $PEERS_DOMAIN
		virtual_mailbox_maps = texthash:$postfix/etc/mailboxes
		virtual_transport = lmtp:unix:$dovecot/run/lmtp-postfix
		smtpd_client_connection_count_limit = 0
		smtpd_client_connection_rate_limit = 0
		smtpd_client_message_rate_limit = 0
		smtpd_client_recipient_rate_limit = 0
		smtpd_sasl_type = dovecot
		smtpd_sasl_path = $dovecot/run/auth-postfix
	EOF
	if [[ -n $PEERS_RELAY ]]; then
		echo "relayhost = [${PEERS_RELAY%:*}]:${PEERS_RELAY##*:}" >>"$postfix/etc/main.cf"
		[[ -z $PEERS_DELIVERIES ]] || printf 'default_process_limit = 200\ndefault_destination_concurrency_limit = %d\ninitial_destination_concurrency = %d\n' "$PEERS_DELIVERIES" "$PEERS_DELIVERIES" >>"$postfix/etc/main.cf"
	fi
	cat >"$postfix/etc/master.cf" <<-EOF
		127.0.0.1:$PEERS_SMTP_PORT inet n - n - - smtpd
		127.0.0.1:$PEERS_SUBMISSION_PORT inet n - n - - smtpd
		  -o smtpd_sasl_auth_enable=yes
		  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
		pickup unix n - n 60 1 pickup
		cleanup unix n - n - 0 cleanup
		qmgr unix n - n 300 1 qmgr
		tlsmgr unix - - n 1000? 1 tlsmgr
		rewrite unix - - n - - trivial-rewrite
		bounce unix - - n - 0 bounce
		defer unix - - n - 0 bounce
		trace unix - - n - 0 bounce
		verify unix - - n - 1 verify
		flush unix n - n 1000? 0 flush
		proxymap unix - - n - - proxymap
		proxywrite unix - - n - 1 proxymap
		smtp unix - - n - - smtp
		relay unix - - n - - smtp
		showq unix n - n - - showq
		error unix - - n - - error
		retry unix - - n - - error
		discard unix - - n - - discard
		local unix - n n - - local
		virtual unix - n n - - virtual
		lmtp unix - - n - - lmtp
		anvil unix - - n - 1 anvil
		scache unix - - n - 1 scache
		postlog unix-dgram n - n - 1 postlogd
	EOF
}

# isolated runs a command that sees the stub resolver only.
isolated() {
	if [[ -z $PEERS_DNS ]]; then
		"$@"
		return
	fi
	printf 'nameserver %s\n' "$PEERS_DNS" >"$PEERS_DIR/resolv.conf"
	unshare -m -- sh -c 'mount --bind "$0" "$(realpath /etc/resolv.conf)" && exec "$@"' "$PEERS_DIR/resolv.conf" "$@"
}

# started runs the command that starts a peer's daemon, with START_PREFIX in the
# background: a tracer stays as long as the daemon.
started() {
	local peer=$1
	shift
	if [[ -n ${START_PREFIX:-} ]]; then
		# shellcheck disable=SC2086
		isolated ${START_PREFIX//%s/$peer} "$@" >/dev/null 2>&1 &
		disown
	else
		isolated "$@" >/dev/null
	fi
}

# free checks that a port is not in use.
free() {
	if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
		fail "something else listens at port $1"
	fi
}

# banner waits until something greets at a port.
banner() {
	local line _
	for _ in {1..600}; do
		if line=$({ exec 3<>"/dev/tcp/127.0.0.1/$1" && timeout 5 head -1 <&3; } 2>/dev/null) && [[ -n $line ]]; then
			return
		fi
		sleep 0.05
	done
	fail "no greeting at port $1; see the logs below $PEERS_DIR"
}

pid_of() {
	local file pid
	case $1 in
	dovecot) file=$dovecot/run/master.pid ;;
	postfix) file=$postfix/spool/pid/master.pid ;;
	*) fail "no peer $1" ;;
	esac
	[[ -s $file ]] && read -r pid <"$file" && kill -0 "$pid" 2>/dev/null || return 1
	# A pid file that outlived its server may name anyone: the command line must show it is ours.
	case $1 in
	dovecot) tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "$dovecot/dovecot.conf" || return 1 ;;
	postfix) [[ $(readlink "/proc/$pid/cwd") == "$postfix/spool" ]] || return 1 ;;
	esac
	echo "$pid"
}

start() {
	local peer
	ulimit -n "$(ulimit -H -n)"
	for peer; do
		pid_of "$peer" >/dev/null && continue
		case $peer in
		dovecot)
			free "$PEERS_LMTP_PORT"
			free "$PEERS_IMAP_PORT"
			started dovecot dovecot -c "$dovecot/dovecot.conf"
			banner "$PEERS_LMTP_PORT"
			banner "$PEERS_IMAP_PORT"
			;;
		postfix)
			free "$PEERS_SMTP_PORT"
			started postfix postfix -c "$postfix/etc" start 2>"$postfix/start.log"
			banner "$PEERS_SMTP_PORT"
			;;
		esac
	done
}

stop() {
	local peer pid _
	for peer in postfix dovecot; do
		pid=$(pid_of "$peer") || continue
		kill -TERM "$pid"
		for _ in {1..200}; do
			kill -0 "$pid" 2>/dev/null || continue 2
			sleep 0.05
		done
		fail "$peer, process $pid, does not stop"
	done
}

# reset puts what there is aside; see bench/mox.sh for the reason.
reset() {
	stop
	local old
	old=$PEERS_DIR.old/$(date +%s.%N)
	mkdir -p "$old"
	local d
	for d in "$postfix" "$dovecot"; do
		[[ ! -e $d ]] || mv "$d" "$old/"
	done
	configure
}

[[ $PEERS_DIR == /?*/?* ]] || fail "PEERS_DIR must be absolute, and below a directory of its own"
[[ ${1:-} == env ]] || ((EUID == 0)) || fail "needs root"
case ${1:-} in
install | configure | stop | reset) "$1" ;;
start)
	shift
	start "${@:-dovecot}"
	;;
pids)
	shift
	for peer in "${@:-dovecot}"; do
		pid_of "$peer" || fail "$peer does not run"
	done | paste -sd,
	;;
env)
	cat <<-EOF
		PEERS_SMTP=127.0.0.1:$PEERS_SMTP_PORT
		PEERS_SUBMISSION=127.0.0.1:$PEERS_SUBMISSION_PORT
		PEERS_LMTP=127.0.0.1:$PEERS_LMTP_PORT
		PEERS_IMAP=127.0.0.1:$PEERS_IMAP_PORT
		PEERS_USER=user%d@$PEERS_DOMAIN
		PEERS_PASSWORD=$PEERS_PASSWORD
	EOF
	;;
remove)
	stop
	rm -rf "$PEERS_DIR" "$PEERS_DIR.old"
	;;
*)
	sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"
	exit 2
	;;
esac
