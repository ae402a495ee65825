"""A program for tests of hostile files: ``python -m tests.parse_folder FOLDER... TIMEOUT_S``, run apart from the tests.

Prints one JSON line for each file, with its fate, and one with what it took. It lives under a memory limit itself: a
file that is read here, and not in a worker, would be noticed.
"""

import json
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from rag_pipeline import RagPipeline
from rag_pipeline.documents.chunk import chunk_document
from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.workers import Outcome, ParsePool
from rag_pipeline.types import Document

WORKER_MB = 4096
OWN_MB = 4096
MAX_TOKENS = 256


def own_peak_mb() -> float:
    """The most memory that this process has had; ``ru_maxrss`` would count the process that it was forked off."""
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) / 1024


def fate_of(outcome: Outcome, pipeline: RagPipeline) -> dict[str, Any]:
    if not isinstance(outcome, Document):
        return {"state": "quarantined", "error": type(outcome).__name__, "reason": str(outcome)}
    count = pipeline.encoder.count_tokens
    chunks = chunk_document(outcome, count_tokens=count, max_tokens=MAX_TOKENS, heading_tokens=48)
    return {
        "state": "indexed",
        "text": "\n".join(element.text for element in outcome.elements),
        "figures": [[figure.width, figure.height] for figure in outcome.figures],
        "tokens": [chunk.tokens for chunk in chunks],
    }


def main(folders: list[Path], timeout_s: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (OWN_MB * 2**20, OWN_MB * 2**20))
    pipeline = RagPipeline.from_config()
    started = time.monotonic()
    found = discover(folders)
    for refused in found.refused:
        print(json.dumps({"file": str(refused.path), "state": "passed over", "reason": refused.reason}))
    with ParsePool(2, timeout_s, WORKER_MB) as pool:
        for source, outcome in pool.parse_all(read_source(one) for one in found.files):
            print(json.dumps({"file": str(source.path), **fate_of(outcome, pipeline)}))
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"seconds": time.monotonic() - started, "own_mb": own_peak_mb(), "largest_child_mb": child}))


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:-1]], float(sys.argv[-1]))
