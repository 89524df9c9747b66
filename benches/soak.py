#!/usr/bin/env python3
"""Full speed for long: what is over must leave memory, and the books must follow. Prints memory, throughput and lag by the minute.

    benches/soak.py                30 minutes, after a release build; the books take some 50 GB of disk
    benches/soak.py --minutes 5 --rate 20000
"""

import argparse
import sys
import time

import harness
from harness import Server


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30, metavar="N", help="(30)")
    parser.add_argument("--rate", type=int, metavar="N", help="operations a second; without it as many as are answered")
    parser.add_argument("--plot", metavar="FILE", help="throughput and latency as a picture, .png or .svg")
    options = parser.parse_args()
    harness.build()
    with Server() as server:
        load = [*server.prepare("10x100"), "--session", "--connections", "2", "--in-flight", "512"]
        load += ["--duration", f"{options.minutes}m"]
        load += ["--rate", options.rate] if options.rate else []
        load += ["--plot", options.plot] if options.plot else []
        running, began, rows = server.quotactl("bench", "--json", *load), time.monotonic(), []
        for minute in range(options.minutes + 1):
            time.sleep(max(0, began + 60 * minute - time.monotonic()))
            behind, (resident, most) = harness.lag(server.data), server.memory()
            journal = (server.data / "journal.db").stat().st_size / 2**20
            rows.append([str(minute), f"{resident:,.0f}", f"{most:,.0f}", f"{behind:,}", f"{journal:,.0f}"])
            print(" | ".join(rows[-1]), file=sys.stderr)
        run, complaints = harness.report(running), server.complaints()
    print(f"{harness.machine()}; {run['done_per_second']:,} operations/s, p99 {harness.p99(run):.0f} ms; failed {run['failed']}\n")
    print(harness.table(["minute", "resident MiB", "at most", "records that the books lag", "journal MiB"], rows))
    for kind in run["errors"]:
        print(f"{kind['count']:,} × {kind['error']}: {kind['example']}")
    print(*complaints[:50], sep="\n")


if __name__ == "__main__":
    main()
