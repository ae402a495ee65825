"""HTML, Markdown and what pandoc turns into HTML in; elements and pictures out.

Nothing remote is fetched: a picture is read from a data URI, or from a file inside the folder that is being read.
This module knows where pictures stand in markup; it leaves everything else to Unstructured's HTML partitioner.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import urllib.parse
from dataclasses import replace
from pathlib import Path

from rag_pipeline.documents.decode import decode
from rag_pipeline.documents.facts import with_front_matter
from rag_pipeline.documents.html_visible import shallow, visible
from rag_pipeline.documents.partition import NO_DETECTION, Parts, Picture, clean, gather
from rag_pipeline.types import Element

__all__ = ["html_parts", "read_html", "read_md", "read_with_pandoc"]

# Unstructured drops pictures that stand inside a paragraph and does not say where the others stood. Each is therefore
# replaced by its number between two noncharacters, which no document may contain, and found again afterwards.
_MARK = re.compile("\ufdd0([0-9]+)\ufdd1")
# It also drops whole figures with their captions, folded answers, and forms, in which some sites put the whole page:
# they are made divisions, and captions marked paragraphs.
_CAPTION = "\ufdd2"
_DROPPED = re.compile(r"<(/?)(?:figure|details|summary|form)\b[^>]*>", re.IGNORECASE)
_FIGCAPTION = re.compile(r"<(/?)figcaption\b[^>]*>", re.IGNORECASE)
_IMG = re.compile(r"""<img\b((?:[^>"']|"[^"]*"|'[^']*')*)>""", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-zA-Z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_NEVER_SHOWN = re.compile(r"<(script|template|noscript)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_CODE_TAG = re.compile(r"<(style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_MAX_PICTURE_BYTES = 30_000_000


def read_html(path: Path, root: Path) -> Parts:
    """Read an HTML page; pictures that are files inside ``root`` come with it."""
    text = decode(path.read_bytes(), markup=True)
    return with_front_matter(text, lambda page: html_parts(page, path.parent, root))


def read_md(path: Path, root: Path) -> Parts:
    """Read a Markdown file, by the converter and the extensions that Unstructured uses for it."""
    import markdown

    def read(text: str) -> Parts:
        return html_parts(markdown.markdown(text, extensions=["tables", "fenced_code"]), path.parent, root)

    return with_front_matter(decode(path.read_bytes()), read)


def read_with_pandoc(path: Path, kind: str, root: Path) -> Parts:
    """Read EPUB, ODT, RTF, RST or Org; pandoc runs in its sandbox, where a document cannot include other files.

    Its HTML stands alone, with the title in its head and the pictures of an EPUB or ODT as data URIs.
    """
    import pypandoc

    text = pypandoc.convert_file(
        str(path), "html", format=kind, sandbox=True, extra_args=["--standalone", "--embed-resources"]
    )
    parts = html_parts(text, path.parent, root)
    if parts.title == path.stem:  # pandoc's makeshift for a document without one
        parts.title = ""
    return parts


def html_parts(text: str, folder: Path | None = None, root: Path | None = None) -> Parts:
    """Partition an HTML text. Pictures in files are read only where ``folder`` and ``root`` are given."""
    from unstructured.partition.html import partition_html

    pictures: list[Picture | str] = []

    def mark(tag: re.Match[str]) -> str:
        values = {name.lower(): html.unescape(a or b or c) for name, a, b, c in _ATTRIBUTE.findall(tag.group(1))}
        alt = clean(values.get("alt"))
        image = _load(values.get("src", ""), folder, root)
        pictures.append(alt if image is None else Picture(image, alt))
        return f"\ufdd0{len(pictures) - 1}\ufdd1"

    title = _TITLE.search(text)
    text, hidden = visible(shallow(_NEVER_SHOWN.sub(" ", text)))
    text = _DROPPED.sub(r"<\1div>", _CODE_TAG.sub(" ", text))
    text = _FIGCAPTION.sub(lambda tag: "</p>" if tag.group(1) else f"<p>{_CAPTION}", text)
    marked = _IMG.sub(mark, text)
    found = gather(partition_html(text=marked, languages=NO_DETECTION), lambda raw: raw.metadata.category_depth)
    parts = Parts(title=clean(re.sub(r"\s+", " ", html.unescape(title.group(1)))) if title else "")
    parts.hidden = hidden
    for element in found.elements:
        _place(element, pictures, parts)
    return parts


def _place(element: Element, pictures: list[Picture | str], parts: Parts) -> None:
    """Take the marks out of an element; a picture that could not be read leaves its alternative text there."""
    here = [pictures[int(number)] for number in _MARK.findall(element.text)]
    caption = _CAPTION in element.text
    text = _MARK.sub(lambda mark: _spoken(pictures[int(mark.group(1))]), element.text).replace(_CAPTION, "").strip()
    if text:
        table = _MARK.sub("", element.html) if element.html else None
        category = "FigureCaption" if caption and not table else element.category
        parts.elements.append(replace(element, text=text, category=category, html=table))
    parts.pictures.extend(replace(one, after=len(parts.elements) - 1) for one in here if isinstance(one, Picture))


def _spoken(picture: Picture | str) -> str:
    return f" {picture} " if isinstance(picture, str) else " "


def _load(source: str, folder: Path | None, root: Path | None) -> bytes | None:
    if source.startswith("data:image/"):
        try:
            return base64.b64decode(source.partition(";base64,")[2], validate=False) or None
        except binascii.Error:
            return None
    if folder is None or root is None or not source or urllib.parse.urlsplit(source).scheme:
        return None
    try:
        target = (folder / urllib.parse.unquote(urllib.parse.urlsplit(source).path)).resolve()
        inside = target.is_relative_to(root.resolve()) and target.is_file()
        return target.read_bytes() if inside and target.stat().st_size <= _MAX_PICTURE_BYTES else None
    except (OSError, ValueError):
        return None
