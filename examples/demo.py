"""The main job, end to end, as ``make demo`` runs it: ingest a folder, then answer questions with cited evidence."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rag_pipeline import RagPipeline, terminal
from rag_pipeline.errors import RagError

QUESTIONS = {
    Path("examples/library"): (
        "How much meal money do I get for a whole day in Sweden?",
        "How far did the buoy drift that broke loose in the flood?",
        "Wann wird die Kette der Boje auf Abrieb geprüft?",
    )
}


def main() -> int:
    """Run the demo and return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=None)
    parser.add_argument("--index", default=".rag-demo")
    parser.add_argument("--docs", default="examples/library")
    parser.add_argument("--ask", default="")
    chosen = parser.parse_args()
    questions = (chosen.ask,) if chosen.ask else QUESTIONS.get(Path(chosen.docs), ())
    started = time.perf_counter()
    with RagPipeline.from_config(chosen.config, index=chosen.index) as rag:
        terminal.say(f"Ingesting {chosen.docs} with {chosen.config} ...")
        with terminal.IngestProgress() as progress:
            report = rag.ingest(chosen.docs, on_progress=progress.update)
        terminal.print_report(report, rag.settings)
        for question in questions:
            print()
            terminal.print_answer(question, rag.ask(question))
    print(f'\nDone in {time.perf_counter() - started:.1f} s. Ask your own: make demo ASK="..." DOCS=path/to/folder')
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RagError as error:
        sys.exit(f"error: {error}")
