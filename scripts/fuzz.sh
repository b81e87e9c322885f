#!/usr/bin/env bash
# Runs each fuzz target of the module for the given time, one after the other.
# A finding is written to testdata/fuzz of its package and fails the run at the end.
#
#	scripts/fuzz.sh <time> [package...]
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:?time for each target, as 10s or 10m}
shift
packages=("$@")
if ((${#packages[@]} == 0)); then
	packages=(./...)
fi

# go test -list prints the names of a package's targets, then a line "ok <package>".
listing=$(go test -list '^Fuzz' "${packages[@]}")
targets=()
names=()
while read -r first second _; do
	case $first in
	Fuzz*) names+=("$first") ;;
	ok)
		for name in ${names[@]+"${names[@]}"}; do
			targets+=("$second $name")
		done
		names=()
		;;
	esac
done <<<"$listing"

failed=()
for target in "${targets[@]}"; do
	read -r package name <<<"$target"
	echo "=== $package $name"
	go test -run "^$name\$" -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 100x "$package" || failed+=("$target")
done

echo "=== ${#targets[@]} targets, ${#failed[@]} failed"
for target in ${failed[@]+"${failed[@]}"}; do
	echo "failed: $target"
done
((${#failed[@]} == 0))
