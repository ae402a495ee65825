"""Write a checkpoint of the true size of BGE-M3 or its reranker, with random weights, to measure speed and memory.

    python benchmarks/make_checkpoint.py FOLDER --texts DATA/scifact/corpus.jsonl [--model bge-m3|bge-reranker-v2-m3]

Random weights take as long as trained ones and know nothing: no figure of quality may come from them. The tokenizer is
trained on the texts (JSON lines with a ``text``), with 32,000 pieces, so that real texts have about the lengths that
XLM-R's tokenizer gives them; the embedding table has XLM-R's 250,002 rows all the same. 2.27 GB on disk.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer
from transformers import (
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

PIECES = 32_000
ROWS, WIDTH, LAYERS, HEADS, INNER, POSITIONS = 250_002, 1024, 24, 16, 4096, 8194


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=Path, required=True, help="JSON lines with a text each; trains the tokenizer")
    parser.add_argument("--model", choices=("bge-m3", "bge-reranker-v2-m3"), default="bge-m3")
    parser.add_argument("--layers", type=int, default=LAYERS, help="fewer, to try it in a minute")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(chosen.texts, chosen.folder)
    config = XLMRobertaConfig(
        vocab_size=ROWS,
        hidden_size=WIDTH,
        num_hidden_layers=chosen.layers,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
    )
    config.num_labels = 1
    torch.manual_seed(0)
    if chosen.model == "bge-m3":
        XLMRobertaModel(config).save_pretrained(chosen.folder)
        for name, width in (("sparse_linear.pt", 1), ("colbert_linear.pt", WIDTH)):
            torch.save(torch.nn.Linear(WIDTH, width).state_dict(), chosen.folder / name)
    else:
        XLMRobertaForSequenceClassification(config).save_pretrained(chosen.folder)
    size = sum(file.stat().st_size for file in chosen.folder.iterdir())
    print(f"{chosen.folder}: {chosen.model}, random weights, {size / 1e9:.2f} GB")


def make_tokenizer(texts: Path, folder: Path) -> None:
    """Train a unigram tokenizer whose special tokens have XLM-R's ids."""
    with texts.open(encoding="utf-8") as lines:
        passages = [json.loads(line)["text"] for line in lines if line.strip()]
    trained = Tokenizer(Unigram())
    trained.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(
        passages, UnigramTrainer(vocab_size=PIECES, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    vocab = [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
    XLMRobertaTokenizer(vocab=vocab, model_max_length=POSITIONS - 2).save_pretrained(folder)


if __name__ == "__main__":
    main()
