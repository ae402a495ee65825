"""Texts to BM25 term weights: tokens stemmed, and stop words dropped, by the language of each text.

Enters: texts and, where they are known, their languages. Leaves: :class:`SparseVector`, whose indices are hashes of
tokens. A passage carries the term-frequency part of BM25, a query a weight of 1 for each token, and the engine
multiplies by inverse document frequency, ``ln((N - n + 0.5) / (n + 0.5) + 1)``: this module knows nothing of the
collection.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache

import qdrant_edge

from rag_pipeline.errors import ConfigError
from rag_pipeline.language import detect_language, plausible_languages
from rag_pipeline.types import SparseVector

__all__ = ["LANGUAGES", "Bm25Encoder"]

LANGUAGES = {
    "ar": "arabic", "az": "azerbaijani", "bn": "bengali", "ca": "catalan", "da": "danish", "de": "german",
    "el": "greek", "en": "english", "es": "spanish", "eu": "basque", "fi": "finnish", "fr": "french", "he": "hebrew",
    "hu": "hungarian", "id": "indonesian", "it": "italian", "ja": "japanese", "kk": "kazakh", "ne": "nepali",
    "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sl": "slovene",
    "sv": "swedish", "tg": "tajik", "tr": "turkish", "zh": "chinese",
}  # fmt: skip
"""ISO 639-1 code to the name that Qdrant gives its stemmer and stop words; texts in others are only split in words."""

# Chinese and Japanese are cut into overlapping pairs of characters, as Lucene's CJKAnalyzer does. Qdrant's Multilingual
# tokenizer segments them into words, but guesses the language of each text alone: a Japanese question without kana is
# cut as Chinese and misses its passage. It also drops every number. Thai it segments alike in any text.
_CJK = re.compile("[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_THAI = re.compile("[\u0e00-\u0e7f]+")


class Bm25Encoder:
    """BM25 by ``qdrant_edge.Bm25``, in many languages at once.

    A text whose language is neither given nor detected with certainty is stemmed in every language that it may well
    be in, and left as it is besides: of a two-word question nobody can tell, and its tokens have to meet those of
    passages that were stemmed in one of them. Tokens that meet nothing cost nothing.

    Args:
        language: An ISO 639-1 code for all passages and queries, or ``auto``.
        k1: How soon more occurrences of a term stop counting, 0 or more.
        b: How much a passage's length counts, from 0 to 1.
        average_length: Expected tokens of a passage. It is a setting and not the collection's mean, because a mean
            would change with every document added, and with it the vectors of all documents before.

    Raises:
        ConfigError: the language is not in :data:`LANGUAGES`, or a number is out of range.
    """

    def __init__(
        self, language: str = "auto", *, k1: float = 1.2, b: float = 0.75, average_length: float = 256.0
    ) -> None:
        if language != "auto" and language not in LANGUAGES:
            raise ConfigError(f"no BM25 for language {language!r}; use 'auto' or one of {', '.join(LANGUAGES)}")
        self._language = "" if language == "auto" else language
        self._k1, self._b, self._average_length = k1, b, average_length
        try:
            self._analyser("")
        except ValueError as exc:
            raise ConfigError(f"no BM25 with these settings: {exc}; correct sparse.k1, b or average_length") from exc

    @property
    def fingerprint(self) -> str:
        """What must be equal for a query to match passages: every setting, and the version of the analysis."""
        return (
            f"bm25/1 language={self._language or 'auto'} k1={self._k1:g} b={self._b:g} "
            f"average_length={self._average_length:g}"
        )

    def encode_passages(self, texts: Sequence[str], languages: Sequence[str] | None = None) -> list[SparseVector]:
        """Encode texts to be found, one term-weight vector each; empty where a text has no words.

        Args:
            texts: Any texts.
            languages: One ISO 639-1 code for each text; ``""`` or None to detect.
        """
        return [
            _merged(
                analyser.embed_document(part)
                for guess in self._guesses(text, known, None)
                for analyser, part in self._parts(text, guess)
            )
            for text, known in zip(texts, languages or [""] * len(texts), strict=True)
        ]

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> list[SparseVector]:
        """Encode questions, one vector each, with a weight of 1 for each token.

        Args:
            texts: Questions.
            candidates: The languages of the passages, among which that of a question is looked for; None or none: all.
        """
        return [
            _merged(
                analyser.embed_query(part)
                for guess in self._guesses(text, "", candidates or None)
                for analyser, part in self._parts(text, guess)
            )
            for text in texts
        ]

    def _guesses(self, text: str, known: str, candidates: Collection[str] | None) -> tuple[str, ...]:
        certain = self._language or known or detect_language(text, candidates)
        if certain:
            return (certain,)
        return (*plausible_languages(text, LANGUAGES if candidates is None else candidates), "")

    def _parts(self, text: str, language: str) -> Iterator[tuple[qdrant_edge.Bm25, str]]:
        # NFKC undoes the ligatures and full-width forms of PDF files, which nobody types in a question.
        spaced = unicodedata.normalize("NFKC", _THAI.sub(" ", text))
        yield self._analyser(language), _CJK.sub(_pairs, spaced)
        if thai := " ".join(_THAI.findall(text)):
            yield self._analyser("", segmented=True), thai

    def _analyser(self, language: str, *, segmented: bool = False) -> qdrant_edge.Bm25:
        return _analyser(LANGUAGES.get(language, ""), segmented, self._k1, self._b, self._average_length)


def _pairs(run: re.Match[str]) -> str:
    characters = run[0]
    pairs = [characters[start : start + 2] for start in range(len(characters) - 1)] or [characters]
    return f" {' '.join(pairs)} "


@cache
def _analyser(language: str, segmented: bool, k1: float, b: float, average_length: float) -> qdrant_edge.Bm25:
    """Return Qdrant's encoder for one language by its name there; ``""``: neither stemming nor stop words."""
    tokenizer = qdrant_edge.TokenizerType.Multilingual if segmented else qdrant_edge.TokenizerType.Word
    if language:
        config = qdrant_edge.Bm25Config(k=k1, b=b, avg_len=average_length, tokenizer=tokenizer, language=language)
    else:
        config = qdrant_edge.Bm25Config(
            k=k1, b=b, avg_len=average_length, tokenizer=tokenizer,
            stopwords=qdrant_edge.StopwordsSet(), stemmer=qdrant_edge.DisabledStemmer(),
        )  # fmt: skip
    return qdrant_edge.Bm25(config)


def _merged(parts: Iterable[qdrant_edge.SparseVector]) -> SparseVector:
    """Join the analyses of one text; a token that two of them give keeps its larger weight."""
    weights: dict[int, float] = {}
    for part in parts:
        for index, value in zip(part.indices, part.values, strict=True):
            weights[index] = max(value, weights.get(index, 0.0))
    return SparseVector.from_weights(weights)
