#!/usr/bin/env bash
# Installs what building and testing need and what is missing: Debian packages, what the tests take from npm. Quick when all
# is there.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || [ -x "$HOME/.cargo/bin/cargo" ] || {
  echo "setup: cargo is missing; install Rust 1.90 or newer from https://rustup.rs and run this again" >&2
  exit 1
}
# program or file → package
wanted=(
  "mosquitto mosquitto" "mosquitto_pub mosquitto-clients" "crun crun" "node nodejs" "npm npm"
  "python3 python3" "gcc gcc" "/usr/include/stdio.h libc6-dev" "git git" "unshare util-linux" "mkfs.ext4 e2fsprogs"
)
missing=()
for entry in "${wanted[@]}"; do
  read -r program package <<<"$entry"
  case $program in
    /*) [ -e "$program" ] ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null ;;
  esac || missing+=("$package")
done
# For tests, from npm: the libraries that senders of webhooks sign with, and real payloads of GitHub's.
fetch_for_tests() {
  local name=webhooks-examples-7.6.1 cache=$HOME/.cache/triggerfish
  if [ ! -e "$cache/senders-1/done" ]; then
    echo "setup: fetching the libraries of webhooks' senders from npm" >&2
    rm -rf "${cache:?}/senders-1"
    mkdir -p "$cache/senders-1"
    npm install --prefix "$cache/senders-1" --silent --no-audit --no-fund --ignore-scripts \
      standardwebhooks@1.0.0 stripe@17.7.0 cloudevents@8.0.3 @octokit/webhooks-methods@5.1.1 >&2
    touch "$cache/senders-1/done"
  fi
  [ -e "$cache/$name/package.json" ] && return
  echo "setup: fetching @octokit/$name from npm" >&2
  local dir
  dir=$(mktemp -d)
  (cd "$dir" && npm pack --silent "@octokit/${name%-*}@${name##*-}" >/dev/null && tar -xzf ./*.tgz)
  mkdir -p "$cache"
  rm -rf "${cache:?}/$name"
  mv "$dir/package" "$cache/$name"
  rm -rf "$dir"
}
if [ ${#missing[@]} -eq 0 ]; then
  fetch_for_tests
  exec scripts/couchdb.sh
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "setup: these Debian packages are missing; install them and run this again:" >&2
  echo "  apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >&2
fetch_for_tests
exec scripts/couchdb.sh
