#!/usr/bin/env bash
# Measures mox and its peers one after the other on this machine, and prints the
# tables of docs/performance.md with ratios and goals. All traffic is on loopback.
#
#	bench/run.sh [part...]
#
# Parts: disk deliver submit relay drain account syncs first-sync imap idle login queue backup start; all by default. What is
# measured goes to standard output as Markdown, and row by row, in JSON, to a file that
# is named at the end. Needs Go and strace, and root for the peers. Settings, in
# the environment:
#
#	SERVERS  default "mox dovecot postfix"; dovecot is its LMTP alone, postfix both
#	ROUNDS   of most parts, in turn for all servers; figures are medians; default 3
#	SCALE    percent of the number of messages; for trying the script; default 100
#	QUIET    wait until the machine is so many percent idle, at most a minute; default 75
#	IDLE, IDLE_PEER  connections in IDLE; default 2000, and 500 for peers, where each is a process
#	IMAP_SIZES       numbers of messages for imap; default "1000 10000 100000"
#	BENCH_DIR        for everything written; default /var/tmp/mox-bench; not on a tmpfs
#	MOX      the program, default ./mox
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

read -ra servers <<<"${SERVERS:-mox dovecot postfix}"
ROUNDS=${ROUNDS:-3}
SCALE=${SCALE:-100}
QUIET=${QUIET:-75}
IDLE=${IDLE:-2000}
IDLE_PEER=${IDLE_PEER:-500}
IMAP_SIZES=${IMAP_SIZES:-1000 10000 100000}
BENCH_DIR=${BENCH_DIR:-/var/tmp/mox-bench}
MOX=$(realpath -m "${MOX:-./mox}")
export MOX MOX_DIR=$BENCH_DIR/mox PEERS_DIR=$BENCH_DIR/peers
export PEERS_DNS=127.53.53.53

accounts=10
mailbench=$BENCH_DIR/mailbench
results=$BENCH_DIR/results/$(date -u +%Y%m%dT%H%M%SZ).jsonl

fail() {
	echo "run.sh: $*" >&2
	exit 1
}

say() { echo "$(date +%T) $*" >&2; }

# scaled prints a number of messages, but at least 50.
scaled() { echo $(($1 * SCALE / 100 > 50 ? $1 * SCALE / 100 : 50)); }

# server does something with a server: reset, start, stop, pids.
server() {
	case $2 in
	mox) bench/mox.sh "$1" 9>&- ;;
	dovecot) bench/peers.sh "$1" dovecot 9>&- ;;
	postfix) bench/peers.sh "$1" dovecot postfix 9>&- ;;
	*) fail "no server $2" ;;
	esac
}

fresh() {
	server reset "$1"
	server start "$1"
}

# measure runs mailbench for a server and a figure and keeps its rows.
measure() {
	local server=$1 figure=$2 bench=$3 flags=()
	shift 3
	case $server in
	mox) flags=(-smtp "$MOX_SMTP" -submission "$MOX_SUBMISSION" -imap "$MOX_IMAP" -user "$MOX_USER" -password "$MOX_PASSWORD") ;;
	dovecot) flags=(-lmtp -smtp "$PEERS_LMTP" -imap "$PEERS_IMAP" -user "$PEERS_USER" -password "$PEERS_PASSWORD") ;;
	postfix) flags=(-smtp "$PEERS_SMTP" -submission "$PEERS_SUBMISSION" -imap "$PEERS_IMAP" -user "$PEERS_USER" -password "$PEERS_PASSWORD") ;;
	esac
	[[ -z ${PIDS:-} ]] || flags+=(-pids "$PIDS")
	"$mailbench" "$bench" -json -progress -dir "$BENCH_DIR" -label "$server" -figure "$figure" -quiet "$QUIET" "${flags[@]}" "$@" >"$BENCH_DIR/rows" 9>&- ||
		say "$server, $figure: $bench failed"
	cat "$BENCH_DIR/rows" >>"$results"
}

# deliver sends n messages by c connections, until they are in the mailboxes.
deliver() {
	local server=$1 figure=$2 c=$3 n=$4
	shift 4
	measure "$server" "$figure" smtp-deliver -accounts $accounts -c "$c" -n "$n" -per 20 -drain -settle 2s "$@"
}

# submit has users send n messages by c connections, until they are in the mailboxes.
submit() {
	local server=$1 figure=$2 c=$3 n=$4
	shift 4
	measure "$server" "$figure" submit -accounts $accounts -c "$c" -n "$n" -per 20 -drain -settle 2s "$@"
}

# rounds runs a function a number of times, each for all servers in turn. Mailboxes
# are Dovecot's also behind Postfix, so most parts leave that out.
rounds() {
	local n=$1 round s
	shift
	for ((round = 1; round <= n; round++)); do
		for s in "${servers[@]}"; do
			[[ $s != postfix || $1 == part_deliver || $1 == part_submit || $1 == part_relay || $1 == part_drain || $1 == part_syncs ]] || continue
			[[ $s != dovecot || ($1 != part_submit && $1 != part_relay && $1 != part_drain) ]] || continue
			[[ $s == mox || ($1 != part_queue && $1 != part_backup) ]] || continue
			say "$1, round $round, $s"
			"$1" "$s"
			server stop "$s"
		done
	done
}

# unmeasured delivers some first, so that processes, caches and files are there. For
# the rates that is enough for mox to be past the first segments of its journal,
# which it fills with zeros once and then uses again.
unmeasured() {
	local n=200
	[[ $1 != mox || ${2:-} != rates ]] || n=$(scaled 20000)
	deliver "$1" warm-up 10 "$n"
}

part_deliver() {
	fresh "$1"
	PIDS=$(server pids "$1")
	unmeasured "$1" rates
	deliver "$1" "deliver c=1" 1 "$(scaled 6000)"
	deliver "$1" "deliver c=10" 10 "$(scaled 12000)"
	deliver "$1" "deliver c=50" 50 "$(scaled 12000)"
}

part_submit() {
	fresh "$1"
	PIDS=$(server pids "$1")
	unmeasured "$1" rates
	submit "$1" warm-up 10 "$(scaled 500)"
	submit "$1" "submit c=1" 1 "$(scaled 2000)"
	submit "$1" "submit c=10" 10 "$(scaled 4000)"
	submit "$1" "submit c=50" 50 "$(scaled 4000)"
}

relay=127.0.0.1:12799

# relayed has a server hand all mail to a sink.
relayed() {
	local -x MOX_RELAY=$relay PEERS_RELAY=$relay MOX_USER=user%d@mox.test
	"$@"
}

# part_relay has users send to other domains, until the sink that all goes to has it.
part_relay() {
	local c
	relayed fresh "$1"
	PIDS=$(relayed server pids "$1")
	for c in warm-up 1 10 50; do
		relayed measure "$1" "${c/#[0-9]/relay c=${c:0:1}}" submit -accounts $accounts -c "${c/warm-up/10}" -n "$(scaled 3000)" -per 20 \
			-rcpt 'user%d@sink%d.example' -sink $relay -spread -settle 2s
	done
}

# part_drain fills the queue while there is no sink, and then measures how fast it
# empties, with some deliveries at a time.
part_drain() {
	local c n job
	n=$(scaled 5000)
	for c in 1 10 50; do
		export MOX_DELIVERIES=$c PEERS_DELIVERIES=$c
		relayed fresh "$1"
		PIDS=$(relayed server pids "$1")
		relayed measure "$1" "drain filling" submit -accounts $accounts -c 10 -n "$n" -per 100 -rcpt 'user%d@sink.example'
		sleep 12 # In the first seconds after a start mox is slower.
		released "$1" 9>&- &
		job=$!
		relayed measure "$1" "drain c=$c" sink -sink $relay -n "$n"
		wait "$job" || say "$1 was not told to empty its queue"
		relayed server stop "$1"
	done
	unset MOX_DELIVERIES PEERS_DELIVERIES
}

# released has a server try all messages of its queue now, when the sink is there.
released() {
	local _
	for _ in {1..1200}; do
		(exec 3<>"/dev/tcp/${relay%:*}/${relay##*:}") 2>/dev/null && break
		sleep 0.1
	done
	case $1 in
	mox) "$MOX" -config "$MOX_DIR/mox.conf" queue schedule -now 0 >/dev/null ;;
	postfix) postqueue -c "$PEERS_DIR/postfix/etc" -f ;;
	esac
}

# part_login has each user log in and out again.
part_login() {
	fresh "$1"
	PIDS=$(server pids "$1")
	measure "$1" warm-up imap-login -accounts $accounts -c 10 -n 100
	measure "$1" "login c=1" imap-login -accounts $accounts -c 1 -n "$(scaled 2000)"
	measure "$1" "login c=10" imap-login -accounts $accounts -c 10 -n "$(scaled 5000)"
}

# part_queue fills the queue with messages for an address that fails for now, and
# measures the memory before and after.
part_queue() {
	fresh "$1"
	PIDS=$(server pids "$1")
	unmeasured "$1"
	sleep 2
	measure "$1" "queue empty" rss
	measure "$1" "queue filling" submit -accounts $accounts -c 10 -n "$(scaled 100000)" -per 100 -size 1024 -rcpt queuetemperror@localhost
	sleep 10
	measure "$1" "queue full" rss
}

# backups makes backups beside the data, one after the other, until a file appears.
# They are put aside with what else was, since removing files slows what comes after.
backups() {
	local i=0
	mkdir -p "$MOX_DIR.old"
	until [[ -e $BENCH_DIR/enough ]]; do
		"$MOX" -config "$MOX_DIR/mox.conf" backup -json "$MOX_DIR.old/backup.$(date +%s.%N)" >>"$BENCH_DIR/backups" || say "backup failed"
		i=$((i + 1))
	done
	say "$i backups"
}

# delivered measures deliveries at two rates of concurrency, with or without backups.
delivered() {
	deliver "$1" "deliver c=1, $2" 1 "$(scaled 6000)"
	deliver "$1" "deliver c=10, $2" 10 "$(scaled 12000)"
}

# part_backup compares deliveries while backups are made with those before and after,
# then makes one with nothing else to do.
part_backup() {
	local job started
	fresh "$1"
	PIDS=$(server pids "$1")
	unmeasured "$1" rates
	deliver "$1" "backup filling" 10 "$(scaled 50000)"
	delivered "$1" "no backup"
	rm -f "$BENCH_DIR/enough" "$BENCH_DIR/backups"
	backups 9>&- &
	job=$!
	delivered "$1" "backups"
	touch "$BENCH_DIR/enough"
	wait "$job"
	delivered "$1" "no backup"
	sleep 2
	started=$(date +%s%N)
	"$MOX" -config "$MOX_DIR/mox.conf" backup -json "$MOX_DIR.old/backup.last" >"$BENCH_DIR/backups"
	"$mailbench" note -json -label "$1" -figure "backup alone" "seconds=$((($(date +%s%N) - started) / 1000000))e-3" \
		"messages=$(sed 's/.*"messages":\([0-9]*\).*/\1/' "$BENCH_DIR/backups")" "bytes=$(sed 's/.*"bytes":\([0-9]*\).*/\1/' "$BENCH_DIR/backups")" \
		"rss_anon_kib=$(awk '/^RssAnon/ { print $2 }' "/proc/$PIDS/status")" >>"$results"
	mv "$MOX_DIR.old/backup.last" "$MOX_DIR.old/backup.$(date +%s.%N)"
}

# part_account alternates between the account that is full and empty ones.
part_account() {
	fresh "$1"
	PIDS=$(server pids "$1")
	unmeasured "$1" rates
	local user i
	user=$([[ $1 == mox ]] && echo "$MOX_USER" || echo "$PEERS_USER")
	deliver "$1" "one-account filling" 10 "$(scaled 50000)" -accounts 1
	for i in 1 2 3; do
		deliver "$1" "one-account empty" 10 "$(scaled 5000)" -accounts 1 -user "${user/%d/$i}"
		deliver "$1" "one-account full" 10 "$(scaled 5000)" -accounts 1
	done
}

# traced counts system calls, which slows the server, so its rates are not kept. Each
# program has a file of its own: two tracers would mix up their lines. They
# append, so that the files can be emptied before what is to be counted.
traced() {
	local trace=$BENCH_DIR/strace kept=$results c n f
	server reset "$1"
	rm -f "$trace".*
	START_PREFIX="strace -f -A -y -s 0 --seccomp-bpf -qq -e trace=$3 -e signal=none -o $trace.%s" server start "$1"
	PIDS=
	results=/dev/null unmeasured "$1"
	for c in 1 10; do
		n=$(scaled $((c * 500)))
		sleep 2
		for f in "$trace".*; do : >"$f"; done
		results=/dev/null deliver "$1" "$2" $c "$n"
		sleep 2
		results=$kept measure "$1" "$2 c=$c" syncs -n "$n" "$trace".*
	done
	server stop "$1"
}

part_syncs() {
	traced "$1" syncs fdatasync,fsync,sync_file_range,msync,syncfs,sync
	traced "$1" writes write,pwrite64,writev,pwritev
}

part_first_sync() {
	fresh "$1"
	PIDS=$(server pids "$1")
	deliver "$1" "first-sync filling" 10 "$(scaled 10000)" -accounts 1
	sync # mox leaves files to the system for a while, which is not what is measured here
	sleep 2
	measure "$1" first-sync imap-sync -accounts 1 -c 1
	measure "$1" first-sync imap-sync -accounts 1 -c 4
}

part_idle() {
	fresh "$1"
	PIDS=$(server pids "$1")
	unmeasured "$1"
	if [[ $1 == mox ]]; then
		measure "$1" idle imap-idle -accounts $accounts -k "$IDLE" -c 10 -n 50
		fresh "$1"
		PIDS=$(server pids "$1")
		unmeasured "$1"
		measure "$1" "idle tls" imap-idle -imap "$MOX_IMAPS" -imaptls -accounts $accounts -k "$IDLE" -c 10 -n 50
		fresh "$1"
		PIDS=$(server pids "$1")
		unmeasured "$1"
		measure "$1" "idle exists" imap-idle -accounts 1 -k 1000 -c 10 -n 50
	else # with that many, Dovecot can be half a minute late
		measure "$1" idle imap-idle -accounts $accounts -k "$IDLE_PEER" -c 10 -n 1
	fi
}

# part_imap fills mailboxes of several sizes, a server anew for each, and has clients
# read, search and change them.
part_imap() {
	local n
	for n in $IMAP_SIZES; do
		fresh "$1"
		PIDS=$(server pids "$1")
		measure "$1" "imap filling" smtp-deliver -accounts 1 -c 10 -n "$n" -per 100 -drain -settle 2s
		sync
		sleep 2
		measure "$1" "imap n=$n" imap-sync -accounts 1 -c 1
		measure "$1" "imap n=$n" imap-sync -accounts 1 -c 4
		measure "$1" "imap n=$n" imap-select -k 20
		measure "$1" "imap n=$n" imap-search -k $((n < 100000 ? 5 : 3))
		measure "$1" "imap n=$n" imap-store -accounts 1 -c 1 -n "$(scaled 2000)" -settle 5s
		for _ in 1 2 3; do
			measure "$1" "imap n=$n" imap-resync -k 100
		done
		((n != 10000)) || measure "$1" "imap mixed" imap-mixed -accounts 1 -c 10 -duration 20s
	done
}

# started measures a start, and the memory then.
started() {
	local pid
	case $1 in
	mox) measure "$1" "$2" startup -- "$MOX" localserve -dir "$MOX_DIR" ;;
	dovecot) measure "$1" "$2" startup -- dovecot -F -c "$PEERS_DIR/dovecot/dovecot.conf" ;;
	esac 2>"$BENCH_DIR/server.log"
	pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$BENCH_DIR/rows")
	[[ -n $pid ]] || fail "$1 did not start; see $BENCH_DIR/server.log"
	[[ $1 != mox ]] || echo "$pid" >"$MOX_DIR/bench.pid"
	sleep 2
	PIDS=$pid measure "$1" "$2" rss
	server stop "$1"
}

# part_start starts with accounts that are there, after a stop in order: without mail,
# and with some in each.
part_start() {
	PIDS=
	fresh "$1"
	server stop "$1"
	started "$1" start
	server start "$1"
	deliver "$1" "start filling" 10 "$(scaled 2000)"
	server stop "$1"
	started "$1" "start with mail"
}

part_disk() {
	say disk
	PIDS=
	"$mailbench" fsync -json -progress -figure disk -label disk -dir "$BENCH_DIR" -duration 2s -quiet "$QUIET" >>"$results"
}

prepare() {
	local program s peers=false
	for program in go strace; do
		command -v $program >/dev/null || fail "needs $program"
	done
	mkdir -p "$BENCH_DIR/results"
	[[ $(stat -f -c %T "$BENCH_DIR") != tmpfs ]] || fail "BENCH_DIR $BENCH_DIR is in memory"
	CGO_ENABLED=0 go build -C mailbench -trimpath -o "$mailbench" .
	for s in "${servers[@]}"; do
		[[ $s == mox ]] || peers=true
	done
	if $peers; then
		bench/peers.sh install >&2
		"$mailbench" dns-stub -smtp $PEERS_DNS:53 9>&- &
		stub=$!
	fi
	eval "$(bench/mox.sh env)"
	eval "$(bench/peers.sh env)"
}

# cleanup stops what this script started.
cleanup() {
	local s
	for s in "${servers[@]}"; do
		server stop "$s" || true
	done
	if [[ -n $stub ]]; then
		kill "$stub" && wait "$stub" || true
	fi 2>/dev/null
	rm -rf "$MOX_DIR.old" "$PEERS_DIR.old"
}

# machine describes where figures come from.
machine() {
	echo "$(nproc) cores ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)), $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)," \
		"$(df --output=fstype "$BENCH_DIR" | tail -1), Linux $(uname -r), $(go version | cut -d' ' -f3), $(date -u +%F)."
	if [[ " ${servers[*]} " == *" mox "* ]]; then
		echo "mox at $(git rev-parse --short HEAD)$(git diff --quiet HEAD -- || echo ", with changes")."
	fi
	if [[ -n ${stub:-} ]]; then
		echo "Postfix $(dpkg-query -W -f '${Version}' postfix), Dovecot $(dpkg-query -W -f '${Version}' dovecot-core)."
	fi
	echo "Rounds: $ROUNDS$([[ $SCALE == 100 ]] || echo ", with $SCALE % of the messages: not for comparing")."
	echo
}

parts=("$@")
((${#parts[@]})) || parts=(disk deliver submit account syncs first-sync imap idle login queue backup start)
for part in "${parts[@]}"; do
	[[ $(type -t "part_${part/-/_}") == function ]] || fail "no part $part"
done
exec 9>"${TMPDIR:-/tmp}/mox-bench.lock"
flock -n 9 || fail "another run is in progress; it would use the same ports, and the same processors"
stub=
trap cleanup EXIT
trap 'exit 1' INT TERM
prepare
if [[ " ${servers[*]} " == *" mox "* ]]; then
	[[ -x $MOX ]] || fail "no $MOX; see make build"
	"$mailbench" note -json -label mox -figure binary "megabytes=$(awk -v n="$(stat -c %s "$MOX")" 'BEGIN { print n / 1e6 }')" >>"$results"
fi
for part in "${parts[@]}"; do
	case $part in
	disk) part_disk ;;
	account | syncs | queue | backup) rounds 1 "part_$part" ;;
	*) rounds "$ROUNDS" "part_${part/-/_}" ;;
	esac
done
machine
"$mailbench" table "$results"
say "rows: $results"
