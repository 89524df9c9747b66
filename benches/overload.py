#!/usr/bin/env python3
"""Twice as much as the server can do: what it still does, what the rest is told, and how soon it is itself again.

Finds the peak of unary Reserve and Commit, sends twice that at equal distances whatever the server answers, and watches it by a
light load of its own that goes on when the heavy one has ended.

    benches/overload.py            about a minute, after a release build
    benches/overload.py --apart    what it does with a core that the load doesn't share
"""

import argparse
import resource
import sys
import time

import harness
from harness import Server


def measured(server, *arguments):
    """A load's report, and the processor time of server and load for each operation that was done, in µs. Each load begins with books
    that have all of the one before, or it would pay for that."""
    harness.wait_for_books(server.data)
    before, children = harness.cpu(server.process.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
    report = server.bench(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = sum(each["done"] for each in report["with_warm_up"].values())
    load = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    costs = [seconds * 1e6 / done for seconds in (harness.cpu(server.process.pid) - before, load)]
    return report, "{:.1f} + {:.1f} µs".format(*costs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help="of each load (10)")
    parser.add_argument("--apart", action="store_true", help="the server has a core to itself, the load has the others")
    options = parser.parse_args()
    harness.build()
    with Server(options.apart) as server:
        load = [*server.prepare("10x100"), "--warm-up", "1s"]
        many = [*load, "--duration", f"{options.seconds}s", "--connections", "4"]
        runs = [measured(server, *many, "--in-flight", n) for n in (32, 256, 1024)]
        best, cost_at_peak = max(runs, key=lambda run: run[0]["done_per_second"])
        peak = best["done_per_second"]
        print(f"peak {peak:,}/s", file=sys.stderr)
        harness.wait_for_books(server.data)
        began = time.monotonic()
        light_load = [*load, "--duration", f"{2 * options.seconds + 5}s", "--rate", 500, "--connections", "1"]
        probe = server.quotactl("bench", "--json", *light_load)
        over, cost_beyond = measured(server, *many, "--rate", 2 * peak, "--in-flight", "10000")
        ended = time.monotonic() - began
        light = harness.report(probe)
    done = {name: each["per_second"] for name, each in over["operations"].items()}
    refused = sum(error["count"] for error in over["errors"])
    print(f"{harness.machine()}\n")
    rows = [
        ["peak, closed loop", f"{peak:,}/s"],
        ["sent, open loop", f"{2 * peak:,}/s"],
        ["done of it", f"{over['done_per_second']:,}/s ({over['done_per_second'] / peak:.0%} of the peak)"],
        ["Commits, Reserves done", f"{done.get('commit', 0):,}/s, {done.get('reserve', 0):,}/s"],
        ["processor time of server + load for each that was done, at the peak", cost_at_peak],
        ["… beyond it, with that of the light load", cost_beyond],
        ["told to come back", f"{refused:,}: " + ", ".join(f"{each['count']:,} × {each['operation']} {each['error']}" for each in over["errors"])],
        ["due and never sent, because too much was under way", f"{over['unsent']:,}"],
        ["denied", f"{over['denied']:,}"],
    ]
    after = [sample for sample in light["samples"] if sample["at_us"] / 1e6 > ended]
    calm = next((sample for sample in after if sample["p99_us"] < 50_000), None)
    rows.append(["p99 of the light load below 50 ms after the end", f"{calm['at_us'] / 1e6 - ended:.1f} s" if calm else "never"])
    print(harness.table(["", "figure"], rows))


if __name__ == "__main__":
    main()
