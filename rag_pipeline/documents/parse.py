"""A file in, its document out: elements, figures, language and title.

Enters: a :class:`SourceFile`. Leaves: a :class:`Document`, or an InputError that says what a person can do about it.
This is the one place where what vendors raise is translated. It knows which reader takes which kind of file and nothing
of chunks or models.
"""

from __future__ import annotations

import errno
import logging
import re
import warnings
from collections.abc import Iterator, Sequence

from rag_pipeline.documents.archive import check_archive
from rag_pipeline.documents.figures import make_figures, read_image, readable_name
from rag_pipeline.documents.kinds import SUPPORTED_SUFFIXES, ZIPPED, kind_of
from rag_pipeline.documents.mail import read_eml, read_msg
from rag_pipeline.documents.markup import read_html, read_md, read_with_pandoc
from rag_pipeline.documents.office import read_doc, read_docx, read_ppt, read_pptx, read_xlsx
from rag_pipeline.documents.options import DEFAULTS, ParseOptions
from rag_pipeline.documents.partition import Parts, clean, prepare
from rag_pipeline.documents.pdf import read_pdf
from rag_pipeline.documents.plain import read_delimited, read_json, read_txt, read_xml
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.language import detect_language
from rag_pipeline.media_types import MEDIA_TYPES
from rag_pipeline.types import Document, Element, SourceFile

__all__ = ["SUPPORTED_SUFFIXES", "parse", "warm_up"]

logger = logging.getLogger(__name__)

_LANGUAGE_SAMPLE = 5000
_PROGRAM_TITLE = re.compile(
    r"microsoft (?:word|powerpoint|excel)|untitled|\(anonymous\)|\S+\.\w{2,5}$|(?:slide|folie) \d", re.I
)

# What passes by itself: a network share or a disk that does not answer now, a machine that is full. Not the errors of
# an unreachable network: parsers have none, so a document that names something on it would be tried for ever.
_TRANSIENT = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EHOSTDOWN, errno.EINTR, errno.EIO, errno.ENFILE, errno.ENOSPC,
     errno.ESTALE, errno.ETIMEDOUT}
)  # fmt: skip


def parse(source: SourceFile, options: ParseOptions = DEFAULTS) -> Document:
    """Read one file.

    Raises:
        InputError: it is of no kind that is read, is encrypted or damaged, or has neither text nor pictures.
        UnavailableError: the disk, the share or the machine fails it just now.
        MemoryError: there is not enough memory for it.
    """
    kind = ""
    try:
        with warnings.catch_warnings():
            # Vendors warn of what no reader of this program can change: fonts, deprecated calls, odd cells.
            warnings.simplefilter("ignore")
            if source.size == 0:
                raise InputError("no text: the file is empty; delete it, or write it again")
            kind = kind_of(source.location)
            if kind in ZIPPED:
                check_archive(source.location, options.max_expansion)
            prepare()
            return _document(source, kind, _read(source, kind, options))
    except (InputError, UnavailableError, MemoryError):
        raise
    except RecursionError as exc:
        raise InputError("the file is nested too deeply to be read; flatten it, or convert it to PDF") from exc
    except OSError as exc:
        if exc.errno == errno.ENOMEM:
            raise MemoryError from exc
        if exc.errno in _TRANSIENT:
            raise UnavailableError(f"the file cannot be read now: {exc.strerror}; the next run tries again") from exc
        if exc.filename is None and exc.strerror is None:
            raise InputError(_damaged(kind, exc)) from exc
        raise InputError(f"the file cannot be read: {exc.strerror}; check its permissions") from exc
    except Exception as exc:  # a score of vendors, each with errors of its own
        raise InputError(_damaged(kind, exc)) from exc


def warm_up() -> None:
    """Import and load what the first file would otherwise wait for: about three seconds."""
    import unstructured.partition.html
    import unstructured.partition.pdf  # noqa: F401
    from unstructured.nlp.tokenize import pos_tag

    prepare()
    pos_tag("warm")
    detect_language("warm")


def _read(source: SourceFile, kind: str, options: ParseOptions) -> Parts:
    path = source.location
    root = source.root if source.unpacked is None else path.parent
    match kind:
        case "pdf":
            return read_pdf(path, options)
        case "docx":
            return read_docx(path)
        case "pptx":
            return read_pptx(path, options)
        case "xlsx" | "xls":
            return read_xlsx(path, options)
        case "doc":
            return read_doc(path)
        case "ppt":
            return read_ppt(path, options)
        case "html":
            return read_html(path, root)
        case "md":
            return read_md(path, root)
        case "epub" | "odt" | "rtf" | "rst" | "org":
            return read_with_pandoc(path, kind, root)
        case "eml":
            return read_eml(path, options)
        case "msg":
            return read_msg(path, options)
        case "csv" | "tsv":
            return read_delimited(path, kind)
        case "json":
            return read_json(path)
        case "xml":
            return read_xml(path)
        case "image":
            return read_image(path, options)
    return read_txt(path)


def _document(source: SourceFile, kind: str, parts: Parts) -> Document:
    name = readable_name(source.path)
    figures = make_figures(parts.pictures, parts.elements, parts.title or name)
    if not parts.elements and not figures:
        raise InputError("no text: the file holds nothing that can be read; delete it, or write it again")
    sample = "\n".join(element.text for element in parts.elements[:200])[:_LANGUAGE_SAMPLE]
    return Document(
        source=source,
        elements=tuple(parts.elements),
        figures=figures,
        attachments=tuple(parts.attachments),
        lacking=tuple(sorted(parts.lacking)),
        named=not parts.title and any(figure.caption == name for figure in figures),
        language=detect_language(sample or "\n".join(figure.caption for figure in figures)),
        media_type=figures[0].media_type if kind == "image" else MEDIA_TYPES[kind],
        title=_title(parts.elements, parts.title),
        notes=tuple(_notes(parts)),
        facts=parts.facts,
    )


def _notes(parts: Parts) -> Iterator[str]:
    yield from parts.notes
    if parts.hidden:
        passages = "1 passage" if parts.hidden == 1 else f"{parts.hidden} passages"
        yield f"{passages} of invisible text {'was' if parts.hidden == 1 else 'were'} left out"


def _title(elements: Sequence[Element], named: str) -> str:
    """Return the title that a document names, unless a program made it up; else its only highest heading."""
    named = " ".join(named.split())
    if len(named) <= 200 and any(map(str.isalpha, named)) and not _PROGRAM_TITLE.match(named):
        return named
    highest = min((element.depth for element in elements if element.depth is not None), default=None)
    titles = [element.text for element in elements if element.depth == highest and highest is not None]
    return " ".join(titles[0].split()) if len(titles) == 1 else ""


def _damaged(kind: str, exc: BaseException) -> str:
    detail = clean(" ".join(str(exc).split()))[:120]
    said = f"{type(exc).__name__}: {detail}" if detail else type(exc).__name__
    return f"the {kind or 'file'} cannot be read ({said}); it is probably damaged: open it and save it again"
