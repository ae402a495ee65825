"""Hits, citations, answers and traces in, HTML for a notebook out.

What documents, their names and models say is escaped, all of it, and becomes text and nothing else: no link, no script,
nothing that is fetched. A table is shown as its text, for its HTML is the document's. Colours are the notebook's own,
made fainter, so that light and dark ones show the same. This module knows nothing of how anything was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rag_pipeline.evidence import Answer, Citation, Evidence
from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.retrieval.trace_view import facts, table

__all__ = ["answer_html", "citation_html", "hit_html", "hits_html", "trace_html"]

_CARD = "border-left: 3px solid rgba(128, 128, 128, 0.5); margin: 0.6em 0; padding: 0.1em 0 0.1em 0.8em"
_FAINT = "opacity: 0.7; font-size: 90%"
_TEXT = "white-space: pre-wrap; overflow-wrap: anywhere; max-height: 20em; overflow: auto; margin: 0.3em 0"
_QUOTE = f"{_TEXT}; font-style: italic"
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def hits_html(hits: Sequence[Evidence]) -> str:
    """Return a list of hits, best first."""
    return "".join(map(hit_html, hits)) or _block("div", _FAINT, "Nothing found.")


def hit_html(hit: Evidence) -> str:
    """Return where a hit stands, its text, and why it was found."""
    legs = ", ".join(f"{leg} {place.rank}. ({place.score:.4f})" for leg, place in hit.legs.items())
    why = [f"score {hit.score:.4f}", legs, "" if hit.logit is None else f"reranker {hit.logit:.2f}"]
    if hit.merged:
        why.append(f"with {len(hit.merged)} more hit{'s' if len(hit.merged) > 1 else ''}")
    if len(hit.paths) > 1:
        why.append(f"also in {', '.join(path for path in hit.paths if path != hit.path)}")
    parts = (
        _place(f"{hit.rank}.", hit.path, hit.page, hit.heading, hit.figure),
        _block("div", _TEXT, hit.text),
        _block("div", _FAINT, "; ".join(filter(None, why))),
    )
    return f'<div style="{_CARD}">{"".join(parts)}</div>'


def citation_html(citation: Citation) -> str:
    """Return where a quote stands, and the quote."""
    place = _place(f"[{citation.n}]", citation.path, citation.page, citation.heading, citation.figure)
    return f'<div style="{_CARD}">{place}{_block("div", _QUOTE, citation.quote)}</div>'


def answer_html(answer: Answer) -> str:
    """Return an answer with its citations, or that there is none, and why."""
    parts = [_block("div", _TEXT, answer.text)]
    if answer.abstained:
        parts.append(_block("div", _FAINT, answer.reason))
    parts += map(citation_html, answer.citations)
    parts += (_block("div", _FAINT, f"left out: {why}") for why in answer.dropped)
    return f"<div>{''.join(parts)}</div>"


def trace_html(trace: Trace) -> str:
    """Return what holds for a whole query, and a row for each candidate."""
    told = [f"<div>{_block('b', '', name)} {_block('span', '', value)}</div>" for name, value in facts(trace).items()]
    rows = table(trace)
    lines = [("th", list(rows[0]))] if rows else []
    lines += [("td", list(row.values())) for row in rows]
    cells = "".join(f"<tr>{''.join(_block(tag, '', cell) for cell in line)}</tr>" for tag, line in lines)
    return f"<div>{''.join(told)}<table>{cells}</table></div>"


def _place(number: str, path: str, page: int | None, heading: Sequence[str], figure: str | None) -> str:
    where = [_block("b", "", number), _block("code", "", path)]
    if page is not None:
        where.append(_block("span", "", f"page {page}"))
    if figure is not None:
        where.append(_block("span", "", "picture"))
    if heading:
        where.append(_block("span", _FAINT, " > ".join(heading)))
    return f"<div>{' '.join(where)}</div>"


def _block(tag: str, style: str, text: str) -> str:
    """Return a text as one element; its direction is that of its own letters."""
    shown = text.translate(_CONTROLS).encode("utf-8", "replace").decode("utf-8")
    return f'<{tag} dir="auto" style="{style}">{escape(shown)}</{tag}>'
