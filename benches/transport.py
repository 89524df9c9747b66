#!/usr/bin/env python3
"""What the settings of HTTP/2, TCP and the runtime do to an empty handler of quotad's messages: each alone changed, in alternation.

    benches/transport.py               some five minutes, after a release build
    benches/transport.py --rounds 5    steadier figures
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness


def windows(connection, stream):
    return ["--connection-window", connection, "--stream-window", stream]


# Name, arguments, threads of the runtime (None: as many as cores).
SETTINGS = [
    ("as quotad has them: windows of 1 MiB and 256 KiB, 512 calls a connection, no delay", [], None),
    ("windows of 64 KiB, HTTP/2's own", windows(65_535, 65_535), None),
    ("windows of 16 and 4 MiB", windows(16 << 20, 4 << 20), None),
    ("windows of 64 MiB", windows(64 << 20, 64 << 20), None),
    ("4,096 calls a connection", ["--max-streams", 4096], None),
    ("128 calls a connection", ["--max-streams", 128], None),
    ("16 calls a connection", ["--max-streams", 16], None),
    ("TCP's delay of small answers", ["--delay"], None),
    ("each answer sent by itself", ["--no-gather"], None),
    ("each answer by itself, and TCP's delay", ["--no-gather", "--delay"], None),
    ("1 thread", [], 1),
    ("4 threads", [], 4),
]
LOADS = [
    ("unary, 4 × 32", []),
    ("unary, one at a time", ["--connections", "1", "--in-flight", "1"]),
    ("Session, 2 × 512", ["--session", "--connections", "2", "--in-flight", "512"]),
]


class Empty:
    def __init__(self, arguments, threads):
        environment = {**os.environ, **({"TOKIO_WORKER_THREADS": str(threads)} if threads else {})}
        command = [harness.BIN / "examples/empty", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.endpoint = self.process.stdout.readline().split()[-1]

    def load(self, home, seconds, arguments):
        command = [harness.BIN / "quotactl", "--endpoint", self.endpoint, "--token-file", home / "token", "bench", "--json"]
        keys = ["--keys-file", home / "keys", "--model", "bench", "--mix", "reserve=1", "--leave-open"]
        times = ["--warm-up", "500ms", "--duration", f"{seconds}s"]
        running = subprocess.Popen([*command, *keys, *times, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        reserve = harness.report(running)["operations"]["reserve"]
        return reserve["per_second"], reserve["latency_us"]["p50"], reserve["latency_us"]["p99"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of every load (3)")
    parser.add_argument("--seconds", type=int, default=3, metavar="N", help="of each (3)")
    options = parser.parse_args()
    harness.build()
    figures = {(name, load): [] for name, _, _ in SETTINGS for load, _ in LOADS}
    with tempfile.TemporaryDirectory(prefix="quotad-transport-") as home:
        home = Path(home)
        (home / "keys").write_text("".join(f"key-{no}\n" for no in range(1000)))
        (home / "token").write_text("none")
        servers = {name: Empty(arguments, threads) for name, arguments, threads in SETTINGS}
        began = time.monotonic()
        for round in range(options.rounds):
            for name, server in servers.items():
                for load, arguments in LOADS:
                    figures[name, load].append(server.load(home, options.seconds, arguments))
                print(f"\r{time.monotonic() - began:4.0f} s  round {round + 1} of {options.rounds}  {name:90}", end="", file=sys.stderr)
        print(file=sys.stderr)
        for server in servers.values():
            server.process.kill()
    head = ["settings"] + [f"{load}: {figure}" for load, _ in LOADS for figure in ("/s", "p50 µs", "p99 µs")]
    rows = []
    for name, _, _ in SETTINGS:
        cells = [statistics.median(column) for load, _ in LOADS for column in zip(*figures[name, load])]
        rows.append([name] + [f"{cell:,.0f}" for cell in cells])
    print(f"{harness.machine()}; medians of {options.rounds} rounds of {options.seconds} s\n\n{harness.table(head, rows)}")


if __name__ == "__main__":
    main()
