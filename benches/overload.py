#!/usr/bin/env python3
"""Twice as much as the server can do: what it still does, what the rest is told, and how soon it is itself again.

First unary Reserve and Commit are asked as fast as they are answered, with a little, more and much under way: which of that does most is
the peak. Then, in rounds, the peak and twice as much as it by turns: at equal distances, whatever the server answers, by callers that let
settlements go first and by such as send in order. What was done is compared with the peaks just before and after it, because a machine that
others share is faster in one minute than in the next. A light load beside watches, and goes on when the heavy one has ended.

    benches/overload.py            ten minutes, after a release build
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
SCANS = 3


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, metavar="N", help="of peak and overload (8)")
    parser.add_argument("--seconds", type=int, default=5, metavar="N", help="of each load (5)")
    parser.add_argument("--apart", action="store_true", help="the server has a core to itself, the load has the others")
    options = parser.parse_args()
    harness.build()
    with Server(options.apart) as server:
        load = [*server.prepare("10x100"), "--warm-up", f"{WARM_UP}s"]

        def closed(depth):
            return Run(server, load, "--in-flight", depth, seconds=options.seconds, longer=1)

        def beyond(peak, *how):
            rate = ("--rate", 2 * peak.per_second, "--in-flight", 10_000)
            return Run(server, load, *rate, *how, seconds=options.seconds, longer=options.seconds + 5)

        scan = {depth: [] for depth in DEPTHS}
        for depth in DEPTHS * SCANS:
            scan[depth].append(closed(depth).per_second)
        depth = max(scan, key=lambda depth: statistics.median(scan[depth]))
        print(f"closed loops of {scan}", file=sys.stderr)
        peaks, first, in_order = [closed(depth)], [], []
        for no in range(options.rounds):
            # Now the one first, now the other: what comes later finds larger books.
            for runs, how in [(first, []), (in_order, ["--in-order"])][:: -1 if no % 2 else 1]:
                over, peak = beyond(peaks[-1], *how), closed(depth)
                runs.append((over, peaks[-1], peak))
                peaks.append(peak)
            done = " and in order ".join(f"{runs[-1][0].per_second:,} ({share(*runs[-1]):.0%})" for runs in (first, in_order))
            print(f"round {no + 1}: {done}", file=sys.stderr)
    report(scan, depth, peaks, first, in_order)


def share(over, before, after):
    """What was done of the peaks beside it."""
    return over.per_second / statistics.mean((before.per_second, after.per_second))


def spread(values, form="{:,.0f}"):
    """Their median, and from where to where they are."""
    low, middle, high = (form.format(each) for each in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def report(scan, depth, peaks, first, in_order):
    columns = [peaks, *([over for over, *_ in runs] for runs in (first, in_order))]

    def row(name, value, form="{:,.0f}", at_peak=True):
        cells = [spread([value(run) for run in runs], form) for runs in columns]
        return [name, *(cells if at_peak else ["", *cells[1:]])]

    def done(operation):
        return lambda run: run.report["operations"].get(operation, {}).get("per_second", 0)

    def of_peak(runs):
        shares = [share(*run) for run in runs]
        return f"{statistics.median(shares):.0%}: " + ", ".join(f"{each:.0%}" for each in sorted(shares))

    told = {f"{error['operation']} {error['error']}" for runs in columns for run in runs for error in run.report["errors"]}
    rows = [
        row("sent /s", lambda run: run.report["target_per_second"] or 0, at_peak=False),
        row("done /s", lambda run: run.per_second),
        ["… of the peaks before and after it: median, and each", "", of_peak(first), of_peak(in_order)],
        row("Reserves done /s, with those at the end", done("reserve")),
        row("Commits done /s, with those at the end", done("commit")),
        row("server's processor time for each that was done, µs", lambda run: run.cost[0], "{:.1f}"),
        row("load's, µs", lambda run: run.cost[1], "{:.1f}"),
        row("told to come back: " + (", ".join(sorted(told)) or "none"), lambda run: run.report["failed"]),
        row("due and never sent, because too much was under way", lambda run: run.report["unsent"], at_peak=False),
        row("denied", lambda run: run.report["denied"]),
        row("p99 of the light load below 50 ms after the end, s", lambda run: run.calm_after, "{:.1f}", at_peak=False),
    ]
    loops = "; ".join(f"4 × {depth:,}: {spread(runs)}/s" for depth, runs in scan.items())
    print(f"{harness.machine()}\n\nClosed loops, {SCANS} of each: {loops}\n")
    print(harness.table(["median (lowest–highest)", f"peak, 4 × {depth:,}", "twice as much", "twice as much, in order"], rows))


if __name__ == "__main__":
    main()
