#!/usr/bin/env python3
"""Twice as much as the server can do: what it still does, what the rest is told, and how soon it is itself again.

In each round unary Reserve and Commit are asked as fast as they are answered, with a little, more and much under way, and then twice as
fast as the fastest of that, at equal distances whatever the server answers. A light load beside watches, and goes on when the heavy one
has ended. The peak is that of the depth whose median is highest: the best of some runs alone would be the luckiest one.

    benches/overload.py            five minutes, after a release build
    benches/overload.py --apart    what it does with a core that the load doesn't share
"""

import argparse
import statistics
import sys
import time

import harness
from harness import Server


WARM_UP = 1
# Under way at one time on each of four connections.
DEPTHS = (32, 256, 1024)


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
        self.cost = [each * 1e6 / self.per_second / seconds for each in spent]
        samples = [sample for sample in harness.report(light)["samples"] if sample["at_us"] / 1e6 > ended]
        calm = next((sample for sample in samples if sample["p99_us"] < 50_000), None)
        self.calm_after = calm["at_us"] / 1e6 - ended if calm else float("inf")


def spread(values, form="{:,.0f}"):
    """Their median, and from where to where they are."""
    low, middle, high = (form.format(each) for each in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of all loads (5)")
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help="of each load (10)")
    parser.add_argument("--apart", action="store_true", help="the server has a core to itself, the load has the others")
    options = parser.parse_args()
    harness.build()
    closed, beyond, sent = {depth: [] for depth in DEPTHS}, [], []
    with Server(options.apart) as server:
        load = [*server.prepare("10x100"), "--warm-up", f"{WARM_UP}s"]

        def run(*arguments, longer):
            return Run(server, load, *arguments, seconds=options.seconds, longer=longer)

        for no in range(options.rounds):
            for depth, runs in closed.items():
                runs.append(run("--in-flight", depth, longer=1))
            asked = [runs[-1].per_second for runs in closed.values()]
            sent.append(2 * max(asked))
            beyond.append(run("--rate", sent[-1], "--in-flight", "10000", longer=options.seconds + 5))
            loops = ", ".join(f"{per_second:,}" for per_second in asked)
            print(f"round {no + 1}: closed loops {loops}; {sent[-1]:,} sent, {beyond[-1].per_second:,} done", file=sys.stderr)
    report(closed, sent, beyond)


def report(closed, sent, beyond):
    def middle(runs):
        return statistics.median(run.per_second for run in runs)

    depth = max(closed, key=lambda depth: middle(closed[depth]))
    best = closed[depth]
    share = middle(beyond) / middle(best)
    shares = [over.per_second / peak.per_second for over, peak in zip(beyond, best)]
    refusals = [error for run in beyond for error in run.report["errors"]]
    told = sorted({f"{error['operation']} {error['error']}" for error in refusals})
    refused = [sum(error["count"] for error in run.report["errors"]) for run in beyond]

    def cost(runs):
        return " + ".join(spread([run.cost[part] for run in runs], "{:.1f}") for part in (0, 1)) + " µs"

    def done(operation):
        return spread([run.report["operations"].get(operation, {}).get("per_second", 0) for run in beyond])

    rows = [
        *([f"closed loop, 4 × {depth:,} under way", f"{spread([run.per_second for run in runs])}/s"] for depth, runs in closed.items()),
        ["sent, open loop", f"{spread(sent)}/s"],
        ["done of it", f"{spread([run.per_second for run in beyond])}/s"],
        ["… of the peak: median of median, and round by round", f"{share:.0%}; " + ", ".join(f"{each:.0%}" for each in shares)],
        ["Commits, Reserves done, with those at the end", f"{done('commit')}/s, {done('reserve')}/s"],
        ["processor time of server + load for each that was done, at the peak", cost(best)],
        ["… beyond it", cost(beyond)],
        ["told to come back: " + (", ".join(told) or "none"), spread(refused)],
        ["due and never sent, because too much was under way", spread([run.report["unsent"] for run in beyond])],
        ["denied", spread([run.report["denied"] for run in beyond])],
        ["p99 of the light load below 50 ms after the end", spread([run.calm_after for run in beyond], "{:.1f} s")],
    ]
    print(f"{harness.machine()}\n")
    print(harness.table(["", "median (lowest–highest)"], rows))


if __name__ == "__main__":
    main()
