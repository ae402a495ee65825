import os
import socket
from pathlib import Path

import pytest

from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.errors import ConfigError, InputError


def names(root: Path, **options: object) -> list[str]:
    return [one.path.relative_to(root).as_posix() for one in discover([root], **options).files]  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    litter = (".hidden/e.txt", ".f", ".DS_Store", "._a.md", "~$b.docx", "Thumbs.db", ".~lock.b.odt#")
    for name in ("b.txt", "a.md", "sub/c.html", "sub/deep/d.pdf", *litter):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return root


def test_walks_in_one_order_and_leaves_out_hidden_files_and_litter(folder: Path) -> None:
    assert names(folder) == ["a.md", "b.txt", "sub/c.html", "sub/deep/d.pdf"]
    assert discover([folder]).refused == ()
    assert discover([folder]).complete_roots == (folder,)


def test_a_hidden_file_that_looks_like_a_document_is_one(folder: Path) -> None:
    (folder / ".notes.txt").write_text("text")
    assert names(folder) == [".notes.txt", "a.md", "b.txt", "sub/c.html", "sub/deep/d.pdf"]


def test_ragignore_has_the_rules_of_gitignore(folder: Path) -> None:
    (folder / ".ragignore").write_text("# drafts\n*.md\n/b.txt\ndeep/\n")
    assert names(folder) == ["sub/c.html"]
    (folder / "sub/b.txt").write_text("text")
    (folder / "sub/a.md").write_text("text")
    (folder / "sub/.ragignore").write_text("!a.md\n!deep/\n*.html\n")
    assert names(folder) == ["sub/a.md", "sub/b.txt", "sub/deep/d.pdf"], "the deeper file wins"
    (folder / ".ragignore").write_text("sub/\n")
    assert names(folder) == ["a.md", "b.txt"], "nothing comes back out of an ignored folder"
    assert names(folder, exclude=("*.md",)) == ["b.txt"]
    assert [one.path.name for one in discover([folder / "sub/c.html"]).files] == ["c.html"], "asked for by name"


def test_an_ignore_file_that_cannot_be_read_hides_its_folder_and_deletes_nothing(folder: Path) -> None:
    (folder / "sub/.ragignore").write_bytes(b"\xff\xfe secret \xff")
    discovery = discover([folder])
    assert [one.path.name for one in discovery.files] == ["a.md", "b.txt"]
    assert discovery.complete_roots == ()
    assert "its .ragignore cannot be read" in discovery.refused[0].reason


def test_a_pattern_that_is_none_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"ingest.exclude holds \['!'\]: Invalid git pattern"):
        discover([folder], exclude=("!",))


def test_include_and_exclude_are_gitignore_patterns(folder: Path) -> None:
    assert names(folder, include=("*.md", "sub/**")) == ["a.md", "sub/c.html", "sub/deep/d.pdf"]
    assert names(folder, exclude=("sub/",)) == ["a.md", "b.txt"]
    assert names(folder, exclude=("*", "!*.md")) == ["a.md"]


def test_a_root_may_be_a_file_and_overlapping_roots_give_each_file_once(folder: Path) -> None:
    found = discover([folder / "b.txt", folder]).files
    assert [one.path.name for one in found] == ["a.md", "b.txt", "c.html", "d.pdf"]


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file or folder .*nowhere; check the path"):
        discover([tmp_path / "nowhere"])


def test_what_is_no_document_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40))
    (tmp_path / "old.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    (tmp_path / "code.py").write_text("print('hello')")
    (tmp_path / "data.bin").write_bytes(bytes(range(256)) * 4)
    reasons = {one.path.name: one.reason for one in discover([tmp_path]).refused}
    assert reasons == {
        "song.wav": "no reader for .wav: audio is not text; transcribe it, or exclude it",
        "old.zip": "no reader for .zip: it is an archive; unpack it into the folder",
        "code.py": "no reader for .py: it holds plain text; rename it to .txt if it should be read",
        "data.bin": "no reader for .bin: it is not a document; convert it to PDF, or exclude it",
    }


def test_a_file_without_suffix_is_judged_by_content(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("Read me first.")
    (tmp_path / "report").write_bytes(b"%PDF-1.4\n")
    (tmp_path / "page.aspx").write_text("<!DOCTYPE html><html><body>Hi</body></html>")
    assert names(tmp_path) == ["README", "page.aspx", "report"]


def test_large_files_are_refused_with_the_setting_to_raise(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"x" * 2_000_001)
    (refused,) = discover([tmp_path], max_file_mb=1).refused
    assert refused.reason == "the file has 2 MB, over the limit of 1 MB; raise ingest.max_file_mb, or split it"


def test_links_are_not_followed_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(outside / "secret.txt")
    (folder / "linked").symlink_to(outside)
    (folder / "gone.txt").symlink_to(tmp_path / "gone")
    (folder / "loop").symlink_to(folder)
    (folder / "copy.txt").symlink_to(folder / "b.txt")
    discovery = discover([folder])
    assert [one.path.name for one in discovery.files] == ["a.md", "b.txt", "c.html", "d.pdf"]
    reasons = {one.path.name: one.reason for one in discovery.refused}
    leaves = "the symbolic link leaves the folder; ingest its target by its own path"
    assert reasons == {
        "link.txt": leaves,
        "linked": leaves,
        "gone.txt": "the symbolic link points to nothing; remove or repair it",
    }


def test_pipes_and_sockets_are_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.txt"))
        reasons = [one.reason for one in discover([tmp_path]).refused]
    assert reasons == ["it is a named pipe; only regular files are read", "it is a socket; only regular files are read"]


def test_names_that_are_no_utf8_are_found(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9\n.txt", "w") as file:
        file.write("text")
    (found,) = discover([tmp_path]).files
    assert os.fsencode(found.path.name) == b"caf\xe9\n.txt"
    assert read_source(found).size == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_makes_its_root_incomplete(folder: Path) -> None:
    (folder / "sub").chmod(0)
    try:
        discovery = discover([folder])
    finally:
        (folder / "sub").chmod(0o755)
    assert discovery.complete_roots == ()
    assert "cannot be listed" in discovery.refused[0].reason


def test_read_source_hashes_and_reports_a_file_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc")
    (found,) = discover([tmp_path]).files
    assert read_source(found).content_hash == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_source(found)
