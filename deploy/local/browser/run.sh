#!/bin/sh
# Tests the page of the local run in headless Chromium. Needs node and npm, and
# Chromium at /usr/bin/chromium (Debian's package) or where CHROMIUM says.
# Screenshots go to dist/screenshots.
set -eu
cd "$(dirname "$0")"
chromium=${CHROMIUM:-/usr/bin/chromium}
for needed in node npm "$chromium"; do
	command -v "$needed" >/dev/null || {
		echo "browser test: $needed is not here; install node, npm and chromium, or set CHROMIUM" >&2
		exit 1
	}
done
root=$(cd ../../.. && pwd)
(cd "$root" && mkdir -p dist/bin && go build -o dist/bin/local ./deploy/local)
npm ci --no-audit --no-fund --loglevel=error
exec node --test
