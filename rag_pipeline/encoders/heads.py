"""What is made of hidden states: unit vectors, term weights, vectors of every token, a logit.

Enters: the pooled state of each text, (n, width), and the state of each token, (total, width), both float32. Leaves:
tensors by name. The same modules run on torch and are converted with the backbone for other engines; they know neither
how texts lie in memory nor how they were pooled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn
from torch.nn import functional

__all__ = ["BgeM3Heads", "DenseHead", "Heads", "LogitHead"]


class Heads(nn.Module):
    """The contract: wanted outputs by name. ``names`` are all that there are."""

    names: tuple[str, ...]

    def forward(self, pooled: torch.Tensor, tokens: torch.Tensor, outputs: Collection[str]) -> dict[str, torch.Tensor]:
        """Return the wanted outputs: one row for each text, or one for each token (``runner.PER_TOKEN``)."""
        raise NotImplementedError


class DenseHead(Heads):
    """``dense``: unit rows, behind the linear layers that some sentence-transformers models end with.

    ``first`` keeps that many numbers of a vector, of a model trained for it (Kusupati et al. 2022, "Matryoshka").
    """

    names = ("dense",)

    def __init__(self, layers: Sequence[nn.Module] = (), first: int | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.first = first

    def forward(self, pooled: torch.Tensor, tokens: torch.Tensor, outputs: Collection[str]) -> dict[str, torch.Tensor]:
        """Return ``dense``, (n, dim)."""
        return {"dense": functional.normalize(self.layers(pooled)[:, : self.first], dim=-1)}


class BgeM3Heads(Heads):
    """``dense`` (n, dim) unit rows, ``sparse`` (total,) weights of 0 and more, ``multi`` (total, dim) unit rows.

    Chen et al. 2024, "M3-Embedding", section 3.2. Special tokens are the caller's to leave out.
    """

    names = ("dense", "sparse", "multi")

    def __init__(self, sparse: nn.Linear, multi: nn.Linear) -> None:
        super().__init__()
        self.sparse = sparse
        self.multi = multi

    def forward(self, pooled: torch.Tensor, tokens: torch.Tensor, outputs: Collection[str]) -> dict[str, torch.Tensor]:
        """Return what is wanted; the multi-vector layer costs as much as a layer's query, and is left out else."""
        made = {"dense": functional.normalize(pooled, dim=-1)} if "dense" in outputs else {}
        if "sparse" in outputs:
            made["sparse"] = functional.relu(self.sparse(tokens)).squeeze(-1)
        if "multi" in outputs:
            made["multi"] = functional.normalize(self.multi(tokens), dim=-1)
        return made


class LogitHead(Heads):
    """``logit`` (n, 1): how well a passage answers a question, by the classifier of XLM-R and RoBERTa."""

    names = ("logit",)

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, pooled: torch.Tensor, tokens: torch.Tensor, outputs: Collection[str]) -> dict[str, torch.Tensor]:
        """Return ``logit``. The classifier takes hidden states and looks at the first."""
        return {"logit": self.classifier(pooled[:, None])}
