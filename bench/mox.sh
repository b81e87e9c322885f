#!/usr/bin/env bash
# mox localserve for benchmarks: in a directory of its own, on loopback ports of its
# own, with several accounts, user0@localhost and on, and log level info.
#
#	bench/mox.sh configure      makes the directory, if it isn't there
#	bench/mox.sh start
#	bench/mox.sh stop
#	bench/mox.sh reset          stops, puts all mail aside, configures
#	bench/mox.sh pids
#	bench/mox.sh env            addresses and so on, as shell assignments
#	bench/mox.sh remove         stops, removes the directory, and those put aside
#
# With MOX_RELAY, an address with port, it is mox serve instead, as user nobody, which
# hands all mail to a server there, in plain text. MOX_DELIVERIES is how many messages it
# sends at a time, to one domain as to all; the default of mox if empty.
#
# MOX is the program, ./mox by default. START_PREFIX, if set, is a command that it is
# started with, as strace; a %s in it becomes mox.
set -euo pipefail
cd "$(dirname "$0")/.."

MOX=$(realpath -m "${MOX:-./mox}")
MOX_DIR=${MOX_DIR:-/var/tmp/mox-bench/mox}
MOX_ACCOUNTS=${MOX_ACCOUNTS:-10}
MOX_SMTP_PORT=${MOX_SMTP_PORT:-12525}
MOX_SUBMISSION_PORT=${MOX_SUBMISSION_PORT:-12587}
MOX_SUBMISSIONS_PORT=${MOX_SUBMISSIONS_PORT:-12565}
MOX_IMAP_PORT=${MOX_IMAP_PORT:-12543}
MOX_IMAPS_PORT=${MOX_IMAPS_PORT:-12593}
MOX_METRICS_PORT=${MOX_METRICS_PORT:-12581}
START_PREFIX=${START_PREFIX:-}
MOX_RELAY=${MOX_RELAY:-}
MOX_DELIVERIES=${MOX_DELIVERIES:-}
MOX_PASSWORD=moxmoxmox # localserve gives it to all accounts that it makes

fail() {
	echo "mox.sh: $*" >&2
	exit 1
}

configure() {
	[[ -x $MOX ]] || fail "no $MOX; see make build"
	[[ -e $MOX_DIR/mox.conf ]] && return
	mkdir -p "$MOX_DIR"
	if [[ -n $MOX_RELAY ]]; then
		configure_relay
		return
	fi
	"$MOX" localserve -dir "$MOX_DIR" -ip 127.0.0.1 -initonly >/dev/null
	sed -i -e "s/Port: 1025\$/Port: $MOX_SMTP_PORT/; s/Port: 1143\$/Port: $MOX_IMAP_PORT/" \
		-e "s/Port: 1587\$/Port: $MOX_SUBMISSION_PORT/; s/Port: 1465\$/Port: $MOX_SUBMISSIONS_PORT/" \
		-e "s/Port: 1993\$/Port: $MOX_IMAPS_PORT/; s/Port: 1081\$/Port: $MOX_METRICS_PORT/" \
		-e "s/^LogLevel: .*/LogLevel: info/" "$MOX_DIR/mox.conf"
	local i
	{
		printf 'Domains:\n\tlocalhost:\n\t\tLocalpartCatchallSeparator: +\nAccounts:\n'
		printf '\tmox:\n\t\tDomain: localhost\n\t\tDestinations:\n\t\t\tmox@localhost: nil\n'
		for ((i = 0; i < MOX_ACCOUNTS; i++)); do
			printf '\tuser%d:\n\t\tDomain: localhost\n\t\tDestinations:\n\t\t\tuser%d@localhost: nil\n' $i $i
		done
	} >"$MOX_DIR/domains.conf"
	"$MOX" -config "$MOX_DIR/mox.conf" config test >/dev/null
}

# configure_relay writes the configuration of mox serve. No name is looked up.
configure_relay() {
	cat >"$MOX_DIR/mox.conf" <<EOF
DataDir: data
LogLevel: info
User: nobody
Hostname: mox.mailbench.example
Listeners:
	local:
		IPs:
			- 127.0.0.1
		SMTP:
			Enabled: true
			Port: $MOX_SMTP_PORT
			NoSTARTTLS: true
		Submission:
			Enabled: true
			Port: $MOX_SUBMISSION_PORT
			NoRequireSTARTTLS: true
		IMAP:
			Enabled: true
			Port: $MOX_IMAP_PORT
			NoRequireSTARTTLS: true
Postmaster:
	Account: user0
	Mailbox: Postmaster
Resolver:
	Servers:
		- 127.53.53.53
Transports:
	sink:
		SMTP:
			Host: ${MOX_RELAY%:*}
			Port: ${MOX_RELAY##*:}
			NoSTARTTLS: true
EOF
	if [[ -n $MOX_DELIVERIES ]]; then
		printf 'Queue:\n\tDeliveries: %d\n\tDomainDeliveries: %d\n' "$MOX_DELIVERIES" "$MOX_DELIVERIES" >>"$MOX_DIR/mox.conf"
	fi
	local i
	{
		printf 'Domains:\n\t%s: nil\nAccounts:\n' mox.test
		for ((i = 0; i < MOX_ACCOUNTS; i++)); do
			printf '\tuser%d:\n\t\tDomain: mox.test\n\t\tMaxOutgoingMessagesPerDay: 100000000\n\t\tMaxFirstTimeRecipientsPerDay: 100000000\n' $i
			printf '\t\tDestinations:\n\t\t\tuser%d@mox.test: nil\n' $i
		done
		printf 'Routes:\n\t-\n\t\tTransport: sink\n'
	} >"$MOX_DIR/domains.conf"
	chmod 755 "$MOX_DIR"
	"$MOX" -config "$MOX_DIR/mox.conf" config test >/dev/null
}

# passwords sets those of the accounts that have none, when the server runs.
passwords() {
	local i
	[[ -n $MOX_RELAY && ! -e $MOX_DIR/passwords ]] || return 0
	for ((i = 0; i < MOX_ACCOUNTS; i++)); do
		"$MOX" -config "$MOX_DIR/mox.conf" setaccountpassword "user$i" <<<"$MOX_PASSWORD" >/dev/null
	done
	touch "$MOX_DIR/passwords"
}

pids() {
	local pid
	[[ -s $MOX_DIR/bench.pid ]] && read -r pid <"$MOX_DIR/bench.pid" || return 1
	# The number may have gone to another process since.
	[[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$MOX"* ]] || return 1
	echo "$pid"
}

# start keeps the process id of the server itself, also when something starts it.
start() {
	pids >/dev/null && return
	if (exec 3<>"/dev/tcp/127.0.0.1/$MOX_SMTP_PORT") 2>/dev/null; then
		fail "something else listens at port $MOX_SMTP_PORT"
	fi
	ulimit -n "$(ulimit -H -n)"
	local serve=("$MOX" localserve -dir "$MOX_DIR")
	[[ -z $MOX_RELAY ]] || serve=("$MOX" -config "$MOX_DIR/mox.conf" serve)
	# shellcheck disable=SC2086
	${START_PREFIX//%s/mox} sh -c 'echo $$ >"$0/bench.pid"; exec "$@"' "$MOX_DIR" \
		"${serve[@]}" >"$MOX_DIR/stdout.log" 2>"$MOX_DIR/stderr.log" </dev/null &
	disown
	local line _
	for _ in {1..600}; do
		if line=$({ exec 3<>"/dev/tcp/127.0.0.1/$MOX_SMTP_PORT" && timeout 5 head -1 <&3; } 2>/dev/null) && [[ $line == 220* ]]; then
			pids >/dev/null || fail "the greeting at port $MOX_SMTP_PORT is not of the server that was started"
			passwords
			return
		fi
		sleep 0.05
	done
	fail "no greeting at port $MOX_SMTP_PORT: $(tail -n 3 "$MOX_DIR/stderr.log")"
}

stop() {
	local pid _
	pid=$(pids) || return 0
	kill -TERM "$pid"
	for _ in {1..600}; do
		kill -0 "$pid" 2>/dev/null || return 0
		sleep 0.05
	done
	fail "process $pid does not stop"
}

# reset puts what there is aside: ext4 passes over inodes that were freed in the last
# minutes when it makes new files, one by one, so that to remove thousands of files
# before a measurement makes it slower.
reset() {
	stop
	if [[ -e $MOX_DIR ]]; then
		mkdir -p "$MOX_DIR.old"
		mv "$MOX_DIR" "$MOX_DIR.old/$(date +%s.%N)"
	fi
	configure
}

[[ $MOX_DIR == /?*/?* ]] || fail "MOX_DIR must be absolute, and below a directory of its own"
case ${1:-} in
configure | start | stop | reset | pids) "$1" ;;
env)
	cat <<-EOF
		MOX_SMTP=127.0.0.1:$MOX_SMTP_PORT
		MOX_SUBMISSION=127.0.0.1:$MOX_SUBMISSION_PORT
		MOX_IMAP=127.0.0.1:$MOX_IMAP_PORT
		MOX_IMAPS=127.0.0.1:$MOX_IMAPS_PORT
		MOX_USER=user%d@$([[ -z $MOX_RELAY ]] && echo localhost || echo mox.test)
		MOX_PASSWORD=$MOX_PASSWORD
	EOF
	;;
remove)
	stop
	rm -rf "$MOX_DIR" "$MOX_DIR.old"
	;;
*)
	sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"
	exit 2
	;;
esac
