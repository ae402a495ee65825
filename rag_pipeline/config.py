"""Settings: a YAML file, then ``RAG_*`` environment variables, then defaults. The only reader of the environment.

Enters: a path and the environment. Leaves: one frozen, validated :class:`Settings`. This module knows nothing of
models, engines or documents; it names them. The defaults are those of ``configs/compact.yaml``, and a test holds
the two equal.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from platformdirs import user_cache_path
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rag_pipeline import NO_TELEMETRY
from rag_pipeline.errors import ConfigError
from rag_pipeline.types import Context

__all__ = [
    "AnswerSettings",
    "CacheSettings",
    "ChunkingSettings",
    "ImageSettings",
    "IngestSettings",
    "LlmSettings",
    "RerankerSettings",
    "SearchSettings",
    "Settings",
    "SparseSettings",
    "TextSettings",
    "TraceSettings",
    "load_settings",
    "telemetry",
]

_PREFIX = "RAG_"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _expand(path: Path) -> Path:
    return path.expanduser()


FolderPath = Annotated[Path, AfterValidator(_expand)]
Backend = Literal["auto", "torch", "openvino"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class TextSettings(_Section):
    """The text encoder. ``path`` uses a folder of your own instead of the registered, checked weights.

    With ``path``, ``model`` may be any name: what the folder holds is seen from its files. ``prompts`` stand in front
    of questions (``query``) and passages (``document``) where a publisher left them out of the folder.
    """

    model: str = "bge-small-en-v1.5"
    path: FolderPath | None = None
    prompts: dict[Literal["query", "document"], str] | None = Field(
        default=None, description="of a sentence-transformers model, in place of its own"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda (all of them) or cuda:N")
    backend: Backend = Field(
        default="auto", description="auto: OpenVINO on the CPU where `rag models quantize` made a graph, else torch"
    )
    graph: Literal["int8", "bf16"] = Field(default="int8", description="on OpenVINO")
    dtype: Dtype = Field(default="auto", description="on torch; auto: float32 on the CPU, float16 on CUDA")
    batch_tokens: int = Field(default=0, ge=0, description="tokens of one forward on torch; 0: what suits the device")
    threads: int = Field(default=0, ge=0, description="texts encoded at the same time (ONNX, OpenVINO); 0: one a core")
    late: bool = Field(
        default=False,
        description="BGE-M3: keep a vector of each token, too, for late interaction (256 tokens: 0.5 MB a passage)",
    )


class SparseSettings(_Section):
    """The sparse leg: ``bm25``, or the text model's own name where it gives sparse weights in the same pass."""

    model: str = "bm25"
    language: str = Field(
        default="auto", description="auto (detected per document and per query), or an ISO 639-1 code"
    )
    k1: float = Field(default=1.2, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)
    average_length: float = Field(default=256.0, gt=0, description="expected passage length, in tokens")


class ImageSettings(_Section):
    """The image encoder; leave the whole section out to find pictures by caption and context only."""

    model: str = "clip-vit-base-patch32"
    path: FolderPath | None = None
    device: str = "auto"


class RerankerSettings(_Section):
    """The cross-encoder. `rag tune` may find another depth, window and blend for an index, or none.

    ``blend`` is the weight of its logit beside the fused score, both scaled to [0, 1]; 1: the logit alone decides.
    ``fallback`` is the model that takes over, and says so, when the device has no memory for this one.
    """

    model: str = "ms-marco-MiniLM-L-12-v2"
    path: FolderPath | None = None
    fallback: str | None = Field(default=None, description="another reranker, such as bge-reranker-base")
    device: str = Field(default="auto", description="auto, cpu, cuda (all of them) or cuda:N")
    backend: Backend = Field(
        default="auto", description="auto: OpenVINO on the CPU where `rag models quantize` made a graph, else torch"
    )
    graph: Literal["int8", "bf16"] = Field(default="int8", description="on OpenVINO")
    dtype: Dtype = Field(default="auto", description="on torch; auto: float32 on the CPU, float16 on CUDA")
    batch_tokens: int = Field(default=0, ge=0, description="tokens of one forward on torch; 0: what suits the device")
    depth: int = Field(default=10, ge=0, le=1000, description="candidates that are read; 0: none")
    window: int = Field(default=512, ge=32, le=8192, description="tokens of question and passage that are read at once")
    blend: float = Field(default=0.5, ge=0, le=1)
    threads: int = Field(default=0, ge=0, description="pairs scored at the same time (ONNX, OpenVINO); 0: one a core")


class ChunkingSettings(_Section):
    """``max_tokens`` counts the heading path and special tokens, with the text encoder's own tokenizer."""

    max_tokens: int = Field(default=256, ge=16, le=8192)
    heading_tokens: int = Field(default=48, ge=0, description="most tokens that the heading path may take")


class IngestSettings(_Section):
    """How files are found and parsed. Limits are for one file, in a process of its own."""

    workers: int = Field(default=0, ge=0, description="parsing processes; 0: one for each core, four at most")
    timeout_s: float = Field(default=300.0, gt=0)
    memory_mb: int = Field(default=4096, ge=512, description="address space of one parsing process")
    max_file_mb: float = Field(default=200.0, gt=0)
    max_pages: int = Field(default=5000, ge=1, description="pages, slides or sheets of one file")
    max_expansion: float = Field(
        default=200.0, gt=1, description="times that a zipped format may grow when unpacked; below 100 MB it may anyway"
    )
    ocr: Literal["auto", "off"] = Field(default="auto", description="auto: read scanned pages where Tesseract is")
    attachments: bool = Field(default=False, description="index what is attached to mails, as documents of their own")
    queue: int = Field(default=2, ge=1, description="documents or batches that wait between two stages")
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class CacheSettings(_Section):
    """What encoding remembers: passages in the index folder, by hash; questions in memory."""

    max_mb: float = Field(default=1024.0, ge=0, description="vectors on disk, least recently used go; 0: none")
    queries: int = Field(default=1024, ge=0, description="questions; 0: none")


class SearchSettings(_Section):
    """``leg_depth`` hits are taken from each leg before fusion (``retrieval/fusion.py``); ``rrf_k`` is for ``rrf``.

    ``auto`` weighs the legs by the languages that the dense model was trained on, and by what `rag tune` found.
    """

    top_k: int = Field(default=5, ge=1, le=1000)
    leg_depth: int = Field(default=100, ge=1, le=10_000)
    fusion: Literal["auto", "rrf", "dbsf", "relative", "convex"] = "auto"
    weights: Mapping[str, Annotated[float, Field(ge=0)]] | None = Field(
        default=None, description="what each leg counts, in place of the rule; one that is not named counts 0"
    )
    rrf_k: float = Field(default=60.0, gt=0, description="the paper's k, with ranks from 1")
    exact_below: int = Field(default=50_000, ge=0, description="points up to which dense search is exact, not HNSW")

    @field_validator("weights")
    @classmethod
    def _legs_exist(cls, weights: Mapping[str, float] | None) -> Mapping[str, float] | None:
        unknown = set(weights or ()) - {"dense", "sparse", "image", "late"}
        if unknown:
            raise ValueError(f"no leg is called {', '.join(sorted(unknown))}; use dense, sparse, image, late")
        return weights


class AnswerSettings(_Section):
    """``abstain_below`` is the least probability that the evidence answers; 0 lets everything through."""

    max_sentences: int = Field(default=3, ge=1, le=20)
    evidence: int = Field(default=5, ge=1, le=50)
    context: Context = Field(
        default="none", description="what is read with each passage: those beside it, or its section"
    )
    context_tokens: int = Field(
        default=4096, ge=64, description="most that the language model is shown, as the text encoder counts tokens"
    )
    abstain_below: float = Field(default=0.09, ge=0, le=1, description="higher refuses more")


class TraceSettings(_Section):
    """Whether the trace of every query is kept in the index folder, for ``rag trace``.

    It holds the question, ids, paths, ranks, scores and times, and no text of documents. Questions tell much about who
    asks: nothing is kept unless it is asked for, the files are their owner's alone, and no snapshot has them.
    """

    keep: bool = False
    max_mb: float = Field(default=16.0, gt=0, description="on disk; the oldest half goes when there is more")


class LlmSettings(_Section):
    """Any OpenAI-compatible server: Ollama, llama.cpp, vLLM. Left out, answers are extractive."""

    base_url: str
    model: str
    api_key: SecretStr = SecretStr("none")
    timeout_s: float = Field(default=120.0, gt=0)
    max_tokens: int = Field(default=512, ge=1)
    context_window: int = Field(default=8192, ge=512)
    temperature: float = Field(default=0.0, ge=0, le=2)


class Settings(BaseSettings):
    """All that can be chosen. Built by :func:`load_settings`; unknown keys and ``RAG_*`` variables fail."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=_PREFIX, env_nested_delimiter="__", env_parse_none_str="null"
    )

    profile: str = "compact"
    index: FolderPath = Path(".rag")
    models_dir: FolderPath = Field(default_factory=lambda: user_cache_path("rag_pipeline") / "models")
    text: TextSettings = TextSettings()
    sparse: SparseSettings = SparseSettings()
    image: ImageSettings | None = None
    reranker: RerankerSettings | None = RerankerSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    ingest: IngestSettings = IngestSettings()
    cache: CacheSettings = CacheSettings()
    search: SearchSettings = SearchSettings()
    answer: AnswerSettings = AnswerSettings()
    trace: TraceSettings = TraceSettings()
    llm: LlmSettings | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, whose values arrive as init arguments."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _sparse_model_exists(self) -> Settings:
        if self.sparse.model not in ("bm25", self.text.model):
            raise ValueError(f"sparse.model is {self.sparse.model!r}; use 'bm25' or the text model {self.text.model!r}")
        return self


def load_settings(path: Path | str | None = None, **overrides: object) -> Settings:
    """Read settings from a YAML file and the environment; ``overrides`` replace top-level keys and win over both.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or a value is out of range.
    """
    origin = str(path) if path is not None else "settings"
    values = _read_yaml(Path(path)) if path is not None else {}
    _refuse_unknown_variables(os.environ)
    try:
        settings = Settings(**values)
        return settings.model_copy(update=dict(overrides)) if overrides else settings
    except ValidationError as exc:
        raise ConfigError(_one_line(origin, exc)) from exc


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"cannot read configuration {path}: {exc.strerror}; pass --config an existing file") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        where = getattr(exc, "problem_mark", None)
        place = f" at line {where.line + 1}" if where is not None else ""
        raise ConfigError(f"configuration {path} is not valid YAML{place}; correct the file") from exc
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"configuration {path} holds a {type(values).__name__}; write keys and values")
    return values


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    for name in environ:
        if not name.startswith(_PREFIX):
            continue
        key = name.removeprefix(_PREFIX).lower().split("__")[0]
        if key not in Settings.model_fields:
            raise ConfigError(f"environment variable {name} is not a setting{_suggest(key, Settings)}; unset it")


def _one_line(origin: str, exc: ValidationError) -> str:
    first = exc.errors()[0]
    keys = [str(part) for part in first["loc"]]
    name = ".".join(keys) or "value"
    more = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{origin}: unknown key {name!r}{_suggest(keys[-1], _section_of(keys[:-1]))}; remove or correct it{more}"
    shown = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{origin}: {name}: {message}{shown}; correct it{more}"


def _section_of(keys: list[str]) -> type[BaseModel]:
    sections: dict[str, type[BaseModel]] = {
        "text": TextSettings, "sparse": SparseSettings, "image": ImageSettings, "reranker": RerankerSettings,
        "chunking": ChunkingSettings, "ingest": IngestSettings, "cache": CacheSettings, "search": SearchSettings,
        "answer": AnswerSettings, "trace": TraceSettings, "llm": LlmSettings,
    }  # fmt: skip
    return sections.get(keys[0], Settings) if keys else Settings


def _suggest(key: str, section: type[BaseModel]) -> str:
    close = difflib.get_close_matches(key, section.model_fields, n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(section.model_fields)}"


def telemetry() -> dict[str, tuple[str | None, str]]:
    """Return, for each variable that keeps a vendor silent, the value in force and the value that is wanted."""
    return {name: (os.environ.get(name), wanted) for name, wanted in NO_TELEMETRY.items()}
