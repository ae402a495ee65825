"""Nothing leaves the machine: the whole way runs without a network, tries none, and no document makes it try."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HARMLESS = [["socket.bind", "('::1', 0)"]]
"""urllib3, as it is imported, looks in this way whether there is IPv6; nothing is sent."""

RAG = [sys.executable, "-m", "rag_pipeline"]

WATCH = """
import json, os, sys
seen = []
NAMES = {"socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname",
         "socket.sendmsg", "socket.sendto"}
def watch(event, arguments):
    if event in NAMES:
        seen.append([event, *map(repr, arguments[1:] if event in ("socket.bind", "socket.connect") else arguments)])
sys.addaudithook(watch)
"""

WHOLE_WAY = (
    WATCH
    + """
from rag_pipeline import RagPipeline
docs, index = sys.argv[1:]
with RagPipeline.from_config(index=index) as rag:
    report = rag.ingest(docs)
    hits = rag.search("how long is the warranty?")
    answer = rag.ask("How long is the warranty of the pump?")
told = {"added": report.files["added"], "first": hits[0].path, "answer": answer.text, "seen": seen}
print(json.dumps(told))
"""
)

PARSE_HERE = (
    WATCH
    + """
from pathlib import Path
from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.parse import parse
from rag_pipeline.errors import InputError
fates = {}
for found in discover([Path(sys.argv[1])]).files:
    try:
        fates[found.path.name] = "\\n".join(element.text for element in parse(read_source(found)).elements)
    except InputError as exc:
        fates[found.path.name] = f"refused: {exc}"
print(json.dumps({"fates": fates, "seen": seen}))
"""
)


def write_folder(folder: Path) -> Path:
    """A few files of several kinds, one of which answers the question."""
    folder.mkdir()
    (folder / "pump.md").write_text("# Pump\n\nThe warranty of the pump is five years from the date of delivery.\n")
    (folder / "valve.txt").write_text("The valve is checked every month and replaced after ten years.")
    (folder / "page.html").write_text("<html><body><h1>Office</h1><p>The office opens at nine.</p></body></html>")
    (folder / "table.csv").write_text("part,price\nseal,3\n")
    (folder / "notes.rst").write_text("Notes\n=====\n\nThe seal is made of rubber.\n")
    return folder


def write_remote(folder: Path, url: str) -> Path:
    """Documents that name things on a server, in every way that their format has."""
    folder.mkdir()
    tags = (
        f"<link rel='stylesheet' href='{url}/css'><script src='{url}/js'></script><img src='{url}/img.png'>"
        f"<iframe src='{url}/frame'></iframe><object data='{url}/object'></object><embed src='{url}/embed'>"
        f"<video src='{url}/video'></video><body background='{url}/back'><base href='{url}/'>"
        f"<meta http-equiv='refresh' content='0; url={url}/refresh'>"
    )
    (folder / "page.html").write_text(f"<html><head>{tags}</head><body><p>page needle</p>{tags}</body></html>")
    (folder / "page.md").write_text(f"md needle ![x]({url}/md.png) <img src='{url}/raw.png'>\n")
    doctype = (
        f'<!DOCTYPE r SYSTEM "{url}/r.dtd" [<!ENTITY x SYSTEM "{url}/entity"> <!ENTITY % p SYSTEM "{url}/p"> %p;]>'
    )
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{url}/include"/>'
    style = f'<?xml-stylesheet type="text/xsl" href="{url}/style.xsl"?>'
    (folder / "data.xml").write_text(f'<?xml version="1.0"?>{style}{doctype}<r>xml needle {include}</r>')
    (folder / "picture.svg").write_text(
        f'<?xml version="1.0"?><!DOCTYPE svg SYSTEM "{url}/svg.dtd"><svg xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<image xlink:href="{url}/svg.png"/><text>svg needle</text></svg>'
    )
    (folder / "mail.eml").write_text(
        "From: a@example.com\nSubject: mail needle\nMIME-Version: 1.0\nContent-Type: text/html\n\n"
        f"<html><body><p>body needle</p>{tags}</body></html>\n"
    )
    (folder / "external.eml").write_text(
        "From: a@example.com\nSubject: external needle\nMIME-Version: 1.0\n"
        f'Content-Type: message/external-body; access-type=URL; URL="{url}/body"\n\nContent-Type: text/plain\n\n'
    )
    (folder / "notes.rst").write_text(
        f"Title\n=====\n\nrst needle\n\n.. image:: {url}/rst.png\n\n.. include:: {url}/inc\n"
    )
    (folder / "table.rst").write_text(f"Title\n=====\n\n.. csv-table:: t\n   :url: {url}/csv\n")
    (folder / "notes.org").write_text(f"* Title\norg needle\n#+INCLUDE: {url}/org\n[[{url}/org.png]]\n")
    (folder / "text.rtf").write_text(
        r"{\rtf1 rtf needle {\field{\*\fldinst INCLUDEPICTURE " + f'"{url}/rtf.png"' + r"}{\fldrslt x}}"
        r"{\*\template " + f"{url}/rtf.dot" + "}}"
    )
    write_word(folder / "text.docx", url)
    return folder


def write_word(path: Path, url: str) -> None:
    """A Word document with a template, a picture and a part that lie on a server."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    main = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"

    def relations(*lines: tuple[str, str, str]) -> str:
        made = (
            f'<Relationship Id="rId{n}" Type="{office}/{t}" Target="{to}"{m}/>' for n, (t, to, m) in enumerate(lines)
        )
        return f'<Relationships xmlns="{package}/relationships">{"".join(made)}</Relationships>'

    away = ' TargetMode="External"'
    drawing = (
        '<w:drawing xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing" '
        f'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r="{office}"><wp:inline>'
        '<wp:docPr id="1" name="x" descr="far"/><a:blip r:link="rId1"/><a:blip r:embed="rId1"/></wp:inline></w:drawing>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{kind}"/></Types>',
        )
        archive.writestr("_rels/.rels", relations(("officeDocument", "word/document.xml", "")))
        archive.writestr(
            "word/_rels/document.xml.rels",
            relations(
                ("attachedTemplate", f"{url}/template.dotm", away),
                ("image", f"{url}/word.png", away),
                ("oleObject", f"{url}/ole", away),
            ),
        )
        archive.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="{main}"><w:body><w:p><w:r><w:t>docx needle</w:t></w:r></w:p>'
            f"<w:p><w:r>{drawing}</w:r></w:p></w:body></w:document>",
        )


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine: its address, and the first bytes of all who came."""
    came: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                visitor, _ = server.accept()
            except OSError:
                return
            with visitor:
                visitor.settimeout(1)
                came.append(visitor.recv(200).decode("latin-1"))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", came
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def without_network() -> list[str]:
    """The start of a command that runs with a loopback and nothing else."""
    inside = ["unshare", "-n" if os.geteuid() == 0 else "-rn"]
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], check=False).returncode != 0:
        pytest.skip("this system allows no network namespace")
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` to start the loopback with")
    return [*inside, "/bin/sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def test_the_whole_way_runs_without_a_network(tmp_path: Path) -> None:
    inside = without_network()
    docs, index = write_folder(tmp_path / "docs"), tmp_path / "index"

    def rag(*arguments: object) -> dict[str, object]:
        command = [*inside, *RAG, *map(str, arguments), "--index", str(index), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed: dict[str, object] = json.loads(done.stdout)
        return printed

    report = rag("ingest", docs)
    assert report["quarantine"] == []
    hits = rag("search", "how long is the warranty?")["hits"]
    assert isinstance(hits, list)
    assert hits[0]["path"] == str(docs / "pump.md")
    assert "five years" in str(rag("ask", "How long is the warranty of the pump?")["answer"])


def test_the_whole_way_tries_no_connection(tmp_path: Path) -> None:
    docs, home = write_folder(tmp_path / "docs"), tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", WHOLE_WAY, str(docs), str(tmp_path / "index")]
    # Where ONNX Runtime reports, it does so natively, where no audit hook sees it, from events that it keeps at home.
    inherited = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=inherited | {"HOME": str(home)})
    assert done.returncode == 0, done.stderr
    kept = [path for path in home.rglob("*") if path.is_file() and "rag_pipeline" not in path.parts]
    assert kept == [], "something keeps notes of what was done"
    told = json.loads(done.stdout)
    assert told["added"] == 5
    assert told["first"] == str(docs / "pump.md")
    assert "five years" in told["answer"]
    assert [one for one in told["seen"] if one not in HARMLESS] == []


def test_the_watch_sees_a_connection() -> None:
    code = WATCH + "import urllib.request\nurllib.request.urlopen(sys.argv[1]).close()\n"
    with listening() as (url, came):
        subprocess.run([sys.executable, "-c", code, url], capture_output=True, check=False)
        done = subprocess.run(
            [sys.executable, "-c", WATCH + "import socket\nsocket.getaddrinfo('localhost', 1)\nprint(seen[0][0])"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert len(came) == 1
    assert done.stdout == "socket.getaddrinfo\n"


def test_no_document_makes_its_reader_fetch_anything(tmp_path: Path) -> None:
    """Parsed without a sandbox, with a server that would answer: nobody comes, from Python or from pandoc."""
    with listening() as (url, came):
        docs = write_remote(tmp_path / "docs", url)
        done = subprocess.run(
            [sys.executable, "-c", PARSE_HERE, str(docs)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert came == []
    assert [one for one in told["seen"] if one not in HARMLESS] == []
    fates = told["fates"]
    assert len(fates) == 11
    assert fates.pop("table.rst").startswith("refused: ")  # pandoc does without no table
    assert {name: text for name, text in fates.items() if "needle" not in text} == {}
