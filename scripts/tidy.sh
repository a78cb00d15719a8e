#!/bin/sh
# go mod tidy for every module. Tidy knows nothing of go.work, so modules reach each other through
# replaces that are taken out again.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
export GOWORK=off
base=github.com/riposte-dev/riposte
for dir in shared test triggers deploy deploy/local test/e2e test/platforms functions/*; do
	[ -f "$dir/go.mod" ] || continue
	(
		cd "$dir"
		# A module of ours that is new here gets a made-up version; ours is always v0.1.0.
		undo() {
			for m in shared test triggers deploy deploy/local; do
				go mod edit -dropreplace "$base/$m"
				! grep -q "$base/$m v0\.0\.0-" go.mod || go mod edit -require "$base/$m@v0.1.0"
			done
		}
		trap undo EXIT
		for m in shared test triggers deploy deploy/local; do
			[ "$m" = "$dir" ] || go mod edit -replace "$base/$m=$root/$m"
		done
		go mod tidy "$@"
	)
done
