"""A small folder, and honest parts to ingest it: a parser, a chunker, and an ingestor over the real engine.

A file is paragraphs. ``!word`` alone is a figure that shows the word, ``@name content`` an attachment, ``+word`` a tag
that the document gives itself, ``%NAME`` the file's own name. A file that starts with BROKEN cannot be parsed; one that
starts with OLD needs the program "soffice".
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import cast

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from rag_pipeline.documents.discover import discover
from rag_pipeline.documents.figures import readable_name
from rag_pipeline.encoders.cache import EmbeddingCache
from rag_pipeline.encoders.cached import CachedText
from rag_pipeline.errors import InputError, MissingProgramError, UnavailableError
from rag_pipeline.indexing.ingest import Ingestor, IngestReport, Progress
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.protocols import Store
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.payload import exported
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Attachment, Chunk, Document, Element, Facts, Figure, SourceFile
from tests.fakes import HashEncoder, WordImageEncoder

SCHEMA = replace(CollectionSchema.of(dense_dim=64, sparse_idf=False, image_dim=64), indexes={})
MADE_BY = Fingerprint(text="hash", sparse="hash", image="words", chunking="paragraphs")


class ParagraphParser:
    """Reads text files in this process."""

    def __init__(self) -> None:
        self.parsed: list[str] = []
        self.running: tuple[Path, ...] = ()
        self.stopped = False
        self.programs: Collection[str] = ()

    def __enter__(self) -> ParagraphParser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def parse_all(
        self, sources: Iterable[SourceFile]
    ) -> Iterator[tuple[SourceFile, Document | InputError | UnavailableError]]:
        for source in sources:
            self.parsed.append(source.path.name)
            self.running = (source.path,)
            yield source, self._parse(source)
        self.running = ()

    def stop(self) -> None:
        self.stopped = True

    def _parse(self, source: SourceFile) -> Document | InputError:
        text = source.location.read_text()
        if text.startswith("BROKEN"):
            return InputError("the file is broken; repair it")
        if text.startswith("OLD") and "soffice" not in self.programs:
            return MissingProgramError("the file is old; install soffice", "soffice")
        named = "%NAME" in text
        text = text.replace("%NAME", readable_name(source.path))
        paragraphs = [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
        attached = [one[1:].partition(" ") for one in paragraphs if one.startswith("@")]
        tags = tuple(one[1:] for one in paragraphs if one.startswith("+"))
        paragraphs = [one for one in paragraphs if not one.startswith(("@", "+"))]
        return Document(
            source,
            elements=tuple(Element(one, "NarrativeText") for one in paragraphs if not one.startswith("!")),
            figures=tuple(
                Figure(one[1:].encode(), "image/png", 1, 1, caption=one[1:])
                for one in paragraphs
                if one.startswith("!")
            ),
            language="en",
            media_type="text/plain",
            title=paragraphs[0] if paragraphs else "",
            notes=("a note",) if "NOTE" in text else (),
            attachments=tuple(Attachment(name, content.encode()) for name, _, content in attached),
            named=named,
            facts=Facts(tags=tags),
        )


def chunk_paragraphs(document: Document) -> list[Chunk]:
    """One chunk for each paragraph, then one for each figure."""
    texts = [(element.text, None) for element in document.elements]
    texts += [(figure.caption, hashlib.sha256(figure.image).hexdigest()) for figure in document.figures]
    return [
        Chunk(document.source.document_id, n, text, 0, len(text), language="en", figure=figure)
        for n, (text, figure) in enumerate(texts)
    ]


@dataclass
class Bench:
    """An index folder with what is needed to ingest into it."""

    index: Path
    store: Store
    manifest: Manifest
    encoder: HashEncoder
    parser: ParagraphParser

    def ingest(
        self,
        *roots: Path,
        fingerprint: str = "parser 1",
        batch: int = 4,
        attachments: bool = False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        **options: bool,
    ) -> IngestReport:
        """Run once over ``roots``."""
        return Ingestor(
            store=self.store,
            manifest=self.manifest,
            encoder=self.encoder,
            image_encoder=WordImageEncoder(),
            index=self.index,
            parse_pool=lambda: self.parser,
            chunk=chunk_paragraphs,
            pipeline=fingerprint,
            attachments=attachments,
            batch=batch,
            flush_s=0,
            available=lambda name: name in self.parser.programs,
            retry=Retrying(retry=retry_if_exception_type(UnavailableError), stop=stop_after_attempt(3), reraise=True),
        ).run(roots, discover=partial(discover, exclude=("*.skip",)), on_progress=on_progress, **options)

    def export(self) -> list[dict[str, object]]:
        """Every point, with vectors."""
        return [exported(record, vectors=True) for record in self.store.scroll(with_vectors=True)]

    def texts(self) -> dict[str, list[str]]:
        """The texts that are found under each path, in order."""
        found: dict[str, list[tuple[int, str]]] = {}
        for record in self.store.scroll():
            for path in record.payload["paths"]:
                place = (record.payload["position"], record.payload["text"])
                found.setdefault(Path(path).name, []).append(place)
        return {name: [text for _, text in sorted(places)] for name, places in found.items()}

    def pictures(self) -> list[str]:
        """The bytes of every stored picture."""
        return sorted(file.read_text() for file in (self.index / "figures").glob("*"))


@contextlib.contextmanager
def open_bench(index: Path, *, cached: bool = False) -> Iterator[Bench]:
    """Open an index over the real engine; with ``cached``, what is encoded is kept beside it."""
    with EdgeStore.open(index, SCHEMA, MADE_BY, create=True) as store:
        manifest = Manifest.open(index / "manifest.sqlite")
        cache = EmbeddingCache(index / "cache.sqlite", 2**20, least_free=0)
        encoder = HashEncoder(64)
        if cached:
            encoder = cast(HashEncoder, CachedText(encoder, "python", cache, queries=0))
        try:
            yield Bench(index, store, manifest, encoder, ParagraphParser())
        finally:
            cache.close()
            manifest.close()


def describe(folder: Path, **sidecars: str) -> None:
    """Write ``name=text`` as the sidecar of ``name.txt``."""
    for name, text in sidecars.items():
        (folder / f"{name}.txt.meta.yaml").write_text(text)


def write(folder: Path, **files: str) -> None:
    """Write ``name=text`` as ``name.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
