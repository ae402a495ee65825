"""The values between stages: ids that repeat, and checks that fail where the mistake is made."""

import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.evidence import Evidence
from rag_pipeline.types import NAMESPACE, Box, Chunk, Element, Place, SparseVector, TextVectors, chunk_id, document_id

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


ROW, SPARSE = np.zeros((1, 4), dtype=np.float32), SparseVector.from_weights({1: 1.0})


def test_dense_and_sparse_must_match_in_number() -> None:
    with pytest.raises(ValueError, match="1 dense and 0 sparse"):
        TextVectors(np.zeros((1, 4), dtype=np.float32), ())
    with pytest.raises(ValueError, match="1 dense and 2 late"):
        TextVectors(ROW, (SPARSE,), (ROW, ROW))


def test_vectors_have_the_names_of_legs() -> None:
    assert TextVectors(ROW, (SPARSE,)).legs(0).keys() == {"dense", "sparse"}
    legs = TextVectors(ROW, (SPARSE,), (np.ones((3, 4), dtype=np.float32),)).legs(0)
    assert legs["late"].shape == (3, 4)  # type: ignore[union-attr]
    assert legs["sparse"] is SPARSE


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


def test_where_a_part_of_evidence_stands_is_told_by_offsets() -> None:
    first, second = Box(1, 0.1, 0.1, 0.9, 0.2), Box(2, 0.1, 0.5, 0.9, 0.6)
    places = (Place(100, 110, 1, first), Place(112, 127, 2, second))
    evidence = Evidence("e", 1, 1.0, "a.pdf", "Two pages.\n\nThe second one.", 1, (), (first, second), {}, start=100,
                        places=places)  # fmt: skip
    assert evidence.places_of(0, 3) == (Place(100, 103, 1, first),)
    assert evidence.places_of(4, 15) == (Place(104, 110, 1, first), Place(112, 115, 2, second))
    assert evidence.places_of(10, 12) == (), "the blank line between them"
    figure = replace(evidence, figure="digest", places=(Place(50, 50, 3, None),))
    assert figure.places_of(0, 3) == (Place(50, 50, 3, None),)


@pytest.mark.parametrize("values", [(-1, 2, 1), (3, 2, 1), (0, 1, 0)])
def test_an_impossible_place_is_refused(values: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="Place is impossible"):
        Place(*values)
