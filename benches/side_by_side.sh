#!/usr/bin/env bash
# quotad beside an empty handler of the same messages, and beside Redis where it is installed: each under the same load in alternation,
# medians and ratios in one table.
#
#   benches/side_by_side.sh                      5 rounds of 5 s each: about 10 minutes, after a release build
#   benches/side_by_side.sh --rounds 3 --seconds 2
#   benches/side_by_side.sh --books-held         with the books doing nothing meanwhile
#   benches/side_by_side.sh --json results.json  the figures of every round, too
#
# The load comes from the same machine, so leave it alone meanwhile. Needs cargo and python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case " $* " in *' --help '* | *' -h '*) exec python3 benches/side_by_side.py --help ;; esac

readonly BIN=${CARGO_TARGET_DIR:-target}/release
cargo build --release --locked --bins --example empty >&2

readonly HOME_OF_RUN=$(mktemp -d)
pids=()
finish() {
    ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
    wait
    rm -rf "$HOME_OF_RUN"
}
trap finish EXIT

# Starts a server and waits for the line that ends with its address.
start() {
    local name=$1 log=$HOME_OF_RUN/$1.log
    shift
    "$@" >"$log" 2>&1 &
    pids+=($!)
    for _ in {1..200}; do
        if grep -qE 'listen(s|ing) on' "$log"; then
            printf '%s %s\n' "$!" "$(grep -m1 -oE '127\.0\.0\.1:[0-9]+' "$log")" >"$HOME_OF_RUN/$name.at"
            return
        fi
        sleep 0.05
    done
    cat "$log" >&2
    return 1
}

# However busy the machine is, nothing is refused for it: the figures tell how long it took.
start quotad "$BIN/quotad" --listen 127.0.0.1:0 --data-dir "$HOME_OF_RUN/data" --log warn --max-call-wait-ms 60000
start empty "$BIN/examples/empty" 127.0.0.1:0
redis=()
if command -v redis-server redis-benchmark >/dev/null; then
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$HOME_OF_RUN" >"$HOME_OF_RUN/redis.log" &
    pids+=($!)
    redis=(--redis "$port")
else
    echo 'Redis is not installed: its row is left out' >&2
fi
python3 benches/side_by_side.py --bin "$BIN" --home "$HOME_OF_RUN" "${redis[@]}" "$@"
