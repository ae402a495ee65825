"""Small checkpoints of the exact architectures, made by the tests and saved in the layout that is published.

Seeded random weights, a tokenizer trained on the few sentences below. They hold no knowledge; what they prove is that
our code runs the architecture as its authors do, through the same files and the same loading as the published ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

__all__ = ["SENTENCES", "make_bge_m3", "make_clip", "make_reranker", "save_model", "xlmr_tokenizer"]

SENTENCES = [
    "The warranty of the pump lasts two years from the day of delivery.",
    "Write to the service desk and keep the invoice; repairs within the warranty are free of charge.",
    "Die Garantie der Pumpe gilt zwei Jahre ab dem Tag der Lieferung.",
    "La garantía de la bomba dura dos años desde el día de la entrega.",
    "La garantie de la pompe dure deux ans à compter du jour de livraison.",
    "ポンプの保証期間は納品日から二年間です。",
    "水泵的保修期为自交货之日起两年。",
    "مدة ضمان المضخة سنتان من تاريخ التسليم",
    "A photograph of a red pump beside a blue tank; a chart of sales by quarter, 2019 to 2024.",
    "The quick brown fox jumps over the lazy dog, 0123456789 times!",
]
HIDDEN = 64
# XLM-R counts positions from 2: 514 positions hold 512 tokens, 8194 hold the published 8192.
POSITIONS = 8194


def make_bge_m3(folder: Path, seed: int = 0) -> Path:
    """Write a BGE-M3: XLM-R weights, ``sparse_linear.pt``, ``colbert_linear.pt``, tokenizer."""
    tokenizer = xlmr_tokenizer(folder)
    torch.manual_seed(seed)
    save_model(XLMRobertaModel(_xlmr_config(len(tokenizer))), folder)
    for name, width in (("sparse_linear.pt", 1), ("colbert_linear.pt", HIDDEN)):
        torch.save(torch.nn.Linear(HIDDEN, width).state_dict(), folder / name)
    return folder


def make_reranker(folder: Path, seed: int = 0) -> Path:
    """Write a bge-reranker: XLM-R with a classifier of one logit, tokenizer."""
    tokenizer = xlmr_tokenizer(folder)
    torch.manual_seed(seed)
    save_model(XLMRobertaForSequenceClassification(_xlmr_config(len(tokenizer), num_labels=1)), folder)
    return folder


def make_clip(folder: Path, seed: int = 0) -> Path:
    """Write a CLIP: both towers and projections, tokenizer, ``preprocessor_config.json``."""
    tokenizer = _clip_tokenizer(folder)
    tower = {"hidden_size": HIDDEN, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **tower,
    )
    vision = CLIPVisionConfig(image_size=224, patch_size=32, **tower)
    torch.manual_seed(seed)
    save_model(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)), folder)
    # Word for word what openai/clip-vit-base-patch32 publishes, old keys and all.
    preprocessor = {
        "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3, "size": 224,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    return folder


def save_model(model: PreTrainedModel, folder: Path) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            # The usual 0.02 leaves the outputs of a shallow model nearly equal for all texts: tests would see little.
            if parameter.ndim > 1:
                parameter.mul_(5)
    model.save_pretrained(folder)


def _xlmr_config(vocab_size: int, **more: int) -> XLMRobertaConfig:
    return XLMRobertaConfig(
        vocab_size=vocab_size,
        hidden_size=HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        **more,
    )


def xlmr_tokenizer(folder: Path) -> XLMRobertaTokenizer:
    """Train on the sentences; special tokens get XLM-R's ids: ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3."""
    trained = Tokenizer(Unigram())
    trained.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(
        SENTENCES, UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    vocab = [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
    tokenizer = XLMRobertaTokenizer(vocab=vocab, model_max_length=POSITIONS - 2)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Train byte-level BPE on the sentences, with the pre-tokenizer of CLIP itself."""
    trained = CLIPTokenizer().backend_tokenizer
    trained.train_from_iterator(
        SENTENCES,
        BpeTrainer(
            vocab_size=800,
            special_tokens=["<|startoftext|>", "<|endoftext|>"],
            end_of_word_suffix="</w>",
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=77)
    tokenizer.save_pretrained(folder)
    return tokenizer
