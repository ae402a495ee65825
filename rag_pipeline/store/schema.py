"""The collection as data: which vectors and payload indexes it has, and by which models and chunking it was made.

Enters: the widths and fingerprints of the encoders. Leaves: frozen values that any engine can be built from and that
are written beside it as JSON. This module knows nothing of Qdrant and of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from rag_pipeline.errors import MismatchError
from rag_pipeline.filters import IndexKind

__all__ = ["PAYLOAD_INDEXES", "SCHEMA_VERSION", "CollectionSchema", "Fingerprint", "Leg"]

SCHEMA_VERSION = 1
"""Raised when payload keys, ids or legs change their meaning."""

PAYLOAD_INDEXES: Mapping[str, IndexKind] = {
    "document_id": "keyword",
    "path": "keyword",
    "paths": "keyword",
    "file_name": "keyword",
    "media_type": "keyword",
    "language": "keyword",
    "kind": "keyword",
    "page": "integer",
    "pages": "integer",
    "position": "integer",
    "tags": "keyword",
    "date": "datetime",
}
"""The payload keys that are indexed in every index, so that filters on them cost no scan; documents' own (``meta.*``)
are as they come."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One named vector. ``dim`` is the width of a row, and None for a sparse leg.

    ``multi`` is a row for each token, compared by MaxSim; rows of dense and multi legs are compared by cosine.
    ``idf`` asks the engine to weigh the terms of a sparse leg by inverse document frequency.
    """

    name: str
    kind: Literal["dense", "sparse", "multi"]
    dim: int | None = None
    idf: bool = False

    def __post_init__(self) -> None:
        if (self.kind == "sparse") != (self.dim is None) or (self.dim is not None and self.dim < 1):
            raise ValueError(f"Leg {self.name!r}: only a sparse leg has no width, got {self.kind} and {self.dim}")
        if self.idf and self.kind != "sparse":
            raise ValueError(f"Leg {self.name!r}: only a sparse leg takes idf")


@dataclass(frozen=True, slots=True)
class CollectionSchema:
    """What an engine needs to make the collection."""

    legs: tuple[Leg, ...]
    indexes: Mapping[str, IndexKind] = field(default_factory=lambda: dict(PAYLOAD_INDEXES))

    def __post_init__(self) -> None:
        if len({leg.name for leg in self.legs}) != len(self.legs) or not self.legs:
            raise ValueError(f"CollectionSchema needs legs of different names, got {[leg.name for leg in self.legs]}")

    @classmethod
    def of(
        cls, *, dense_dim: int, sparse_idf: bool, image_dim: int | None = None, late: bool = False
    ) -> CollectionSchema:
        """Return the schema of this project: ``dense``, ``sparse``, ``image`` where pictures are encoded, and ``late``.

        ``late`` asks for a row of ``dense_dim`` for each token, beside the one of the text.
        """
        legs = [Leg("dense", "dense", dense_dim), Leg("sparse", "sparse", idf=sparse_idf)]
        if image_dim is not None:
            legs.append(Leg("image", "dense", image_dim))
        if late:
            legs.append(Leg("late", "multi", dense_dim))
        return cls(tuple(legs))

    def leg(self, name: str) -> Leg | None:
        """Return the leg of this name, or None."""
        return next((leg for leg in self.legs if leg.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as JSON values."""
        return {"legs": [asdict(leg) for leg in self.legs], "indexes": dict(self.indexes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CollectionSchema:
        """Read what :meth:`to_dict` returned.

        Raises:
            KeyError, TypeError, ValueError: the values are not a schema.
        """
        return cls(tuple(Leg(**leg) for leg in values["legs"]), dict(values["indexes"]))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What must be equal for an index to be read and written: the encoders, the chunking, the schema's version.

    ``image`` is ``""`` where pictures are not encoded.
    """

    text: str
    sparse: str
    image: str
    chunking: str
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return the fingerprint as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fingerprint:
        """Read what :meth:`to_dict` returned.

        Raises:
            TypeError: a key is missing or unknown.
        """
        return cls(**values)

    def check(self, stored: Fingerprint) -> None:
        """Compare the settings in use (this) with what an index was made with.

        Raises:
            MismatchError: they differ; the message names each difference with both values.
        """
        differences = [
            f"{f.name} is {getattr(self, f.name)!r} but the index has {getattr(stored, f.name)!r}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(stored, f.name)
        ]
        if differences:
            raise MismatchError(
                f"the index was made otherwise: {'; '.join(differences)}; use the --config that made it, "
                "or another --index, or ingest again into a new index"
            )
