#!/usr/bin/env bash
# Checks that what a Makefile target needs is on this machine: need.sh WORD… with the words go, python, node, cc and chromium.
# Debian packages are installed where that is possible without asking (root, apt-get); otherwise each missing thing is one
# sentence that names it.
set -euo pipefail

fail() {
	echo "make: $1" >&2
	exit 1
}

# apt installs packages when run by root on a Debian system, and says nothing when it cannot.
apt() {
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
	echo "installing $*"
	apt-get install -y -qq "$@" >/dev/null 2>&1 ||
		{ apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq "$@" >/dev/null 2>&1; }
}

need_go() {
	command -v go >/dev/null || fail "Go 1.26 or later is needed and not installed: see your package manager."
	local v
	v=$(go env GOVERSION)
	case $v in
	go1.[0-9] | go1.[0-9].* | go1.[01][0-9]* | go1.2[0-5]*) fail "Go 1.26 or later is needed, this is ${v#go}." ;;
	esac
}

need_python() {
	command -v python3 >/dev/null || apt python3 python3-venv ||
		fail "Python 3.10 or later is needed and not installed (Debian: apt-get install python3 python3-venv)."
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
		fail "Python 3.10 or later is needed, this is $(python3 -c 'import platform; print(platform.python_version())')."
	python3 -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv ||
		fail "Python's venv module is needed and not installed (Debian: apt-get install python3-venv)."
}

need_node() {
	command -v node >/dev/null && command -v npm >/dev/null || apt nodejs npm ||
		fail "Node.js 20 or later with npm is needed and not installed (Debian: apt-get install nodejs npm)."
	node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' ||
		fail "Node.js 20 or later is needed, this is $(node --version)."
}

need_cc() {
	command -v "$(go env CC)" >/dev/null || apt gcc libc6-dev ||
		fail "a C compiler is needed for the race detector and not installed (Debian: apt-get install gcc libc6-dev)."
}

need_chromium() {
	[ -x "${E2E_CHROMIUM:=/usr/bin/chromium}" ] || apt chromium fonts-noto-core ||
		fail "Chromium is needed and not installed (Debian: apt-get install chromium fonts-noto-core; elsewhere say where it is: E2E_CHROMIUM=PATH)."
	[ -x "$E2E_CHROMIUM" ] || fail "there is no Chromium at $E2E_CHROMIUM (say where it is: E2E_CHROMIUM=PATH)."
}

for word in "$@"; do
	"need_$word"
done
