"""The legs of queries -> one request to the engine, and its answer -> every leg's hits.

Enters: query vectors by leg, for one query or many. Leaves: hits in a total order (score descending, then id), every
candidate with its true score in every leg that has a vector for it. This module knows nothing of payloads and fusion.

What one leg finds, the others are asked about in the same request: each leg's query scores the union of what all legs
found, which the engine gathers itself (its prefetches). It gathers anew for each query of the request; adrs/0025 has
what that costs, beside a second request that names the candidates.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import qdrant_edge as qdrant

from rag_pipeline.store.edge_values import engine_vector
from rag_pipeline.store.schema import CollectionSchema
from rag_pipeline.types import Hit, SparseVector, VectorValue

__all__ = ["search_legs"]

_TIE_MARGIN = 16
"""Hits asked for beyond the limit, so that most ties at the cut-off are settled in one request."""

Legs = Mapping[str, VectorValue]
Order = Sequence[tuple[float, str]]
"""(-score, id) of what a leg scored, ascending."""


def search_legs(
    shard: qdrant.EdgeShard,
    schema: CollectionSchema,
    queries: Sequence[Legs],
    limit: int,
    *,
    condition: qdrant.Filter | None,
    exact: bool,
) -> list[dict[str, tuple[Hit, ...]]]:
    """Return each query's hits by leg: the best ``limit``, then what only other legs have among their best.

    The engine cuts equal scores in no order: where the last hit of a leg has equals up to the end of what was asked
    for, the query is sent again for more, until all of them are seen.
    """
    ranked: list[dict[str, tuple[Hit, ...]]] = [{} for _ in queries]
    waiting, fetch = [number for number, legs in enumerate(queries) if legs], limit + _TIE_MARGIN
    while waiting:
        answers = _ask(shard, schema, [queries[number] for number in waiting], fetch, condition, exact)
        cut = []
        for number, orders in zip(waiting, answers, strict=True):
            finders = _finders(orders, schema)
            if any(_is_cut(orders[leg], limit, fetch) for leg in finders):
                cut.append(number)
            best = {key for leg in finders for _, key in orders[leg][:limit]}
            ranked[number] = {leg: _hits(order, best) for leg, order in orders.items()}
        waiting, fetch = cut, fetch * 4
    return ranked


def _finders(legs: Collection[str], schema: CollectionSchema) -> list[str]:
    """Return the legs that find candidates. Multi-vectors only score what others found, unless they are alone."""
    single = [name for name in legs if (leg := schema.leg(name)) is not None and leg.kind != "multi"]
    return single or list(legs)


def _ask(
    shard: qdrant.EdgeShard,
    schema: CollectionSchema,
    queries: Sequence[Legs],
    fetch: int,
    condition: qdrant.Filter | None,
    exact: bool,
) -> Iterator[dict[str, Order]]:
    """Send one request; yield for each query what its legs scored, ``fetch`` of each leg's own at least."""
    requests = [
        request for legs in queries for request in _requests(legs, _finders(legs, schema), fetch, condition, exact)
    ]
    answers = iter(shard.query_batch(qdrant.QueryBatchRequest(requests)))
    for legs in queries:
        yield {name: _ordered(next(answers), value) for name, value in legs.items()}


def _requests(
    legs: Legs, finders: Sequence[str], fetch: int, condition: qdrant.Filter | None, exact: bool
) -> list[qdrant.QueryRequest]:
    """Return the engine's request for each leg, in their order."""
    queries = {name: qdrant.Query.Nearest(engine_vector(value), using=name) for name, value in legs.items()}
    if len(legs) == 1:
        params = qdrant.SearchParams(exact=exact, quantization=qdrant.QuantizationSearchParams(rescore=True))
        return [qdrant.QueryRequest(fetch, query=queries[finders[0]], filter=condition, params=params)]
    # What is found here by quantized vectors is scored below by whole ones.
    params = qdrant.SearchParams(exact=exact, quantization=qdrant.QuantizationSearchParams(rescore=False))
    union = [qdrant.Prefetch(fetch, query=queries[name], filter=condition, params=params) for name in finders]
    # Exact, because a graph may pass by some of the candidates: all of them are to be scored, and they are few.
    scored = qdrant.SearchParams(exact=True)
    # To and fro: equal searches that follow each other read the vectors once, and an exact one does little else.
    to_and_fro = itertools.cycle((union[::-1], union))
    return [
        qdrant.QueryRequest(fetch * len(union), query=query, prefetches=next(to_and_fro), params=scored)
        for query in queries.values()
    ]


def _ordered(answer: Iterable[qdrant.ScoredPoint], query: VectorValue) -> Order:
    """Return what was scored in the total order; a sparse score of 0 is that of a point that shares no term."""
    sparse = isinstance(query, SparseVector)
    return sorted((-point.score, str(point.id)) for point in answer if point.score > 0 or not sparse)


def _is_cut(order: Order, limit: int, fetch: int) -> bool:
    return len(order) >= fetch and order[fetch - 1][0] == order[limit - 1][0]


def _hits(order: Order, candidates: Collection[str]) -> tuple[Hit, ...]:
    kept = [(score, key) for score, key in order if key in candidates]
    return tuple([Hit(key, rank, -score) for rank, (score, key) in enumerate(kept, start=1)])
