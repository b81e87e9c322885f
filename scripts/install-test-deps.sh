#!/usr/bin/env bash
# Installs the programs that tests use, all of them: tests themselves install
# nothing. On Debian it uses apt-get, as root or with sudo that asks for no
# password; elsewhere it names the packages. Without the programs the tests that
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
)

missing=()
for line in "${wanted[@]}"; do
	read -r program package purpose <<<"$line"
	if ! command -v "$program" >/dev/null; then
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
"${sudo[@]}" apt-get -q update
"${sudo[@]}" apt-get -q install -y --no-install-recommends "${missing[@]}"
