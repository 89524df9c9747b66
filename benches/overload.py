#!/usr/bin/env python3
"""Twice as much as the server can do: what it still does, what the rest is told, and how soon it is itself again.

Finds the peak of unary Reserve and Commit, sends twice that at equal distances whatever the server answers, and watches both by a
light load that goes on when the heavy one has ended.

    benches/overload.py            about a minute, after a release build
    benches/overload.py --apart    what it does with a core that the load doesn't share
"""

import argparse
import sys
import time

import harness
from harness import Server


WARM_UP = 1


class Run:
    """A load, and a light one beside it that goes on for `longer` seconds. It begins with books that have all of what came before, or
    it would pay for that."""

    def __init__(self, server, load, *arguments, seconds, longer):
        harness.wait_for_books(server.data)
        began = time.monotonic()
        light = server.quotactl("bench", "--json", *load, "--duration", f"{seconds + longer}s", "--rate", 500, "--connections", "1")
        heavy = server.quotactl("bench", "--json", *load, "--duration", f"{seconds}s", "--connections", "4", *arguments)
        time.sleep(WARM_UP)
        before = [harness.cpu(each.pid) for each in (server.process, heavy)]
        time.sleep(seconds)
        spent = [harness.cpu(each.pid) - was for each, was in zip((server.process, heavy), before)]
        self.report = harness.report(heavy)
        ended = time.monotonic() - began
        # Without the end: what is under way then, tens of thousands, is answered when nothing more is asked.
        while_asked = [each for each in self.report["samples"] if WARM_UP * 1e6 < each["at_us"] <= (WARM_UP + seconds) * 1e6]
        self.per_second = round(sum(each["done_per_second"] for each in while_asked) / len(while_asked))
        self.cost = " + ".join(f"{each * 1e6 / self.per_second / seconds:.1f}" for each in spent) + " µs"
        samples = [sample for sample in harness.report(light)["samples"] if sample["at_us"] / 1e6 > ended]
        calm = next((sample for sample in samples if sample["p99_us"] < 50_000), None)
        self.calm_after = f"{calm['at_us'] / 1e6 - ended:.1f} s" if calm else "never"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help="of each load (10)")
    parser.add_argument("--apart", action="store_true", help="the server has a core to itself, the load has the others")
    options = parser.parse_args()
    harness.build()
    with Server(options.apart) as server:
        load = [*server.prepare("10x100"), "--warm-up", f"{WARM_UP}s"]

        def run(*arguments, longer):
            return Run(server, load, *arguments, seconds=options.seconds, longer=longer)

        best = max((run("--in-flight", n, longer=1) for n in (32, 256, 1024)), key=lambda run: run.per_second)
        peak = best.per_second
        print(f"peak {peak:,}/s", file=sys.stderr)
        beyond = run("--rate", 2 * peak, "--in-flight", "10000", longer=options.seconds + 5)
    over = beyond.report
    done = {name: each["per_second"] for name, each in over["operations"].items()}
    refused = sum(error["count"] for error in over["errors"])
    print(f"{harness.machine()}\n")
    rows = [
        ["peak, closed loop", f"{peak:,}/s"],
        ["sent, open loop", f"{2 * peak:,}/s"],
        ["done of it", f"{beyond.per_second:,}/s ({beyond.per_second / peak:.0%} of the peak)"],
        ["Commits, Reserves done, with those at the end", f"{done.get('commit', 0):,}/s, {done.get('reserve', 0):,}/s"],
        ["processor time of server + load for each that was done, at the peak", best.cost],
        ["… beyond it", beyond.cost],
        ["told to come back", f"{refused:,}: " + ", ".join(f"{each['count']:,} × {each['operation']} {each['error']}" for each in over["errors"])],
        ["due and never sent, because too much was under way", f"{over['unsent']:,}"],
        ["denied", f"{over['denied']:,}"],
    ]
    rows.append(["p99 of the light load below 50 ms after the end", beyond.calm_after])
    print(harness.table(["", "figure"], rows))


if __name__ == "__main__":
    main()
