"""Ranked nodes -> the same without repetitions, each with the text around it, within a number of tokens.

Enters: scored nodes, best first. Leaves: nodes whose text is still a verbatim slice of their document's. What stands
beside a passage is read from the store, by document and position. This module knows nothing of how the nodes were
found, nor of who reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from rag_pipeline.errors import ConfigError
from rag_pipeline.filters import Condition, Filter
from rag_pipeline.protocols import Store
from rag_pipeline.retrieval.passage import Part, Passage, common_heading
from rag_pipeline.retrieval.trace import current_trace, step
from rag_pipeline.types import Context

__all__ = ["ContextExpander"]

_REACH: Mapping[Context, int] = {"none": 0, "neighbours": 1, "section": 16}
"""How many passages before and behind a hit are looked at."""


class ContextExpander(BaseNodePostprocessor):
    """LlamaIndex postprocessor that gives passages their context: small ones are found, larger ones are read.

    - Passages of the same text are shown once, at the best of their ranks, with all their paths.
    - ``neighbours`` adds the passage before and the one behind; ``section`` those around that stand under the same
      headings, nearest first, until the section ends or the passage has ``passage_tokens``.
    - Passages that share text after that become one. It has the rank, the score and the id of the best of them.
    - With ``max_tokens``, a hit that does not fit into what better ones have left is cut. What the hits leave goes to
      their context, the best hit's first. Tokens are those that the text encoder counts, a passage's headings included.

    The best ``top_n`` hits are kept. Figures, and nodes of another store, get no context. The trace tells what was cut
    and what was merged. Nodes are copied, never changed.

    ``to_dict`` does not hold the store: ``from_dict(data, store=...)`` brings it back.
    """

    store: Store = Field(exclude=True, repr=False, description="Holds the passages beside the hits.")
    context: Context = Field(default="none", description="What is added to a hit.")
    top_n: int | None = Field(default=None, ge=1, description="How many hits are kept.")
    passage_tokens: int = Field(default=1024, ge=1, description="To how many tokens a hit grows.")
    max_tokens: int | None = Field(default=None, ge=1, description="Tokens of all passages together.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name that marks the class in serialised form."""
        return "ContextExpander"

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> ContextExpander:
        """Rebuild what ``to_dict`` described, around the given ``store``.

        Raises:
            ConfigError: ``store`` was not passed.
        """
        if kwargs.get("store") is None:
            raise ConfigError("a saved ContextExpander holds no store; pass store=")
        kept = {name: data[name] for name in ("context", "top_n", "passage_tokens", "max_tokens")}
        return cls(store=kwargs["store"], **kept)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        with step("context"):
            distinct = _distinct(nodes)
            fitting = self._fitting(distinct[: self.top_n])
            if self.context != "none":
                self._grow(fitting)
            passages = _joined(fitting)
        self._record(distinct, fitting, passages)
        return [passage.as_node() for passage in passages]

    def _fitting(self, passages: Sequence[Passage]) -> list[Passage]:
        fitting, used = [], 0
        for passage in passages:
            if self.max_tokens is None or used + passage.tokens <= self.max_tokens:
                fitting.append(passage)
                used += passage.tokens
        return fitting

    def _grow(self, passages: Sequence[Passage]) -> None:
        """Add the chunks beside each hit, the nearest first, for as long as there is room."""
        taken = {part.key for passage in passages for part in passage.parts}
        used = sum(passage.tokens for passage in passages)
        near = self._beside(passages)
        for passage in passages:
            around = self._around(passage.parts[0], near) if passage.parts else {}
            sides = [-1, 1] if around else []
            while sides:
                for side in tuple(sides):
                    edge = passage.parts[0 if side < 0 else -1]
                    part = around.get(edge.position + side)
                    cost = 0 if part is None or part.key in taken else part.tokens
                    room = self.max_tokens is None or used + cost <= self.max_tokens
                    if part and room and passage.tokens + part.tokens <= self.passage_tokens and passage.extend(part):
                        taken.add(part.key)
                        used += cost
                    else:
                        sides.remove(side)

    def _beside(self, passages: Sequence[Passage]) -> dict[tuple[str, int], Part]:
        """Read the chunks within reach of every hit, in one request."""
        reach = _REACH[self.context]
        hits = [passage.parts[0] for passage in passages if passage.parts]
        windows = tuple(
            Filter(
                all=(
                    Condition("document_id", "eq", hit.document),
                    Condition("position", "between", (hit.position - reach, hit.position + reach)),
                )
            )
            for hit in hits
        )
        near = {}
        for record in self.store.scroll(filters=Filter(any=windows)) if windows else ():
            part = Part.of(str(record.payload["document_id"]), str(record.payload["text"]), record.payload)
            if part is not None:
                near[part.key] = part
        return near

    def _around(self, hit: Part, near: Mapping[tuple[str, int], Part]) -> dict[int, Part]:
        """Return what belongs to the context of a hit, by position."""
        reach = _REACH[self.context]
        window = range(hit.position - reach, hit.position + reach + 1)
        around = {place: near[hit.document, place] for place in window if (hit.document, place) in near}
        return around if self.context == "neighbours" else _section(hit, around)

    def _record(self, distinct: Sequence[Passage], fitting: Sequence[Passage], passages: Sequence[Passage]) -> None:
        trace = current_trace()
        if trace is None:
            return
        for passage in passages:
            trace.record_cut(passage.merged, f"shown with {passage.id}")
        of = "" if self.max_tokens is None else f" of {self.max_tokens}"
        trace.record_context(f"{self.context}, {sum(passage.tokens for passage in passages)}{of} tokens")
        kept = {passage.id for passage in fitting}
        trace.record_cut(
            (passage.id for passage in distinct[: self.top_n] if passage.id not in kept),
            f"no room in {self.max_tokens} tokens",
        )
        trace.record_result([passage.id for passage in passages], f"beyond the {self.top_n} asked for")


def _section(hit: Part, near: Mapping[int, Part]) -> dict[int, Part]:
    """Return what stands under the deepest heading that the hit shares with a chunk beside it."""
    beside = [near[place] for place in (hit.position - 1, hit.position + 1) if place in near]
    shared = max((len(common_heading([hit.heading, part.heading])) for part in beside), default=0)
    if hit.heading and not shared:
        return {}
    return {place: part for place, part in near.items() if part.heading[:shared] == hit.heading[:shared]}


def _distinct(nodes: Sequence[NodeWithScore]) -> list[Passage]:
    """Return a passage for each text; of two pictures with the same caption, both."""
    passages: dict[tuple[str, str], Passage] = {}
    for rank, node in enumerate(nodes, start=1):
        text = node.node.get_content(MetadataMode.NONE).strip()
        key = text, str(node.node.metadata.get("figure") or "") if text else node.node.node_id
        passage = Passage.of(rank, node)
        if key in passages:
            passages[key].take_in(passage)
        else:
            passages[key] = passage
    return list(passages.values())


def _joined(passages: Sequence[Passage]) -> list[Passage]:
    """Make one of those that share a chunk; ``passages`` are in the order of their ranks, and stay so."""
    joined: list[Passage] = []
    for passage in passages:
        same = [one for one in joined if one.overlaps(passage)]
        for other in [passage, *same[1:]] if same else []:
            same[0].take_in(other)
        joined = [one for one in joined if one not in same[1:]] + ([] if same else [passage])
    return joined
