#!/usr/bin/env bash
# Runs every fuzz target of the repository in turn, one process at a time: fuzz.sh DURATION.
set -euo pipefail
duration=$1
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		go test -run='^$' -fuzz="^$target\$" -fuzztime="$duration" "$package"
	done
done
