"""What a folder says is read; what it asks for and cannot have is refused in one line that names file and key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.encoders.layout import read_layout
from rag_pipeline.encoders.weights import Weights
from rag_pipeline.errors import ConfigError, UnavailableError

CONFIG = {"model_type": "bert", "hidden_size": 8, "max_position_embeddings": 64, "pad_token_id": 0}
BASE: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ],
    "config.json": CONFIG,
    "1_Pooling/config.json": {"word_embedding_dimension": 8, "pooling_mode_cls_token": True},
    "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
}


def module(kind: str, path: str = "") -> dict[str, str]:
    return {"name": path, "path": path, "type": kind if "." in kind else f"sentence_transformers.models.{kind}"}


def folder_of(folder: Path, files: dict[str, Any]) -> Weights:
    for name, values in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return Weights("mine", folder, "sentence", "mine@0", {name: folder / name for name in files}, {})


def test_the_simplest(tmp_path: Path) -> None:
    layout = read_layout(folder_of(tmp_path, BASE))
    assert (layout.folder, layout.pooling, layout.dim, layout.max_tokens) == (tmp_path, "cls", 8, 32)
    assert (layout.query_prompt, layout.passage_prompt, layout.layers, layout.first) == ("", "", (), None)
    assert (layout.first_position, layout.pads, layout.lower_case) == (0, False, False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}, ("mean", 8)),
        ({"word_embedding_dimension": 8}, ("mean", 8)),  # the library's default
        ({"embedding_dimension": 8, "pooling_mode": "cls"}, ("cls", 8)),
        ({"embedding_dimension": 8, "pooling_mode": ["mean"]}, ("mean", 8)),
        ({"pooling_mode": "mean"}, ("mean", 8)),  # the width is the backbone's
    ],
)
def test_pooling_has_old_keys_and_new_ones(values: dict[str, Any], expected: tuple[str, int], tmp_path: Path) -> None:
    layout = read_layout(folder_of(tmp_path, BASE | {"1_Pooling/config.json": values}))
    assert (layout.pooling, layout.dim) == expected


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, r"cls\+mean"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len_tokens"),
    ],
)
def test_other_pooling_is_refused_by_name(values: dict[str, Any], named: str, tmp_path: Path) -> None:
    weights = folder_of(tmp_path, BASE | {"1_Pooling/config.json": values})
    with pytest.raises(ConfigError, match=rf"1_Pooling/config\.json: pooling '{named}' is not supported; cls and mean"):
        read_layout(weights)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"query": "q: "}, ("q: ", "")),
        ({"query": "q: ", "passage": "p: "}, ("q: ", "p: ")),
        ({"document": "d: ", "passage": "p: ", "corpus": "c: "}, ("", "d: ")),
        ({"document": "", "corpus": "c: "}, ("", "c: ")),
        ({"query": None, "classification": "x: "}, ("", "")),
    ],
)
def test_prompts_by_name(stated: dict[str, Any], expected: tuple[str, str], tmp_path: Path) -> None:
    layout = read_layout(folder_of(tmp_path, BASE | {"config_sentence_transformers.json": {"prompts": stated}}))
    assert (layout.query_prompt, layout.passage_prompt) == expected


@pytest.mark.parametrize(
    ("config", "limits", "tokenizer", "expected"),
    [
        (CONFIG, {"max_seq_length": 32}, {"model_max_length": 16}, 32),
        (CONFIG, {}, {"model_max_length": 16}, 16),
        (CONFIG, {}, {"model_max_length": 10**30}, 64),  # what tokenizers write who do not know
        (CONFIG, {"max_seq_length": 512}, {}, 64),
        (CONFIG | {"model_type": "xlm-roberta", "pad_token_id": 1}, {"max_seq_length": 64}, {}, 62),
        (CONFIG | {"model_type": "mpnet", "pad_token_id": 1}, {}, {}, 62),
    ],
)
def test_the_longest_input(
    config: dict[str, Any], limits: dict[str, Any], tokenizer: dict[str, Any], expected: int, tmp_path: Path
) -> None:
    files = {"config.json": config, "sentence_bert_config.json": limits, "tokenizer_config.json": tokenizer}
    assert read_layout(folder_of(tmp_path, BASE | files)).max_tokens == expected


@pytest.mark.parametrize(
    ("kind", "first_position", "pads"),
    [("bert", 0, False), ("roberta", 2, False), ("xlm-roberta", 2, False), ("camembert", 2, False), ("mpnet", 2, True),
     ("distilbert", 0, True), ("modernbert", 0, True)],
)  # fmt: skip
def test_only_known_models_run_without_padding(kind: str, first_position: int, pads: bool, tmp_path: Path) -> None:
    config = CONFIG | {"model_type": kind, "pad_token_id": 1}
    layout = read_layout(folder_of(tmp_path, BASE | {"config.json": config}))
    assert (layout.first_position, layout.pads) == (first_position, pads)


def with_modules(*more: dict[str, str]) -> dict[str, Any]:
    return {"modules.json": [*BASE["modules.json"], *more]}


DENSE = {"in_features": 8, "out_features": 4, "bias": True}
NAMED = [
    pytest.param(
        # nomic-embed-text-v2-moe: transformers has a nomic_bert, but not its mixture of experts.
        {"config.json": CONFIG | {"model_type": "nomic_bert", "auto_map": {"AutoModel": "nomic--modeling.Bert"}}},
        r"/config\.json: auto_map says that the model needs code of its publisher, which is never run; choose",
        id="remote code",
    ),
    pytest.param(
        {"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["x.Y", None]}}},
        r"tokenizer_config\.json: auto_map says",
        id="remote tokenizer",
    ),
    pytest.param(
        with_modules(module("custom_st.Head", "2_Head")),
        r"modules\.json: type 'custom_st\.Head' is code of the model's publisher, which is never run",
        id="custom module",
    ),
    pytest.param(
        with_modules(module("LSTM", "2_LSTM")),
        r"modules\.json: module 'sentence_transformers\.models\.LSTM' is not supported; Transformer, Pooling, Dense",
        id="unknown module",
    ),
    pytest.param(
        {"modules.json": [module("Transformer"), module("Normalize", "1_Normalize")]},
        r"modules\.json: begins with Transformer, Normalize; only models that begin with Transformer, Pooling",
        id="no pooling",
    ),
    pytest.param(
        with_modules(module("Normalize", "2_Normalize"), module("Dense", "3_Dense")) | {"3_Dense/config.json": DENSE},
        r"modules\.json: Normalize, Dense behind the pooling is not supported",
        id="normalized midway",
    ),
    pytest.param(
        {"modules.json": [module("Transformer", "../other"), *BASE["modules.json"][1:]]},
        r"modules\.json: path '\.\./other' leads out of the folder",
        id="out of the folder",
    ),
    pytest.param(
        {"config.json": CONFIG | {"model_type": "t5", "is_encoder_decoder": True}},
        r"config\.json: model_type 't5' is an encoder with a decoder; choose an encoder",
        id="encoder and decoder",
    ),
    pytest.param(
        {"1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": False}},
        r"1_Pooling/config\.json: include_prompt false is not supported",
        id="prompt left out",
    ),
    pytest.param(
        with_modules(module("Dense", "2_Dense")) | {"2_Dense/config.json": DENSE | {"use_residual": True}},
        r"2_Dense/config\.json: use_residual and named inputs and outputs are not supported",
        id="residual",
    ),
    pytest.param(
        with_modules(module("Dense", "2_Dense"))
        | {"2_Dense/config.json": DENSE | {"activation_function": "mine.Activation"}},
        r"2_Dense/config\.json: activation_function 'mine\.Activation' is not one of torch\.nn",
        id="activation",
    ),
    pytest.param(
        with_modules(module("Dense", "2_Dense")) | {"2_Dense/config.json": DENSE | {"in_features": 9}},
        r"2_Dense/config\.json: in_features is 9, what comes in has 8",
        id="width",
    ),
    pytest.param(
        {"sentence_bert_config.json": {"transformer_task": "text-generation"}},
        r"sentence_bert_config\.json: transformer_task 'text-generation' is not supported; choose a plain encoder",
        id="task",
    ),
    pytest.param(
        {"config_sentence_transformers.json": {"similarity_fn_name": "dot"}},
        r"config_sentence_transformers\.json: similarity_fn_name 'dot' is not supported for vectors of any length",
        id="dot",
    ),
    pytest.param(
        {"sentence_bert_config.json": {}, "config.json": {"model_type": "t5x", "hidden_size": 8}},
        r"nothing says how many tokens the model reads; write max_seq_length into sentence_bert_config\.json",
        id="no limit",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("files", "message"), NAMED)
def test_what_is_refused_is_named_in_one_line(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_layout(folder_of(tmp_path, BASE | files))
    assert "\n" not in str(caught.value)


def test_dot_products_of_unit_rows_are_cosines(tmp_path: Path) -> None:
    files = with_modules(module("Normalize", "2_Normalize"))
    stated = {"config_sentence_transformers.json": {"similarity_fn_name": "dot"}}
    assert read_layout(folder_of(tmp_path, BASE | files | stated)).dim == 8


def test_layers_in_their_order(tmp_path: Path) -> None:
    kinds = [module("Dense", "2_Dense"), module("Dense", "3_Dense"), module("Normalize", "4_Normalize")]
    second = {
        "in_features": 4,
        "out_features": 2,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    files = with_modules(*kinds) | {"2_Dense/config.json": DENSE, "3_Dense/config.json": second}
    layout = read_layout(folder_of(tmp_path, BASE | files))
    assert [(layer.width_in, layer.width_out, layer.bias, layer.activation) for layer in layout.layers] == [
        (8, 4, True, "Tanh"),
        (4, 2, False, "Identity"),
    ]
    assert layout.dim == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("1_Pooling/config.json"), r"1_Pooling/config\.json is missing; complete the folder"),
        (lambda files: files.update({"config.json": "{"}), r"cannot read .*config\.json \(JSONDecodeError\)"),
        (lambda files: files.update({"config.json": []}), r"cannot read .*config\.json \(not an object\)"),
        (lambda files: files.update({"modules.json": {}}), r"cannot read .*modules\.json \(not a list\)"),
    ],
)
def test_a_file_that_cannot_be_read(change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path) -> None:
    files = dict(BASE)
    change(files)
    with pytest.raises(UnavailableError, match=message):
        read_layout(folder_of(tmp_path, files))


def test_a_file_outside_the_fingerprint_is_not_read(tmp_path: Path) -> None:
    weights = folder_of(tmp_path, BASE)
    folder_of(tmp_path, {"config_sentence_transformers.json": {"prompts": {"query": "unseen: "}}})
    assert read_layout(weights).query_prompt == ""
