"""Run ``rag eval`` over judged sets and profiles, and print one Markdown table.

    python benchmarks/quality.py scifact medline cranfield --profiles minilm compact

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


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--profiles", nargs="+", default=["minilm", "compact"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--run-dir", type=Path)
    chosen = parser.parse_args()
    print("| set | profile | mode | nDCG@10 | R@10 | R@100 | MRR@10 |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen.sets:
            folder = open_set(chosen.data, name, Path(scratch))
            for profile in chosen.profiles:
                for row in measure(folder, profile, chosen.run_dir):
                    figures = " | ".join(f"{value:.4f}" for value in row["measures"].values())
                    print(f"| {name} | {profile} | {row['mode']} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
