#!/usr/bin/env bash
# Installs the Debian packages that building and testing need and that are missing. Quick when nothing is.
set -euo pipefail

command -v cargo >/dev/null || [ -x "$HOME/.cargo/bin/cargo" ] || {
  echo "setup: cargo is missing; install Rust 1.90 or newer from https://rustup.rs and run this again" >&2
  exit 1
}
# program or file → package
wanted=(
  "mosquitto mosquitto" "mosquitto_pub mosquitto-clients" "crun crun" "node nodejs"
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
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "setup: these Debian packages are missing; install them and run this again:" >&2
  echo "  apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >&2
