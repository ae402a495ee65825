"""Speed and memory of whole ingestions on this machine.

    python benchmarks/ingest.py throughput --data DIR example-docs financebench-dev
    python benchmarks/ingest.py nochange
    python benchmarks/ingest.py memory --plot memory.png

``throughput`` ingests the same files with this project and with LlamaIndex's own parts (``ingest_sides.py`` says what
the two share), with the compact profile or another, and then once more those files alone that both can read.
``nochange`` runs ``rag ingest`` again over 10,000 small files. ``memory`` ingests 100,000 chunks with vectors that no
model makes: words are counted and hashed, so that files, parsing, chunking, payloads, manifest and engine are all real
and the hours of encoding are left out.

To try it in a minute: ``--files 8 --limit-mb 0.2``, ``--files 200``, ``--chunks 3000``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
from ingest_memory import write_library

HERE = Path(__file__).parent
COMPACT = HERE.parent / "configs" / "compact.yaml"
MB = 2**20


@dataclass(frozen=True)
class Run:
    """A process that has ended: wall seconds, and the most memory that it and its children had, in bytes."""

    seconds: float
    peak: int
    output: str


def run(command: Sequence[str], interval: float = 0.25) -> Run:
    """Run a command to its end; the peak is the sum of resident sets, looked at every ``interval`` seconds."""
    started, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as output:
        process = psutil.Popen(list(command), stdout=output, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(interval)
        seconds = time.perf_counter() - started
        if process.returncode not in (0, 3):  # 3: some files were quarantined
            raise SystemExit(f"{' '.join(command[:6])} ... ended with {process.returncode}; run it by hand to see why")
        output.seek(0)
        return Run(seconds, peak, output.read())


def resident(process: psutil.Process) -> int:
    """Return the resident bytes of a process and its children, pages that they share counted more than once."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            try:
                total += one.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        return total
    return total


# -------------------------------------------------------------------------------------------- throughput


def gather(data: Path, names: Sequence[str], target: Path, *, files: int, limit_mb: float) -> list[Path]:
    """Copy what is to be ingested below ``target``, ``files`` of them evenly spread where that is not 0."""
    found = sorted(path for name in names for path in (data / name).rglob("*") if path.is_file())
    found = [path for path in found if path.stat().st_size <= limit_mb * 1e6]
    if files and found:
        found = found[:: max(1, len(found) // files)][:files]
    if not found:
        raise SystemExit(f"no files in {', '.join(str(data / name) for name in names)}; unpack the archives there")
    copy(found, data, target)
    return [path.relative_to(data) for path in found]


def copy(files: Sequence[Path], base: Path, target: Path) -> None:
    """Copy files and their folders."""
    for path in files:
        place = target / path.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def measure_side(side: str, config: Path, docs: Path, scratch: Path, repeat: int) -> dict[str, Any]:
    """Run one side ``repeat`` times into fresh indexes; return its last result, medians, and print a row."""
    runs = []
    for number in range(repeat):
        index, result = scratch / f"{side}-{docs.name}-{number}", scratch / "result.json"
        places = map(str, (config, docs, index, result))
        runs.append(run([sys.executable, str(HERE / "ingest_sides.py"), side, *places]))
        shutil.rmtree(index, ignore_errors=True)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    found["seconds"] = statistics.median(one.seconds for one in runs)
    found["peak"] = max(one.peak for one in runs)
    print(
        f"| {docs.name} | {side} | {found['seconds']:.1f} | {len(found['read'])} | {found['texts']:,} "
        f"| {found['texts'] / found['seconds']:.1f} | {found['peak'] / MB:,.0f} |",
        flush=True,
    )
    return found


def throughput(chosen: argparse.Namespace) -> None:
    """Print a table of both sides, over all files and over those that both read; then stages and failures."""
    other = "llama-stock" if chosen.stock else "llama"
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        names = gather(chosen.data, chosen.names, scratch / "all", files=chosen.files, limit_mb=chosen.limit_mb)
        print(f"{len(names)} files of {', '.join(chosen.names)}; wall time of the process, median of {chosen.repeat}\n")
        print("| files | side | seconds | files with text | chunks | chunks/s | peak MB of the process tree |")
        print("|---|---|---|---|---|---|---|", flush=True)
        sides = {
            side: measure_side(side, chosen.config, scratch / "all", scratch, chosen.repeat) for side in ("ours", other)
        }
        common = sorted(set(sides["ours"]["read"]) & set(sides[other]["read"]))
        ratios = {"all": sides[other]["seconds"] / sides["ours"]["seconds"]}
        if not chosen.once and common and len(common) < len(names):
            copy([scratch / "all" / name for name in common], scratch / "all", scratch / "both")
            again = {
                side: measure_side(side, chosen.config, scratch / "both", scratch, chosen.repeat)
                for side in ("ours", other)
            }
            ratios["both"] = again[other]["seconds"] / again["ours"]["seconds"]
    for name, ratio in ratios.items():
        print(f"\n{name}: LlamaIndex takes {ratio:.2f} times as long", end="")
    print(f"\n\nboth read {len(common)} files; where the time goes, over all files:\n\n| side | stage | seconds |")
    print("|---|---|---|")
    for side, found in sides.items():
        for stage, seconds in sorted(found["stages"].items(), key=lambda item: -item[1]):
            print(f"| {side} | {stage} | {seconds:.1f} |")
    slowest = sorted(sides[other]["parsing"].items(), key=lambda item: -item[1])[:8]
    print("\nslowest for llama to parse: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in slowest))
    for side, found in sides.items():
        print(f"\nnot read by {side}: {len(found['failed'])}")
        for name, reason in sorted(found["failed"].items()):
            print(f"  {name}: {reason[:150]}")


# ---------------------------------------------------------------------------------------------- nochange


def nochange(chosen: argparse.Namespace) -> None:
    """Print what the first and every further run over small files takes."""
    with tempfile.TemporaryDirectory() as place:
        docs, index = Path(place) / "docs", Path(place) / "index"
        for number in range(chosen.files):
            file = docs / f"{number // 100:03d}" / f"note {number:05d}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"Note {number}: the probe in well {number * 7919 % 1009} was read on day {number}.\n")
        command = [sys.executable, "-m", "rag_pipeline", "ingest", str(docs), "--json", "--index", str(index)]
        command += ["--config", str(COMPACT)]
        first = run(command)
        counts = json.loads(first.output)["files"]
        print(f"{chosen.files:,} files, first run: {first.seconds:.1f} s, {counts['added']:,} added", flush=True)
        again = [run(command, interval=0.05) for _ in range(3)]
        unchanged = json.loads(again[-1].output)["files"]["unchanged"]
        print(
            f"nothing changed: {statistics.median(one.seconds for one in again):.2f} s, median of "
            f"{', '.join(f'{one.seconds:.2f}' for one in again)}; {unchanged:,} unchanged, "
            f"peak {max(one.peak for one in again) / MB:,.0f} MB"
        )


# ------------------------------------------------------------------------------------------------ memory


def memory(chosen: argparse.Namespace) -> None:
    """Print the memory of the ingesting process, without its parsers, by points written, and plot it.

    It is looked at from outside: while the engine builds a graph it keeps Python's lock, and no thread runs.
    """
    samples: list[tuple[float, int, float, float]] = []
    with tempfile.TemporaryDirectory() as place:
        write_library(Path(place) / "docs", chosen.chunks, chosen.words)
        written = np.memmap(Path(place) / "written", dtype=np.int64, mode="w+", shape=1)
        started = time.perf_counter()
        process = psutil.Popen([sys.executable, str(HERE / "ingest_memory.py"), place, str(chosen.words)])
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):  # it ended just now
                own = process.memory_info()
                elapsed = time.perf_counter() - started
                samples.append((elapsed, int(written[0]), own.rss / MB, (own.rss - own.shared) / MB))
            time.sleep(1.0)
        total = int(written[0])
        if process.returncode != 0 or not total:
            raise SystemExit(f"the ingestion ended with {process.returncode} after {total} points")
    print(f"{total:,} chunks of {chosen.words} words in {samples[-1][0]:.0f} s, the interpreter's start included\n")
    print("| points written | seconds | resident MB | of which not mapped from files, MB |\n|---|---|---|---|")
    for share in (0, 25, 50, 75, 100):
        at = next((row for row in samples if row[1] >= total * share / 100), samples[-1])
        print(f"| {at[1]:,} ({share} %) | {at[0]:.0f} | {at[2]:,.0f} | {at[3]:,.0f} |")
    print(f"| at most | | {max(row[2] for row in samples):,.0f} | {max(row[3] for row in samples):,.0f} |")
    if chosen.plot:
        plot(samples, chosen.plot)


def plot(samples: Sequence[tuple[float, int, float, float]], file: Path) -> None:
    """Draw memory and points over time."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    seconds, points, whole, own = zip(*samples, strict=True)
    figure, left = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    left.plot(seconds, whole, label="resident, with the engine's mapped files")
    left.plot(seconds, own, label="resident, without mapped files")
    left.set(xlabel="seconds", ylabel="MB", ylim=(0, None), title="One ingestion: memory of the process that writes")
    right = left.twinx()
    right.plot(seconds, points, color="grey", linestyle=":", label="points written")
    right.set(ylabel="points written", ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(file, dpi=120)
    print(f"\nplot: {file}")


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("throughput", help="against LlamaIndex's own parts")
    one.add_argument("names", nargs="*", default=["example-docs", "financebench-dev"])
    one.add_argument("--data", type=Path, required=True, help="holds the unpacked sets")
    one.add_argument("--repeat", type=int, default=1)
    one.add_argument("--files", type=int, default=0, help="only so many, evenly spread")
    one.add_argument("--limit-mb", type=float, default=float("inf"), help="only files up to this size")
    one.add_argument(
        "--stock", action="store_true", help="LlamaIndex runs the weights by its own class, not by our encoder"
    )
    one.add_argument("--config", type=Path, default=COMPACT, help="the profile, such as configs/minilm.yaml")
    one.add_argument("--once", action="store_true", help="leave out the second run over the files that both read")
    one.set_defaults(run=throughput)
    one = commands.add_parser("nochange", help="a run over files that have not changed")
    one.add_argument("--files", type=int, default=10_000)
    one.set_defaults(run=nochange)
    one = commands.add_parser("memory", help="is memory flat over a long run?")
    one.add_argument("--chunks", type=int, default=100_000)
    one.add_argument("--words", type=int, default=40, help="words of a chunk")
    one.add_argument("--plot", type=Path, help="write a PNG here")
    one.set_defaults(run=memory)
    chosen = parser.parse_args()
    chosen.run(chosen)


if __name__ == "__main__":
    main()
