"""What the scripts beside this one share: a server of their own, the load, and what the machine says of them."""

import contextlib
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def lag(data):
    """Journal positions that the books in a data directory don't have yet."""
    def ask(file, query):
        with sqlite3.connect(f"file:{data / file}?mode=ro", uri=True, timeout=30) as books:
            return books.execute(query).fetchone()[0] or 0
    return ask("journal.db", "SELECT max(last) FROM batches") - ask("books.db", "SELECT position FROM projector")


def wait_for_books(data):
    """Until they have what was done so far, so that what is measured next doesn't pay for it. Answers the seconds that took."""
    began = time.monotonic()
    while lag(data) > 1000:
        time.sleep(0.2)
    return time.monotonic() - began


@contextlib.contextmanager
def books_held(data):
    """Locks the books' file: what is done meanwhile is decided and journalled, and the books get it afterwards."""
    books = sqlite3.connect(data / "books.db", timeout=30, isolation_level=None)
    books.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        books.execute("ROLLBACK")
        books.close()


def cpu(pid):
    """Seconds of processor time that a process took so far; 0 where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def build():
    subprocess.run(["cargo", "build", "--release", "--locked", "--bins", "--example", "empty"], cwd=ROOT, check=True, stdout=sys.stderr)


def on(cores, command, **streams):
    return subprocess.Popen(command, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores), **streams)


class Server:
    """A quotad with a data directory that goes with it. With `apart` it has the first core, and what asks it has the others."""

    def __init__(self, apart=False):
        cores = sorted(os.sched_getaffinity(0))
        self.own, self.others = (cores[:1], cores[1:]) if apart else (cores, cores)
        self.home = tempfile.TemporaryDirectory(prefix="quotad-bench-")
        self.data = Path(self.home.name) / "data"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.home.cleanup()

    def start(self):
        """Until it listens; answers the seconds that took."""
        began = time.monotonic()
        log = open(Path(self.home.name) / "log", "a", encoding="utf-8")
        command = [BIN / "quotad", "--listen", "127.0.0.1:0", "--data-dir", self.data]
        self.process = on(self.own, command, stdout=subprocess.PIPE, stderr=log)
        greeting = self.process.stdout.readline()
        if "listens on" not in greeting:
            sys.exit(f"quotad doesn't start: {(Path(self.home.name) / 'log').read_text()}")
        self.endpoint = f"http://{greeting.split()[-1]}"
        return time.monotonic() - began

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """In good order; answers the seconds that took, most of them for the last snapshots."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait()
        return time.monotonic() - began

    def memory(self):
        """Resident MiB, now and at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return tuple(int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM"))

    def replayed(self):
        """Events that the last start replayed, as its log tells."""
        found = re.findall(r"replayed=(\d+)", (Path(self.home.name) / "log").read_text())
        return int(found[-1]) if found else 0

    def complaints(self):
        """What it warned of, but that something took long."""
        lines = (Path(self.home.name) / "log").read_text().splitlines()
        return [line for line in lines if re.search(r" (WARN|ERROR) ", line) and "slow" not in line]

    def quotactl(self, *arguments):
        command = [BIN / "quotactl", "--endpoint", self.endpoint, "--token-file", self.data / "operator.token"]
        return on(self.others, [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def prepare(self, size):
        """Makes ORGSxKEYS for the load; answers the arguments that name them to it."""
        keys = self.data / "keys"
        self.bench("--prepare", size, "--write-keys", keys, "--duration", "200ms", "--warm-up", "0s")
        return ["--keys-file", keys, "--model", "bench"]

    def bench(self, *arguments):
        return report(self.quotactl("bench", "--json", *arguments))


def report(running):
    said, complaint = running.communicate()
    if running.returncode != 0:
        sys.exit(f"{said}{complaint}")
    return json.loads(said)


def p99(run):
    """Of the slowest operation, in ms."""
    return max(each["latency_us"]["p99"] for each in run["operations"].values()) / 1000


def table(head, rows):
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine():
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} × {names[0] if names else platform.processor()}, {memory:.0f} GiB, {platform.system()} {platform.release()}"
