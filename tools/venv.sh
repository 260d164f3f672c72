#!/usr/bin/env bash
# Makes a Python virtual environment with exactly one package and its pinned dependencies: venv.sh DIR PACKAGE==VERSION.
# The pins are tools/python/NAME.txt for a directory NAME; only wheels are taken, so nothing is ever compiled. A directory
# that was finished from the same pins is left alone.
set -euo pipefail

dir=$1 package=$2
name=$(basename "$dir")
pins=$(dirname "$0")/python/$name.txt
if [ ! -f "$pins" ]; then
	echo "make: $pins is missing: it pins what ${package/==/ } is installed with (pip freeze of an environment that works)." >&2
	exit 1
fi
if cmp -s "$pins" "$dir/.pins"; then
	exit 0
fi
echo "installing ${package/==/ } from PyPI into $dir"
rm -rf "$dir"
python3 -m venv "$dir"
"$dir/bin/python" -m pip install -q --disable-pip-version-check --only-binary=:all: -c "$pins" "$package"
cp "$pins" "$dir/.pins"
