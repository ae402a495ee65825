"""The values between stages: ids that repeat, and checks that fail where the mistake is made."""

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.types import NAMESPACE, Box, Chunk, Element, SparseVector, TextVectors, chunk_id, document_id

HASHES = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)


def test_ids_are_pinned() -> None:
    """An index made by one version is read by the next: these values may never change."""
    document = document_id("0" * 64)
    assert document == str(uuid.uuid5(NAMESPACE, "0" * 64)) == "db4be4bd-1390-5bac-9b2b-9b973ca56940"
    assert chunk_id(document, 3, "text") == "c1e3ef87-3ea9-58e1-8161-289936f9543f"


@given(HASHES, st.integers(0, 10_000), st.text())
def test_the_same_bytes_give_the_same_point(content: str, position: int, text: str) -> None:
    assert chunk_id(document_id(content), position, text) == chunk_id(document_id(content), position, text)


@given(HASHES, st.integers(0, 99), st.integers(0, 99), st.text(), st.text())
def test_position_and_text_both_count(content: str, one: int, two: int, text: str, other: str) -> None:
    document = document_id(content)
    same = chunk_id(document, one, text) == chunk_id(document, two, other)
    assert same == ((one, text) == (two, other))


def test_sparse_vectors_are_ascending_and_positive() -> None:
    vector = SparseVector.from_weights({7: 0.5, 2: 1.0, 9: 0.0, 4: -1.0})
    assert vector.indices.tolist() == [2, 7]
    assert vector.values.tolist() == [1.0, 0.5]
    with pytest.raises(ValueError, match="strictly ascending"):
        SparseVector(np.array([2, 2], dtype=np.uint32), np.array([1, 1], dtype=np.float32))


def test_dense_and_sparse_must_match_in_number() -> None:
    with pytest.raises(ValueError, match="1 dense and 0 sparse"):
        TextVectors(np.zeros((1, 4), dtype=np.float32), ())


@pytest.mark.parametrize("edges", [(0.5, 0, 0.4, 1), (0, 0, 1.5, 1), (0, -0.1, 1, 1)])
def test_a_box_is_ordered_fractions(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="ordered fractions"):
        Box(1, *edges)


def test_blank_text_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="must not be blank"):
        Element(" \n", "Title")
    with pytest.raises(ValueError, match="must not be blank"):
        Chunk("d", 0, "", 0, 0)


def test_the_heading_path_is_encoded_with_the_text() -> None:
    chunk = Chunk("d", 0, "Write to us.", 0, 12, heading=("Warranty", "Claims"))
    assert chunk.embed_text == "Warranty > Claims\nWrite to us."
