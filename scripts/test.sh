#!/usr/bin/env bash
# Lints and all tests, with everything built once. Ends with a line of counts, or with what failed.
set -euo pipefail
cd "$(dirname "$0")/.."
begun=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT

cargo fmt --check
cargo clippy --quiet --workspace --all-targets --features failpoints -- -D warnings
echo "lints: $((SECONDS - begun)) s"

status=0
cargo test --workspace --features failpoints --no-fail-fast 2>&1 | tee "$log" | grep -E '^(test result|     Running|   Doc-tests|error)' || status=${PIPESTATUS[0]}
status=${PIPESTATUS[0]:-$status}
passed=$(awk '/^test result:/ {n += $4} END {print n + 0}' "$log")
failed=$(awk '/^test result:/ {n += $6} END {print n + 0}' "$log")
if [ "$failed" -gt 0 ] || ! grep -q '^test result:' "$log" || grep -q '^error' "$log"; then
  sed -n '/^failures:/,/^test result:/p; /^error/,$p' "$log"
  echo "$passed passed, $failed failed"
  exit 1
fi
echo "all tests: $((SECONDS - begun)) s"
echo "$passed passed, $failed failed"
