"""RagPipeline end to end: the Python face, LlamaIndex's kinds, and the bge-m3 profile on checkpoints made here."""

import io
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from llama_index.core import Settings as LlamaSettings
from llama_index.core import VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import QueryBundle
from PIL import Image

from rag_pipeline import ConfigError, InputError, RagPipeline, Settings
from rag_pipeline.config import (
    CacheSettings,
    ImageSettings,
    LlmSettings,
    RerankerSettings,
    SparseSettings,
    TextSettings,
)
from rag_pipeline.health import index_status

WARRANTY = "# Warranty\n\nThe warranty of the Otter 2 lasts thirty months.\n\nIt does not cover the wiper blades.\n"
OFFICE = "# Office\n\nThe office in Lindau opens at nine.\n"


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "warranty.md").write_text(WARRANTY, encoding="utf-8")
    (folder / "office.md").write_text(OFFICE, encoding="utf-8")
    (folder / "red buoy.png").write_bytes(picture("red"))
    (folder / "blue probe.png").write_bytes(picture("blue"))
    return folder


@pytest.fixture(scope="module")
def compact(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RagPipeline]:
    with RagPipeline.from_config(index=tmp_path_factory.mktemp("compact") / "rag") as rag:
        report = rag.ingest(documents)
        assert (report.files["added"], report.chunks, report.figures) == (4, 2, 2)
        yield rag


class TestCompact:
    def test_search_finds_text_and_pictures(self, compact: RagPipeline) -> None:
        assert Path(compact.search("how long is the warranty?")[0].path).name == "warranty.md"
        best = compact.search("red buoy")[0]
        assert (Path(best.path).name, best.figure is not None) == ("red buoy.png", True)

    def test_a_picture_cannot_be_searched_for_without_an_image_encoder(self, compact: RagPipeline) -> None:
        with pytest.raises(ConfigError, match="pictures are found by caption and context only"):
            compact.search("red", mode="image")

    def test_a_blank_query_is_refused(self, compact: RagPipeline) -> None:
        with pytest.raises(InputError, match="the query is blank"):
            compact.search("  ")

    def test_an_answer_quotes_its_evidence(self, compact: RagPipeline) -> None:
        answer = compact.ask("How long does the warranty of the Otter 2 last?")
        assert not answer.abstained
        citation = answer.citations[0]
        assert "thirty months" in citation.quote
        # Offsets count in the document's text: its elements with a blank line between them.
        text = WARRANTY.removeprefix("# ").strip()
        assert text[citation.start : citation.end] == citation.quote

    def test_our_retriever_in_a_stock_query_engine(self, compact: RagPipeline) -> None:
        assert compact.reranker is not None
        engine = RetrieverQueryEngine.from_args(
            compact.retriever, llm=MockLLM(), node_postprocessors=[compact.reranker]
        )
        assert "thirty months" in engine.retrieve(QueryBundle("how long is the warranty?"))[0].text
        assert engine.query("how long is the warranty?").source_nodes

    def test_our_store_and_embedding_in_a_stock_index(self, compact: RagPipeline) -> None:
        before = LlamaSettings._embed_model
        try:
            compact.configure_settings()
            assert LlamaSettings.embed_model is compact.embed_model
            retriever = VectorStoreIndex.from_vector_store(compact.vector_store).as_retriever(similarity_top_k=1)
            assert "thirty months" in retriever.retrieve("how long is the warranty?")[0].text
        finally:
            LlamaSettings._embed_model = before

    def test_a_closed_pipeline_opens_its_index_again(self, compact: RagPipeline) -> None:
        compact.close()
        assert compact.search("when does the office open?")


class TestCache:
    @pytest.mark.soak
    def test_an_index_made_again_encodes_nothing(self, documents: Path, tmp_path: Path) -> None:
        with RagPipeline.from_config(index=tmp_path / "rag") as rag:
            assert rag.ingest(documents, dry_run=True).files["added"] == 4
            assert not (tmp_path / "rag").exists()
            rag.ingest(documents)
            points = list(rag.export(vectors=True))
            rag.ingest(documents)
        status = index_status(rag.settings)["cache"]
        assert (status["entries"], status["hits"], status["misses"], status["hit_rate"]) == (4, 0, 4, 0.0)
        assert status["last_run"] == {"hits": 0, "misses": 4, "hit_rate": 0.0}, "the second run looked nothing up"
        for part in (tmp_path / "rag").iterdir():
            if not part.name.startswith("cache.sqlite"):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        assert rag.ingest(documents, dry_run=True).files["added"] == 4
        assert [part.name for part in (tmp_path / "rag").iterdir()] == ["cache.sqlite"], "a cache alone is no index"
        with rag:
            rag.ingest(documents)
            assert list(rag.export(vectors=True)) == points
        status = index_status(rag.settings)["cache"]
        assert (status["entries"], status["hit_rate"]) == (4, 0.5)
        assert status["last_run"] == {"hits": 4, "misses": 0, "hit_rate": 1.0}

    @pytest.mark.soak
    def test_it_can_be_turned_off(self, documents: Path, tmp_path: Path) -> None:
        settings = Settings(index=tmp_path / "rag", cache=CacheSettings(max_mb=0, queries=0))
        with RagPipeline(settings) as rag:
            rag.ingest(documents)
            assert rag.search("warranty")
        assert not (tmp_path / "rag" / "cache.sqlite").exists()
        status = index_status(settings)["cache"]
        assert (status["max_mb"], status["entries"], status["hit_rate"]) == (0, 0, None)

    def test_a_spoilt_one_is_no_error(self, documents: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "rag").mkdir()
        (tmp_path / "rag" / "cache.sqlite").write_bytes(b"spoilt" * 999)
        with RagPipeline.from_config(index=tmp_path / "rag") as rag:
            assert rag.ingest(documents).files["added"] == 4
        assert index_status(rag.settings)["cache"]["entries"] == 4
        assert len(caplog.records) == 1

    @pytest.mark.soak
    def test_a_snapshot_is_taken_without_it(self, documents: Path, tmp_path: Path) -> None:
        with RagPipeline.from_config(index=tmp_path / "rag") as rag:
            rag.ingest(documents)
            rag.create_snapshot(tmp_path / "rag.tar.gz")
        with RagPipeline.from_config(index=tmp_path / "again") as rag:
            rag.restore_snapshot(tmp_path / "rag.tar.gz")
            assert rag.search("warranty")
        assert not (tmp_path / "again" / "cache.sqlite").exists()


class _Completions(BaseHTTPRequestHandler):
    """A chat server that answers with what was cited to it first."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert "thirty months" in str(asked["messages"])
        message = {"role": "assistant", "content": "It lasts thirty months [1]. It is made of gold [9]."}
        body = json.dumps(
            {
                "id": "1", "object": "chat.completion", "created": 0, "model": asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            }
        ).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


def test_with_an_llm_configured_the_answer_is_generated_and_checked(compact: RagPipeline) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Completions)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        llm = LlmSettings(base_url=f"http://127.0.0.1:{server.server_port}/v1", model="local")
        compact.close()
        with RagPipeline(compact.settings.model_copy(update={"llm": llm})) as rag:
            answer = rag.ask("How long does the warranty of the Otter 2 last?")
    finally:
        server.shutdown()
        server.server_close()
    assert answer.text == "It lasts thirty months [1]."
    assert [citation.n for citation in answer.citations] == [1]
    assert "thirty months" in answer.citations[0].quote


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_bge_m3_profile_runs_from_folder_to_answer(
    documents: Path, tmp_path: Path, tiny_bge_m3: Path, tiny_clip: Path, tiny_reranker: Path
) -> None:
    """The true architectures at small width, with random weights: this proves the path, not the meaning."""
    settings = Settings(
        profile="bge-m3",
        index=tmp_path / "rag",
        models_dir=tmp_path / "models",
        text=TextSettings(model="bge-m3", path=tiny_bge_m3, device="cpu"),
        sparse=SparseSettings(model="bge-m3"),
        image=ImageSettings(path=tiny_clip, device="cpu"),
        reranker=RerankerSettings(model="bge-reranker-v2-m3", path=tiny_reranker, device="cpu"),
    )
    with RagPipeline(settings) as rag:
        report = rag.ingest(documents)
        assert (report.chunks, report.figures, report.quarantine) == (2, 2, ())
        vectors = [set(row["vectors"]) for row in rag.export(vectors=True)]  # type: ignore[call-overload]
        assert sorted(map(len, vectors)) == [2, 2, 3, 3]
        assert all({"dense", "sparse"} <= names for names in vectors)
        hits = rag.search("how long is the warranty?", top_k=4)
        assert len(hits) == 4
        assert all(hit.logit is not None for hit in hits)
        found = rag.search("", image=picture("red"), top_k=2)
        assert Path(found[0].path).name == "red buoy.png"
        assert found[0].legs["image"].score == pytest.approx(1, abs=1e-4)
        assert rag.search("a red thing", mode="image", top_k=2)[0].figure is not None
        assert rag.ingest(documents).files["unchanged"] == 4
