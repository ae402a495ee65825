"""The face of the package: :class:`RagPipeline`, a folder in, search and cited answers out.

Enters: folders and questions. Leaves: reports, hits and answers. The parts that do it are those of ``wired.py``.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rag_pipeline.config import Settings, load_settings
from rag_pipeline.errors import ConfigError, InputError, RagError, UnavailableError
from rag_pipeline.evidence import Answer, Hits
from rag_pipeline.parts import discover_all, make_ingestor
from rag_pipeline.types import Context, Mode
from rag_pipeline.wired import WiredParts

if TYPE_CHECKING:
    from rag_pipeline.indexing.ingest import IngestReport, Progress
    from rag_pipeline.indexing.snapshot import SnapshotReport
    from rag_pipeline.retrieval.calibration import Calibration
    from rag_pipeline.retrieval.trace import Trace
    from rag_pipeline.store.metadata_filters import FilterLike

__all__ = ["RagPipeline"]

log = logging.getLogger(__name__)


class RagPipeline(WiredParts):
    """A folder of documents in, search and cited answers out.

    >>> rag = RagPipeline.from_config(index="/tmp/never-made")
    >>> rag.settings.text.model
    'bge-small-en-v1.5'

    Use it as a context manager, or call :meth:`close`, to let go of the index: one process holds it at a time.
    """

    @classmethod
    def from_config(cls, config: Path | str | None = None, *, index: Path | str | None = None) -> RagPipeline:
        """Build from a YAML file (default: the compact profile); ``index`` wins over the file's.

        Raises:
            ConfigError: the file or a value in it is wrong.
        """
        return cls(load_settings(config, **({} if index is None else {"index": Path(index)})))

    # ---------------------------------------------------------------------------- the main job

    def ingest(
        self,
        *paths: Path | str,
        dry_run: bool = False,
        retry_quarantined: bool = False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> IngestReport:
        """Make the index true to these folders and files; a second run over the same files changes nothing.

        ``dry_run`` tells what would be done; ``retry_quarantined`` tries files again that could not be read before.

        Raises:
            ConfigError: no path was given, or one does not exist.
            InputError: a folder holds no files.
            UnavailableError: weights are missing, or another process holds the index.
            MismatchError: the index was made with other models or chunking.
        """
        _require_paths(paths)
        # A folder alone is no index: an evaluation keeps its cache there.
        if dry_run and not (self.settings.index / "shard").exists():
            with tempfile.TemporaryDirectory() as aside, RagPipeline(self._at(Path(aside))) as rag:
                rag.open_store(create=True)
                return rag.ingest(*paths, dry_run=True, on_progress=on_progress)
        ingestor = make_ingestor(
            self.settings, self.open_store(create=True), self.manifest, self.encoder, self.image_encoder
        )
        try:
            return ingestor.run(
                [Path(path) for path in paths],
                discover=partial(discover_all, self.settings, self.manifest),
                dry_run=dry_run,
                retry_quarantined=retry_quarantined,
                on_progress=on_progress,
            )
        finally:
            if self.cache is not None:
                self.cache.close()  # its counts are those of one run

    def watch(
        self,
        *paths: Path | str,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_error: Callable[[RagError], None] = lambda error: log.warning("%s", error),
        stop: threading.Event | None = None,
    ) -> Iterator[IngestReport]:
        """Ingest, then again whenever something changes in these folders, until ``stop`` is set.

        Between two runs the index is let go, so that others can search it; models stay loaded. ``on_error`` hears of
        a later run that fails because the folder is away, or the index held by another: the next change tries again.

        Raises:
            RagError: as :meth:`ingest`, in the first run.
        """
        from rag_pipeline.indexing.watch import changes

        _require_paths(paths)
        for number, _ in enumerate(changes([Path(path) for path in paths], self.settings.index, stop)):
            try:
                report = self.ingest(*paths, on_progress=on_progress)
            except (ConfigError, InputError, UnavailableError) as exc:
                if number == 0:
                    raise
                on_error(exc)
                continue
            finally:
                self.close()
            yield report

    def search(
        self,
        query: str,
        *,
        top_k: int | None = None,
        mode: Mode = "hybrid",
        filters: FilterLike | None = None,
        image: bytes | None = None,
        rerank: bool = True,
        context: Context = "none",
        trace: Trace | None = None,
    ) -> Hits:
        """Return the best ``top_k`` passages and figures, best first.

        A text that stands in several places is one hit with all its paths. ``context`` adds to each hit the passages
        beside it, or those of its section (:class:`~rag_pipeline.retrieval.context.ContextExpander` has the rules).
        ``filters`` says what may be found: words as in ``rag search --filter``, a ``Filter`` of ``filters.py``,
        keys and their values, or LlamaIndex's ``MetadataFilters``.
        Only ``hybrid`` hits are reranked: a single leg is asked for to see that leg. A picture (``image``, its bytes)
        is looked for by the image leg; without a query that is the only one.

        Raises:
            InputError: the query is blank or too long.
            ConfigError: pictures are asked for and the profile has no image encoder, or a picture is given with a mode
                that has no place for it.
            UnavailableError: there is no index, or another process holds it.
        """
        from llama_index.core.schema import QueryBundle

        from rag_pipeline.retrieval.evidence import evidence_of
        from rag_pipeline.retrieval.trace import step

        top_k = top_k or self.settings.search.top_k
        with self._traced(trace) as running:
            with step("load"):
                reranker = self.reranker if rerank and mode == "hybrid" and image is None else None
                retriever = self.retriever
            depth = max(top_k, reranker.depth) if reranker else top_k
            nodes = retriever.search(query, top_k=depth, mode=mode, filters=filters, image=image)
            if reranker:
                nodes = reranker.postprocess_nodes(nodes, QueryBundle(query))
            else:
                running.record_reranking(f"off: {_why_not_reranked(rerank, mode, image)}", {})
            nodes = self._expander(context, top_n=top_k).postprocess_nodes(nodes)
        return Hits(evidence_of(node, rank) for rank, node in enumerate(nodes, start=1))

    def search_many(
        self,
        queries: Sequence[str],
        *,
        top_k: int | None = None,
        mode: Mode = "hybrid",
        filters: FilterLike | None = None,
        rerank: bool = True,
    ) -> list[Hits]:
        """Return what :meth:`search` returns, for each query: encoded together, found in one request to the engine.

        Raises:
            InputError: a query is blank or too long.
            ConfigError: ``mode`` is "image" and the profile has no image encoder.
            UnavailableError: there is no index, or another process holds it.
        """
        from llama_index.core.schema import QueryBundle

        from rag_pipeline.retrieval.evidence import evidence_of

        top_k = top_k or self.settings.search.top_k
        reranker = self.reranker if rerank and mode == "hybrid" else None
        depth = max(top_k, reranker.depth) if reranker else top_k
        found = self.retriever.search_many(queries, top_k=depth, mode=mode, filters=filters)
        if reranker:
            found = [
                reranker.postprocess_nodes(nodes, QueryBundle(query))
                for query, nodes in zip(queries, found, strict=True)
            ]
        expander = self._expander("none", top_n=top_k)
        found = [expander.postprocess_nodes(nodes) for nodes in found]
        return [Hits(evidence_of(node, rank) for rank, node in enumerate(nodes, start=1)) for nodes in found]

    def ask(self, question: str, *, filters: FilterLike | None = None, trace: Trace | None = None) -> Answer:
        """Answer from the documents, every statement cited, or abstain and say why.

        ``filters`` are those of :meth:`search`.

        Raises:
            InputError: the question is blank or too long.
            UnavailableError: there is no index, or the configured LLM does not answer.
        """
        from rag_pipeline.answering.query_engine import answer_of

        with self._traced(trace):
            engine = self.query_engine if filters is None else self._engine(filters)
            return answer_of(engine.query(question))

    @contextmanager
    def _traced(self, trace: Trace | None) -> Iterator[Trace]:
        """Fill ``trace``, or a new one, and keep it where the settings say so."""
        from rag_pipeline.retrieval.trace import Trace, step, tracing

        with tracing(trace or Trace()) as running, step("total"):
            yield running
        if self.settings.trace.keep:
            self.traces.append(running)

    def tune(
        self,
        queries: Path | str | None = None,
        *,
        sample: int = 200,
        dry_run: bool = False,
        on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    ) -> Calibration:
        """Find how much the legs count and how to rerank, on judged queries or on questions made of chunks.

        What is found, with the evidence, goes into the index (``calibration.json``) and holds from the next search on.

        Args:
            queries: A folder in BEIR layout (``queries.jsonl``, ``qrels/test.tsv``) that judges what is in the index.
            sample: How many chunks questions are made of, where there are no queries.
            dry_run: Write nothing.
            on_progress: Hears of (stage, done, total).

        Raises:
            InputError: the judgements name nothing in the index, or it has no text to make questions of.
            UnavailableError: there is no index, or another process holds it.
        """
        from rag_pipeline.tuning import calibrate

        found = calibrate(
            self.settings,
            self.open_store(),
            self.encoder,
            self._languages,
            queries=None if queries is None else Path(queries),
            sample=sample,
            on_progress=on_progress,
        )
        if not dry_run:
            found.write(self.settings.index)
            for part in ("calibration", "cross_encoder", "retriever", "reranker", "synthesizer", "query_engine"):
                self.__dict__.pop(part, None)
        return found

    def export(self, *, vectors: bool = False) -> Iterator[dict[str, object]]:
        """Yield every point, ordered by id: ``id``, ``payload`` and, on request, ``vectors``, as JSON values."""
        from rag_pipeline.store.payload import exported

        for record in self.open_store().scroll(with_vectors=vectors):
            yield exported(record, vectors=vectors)

    def create_snapshot(
        self, file: Path | str, *, overwrite: bool = False, on_progress: Callable[[str, int, int], None] | None = None
    ) -> SnapshotReport:
        """Save the whole index as one file with checksums; this pipeline lets go of the index for it.

        Raises:
            ConfigError: ``file`` exists, or lies within the index.
            UnavailableError: there is no index, another process holds it, or the disk is full.
        """
        from rag_pipeline.indexing.snapshot import create_snapshot

        self.close()
        return create_snapshot(self.settings.index, Path(file), overwrite=overwrite, on_progress=on_progress)

    def restore_snapshot(
        self, file: Path | str, *, on_progress: Callable[[str, int, int], None] | None = None
    ) -> SnapshotReport:
        """Make the index, which must not exist or hold nothing but a cache, of a snapshot.

        Raises:
            ConfigError: there is an index already.
            InputError: the file is damaged, or no snapshot.
            UnavailableError: the disk is full.
        """
        from rag_pipeline.indexing.snapshot import restore_snapshot

        self.close()
        return restore_snapshot(Path(file), self.settings.index, on_progress=on_progress)

    def _at(self, index: Path) -> Settings:
        return self.settings.model_copy(update={"index": index})


def _why_not_reranked(asked: bool, mode: Mode, image: bytes | None) -> str:
    if image is not None:
        return "a cross-encoder cannot see the picture"
    if mode != "hybrid":
        return "a single leg is shown as it is"
    return "this profile has no reranker" if asked else "not asked for"


def _require_paths(paths: Sequence[Path | str]) -> None:
    if not paths:
        raise ConfigError("nothing to ingest: no path given; name a folder or a file")
    for path in paths:
        if not os.path.lexists(path):
            raise ConfigError(f"{path} does not exist; name a folder or a file")
