"""Files that were made to do harm, or come as if: each is read or refused for its own reason, and costs no other.

Everything here runs in programs of its own, under a limit of memory.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import RAG, environment
from tests.hostile import CHECKS, SLOW, Case, table, unexpected
from tests.parse_folder import WORKER_MB
from tests.shared_data import FOLDER

ROOT = Path(__file__).parent.parent
ARCHIVE = FOLDER / "hostile.tar.gz"
SECRET = "SECRET-THAT-NO-INDEX-MAY-HOLD"
MOST_OWN_MB = 600


Fates = dict[str, dict[str, Any]]
"""What became of each file, by its name in its folder."""


def parse_folders(*folders: Path, timeout_s: float = 60.0) -> tuple[list[Fates], dict[str, float]]:
    """Parse them in one program; return the fates, folder by folder, and what it took."""
    command = [sys.executable, "-m", "tests.parse_folder", *map(str, folders), str(timeout_s)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    *fates, usage = map(json.loads, done.stdout.splitlines())
    return [
        {os.path.relpath(fate["file"], folder): fate for fate in fates if Path(fate["file"]).is_relative_to(folder)}
        for folder in folders
    ], usage


def assert_bounded(usage: dict[str, float]) -> None:
    assert usage["own_mb"] < MOST_OWN_MB
    assert usage["largest_child_mb"] <= WORKER_MB


# --------------------------------------------------------------------- made on the spot


def zipped(path: Path, **members: str | bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def word(path: Path, body: str, doctype: str = "", **members: str) -> None:
    """A Word document of one paragraph, and what else is put into it."""
    types = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    main = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    zipped(
        path,
        **{
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{types}"/></Types>',
            "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f'<Relationship Id="rId1" Type="{relation}" Target="word/document.xml"/></Relationships>',
            "word/document.xml": f'<?xml version="1.0"?>{doctype}<w:document xmlns:w="{main}"><w:body><w:p><w:r>'
            f"<w:t>{body}</w:t></w:r></w:p></w:body></w:document>",
            **members,
        },
    )


def make_files(folder: Path, secret: Path) -> None:
    """One file of each kind of malice; the names of the good ones begin with ``good``."""
    entity = f'<!DOCTYPE r [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    laughs = f'<!DOCTYPE r [<!ENTITY l0 "lol">{laughs}]>'
    (folder / "entity.xml").write_text(f'<?xml version="1.0"?>{entity}<r>seen &x;</r>')
    (folder / "entity.svg").write_text(f'<?xml version="1.0"?>{entity}<svg><text>seen &x;</text></svg>')
    (folder / "entity.html").write_text(f"<!DOCTYPE html>{entity}<html><body><p>seen &x;</p></body></html>")
    word(folder / "entity.docx", "seen &x;", entity)
    (folder / "laughs.xml").write_text(f'<?xml version="1.0"?>{laughs}<r>seen &l9;</r>')
    word(folder / "laughs.docx", "seen &l9;", laughs)
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="{}"/>'
    (folder / "xinclude.xml").write_text(f'<?xml version="1.0"?><r>seen {include.format(secret.as_uri())}</r>')
    (folder / "include.rst").write_text(
        f"Title\n=====\n\nseen\n\n.. include:: {secret}\n\n.. raw:: html\n   :file: {secret}\n"
    )
    (folder / "include.org").write_text(f'* Title\nseen\n#+INCLUDE: "{secret}"\n')
    pictures = (
        f"![a]({secret}) ![b](../{secret.name}) ![c]({secret.as_uri()}) <iframe src='{secret.as_uri()}'></iframe>"
    )
    (folder / "include.md").write_text(f"seen {pictures}\n")
    zipped(folder / "bomb.docx", **{"word/document.xml": bytes(300 * 10**6)})
    word(folder / "slip.docx", "seen", **{"../../slipped.txt": "x", "/tmp/slipped.txt": "x"})
    zipped(
        folder / "slip.odt",
        **{"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<x/>", "../../slipped.txt": "x"},
    )
    (folder / "line.txt").write_text("word " * 60_000)
    (folder / "line.json").write_text(json.dumps({"a": ["word"] * 100_000}))
    (folder / "columns.csv").write_text(",".join("ab" for _ in range(20_000)) + "\n" + ",".join("1" * 20_000) + "\n")
    (folder / "deep.html").write_text("<div>" * 5000 + "deep" + "</div>" * 5000)
    for name in (b"good\nline.txt", b"good\xff\xfe.txt", b"good" + b"x" * 247 + b".txt", b"good -rf $(x) `y` ;.txt"):
        (folder / os.fsdecode(name)).write_text("a good file")
    (folder / "-good.txt").write_text("a good file")
    (folder / "loop").symlink_to(folder)
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "outside.txt").symlink_to(secret)
    os.mkfifo(folder / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(folder, os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/socket.txt")  # the whole path may be longer than a socket's may
        os.close(here)
    if os.geteuid() == 0:
        os.mknod(folder / "zero.txt", 0o20666, os.makedev(1, 5))


@pytest.fixture(scope="module")
def above(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``docs``, made here, and ``hostile``, the shared collection, where that is on this machine."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "docs").mkdir()
    (folder / "secret.txt").write_text(SECRET)
    make_files(folder / "docs", folder / "secret.txt")
    if ARCHIVE.is_file():
        with tarfile.open(ARCHIVE) as files:
            files.extractall(folder, filter="data")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def parsed(above: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Fates], dict[str, float]]:
    """Both folders, but for the slow files, in one program: its parsers cost more to start than most files to read."""
    folders = [above / "docs"]
    if ARCHIVE.is_file():
        folders.append(shutil.copytree(above / "hostile", tmp_path_factory.mktemp("quick") / "hostile"))
        for name in SLOW:
            (folders[1] / name).unlink()
    return parse_folders(*folders)


@pytest.fixture(scope="module")
def made(above: Path, parsed: tuple[list[Fates], dict[str, float]]) -> tuple[Path, Fates, dict[str, float]]:
    (fates, *_), usage = parsed
    return above, fates, usage


def test_no_file_that_a_document_names_is_read(made: Any) -> None:
    above, fates, _ = made
    assert not [name for name, fate in fates.items() if SECRET in fate.get("text", "")]
    for name in ("include.rst", "include.org", "include.md", "entity.html", "xinclude.xml"):
        assert "seen" in fates[name]["text"], name
    assert fates["include.md"]["figures"] == []
    assert fates["outside.txt"]["reason"].startswith("the symbolic link leaves the folder")
    assert not (above / "slipped.txt").exists()
    assert not (above.parent / "slipped.txt").exists()
    assert not Path("/tmp/slipped.txt").exists()


def test_bombs_cost_themselves_only(made: Any) -> None:
    _, fates, usage = made
    assert "would unpack to 300 MB" in fates["bomb.docx"]["reason"]
    for name in ("laughs.xml", "laughs.docx"):
        assert len(fates[name].get("text", "")) < 10_000
    assert_bounded(usage)


def test_what_is_no_file_is_not_opened(made: Any) -> None:
    _, fates, _ = made
    assert fates["pipe.txt"]["reason"] == "it is a named pipe; only regular files are read"
    assert fates["socket.txt"]["reason"] == "it is a socket; only regular files are read"
    assert fates.get("zero.txt", {"reason": "it is a device"})["reason"].startswith("it is a device")
    assert "points to nothing" in fates["loop.txt"]["reason"]
    assert not [name for name in fates if name.startswith("loop/")]


def test_good_files_beside_them_are_read_whatever_they_are_called(made: Any) -> None:
    _, fates, _ = made
    good = [fate.get("text") for name, fate in fates.items() if "good" in name]
    assert good == ["a good file"] * 5
    assert fates["line.txt"]["text"].count("word") == 60_000
    assert max(fates["line.txt"]["tokens"]) <= 256
    assert fates["deep.html"]["text"] == "deep"
    assert fates["columns.csv"]["state"] == "indexed"
    misfortunes = ("took longer", "brought its parser down", "MB of memory")
    assert not [fate for fate in fates.values() if any(one in fate.get("reason", "") for one in misfortunes)]


# ------------------------------------------------------------------- the shared collection


@pytest.fixture(scope="module")
def collection(above: Path) -> Path:
    if not ARCHIVE.is_file():
        pytest.skip(f"{ARCHIVE} is not on this machine")
    return above / "hostile"


def cases_of(collection: Path, fates: Fates) -> list[Case]:
    truth = json.loads((collection / "encoding/truth.json").read_text())
    rows = [json.loads(line) for line in (collection / "manifest.jsonl").read_text().splitlines()]
    return [
        Case(
            file=row["file"],
            expect=row["expect"],
            fate=fates[row["file"]],
            content=(collection / row["file"]).read_bytes(),
            truth=truth.get(Path(row["file"]).name),
        )
        for row in rows
        if row["file"] in fates
    ]


@pytest.mark.shared
@pytest.mark.parametrize("slow_too", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_every_file_of_the_collection_meets_its_expected_fate(
    collection: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], slow_too: bool
) -> None:
    if slow_too:
        [fates], usage = parse_folders(collection, timeout_s=300)
    else:
        [_, fates], usage = request.getfixturevalue("parsed")
    cases = cases_of(collection, fates)
    wrong = unexpected(cases)
    with capsys.disabled():
        print(f"\n{table(cases)}")
        print("  ".join(f"{name} {value:.0f}" for name, value in usage.items()), f" unexpected {len(wrong)}")
    assert len(cases) == 158 - (0 if slow_too else len(SLOW))
    assert {case.expect for case in cases} <= set(CHECKS)
    assert not wrong, "\n".join(wrong)
    assert_bounded(usage)


MEASURED = """
import resource, sys
from rag_pipeline.cli import main
from tests.parse_folder import own_peak_mb
try:
    main()
finally:
    print("peak_mb", round(own_peak_mb()), file=sys.stderr)
    print("peak_mb", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=sys.stderr)
"""


def ingest(folder: Path, index: Path, tmp_path: Path, **limits: object) -> tuple[dict[str, Any], list[int]]:
    """Run the whole of `rag ingest --json` under a memory limit; it must end with 3, some files in quarantine."""
    config = tmp_path / "hostile.json"  # JSON is YAML
    config.write_text(json.dumps({"ingest": {"timeout_s": 60, "memory_mb": WORKER_MB, **limits}}))
    arguments = ["ingest", folder, "--index", index, "--config", config, "--json"]
    two = environment(RAG_INGEST__WORKERS="2")  # the variable of conftest.py would win over the file
    command = ["/bin/sh", "-c", 'ulimit -v 12000000; exec "$@"', "sh", sys.executable, "-c", MEASURED]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT, env=two
    )
    assert done.returncode == 3, done.stderr
    return json.loads(done.stdout), [int(line.split()[1]) for line in done.stderr.splitlines() if "peak_mb" in line]


def exported(index: Path) -> dict[str, str]:
    """The text in the index, by file name."""
    done = subprocess.run([*RAG, "export", "--index", str(index)], capture_output=True, text=True, check=True)
    texts: dict[str, str] = {}
    for line in done.stdout.splitlines():
        payload = json.loads(line)["payload"]
        for path in payload["paths"]:
            texts[path] = texts.get(path, "") + payload["text"]
    return texts


@pytest.mark.soak
@pytest.mark.shared
def test_a_whole_ingestion_survives_the_worst_of_it(collection: Path, tmp_path: Path) -> None:
    few = ["/bombs", "/content", "/empty", "/images", "/names", "/encrypted/*.docx", "/wrong-ext", "/shape/*.csv"]
    report, (own, child) = ingest(collection, tmp_path / "index", tmp_path, include=few)
    texts = exported(tmp_path / "index")
    quarantined = {os.path.relpath(one["path"], collection) for one in report["quarantine"]}
    assert {"bombs/bomb_200MB_sheet.xlsx", "empty/zero_bytes.pdf", "encrypted/protected_agile.docx"} <= quarantined
    assert report["files"]["quarantined"] == len(quarantined)
    assert any(path.endswith("names/con.txt") and "needle" in text for path, text in texts.items())
    assert not [path for path, text in texts.items() if "root:" in text]
    assert own < MOST_OWN_MB  # the models and the engine are in it
    assert child <= WORKER_MB


@pytest.mark.shared
@pytest.mark.soak
def test_the_whole_collection_is_ingested(collection: Path, tmp_path: Path) -> None:
    report, peaks = ingest(collection, tmp_path / "index", tmp_path)
    print(report["files"], report["chunks"], report["seconds"], peaks)
    again, _ = ingest(collection, tmp_path / "index", tmp_path)
    assert (again["files"]["added"], again["files"]["quarantined"]) == (0, report["files"]["quarantined"])
    assert peaks[0] < MOST_OWN_MB
    assert peaks[1] <= WORKER_MB
