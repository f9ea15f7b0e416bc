#!/usr/bin/env bash
# Installs what building and testing need and what is missing: Debian packages, and what the tests take from npm and Maven.
# Quick when all is there. `setup.sh run` leaves out what only the tests need.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || [ -x "$HOME/.cargo/bin/cargo" ] || {
  echo "setup: cargo is missing; install Rust 1.90 or newer from https://rustup.rs and run this again" >&2
  exit 1
}
# Minimal installations of Rust have neither.
if [ "${1:-}" != run ] && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
  echo "setup: rustfmt or clippy is missing; run: rustup component add rustfmt clippy" >&2
  exit 1
fi
# program or file → package
wanted=(
  "mosquitto mosquitto" "mosquitto_pub mosquitto-clients" "crun crun" "node nodejs"
  "python3 python3" "gcc gcc" "/usr/include/stdio.h libc6-dev" "git git" "unshare util-linux" "mkfs.ext4 e2fsprogs"
  # librdkafka is built from source.
  "cmake cmake" "g++ g++" "pkg-config pkg-config" "/usr/include/openssl/ssl.h libssl-dev" "/usr/include/zlib.h zlib1g-dev"
)
if [ "${1:-}" != run ]; then
  # The servers of the tests.
  wanted+=("npm npm" "java openjdk-17-jre-headless" "mvn maven" "rabbitmq-server rabbitmq-server")
fi
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
# What only the tests need beside the packages.
after() {
  [ "$1" = run ] && return
  fetch_for_tests
  scripts/couchdb.sh
  scripts/kafka.sh
}
if [ ${#missing[@]} -eq 0 ]; then
  after "${1:-}"
  exit 0
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
after "${1:-}"
