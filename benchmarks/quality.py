"""Run ``rag eval`` over judged sets and profiles; print its rows, then what fusion and reranking gave or cost.

    python benchmarks/quality.py scifact medline cranfield xquad-en xquad-de xquad-es --profiles minilm compact

The second table has nDCG@10 of every mode, and how far the joined ones are from the better leg. Exit code 1: one of
them is more than ``--bound`` below it.

Sets are archives or folders in BEIR layout in ``--data`` (by default ``../shared/data``; SciFact is also published by
the BEIR project). TREC runs are kept in ``--run-dir`` where one is given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def measure(folder: Path, profile: str, run_dir: Path | None) -> list[dict[str, Any]]:
    """Run ``rag eval`` as a user would and return its rows."""
    command = [sys.executable, "-m", "rag_pipeline", "eval", str(folder), "--json"]
    command += ["--config", str(ROOT / "configs" / f"{profile}.yaml")]
    command += ["--run-dir", str(run_dir / profile)] if run_dir else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def open_set(data: Path, name: str, scratch: Path) -> Path:
    """Return the folder of a set, unpacked into ``scratch`` where only its archive is there."""
    if (data / name).is_dir():
        return data / name
    with tarfile.open(data / f"{name}.tar.gz") as archive:
        archive.extractall(scratch, filter="data")
    return scratch / name


def difference(modes: dict[str, float], mode: str) -> float:
    """Return how much better than the better leg a mode is, in nDCG@10."""
    return modes[mode] - max(modes["dense"], modes["sparse"])


def main() -> int:
    """Print the first table as it grows, then the second; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--profiles", nargs="+", default=["minilm", "compact"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--run-dir", type=Path)
    parser.add_argument("--bound", type=float, default=0.005)
    chosen = parser.parse_args()
    found: dict[tuple[str, str], dict[str, float]] = {}
    print("| set | profile | mode | nDCG@10 | R@10 | R@100 | MRR@10 |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen.sets:
            folder = open_set(chosen.data, name, Path(scratch))
            for profile in chosen.profiles:
                rows = measure(folder, profile, chosen.run_dir)
                found[name, profile] = {row["mode"]: row["measures"]["nDCG@10"] for row in rows}
                for row in rows:
                    figures = " | ".join(f"{value:.4f}" for value in row["measures"].values())
                    print(f"| {name} | {profile} | {row['mode']} | {figures} |", flush=True)
    print("\n| set | profile | dense | sparse | hybrid | to the better leg | hybrid+rerank | to the better leg |")
    print("|---|---|---|---|---|---|---|---|")
    worst = 0.0
    for (name, profile), modes in found.items():
        cells = [f"{modes['dense']:.4f}", f"{modes['sparse']:.4f}"]
        for mode in ("hybrid", "hybrid+rerank"):
            cells += [f"{modes[mode]:.4f}", f"{difference(modes, mode):+.4f}"] if mode in modes else ["", ""]
            worst = min(worst, difference(modes, mode)) if mode in modes else worst
        print(f"| {name} | {profile} | {' | '.join(cells)} |")
    return int(worst < -chosen.bound)


if __name__ == "__main__":
    sys.exit(main())
