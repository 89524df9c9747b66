#!/usr/bin/env python3
"""From a thousand keys to a million, and from one organization to a million: memory, speed, and how long a start takes.

Each size has a server of its own. Memory is what making the keys added to it; speed is that of a session of Reserve and Commit and of unary
calls, keys drawn alike; the start is after SIGKILL, with what the run left to replay, and after an orderly end.

    benches/scale.py                          all sizes: more than half an hour, and more than 10 GB of memory
    benches/scale.py --sizes 10x100 1000x100  some of them
    benches/scale.py --plot scale.svg         draws them too; needs matplotlib
"""

import argparse
import importlib.util
import sys
import time

import harness
from harness import Server

SIZES = ["10x100", "1x1000", "100x1000", "1x100000", "100000x1", "1000x1000", "1x1000000", "1000000x1"]


def measure(size, seconds, points):
    organizations, keys = map(int, size.split("x"))
    with Server() as server:
        empty, _ = server.memory()
        began = time.monotonic()
        made_keys = server.prepare(size)
        made = time.monotonic() - began
        followed = harness.wait_for_books(server.data)
        full, _ = server.memory()
        load = [*made_keys, "--warm-up", "2s", "--duration", f"{seconds}s"]
        session = server.bench(*load, "--session", "--connections", "2", "--in-flight", "512")
        unary = server.bench(*load)
        _, most = server.memory()
        server.kill()
        killed = server.start()
        replayed = server.replayed()
        stopped = server.stop()
        started = server.start()
        after, _ = server.memory()
    points.append((organizations, keys, full - empty, session["done_per_second"], unary["done_per_second"]))
    per_key = (full - empty) * 2**20 / (organizations * keys)
    return [
        f"{organizations:,} × {keys:,}",
        f"{made:.0f} + {followed:.0f}",
        f"{full:,.0f}",
        f"{per_key:,.0f}",
        f"{most:,.0f}",
        f"{session['done_per_second']:,}",
        f"{harness.p99(session):.0f}",
        f"{unary['done_per_second']:,}",
        f"{harness.p99(unary):.0f}",
        f"{killed:.1f} ({replayed:,})",
        f"{stopped:.1f}",
        f"{started:.1f}",
        f"{after:,.0f}",
    ]


HEAD = [
    "organizations × keys",
    "made in s + books",
    "MiB",
    "bytes a key",
    "MiB at most",
    "Session /s",
    "p99 ms",
    "unary /s",
    "p99 ms",
    "start after SIGKILL s (events)",
    "stop s",
    "start s",
    "MiB then",
]


def draw(points, file):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (memory, speed) = pyplot.subplots(1, 2, figsize=(11, 4))
    for marker, kind, of_kind in (("o", "", lambda point: point[1] > 1), ("^", ", one key an organization", lambda point: point[1] == 1)):
        some = [point for point in points if of_kind(point)]
        total = [organizations * keys for organizations, keys, *_ in some]
        memory.loglog(total, [point[2] for point in some], marker, color="C2", label=f"memory{kind}")
        for no, name in ((3, "Session"), (4, "unary")):
            speed.loglog(total, [point[no] for point in some], marker, color=f"C{no - 3}", label=f"{name}{kind}")
    memory.set(xlabel="keys", ylabel="MiB for them", title="memory")
    speed.set(xlabel="keys", ylabel="operations a second", title="speed", ylim=(1e3, 1e6))
    memory.legend()
    speed.legend()
    for axes in (memory, speed):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="ORGSxKEYS")
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help="of each load (10)")
    parser.add_argument("--plot", metavar="FILE", help="memory and speed by the number of keys, as .svg or .png")
    options = parser.parse_args()
    if options.plot and not importlib.util.find_spec("matplotlib"):
        parser.error("--plot needs matplotlib: pip install matplotlib")
    harness.build()
    rows, points = [], []
    for size in options.sizes:
        print(f"{size} …", file=sys.stderr)
        rows.append(measure(size, options.seconds, points))
        print(" | ".join(rows[-1]), file=sys.stderr)
    print(f"{harness.machine()}; three limits a key\n\n{harness.table(HEAD, rows)}")
    if options.plot:
        draw(points, options.plot)


if __name__ == "__main__":
    main()
