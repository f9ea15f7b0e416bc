#!/usr/bin/env bash
# The whole way on this machine: a broker, simulated sensors, the hub, alerts. Ends everything it started.
#
# RUN_ONCE=1 ends with status 0 after the tenth alert. PROFILE=dev takes the debug build. What is kept between runs lies in
# RUN_DIR. PORT and MQTT_PORT are the hub's and the broker's ports on 127.0.0.1.
set -euo pipefail
cd "$(dirname "$0")/.."
run_dir=${RUN_DIR:-$PWD/.run}
port=${PORT:-3233}
mqtt_port=${MQTT_PORT:-18833}
profile=${PROFILE:-release}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/triggerfish/target}
# The publicly known key of --dev; the hub answers on loopback alone.
export TRIGGERFISH_HOST=127.0.0.1:$port
export TRIGGERFISH_AUTH=23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP
# mosquitto is in /usr/sbin.
PATH=$PATH:/usr/sbin:/sbin

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m'; plain=$'\e[0m'; else bold=; plain=; fi
say() { printf '%s== %s%s\n' "$bold" "$*" "$plain"; }
fail() { printf 'run: %s\n' "$*" >&2; exit 1; }
is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

mkdir -p "$run_dir"
# Held while this runs, and by no child: after a kill -9 nothing is left of it.
exec 9>"$run_dir/lock"
flock -n 9 || fail "another \`make run\` is running here; end it first, or give RUN_DIR, PORT and MQTT_PORT of its own"

# A run that was killed leaves processes that are about to end by themselves; those that do not are helped.
while read -r pid; do
  for _ in $(seq 250); do
    grep -qzF -e "$run_dir" -e iot-sensors/simulator.py "/proc/$pid/cmdline" 2>/dev/null || continue 2
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
done < <(cat "$run_dir/pids" 2>/dev/null)
: >"$run_dir/pids"

say "Building ($profile)"
cargo build --profile "$profile" --bin triggerfish
directory=$profile
[ "$profile" = dev ] && directory=debug
bin=$CARGO_TARGET_DIR/$directory/triggerfish

is_taken "$port" && fail "port $port is taken: another hub? End what listens there, or run: PORT=3234 make run"
is_taken "$mqtt_port" && fail "port $mqtt_port is taken; run: MQTT_PORT=18834 make run"

started=()
end_all() {
  trap - EXIT INT TERM
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap end_all EXIT
trap 'end_all; exit 130' INT
trap 'end_all; exit 143' TERM
# start NAME COMMAND...: in the background, out of the terminal's reach; ended with this script, even by kill -9.
start() {
  local name=$1
  shift
  setsid setpriv --pdeathsig TERM "$@" </dev/null >"$run_dir/$name.log" 2>&1 9>&- &
  started+=($!)
  echo $! >>"$run_dir/pids"
}
# wait_for NAME SECONDS COMMAND...: until the command succeeds; fails with the end of the log where NAME has ended.
wait_for() {
  local name=$1 end=$((SECONDS + $2)) pid=${started[-1]}
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$pid" 2>/dev/null || [ $SECONDS -ge $end ]; then
      tail -n 20 "$run_dir/$name.log" >&2
      fail "$name is not ready; its log is $run_dir/$name.log"
    fi
    sleep 0.1
  done
}

say "Starting Mosquitto on 127.0.0.1:$mqtt_port"
mkdir -p "$run_dir/mosquitto"
# As shipped it keeps 1000 queued messages and drops the rest.
cat >"$run_dir/mosquitto.conf" <<END
listener $mqtt_port 127.0.0.1
allow_anonymous true
persistence true
persistence_location $run_dir/mosquitto/
autosave_interval 1
max_queued_messages 0
max_inflight_messages 1000
user $(id -un)
END
start mosquitto mosquitto -c "$run_dir/mosquitto.conf"
wait_for mosquitto 10 is_taken "$mqtt_port"

say "Starting the hub on http://127.0.0.1:$port (log: $run_dir/hub.log)"
start hub "$bin" serve --dev --listen "127.0.0.1:$port" --data-dir "$run_dir/data"
wait_for hub 60 "$bin" feeds

say "Applying examples/iot-sensors"
"$bin" apply -f examples/iot-sensors/manifest.yaml --var "MQTT_URL=mqtt://127.0.0.1:$mqtt_port"

say "Sensors publish; alerts come as rooms heat up and sensors fail"
query="name:alert AND kind:nodejs*"
limit=()
[ -n "${RUN_ONCE:-}" ] && limit=(--limit 10)
start simulator python3 examples/iot-sensors/simulator.py --port "$mqtt_port" ${RUN_SEED:+--seed "$RUN_SEED"}

# The search, once there is something to find.
(
  until "$bin" search 'critical AND warm' --since 10m --limit 1 --json 2>/dev/null | grep -q activationId; do
    kill -0 $$ 2>/dev/null || exit
    sleep 0.5
  done
  say "Found by full-text search: triggerfish search 'critical AND warm' --since 10m --limit 3"
  "$bin" search 'critical AND warm' --since 10m --limit 3
  [ -n "${RUN_ONCE:-}" ] || say "Ctrl-C ends it; triggerfish is $bin"
) 9>&- &
searching=$!
started+=("$searching")
setpriv --pdeathsig TERM "$bin" tail --q "$query" "${limit[@]}" 9>&-
wait "$searching"
say "Ten alerts came; ending"
