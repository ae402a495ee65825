"""Settings -> the models and the machinery of a profile. With ``wired.py``, the only place that constructs.

Enters: settings. Leaves: encoders, the cross-encoder and the synthesizer, each loaded from checked weights, and what
ingests with them. Vendors are imported where they are needed, so that the compact profile loads no torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rag_pipeline.config import ImageSettings, RerankerSettings, Settings, TextSettings
from rag_pipeline.encoders.registry import registry
from rag_pipeline.encoders.weights import Weights, locate
from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.protocols import DenseEncoder, ImageEncoder, Reranker, Store, TextEncoder
from rag_pipeline.runners import make_runner

if TYPE_CHECKING:
    from llama_index.core.response_synthesizers import BaseSynthesizer

    from rag_pipeline.answering.gate import EvidenceGate
    from rag_pipeline.documents.discover import Discovery
    from rag_pipeline.encoders.cache import EmbeddingCache
    from rag_pipeline.indexing.ingest import Ingestor
    from rag_pipeline.indexing.manifest import Manifest

__all__ = [
    "discover_all",
    "make_cross_encoder",
    "make_gate",
    "make_image_encoder",
    "make_ingestor",
    "make_synthesizer",
    "make_text_encoder",
]

_MOST_WORKERS = 4
"""Parsing processes unless the settings say otherwise: each keeps 300 to 600 MB of parsers warm."""


def make_text_encoder(settings: Settings, cache: EmbeddingCache | None = None) -> TextEncoder:
    """Load the text encoder: BGE-M3, which gives both legs, or a dense model beside BM25.

    It keeps passages in ``cache``, where there is one, and ``settings.cache.queries`` questions in memory.

    Raises:
        ConfigError: the model is not a text encoder.
        UnavailableError: its weights are not on this machine, or are not the pinned ones.
    """
    weights = _weights(settings, settings.text)
    if settings.text.prompts and weights.loader not in ("sentence", "transformers"):
        raise ConfigError(
            f"text.prompts are for sentence-transformers models, {weights.name!r} is a {weights.loader} model; "
            "remove them"
        )
    if settings.text.late and weights.loader != "bge-m3":
        raise ConfigError(f"text.late needs a vector of each token, {weights.name!r} has none; use bge-m3, or false")
    if weights.loader == "bge-m3":
        from rag_pipeline.encoders.bge_m3 import BgeM3Encoder
        from rag_pipeline.encoders.cached import CachedText

        runner = make_runner(settings, settings.text, weights)
        encoder = BgeM3Encoder(weights.folder, weights.fingerprint, runner, late=settings.text.late)
        if cache is None and not settings.cache.queries:
            return encoder
        return CachedText(encoder, runner.name, cache, queries=settings.cache.queries)
    from rag_pipeline.encoders.bm25 import Bm25Encoder
    from rag_pipeline.encoders.composed import ComposedEncoder

    sparse = settings.sparse
    bm25 = Bm25Encoder(sparse.language, k1=sparse.k1, b=sparse.b, average_length=sparse.average_length)
    dense, runner_name = _make_dense_encoder(settings, weights)
    if cache is not None or settings.cache.queries:
        from rag_pipeline.encoders.cached import CachedDense

        dense = CachedDense(dense, runner_name, cache, queries=settings.cache.queries)
    return ComposedEncoder(dense, bm25)


def _make_dense_encoder(settings: Settings, weights: Weights) -> tuple[DenseEncoder, str]:
    """Return the encoder, and the name of what runs it."""
    if weights.loader == "onnx":
        from rag_pipeline.encoders.onnx import OnnxEncoder

        return OnnxEncoder(weights, threads=settings.text.threads), "onnxruntime cpu"
    if weights.loader in ("sentence", "transformers"):
        from rag_pipeline.encoders.sentence import SentenceEncoder

        runner = make_runner(settings, settings.text, weights)
        prompts = settings.text.prompts or {}
        encoder = SentenceEncoder(
            weights, runner, query_prompt=prompts.get("query"), passage_prompt=prompts.get("document")
        )
        return encoder, runner.name
    raise ConfigError(f"text.model {weights.name!r} is a {weights.loader} model; choose a text encoder")


def make_image_encoder(settings: Settings) -> ImageEncoder | None:
    """Load the image encoder, or return None where the profile has none.

    Raises:
        ConfigError: the model is not an image encoder.
        UnavailableError: its weights are not on this machine, or are not the pinned ones.
    """
    if settings.image is None:
        return None
    weights = _weights(settings, settings.image)
    if weights.loader != "clip":
        raise ConfigError(f"image.model {weights.name!r} is a {weights.loader} model; choose an image encoder")
    from rag_pipeline.encoders.clip import ClipEncoder

    return ClipEncoder(weights.folder, weights.fingerprint, device=settings.image.device)


def make_cross_encoder(settings: Settings) -> Reranker | None:
    """Load the model of the reranker, or return None where the profile has none.

    Raises:
        ConfigError: the model is not a reranker.
        UnavailableError: its weights are not on this machine, or are not the pinned ones.
    """
    chosen = settings.reranker
    if chosen is None:
        return None
    if chosen.fallback is None:
        return _make_reranker(settings, chosen, _weights(settings, chosen))
    from rag_pipeline.retrieval.cross_encoder import FallbackReranker

    # Looked for now though loaded when needed: that it is missing should not come to light in the middle of the night.
    weights, spare = _weights(settings, chosen), locate(chosen.fallback, settings.models_dir)
    make = partial(_make_reranker, settings, chosen)
    return FallbackReranker(partial(make, weights), partial(make, spare))


def _make_reranker(settings: Settings, chosen: RerankerSettings, weights: Weights) -> Reranker:
    from rag_pipeline.retrieval.cross_encoder import OnnxReranker, TorchReranker

    if weights.loader == "onnx-reranker":
        # The file has positions for no more; torch models say themselves how many they have.
        window = min(chosen.window, int(str(weights.options.get("max_tokens", chosen.window))))
        return OnnxReranker(weights.folder, weights.fingerprint, max_tokens=window, threads=chosen.threads)
    if weights.loader == "torch-reranker":
        runner = make_runner(settings, chosen, weights)
        return TorchReranker(weights.folder, weights.fingerprint, runner, max_tokens=chosen.window)
    raise ConfigError(f"reranker model {weights.name!r} is a {weights.loader} model; choose a reranker")


def make_synthesizer(settings: Settings, encoder: TextEncoder, reranker: Reranker | None) -> BaseSynthesizer:
    """Return what answers: sentences quoted from the evidence, or the configured LLM with its citations checked."""
    from rag_pipeline.answering.extractive import ExtractiveSynthesizer
    from rag_pipeline.answering.generative import GenerativeSynthesizer

    answer, llm = settings.answer, settings.llm
    gate = make_gate(settings)
    if llm is None:
        return ExtractiveSynthesizer(
            gate=gate,
            encoder=encoder,
            reranker=reranker,
            max_sentences=answer.max_sentences,
            evidence=answer.evidence,
        )
    from llama_index.llms.openai_like import OpenAILike

    return GenerativeSynthesizer(
        llm=OpenAILike(
            model=llm.model,
            api_base=llm.base_url,
            api_key=llm.api_key.get_secret_value(),
            timeout=llm.timeout_s,
            max_retries=2,
            max_tokens=llm.max_tokens,
            context_window=llm.context_window,
            temperature=llm.temperature,
            is_chat_model=True,
        ),
        gate=gate,
        evidence=answer.evidence,
    )


def make_gate(settings: Settings) -> EvidenceGate:
    """Return what refuses questions; it counts the logits of a reranker for which weights were fitted."""
    from rag_pipeline.answering.gate import EvidenceGate, GateWeights

    chosen = settings.reranker
    # With a fallback nobody can tell whose logit it is.
    pinned = registry().get(chosen.model) if chosen is not None and chosen.fallback is None else None
    fitted = pinned.options.get("gate") if pinned is not None else None
    read = GateWeights(**fitted) if isinstance(fitted, dict) else None
    return EvidenceGate(abstain_below=settings.answer.abstain_below, read=read)


def _weights(settings: Settings, chosen: TextSettings | ImageSettings | RerankerSettings) -> Weights:
    return locate(chosen.model, settings.models_dir, chosen.path)


def make_ingestor(
    settings: Settings, store: Store, manifest: Manifest, encoder: TextEncoder, image_encoder: ImageEncoder | None
) -> Ingestor:
    """Build what makes an index true to folders."""
    from rag_pipeline.documents.chunk import CHUNKER_VERSION, chunk_document
    from rag_pipeline.documents.options import PARSER_VERSION, ParseOptions
    from rag_pipeline.documents.workers import ParsePool
    from rag_pipeline.indexing.ingest import Ingestor

    limits, chunking = settings.ingest, settings.chunking
    return Ingestor(
        store=store,
        manifest=manifest,
        encoder=encoder,
        image_encoder=image_encoder,
        index=settings.index,
        parse_pool=partial(
            ParsePool,
            workers=limits.workers or min(os.cpu_count() or 1, _MOST_WORKERS),
            timeout_s=limits.timeout_s,
            memory_mb=limits.memory_mb,
            options=ParseOptions(limits.max_pages, limits.max_expansion, limits.ocr, limits.attachments),
        ),
        chunk=partial(
            chunk_document,
            count_tokens=encoder.count_tokens,
            max_tokens=chunking.max_tokens,
            heading_tokens=chunking.heading_tokens,
        ),
        pipeline=f"parser {PARSER_VERSION}, chunker {CHUNKER_VERSION}, ocr {limits.ocr}",
        attachments=limits.attachments,
        queue=limits.queue,
    )


def discover_all(settings: Settings, manifest: Manifest, roots: Sequence[Path]) -> Discovery:
    """Look into folders, and stop where one holds nothing: a disk that is not mounted looks just like that.

    Raises:
        InputError: a folder holds no files.
    """
    from rag_pipeline.documents.discover import discover

    limits = settings.ingest
    found = discover(roots, include=limits.include, exclude=limits.exclude, max_file_mb=limits.max_file_mb)
    met = [file.path for file in found.files] + [refused.path for refused in found.refused]
    for root in found.complete_roots:
        if not any(path.is_relative_to(root) for path in met):
            known = sum(path.is_relative_to(root) for path in manifest.files())
            raise InputError(
                f"no files in {root}, but {known} are indexed from it: is it mounted? Nothing was removed; "
                "to remove them, ingest its parent folder"
                if known
                else f"no files in {root}; name a folder that holds documents (hidden folders are passed over)"
            )
    return found
