#!/usr/bin/env bash
# Installs pouchdb-server, which speaks CouchDB's protocol, from npm, for the tests of `cloudant/changes`. Apache CouchDB
# itself is in no registry. Prints nothing and is quick where it is there already.
set -euo pipefail

version=4.2.0
home=$HOME/.cache/triggerfish/pouchdb-server-$version
# Written last, so that an installation that was cut off is made again.
[ -e "$home/complete" ] && exit 0
echo "setup: installing pouchdb-server $version (about two minutes)" >&2
rm -rf "$home"
mkdir -p "$home"
npm --silent --prefix "$home" install --no-audit --no-fund "pouchdb-server@$version" >&2
touch "$home/complete"
