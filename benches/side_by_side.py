"""Loads the servers that side_by_side.sh started, in alternation, and prints medians and ratios as a Markdown table."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import harness

# Asks four counters and takes of all, or of none: what a limiter in Redis does at least. Nothing is durable.
SCRIPT = """
for i = 1, 4 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') + tonumber(ARGV[1]) > 1000000000 then return 0 end
end
for i = 1, 4 do
  if redis.call('INCRBY', KEYS[i], ARGV[1]) == tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[i], 60) end
end
return 1
"""

# Name, what of the mix is looked at, and the load.
LOADS = [
    ("unary Reserve, 4 × 32 in flight", "reserve", ["--mix", "reserve=1", "--leave-open"]),
    ("unary Reserve and Commit, 4 × 32", None, []),
    (
        "unary Reserve, one at a time",
        "reserve",
        ["--mix", "reserve=1", "--leave-open", "--connections", "1", "--in-flight", "1"],
    ),
    ("unary Commit, durable, 4 × 64", "commit", ["--in-flight", "64"]),
    ("Session Commit, durable, 2 × 128", "commit", ["--session", "--connections", "2", "--in-flight", "128"]),
    ("Session, Reserve and Commit, 2 × 512", None, ["--session", "--connections", "2", "--in-flight", "512"]),
]


class Server:
    def __init__(self, options, name):
        pid, address = (options.home / f"{name}.at").read_text().split()
        self.name, self.pid, self.endpoint = name, pid, f"http://{address}"

    def cpu(self):
        return harness.cpu(self.pid)


def quotactl(options, server, *arguments):
    command = [options.bin / "quotactl", "--endpoint", server.endpoint, "--token-file", options.home / "data/operator.token"]
    ran = subprocess.run([*command, "bench", "--json", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(f"{server.name}: {ran.stdout}{ran.stderr}")
    return json.loads(ran.stdout)


def load(options, server, what, arguments):
    """One round: operations a second, p50 and p99 in µs, and processor time of the server for each operation in µs."""
    keys = ["--keys-file", options.home / "keys", "--model", "bench"]
    times = ["--warm-up", "1s", "--duration", f"{options.seconds}s"]
    before = server.cpu()
    if options.books_held:
        with harness.books_held(options.home / "data"):
            report = quotactl(options, server, *keys, *times, *arguments)
            spent = server.cpu() - before
        harness.wait_for_books(options.home / "data")
    else:
        report = quotactl(options, server, *keys, *times, *arguments)
        # What the books still lack is part of the price.
        harness.wait_for_books(options.home / "data")
        spent = server.cpu() - before
    if report["denied"] or report["failed"]:
        sys.exit(f"{server.name}: not everything was done: {report['denials']} {report['errors']}")
    operations = report["operations"]
    looked_at = [operations[what]] if what else list(operations.values())
    done = sum(each["done"] for each in report["with_warm_up"].values()) + report["settled_after"]["released"]
    slowest = max(looked_at, key=lambda operation: operation["latency_us"]["p99"])
    latency = slowest["latency_us"]
    return {
        "per_second": sum(operation["per_second"] for operation in looked_at),
        "p50": latency["p50"],
        "p99": latency["p99"],
        "cpu": spent * 1e6 / done,
    }


def redis(options):
    """One round of redis-benchmark with 32 clients: calls a second and p50 in µs."""
    at = ["-p", str(options.redis)]
    sha = subprocess.run(["redis-cli", *at, "SCRIPT", "LOAD", SCRIPT], capture_output=True, text=True, check=True)
    calls = str(50_000 * options.seconds)
    keys = [f"{level}:__rand_int__" for level in ("key", "member", "team")] + ["organization"]
    command = ["redis-benchmark", *at, "-c", "32", "-n", calls, "-r", "1000", "--csv", "EVALSHA", sha.stdout.strip(), "4"]
    ran = subprocess.run([*command, *keys, "1"], capture_output=True, text=True, check=True)
    names, values = (line.strip('"').split('","') for line in ran.stdout.strip().splitlines()[-2:])
    row = dict(zip(names, values))
    return {"per_second": float(row["rps"]), "p50": float(row["p50_latency_ms"]) * 1000}


def median(rounds, figure):
    return statistics.median(round[figure] for round in rounds)


def spread(rounds, figure, digits=0):
    values = [round[figure] for round in rounds]
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(results):
    head = ["load", "quotad /s", "empty /s", "ratio", "p50 µs", "of empty", "p99 µs", "server's CPU µs", "of empty"]
    rows = []
    for name, _, _ in LOADS:
        ours, empty = results[name]["quotad"], results[name]["empty"]
        ratio = {figure: median(ours, figure) / max(median(empty, figure), 1e-9) for figure in ours[0]}
        cells = [name, spread(ours, "per_second"), spread(empty, "per_second"), f"{ratio['per_second']:.2f}"]
        cells += [f"{median(ours, 'p50'):,.0f}", f"{ratio['p50']:.2f}", f"{median(ours, 'p99'):,.0f}"]
        rows.append([*cells, spread(ours, "cpu", 1), f"{ratio['cpu']:.2f}"])
    lines = [harness.table(head, rows)]
    if "redis" in results:
        ours, theirs = results[LOADS[0][0]]["quotad"], results["redis"]
        ratio = median(ours, "per_second") / median(theirs, "per_second")
        lines += ["", f"Redis, EVALSHA over 4 counters, 32 clients: {spread(theirs, 'per_second')} /s; quotad's unary Reserve × {ratio:.2f}"]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="benches/side_by_side.sh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of every load, in alternation (5)")
    parser.add_argument("--seconds", type=int, default=5, metavar="N", help="of each, after one to warm up (5)")
    held = "locks the file of the books during each load: what decisions and the journal do by themselves"
    parser.add_argument("--books-held", action="store_true", help=held)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures of every round")
    parser.add_argument("--bin", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--redis", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    ours, empty = Server(options, "quotad"), Server(options, "empty")
    prepare = ["--prepare", "10x100", "--write-keys", options.home / "keys", "--duration", "1s", "--warm-up", "0s"]
    quotactl(options, ours, *prepare)
    results = {name: {"quotad": [], "empty": []} for name, _, _ in LOADS}
    total, began = options.rounds * len(LOADS) * 2, time.monotonic()
    for round in range(options.rounds):
        for no, (name, what, arguments) in enumerate(LOADS):
            # Whoever comes second finds a warmer machine: they take turns at it.
            for server in (empty, ours) if round % 2 == 0 else (ours, empty):
                results[name][server.name].append(load(options, server, what, arguments))
            done = (round * len(LOADS) + no + 1) * 2
            print(f"\r{done * 100 // total:3} %  {time.monotonic() - began:4.0f} s  {name:45}", end="", file=sys.stderr)
        if options.redis:
            results.setdefault("redis", []).append(redis(options))
    print(file=sys.stderr)
    print(f"{harness.machine()}; {options.rounds} rounds of {options.seconds} s, medians (lowest–highest)\n\n{table(results)}")
    if options.json:
        options.json.write_text(json.dumps({"machine": harness.machine(), "results": results}, indent=2))


if __name__ == "__main__":
    main()
