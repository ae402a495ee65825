"""Small sentence-transformers folders, each file for file in the layout that a known model is published in.

Seeded random weights and tokenizers trained on a few sentences: they hold no knowledge. What they prove is that a
folder of that layout is run as sentence-transformers runs it, which is the oracle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    MPNetConfig,
    MPNetModel,
    MPNetTokenizer,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.checkpoints import SENTENCES, save_model, xlmr_tokenizer

__all__ = ["SHAPE", "make_arctic", "make_bge_small", "make_e5", "make_mpnet", "make_with_dense", "write"]

SHAPE: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128,
}  # fmt: skip
OLD = "sentence_transformers.models."


def make_bge_small(folder: Path, **prompts: str) -> Path:
    """BAAI/bge-small-en-v1.5: BERT, the first token, unit rows. The published folder states no prompts."""
    _bert(folder, positions=512)
    _describe(folder, [f"{OLD}Transformer", f"{OLD}Pooling", f"{OLD}Normalize"], max_seq_length=512, do_lower_case=True)
    _pooling(folder, "pooling_mode_cls_token")
    return write(
        folder, "config_sentence_transformers.json", {"__version__": {"transformers": "4.28.1"}, **_if(prompts)}
    )


def make_arctic(folder: Path) -> Path:
    """Snowflake/snowflake-arctic-embed-l-v2.0: XLM-R, the first token, "query: " before questions only."""
    _xlmr(folder, positions=8194)
    _describe(folder, [f"{OLD}Transformer", f"{OLD}Pooling", f"{OLD}Normalize"], max_seq_length=8192)
    _pooling(folder, "pooling_mode_cls_token")
    stated = {"prompts": {"query": "query: "}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    return write(folder, "config_sentence_transformers.json", stated)


def make_e5(folder: Path, **prompts: str) -> Path:
    """intfloat/multilingual-e5-large: XLM-R, the mean, two prompts. The published folder states none."""
    _xlmr(folder, positions=514)
    _describe(folder, [f"{OLD}Transformer", f"{OLD}Pooling", f"{OLD}Normalize"], max_seq_length=512)
    _pooling(folder, "pooling_mode_mean_tokens")
    return write(
        folder, "config_sentence_transformers.json", {"__version__": {"transformers": "4.29.2"}, **_if(prompts)}
    )


def make_mpnet(folder: Path) -> Path:
    """sentence-transformers/all-mpnet-base-v2: MPNet, whose attention adds a bias by distance; the mean."""
    vocab = _wordpiece(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
    MPNetTokenizer(vocab=vocab, model_max_length=512).save_pretrained(folder)
    torch.manual_seed(3)
    save_model(MPNetModel(MPNetConfig(vocab_size=len(vocab), max_position_embeddings=514, **SHAPE)), folder)
    _describe(folder, [f"{OLD}Transformer", f"{OLD}Pooling", f"{OLD}Normalize"], max_seq_length=384)
    return _pooling(folder, "pooling_mode_mean_tokens")


def make_with_dense(folder: Path, **more: object) -> Path:
    """What sentence-transformers 6 itself writes: newer class names and keys, and two layers behind the mean."""
    kinds = [
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        "sentence_transformers.base.modules.dense.Dense",
        "sentence_transformers.base.modules.dense.Dense",
    ]
    _bert(folder, positions=128)
    _describe(folder, kinds, transformer_task="feature-extraction", module_output_name="token_embeddings")
    write(folder, "1_Pooling/config.json", {"embedding_dimension": 64, "pooling_mode": "mean", "include_prompt": True})
    torch.manual_seed(4)
    for name, width, bias, activation in (
        ("2_Dense", 96, True, "torch.nn.modules.activation.Tanh"),
        ("3_Dense", 32, False, "torch.nn.modules.linear.Identity"),
    ):
        layer = torch.nn.Linear(96 if name == "3_Dense" else 64, width, bias=bias)
        stated = {"in_features": layer.in_features, "out_features": width, "bias": bias}
        write(folder, f"{name}/config.json", {**stated, "activation_function": activation})
        save_file(
            {f"linear.{key}": value for key, value in layer.state_dict().items()}, folder / name / "model.safetensors"
        )
    return write(folder, "config_sentence_transformers.json", {"model_type": "SentenceTransformer", **more})


def write(folder: Path, name: str, values: object) -> Path:
    """Write one JSON file, and return the folder."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


def _if(prompts: dict[str, str]) -> dict[str, object]:
    return {"prompts": prompts} if prompts else {}


def _describe(folder: Path, kinds: list[str], **limits: object) -> None:
    names = ["", *(f"{number}_{kind.rsplit('.', 1)[1]}" for number, kind in enumerate(kinds) if number)]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(zip(names, kinds, strict=True))
    ]
    write(folder, "modules.json", modules)
    write(folder, "sentence_bert_config.json", limits)


def _pooling(folder: Path, chosen: str) -> Path:
    keys = [f"pooling_mode_{name}" for name in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")]
    modes = {key: key == chosen for key in keys}
    return write(folder, "1_Pooling/config.json", {"word_embedding_dimension": 64, **modes})


def _bert(folder: Path, *, positions: int) -> None:
    vocab = _wordpiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    BertTokenizer(vocab=vocab, model_max_length=positions).save_pretrained(folder)
    torch.manual_seed(1)
    save_model(BertModel(BertConfig(vocab_size=len(vocab), max_position_embeddings=positions, **SHAPE)), folder)


def _xlmr(folder: Path, *, positions: int) -> None:
    tokenizer = xlmr_tokenizer(folder)
    shape = {"vocab_size": len(tokenizer), "max_position_embeddings": positions, "type_vocab_size": 1, **SHAPE}
    torch.manual_seed(2)
    save_model(XLMRobertaModel(XLMRobertaConfig(**shape)), folder)


def _wordpiece(special: list[str]) -> dict[str, int]:
    trained = Tokenizer(WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    trained.normalizer = normalizers.BertNormalizer()
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained.train_from_iterator(
        SENTENCES, WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    return trained.get_vocab()
