"""Token ids to what a model makes of them, on OpenVINO: a converted graph on the CPU.

Enters: a folder with a graph that ``quantize.py`` made, and the token ids of texts. Leaves: arrays by the names of the
graph's outputs. This module knows no tokenizer and loads no torch. It runs whatever graph it is given; which one may
run, because it agreed with torch and has not changed since, :func:`find_graph` says.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rag_pipeline.encoders.hashes import file_hashes, sha256_of
from rag_pipeline.errors import UnavailableError
from rag_pipeline.types import FloatMatrix, TokenIds

if TYPE_CHECKING:
    from rag_pipeline.encoders.weights import Weights

__all__ = ["REPORT", "GraphKind", "OpenVinoRunner", "find_graph", "graph_folder", "import_openvino"]

GraphKind = Literal["int8", "bf16"]

REPORT = "report.json"
"""What ``quantize.py`` measured of the graphs that lie beside it."""

_HASHES = "hashes.json"
_FIRST_USE = threading.Lock()


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    OpenVINO and NNCF report to Google Analytics wherever ``openvino_telemetry`` can be imported, and pip installs it
    with them. No variable turns that off, only a file in the user's home, which is not ours to write. Both do without
    where the import fails; so it is made to fail, in this process.

    Raises:
        UnavailableError: OpenVINO is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # the import system's "not there"
    try:
        with _FIRST_USE:
            import openvino

            # OpenVINO 2026.4 makes its table of types at first use. Two threads that need it then can wait for each
            # other forever, one with the table's lock and one with the interpreter's.
            openvino.Type.i64.to_dtype()
    except ImportError as exc:
        raise UnavailableError(
            f"OpenVINO cannot be imported ({exc}); install it with pip install 'rag-pipeline[openvino]', "
            "or set backend: torch"
        ) from exc
    return openvino


def graph_folder(weights: Weights, models_dir: Path) -> Path:
    """Return where the graphs of exactly these weights belong."""
    return models_dir / "openvino" / weights.fingerprint.replace("@", "-")


def find_graph(folder: Path, kind: GraphKind) -> bool:
    """Return whether a graph is there that agreed with torch, and whose files are those that did."""
    try:
        graph = json.loads((folder / REPORT).read_text(encoding="utf-8"))["graphs"][kind]
        files = {str(name): str(sha256) for name, sha256 in graph["files"].items()}
        return not graph["refused"] and file_hashes(folder, files, folder / _HASHES) == files
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none there, or not one of ours
        return False


class OpenVinoRunner:
    """A :class:`~rag_pipeline.encoders.runner.Runner` on OpenVINO; threads may share one.

    Args:
        folder: holds the graph.
        kind: which one.
        threads: texts that run at the same time, on one thread each; 0: one for each core.

    Raises:
        UnavailableError: OpenVINO is not installed, or the graph cannot be loaded.
    """

    def __init__(self, folder: Path, kind: GraphKind, *, threads: int = 0) -> None:
        openvino = import_openvino()
        self._threads = threads or os.cpu_count() or 1
        core = openvino.Core()
        precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        path = folder / f"{kind}.xml"
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 128,
            "NUM_STREAMS": self._threads,
            "INFERENCE_NUM_THREADS": self._threads,
        }
        try:
            compiled = core.compile_model(path, "CPU", options)
        except RuntimeError as exc:
            reason = str(exc).strip().rsplit("\n", 1)[-1]  # before it, files and lines of OpenVINO's own
            raise UnavailableError(f"cannot load {path} ({reason}); make it again with rag models quantize") from exc
        # With the graph's own hash: caches go by this name, and the next conversion may give another graph.
        digest = sha256_of(folder / f"{kind}.bin")[:8]
        self.name = f"openvino cpu {kind} {digest}, computed in {precision}"
        self._outputs = [port.any_name for port in compiled.outputs]
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self._threads):
            self._requests.put(compiled.create_infer_request())

    def run(self, rows: Sequence[TokenIds], outputs: Collection[str]) -> dict[str, list[FloatMatrix]]:
        """See :class:`~rag_pipeline.encoders.runner.Runner`. Each text is a request of its own: nothing is padded."""
        results: dict[str, list[FloatMatrix]] = {name: [np.empty(0, np.float32)] * len(rows) for name in outputs}

        def work(row: int) -> None:
            for name, value in self._infer(rows[row], outputs).items():
                results[name][row] = value

        if len(rows) == 1:
            work(0)
            return results
        # Longest first, so that no thread is left alone with a long one at the end.
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(work, order):
                pass
        return results

    def _infer(self, row: TokenIds, outputs: Collection[str]) -> dict[str, FloatMatrix]:
        ids = row[None]
        request = self._requests.get()
        try:
            request.infer([ids, np.ones_like(ids)], share_inputs=True)
            # Copied: the request writes what it makes of its next text to the same place.
            return {
                name: request.get_output_tensor(number).data[0].copy()
                for number, name in enumerate(self._outputs)
                if name in outputs
            }
        finally:
            self._requests.put(request)
