"""Make OpenVINO graphs of random weights, so that `rag bench` can measure them.

    python benchmarks/graphs.py FOLDER MODELS [--model bge-m3|bge-reranker-v2-m3]

FOLDER is what ``make_checkpoint.py`` wrote, MODELS the ``models_dir`` where the graphs go. `rag models quantize`
rightly refuses them: the scores of random weights lie within rounding, and rank nothing. Here nothing is asked of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rag_pipeline.encoders.agreement import built_in_sample
from rag_pipeline.encoders.checkpoint import load_tokenizer
from rag_pipeline.encoders.openvino import graph_folder
from rag_pipeline.encoders.quantize import quantize
from rag_pipeline.encoders.weights import locate
from rag_pipeline.runners import load_transformer


def main() -> None:
    """Make them, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--model", default="bge-m3")
    chosen = parser.parse_args()
    weights = locate(chosen.model, chosen.models, chosen.folder)
    reports = quantize(
        load_transformer(weights),
        load_tokenizer(chosen.folder),
        built_in_sample(),
        graph_folder(weights, chosen.models),
        lambda message: print(message, file=sys.stderr),
        least={},
    )
    print(json.dumps([report.to_json() for report in reports], indent=1))


if __name__ == "__main__":
    main()
