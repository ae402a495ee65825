"""HTML in, HTML without what a browser does not show out.

A page must not speak to a reader, or to a language model, in words that nobody sees. What is looked at: the ``hidden``
attribute, inline styles, and rules of ``<style>`` for a single tag, class or id. No cascade is computed: what only a
combination of rules hides stays. ``aria-hidden`` hides from screen readers alone and stays. Tags nested too deeply for
any parser are taken away first. This module knows markup and nothing of elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["shallow", "visible"]

_DEEPEST = 120
"""Levels of tags: libxml2 stops at 256 and Python's recursion somewhat later."""
_TAG = re.compile(r"""<(/?)([a-zA-Z][a-zA-Z0-9:-]*)((?:[^>"']|"[^"]*"|'[^']*')*)>""")
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
_CLOSED_BY_THE_NEXT = frozenset(
    {"p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "colgroup", "html", "head", "body"}
)
"""Tags that nobody has to close: a thousand of them are a list, and no depth."""

_SUSPECT = re.compile(
    r"\bhidden\b|display\s*:\s*none|visibility\s*:|font-size|font\s*:\s*0|opacity|text-indent|clip|position\s*:"
    r"|color\s*:|<font|height\s*:\s*0|width\s*:\s*0",
    re.IGNORECASE,
)
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style\s*>", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_RULE = re.compile(r"([^{}@]+)\{([^{}]*)\}")
_CONDITIONAL = re.compile(r"@[^{};]*(?:;|\{(?:[^{}]*\{[^{}]*\})*[^{}]*\})")
_SIMPLE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)?([.#][A-Za-z_-][\w-]*)?")
_LENGTH = re.compile(r"([+-]?[\d.]+)\s*(px|pt|em|rem|ex|%|vw|vh|cm|mm|in)?\s*$", re.IGNORECASE)
_FAR = 500
"""Pixels beyond the edge, from which something is put out of sight and not just moved."""
_PIXELS = {"": 1.0, "px": 1.0, "pt": 1.33, "em": 16.0, "rem": 16.0, "ex": 8.0, "cm": 38.0, "mm": 3.8, "in": 96.0}
_WHITE = re.compile(r"(?:#fff|#ffffff|white|rgba?\(\s*255\s*,\s*255\s*,\s*255\b[^)]*\))$", re.IGNORECASE)
_CLEAR = re.compile(r"transparent$|rgba\([^)]*,\s*0?\.?0+\s*\)$|#[0-9a-f]{3}0$|#[0-9a-f]{6}00$", re.IGNORECASE)


def shallow(text: str) -> str:
    """Take away tags that are nested deeper than 120 levels, and keep what is in them."""
    if text.count("<") < _DEEPEST * 2:
        return text
    open_tags: list[str] = []
    pieces: list[str] = []
    at = 0
    cut = False
    for tag in _TAG.finditer(text):
        name = tag[2].lower()
        if name in _VOID or name in _CLOSED_BY_THE_NEXT or tag[3].endswith("/"):
            continue
        if not tag[1]:
            open_tags.append(name)
            deep = len(open_tags) > _DEEPEST
        else:
            # A closing tag closes its own and what was left open inside; one without a partner closes nothing.
            window = open_tags[-40:] if len(open_tags) <= _DEEPEST else open_tags[-4:]
            if name not in window:
                continue
            deep = len(open_tags) > _DEEPEST
            while open_tags.pop() != name:
                pass
        if deep:
            cut = True
            pieces.append(text[at : tag.start()])
            at = tag.end()
    return "".join([*pieces, text[at:]]) if cut else text


def visible(text: str) -> tuple[str, int]:
    """Return the page without what is not shown, and how many passages were left out.

    A page in which nothing looks like hiding comes back as it is.
    """
    if not _SUSPECT.search(text):
        return text, 0
    from lxml import etree

    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError:  # nothing in it that could be parsed
        return text, 0
    if root is None:
        return text, 0
    rules = list(_rules(text))
    hidden = [element for element in root.iter(etree.Element) if _is_hidden(element, rules)]
    left_out = 0
    gone: set[Any] = set()
    for element in hidden:
        if element.tag in ("html", "body", "head") or any(parent in gone for parent in element.iterancestors()):
            continue
        gone.add(element)
        if element.tag not in ("script", "style", "template", "input") and _says_something(element):
            left_out += 1
    if not gone:
        return text, 0
    for element in gone:
        _drop(element)
    return etree.tostring(root, encoding="unicode", method="html"), left_out


def _says_something(element: Any) -> bool:
    return any(piece.strip() for piece in element.itertext()) or element.find(".//img") is not None


def _drop(element: Any) -> None:
    """Take an element out of its tree and keep the text behind it."""
    parent, before = element.getparent(), element.getprevious()
    if element.tail:
        if before is None:
            parent.text = (parent.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
    parent.remove(element)


def _rules(text: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield tag, class or id, and declarations of simple rules; those for print or small screens are left aside."""
    for sheet in _STYLE.findall(text):
        for selectors, body in _RULE.findall(_CONDITIONAL.sub(" ", _COMMENT.sub(" ", sheet))):
            declared = _declarations(body)
            for selector in selectors.split(","):
                simple = _SIMPLE.fullmatch(selector.strip())
                if simple is not None and (simple[1] or simple[2]):
                    yield (simple[1] or "").lower(), simple[2] or "", declared


def _declarations(style: str) -> dict[str, str]:
    pairs = (pair.partition(":") for pair in style.split(";"))
    return {
        name.strip().lower(): value.replace("!important", "").strip().lower() for name, mark, value in pairs if mark
    }


def _is_hidden(element: Any, rules: Iterable[tuple[str, str, dict[str, str]]]) -> bool:
    if element.get("hidden") is not None and element.get("hidden").lower() != "until-found":
        return True
    declared: dict[str, str] = {}
    for tag, mark, values in rules:
        if tag and tag != element.tag:
            continue
        if mark.startswith(".") and mark[1:] not in (element.get("class") or "").split():
            continue
        if mark.startswith("#") and mark[1:] != element.get("id"):
            continue
        declared |= values
    style = element.get("style")
    if style:
        declared |= _declarations(style)
    if element.tag == "font" and element.get("color"):
        declared.setdefault("color", element.get("color").strip().lower())
    return bool(declared) and (_is_off(declared) or _is_pale(element, declared))


def _is_off(declared: dict[str, str]) -> bool:
    """Tell whether declarations make something vanish, shrink to nothing or stand far outside of the window."""
    if declared.get("display", "").startswith("none") or declared.get("visibility") in ("hidden", "collapse"):
        return True
    opacity = _length(declared.get("opacity", "1"))
    if opacity is not None and opacity < 0.05:
        return True
    size = _length(declared.get("font-size", declared.get("font", "").split(" ")[0] or "16px"))
    if size is not None and abs(size) <= 1:
        return True
    away = ("left", "top", "right", "bottom", "text-indent", "margin-left", "margin-top")
    moved = declared.get("position") in ("absolute", "fixed")
    for edge in away if moved else away[4:5]:
        length = _length(declared.get(edge, "0"))
        if length is not None and length <= -_FAR:
            return True
    if moved and re.match(r"(?:rect\([01]?(?:px)?[ ,]+[01]|inset\((?:50|100)%)", declared.get("clip-path", "")):
        return True
    if moved and re.match(r"rect\(\s*[01](?:px)?[ ,]+[01](?:px)?[ ,]+[01]", declared.get("clip", "")):
        return True
    if declared.get("overflow") == "hidden":
        return any(_length(declared.get(edge, "9px")) == 0 for edge in ("height", "max-height", "width", "max-width"))
    return False


def _length(value: str) -> float | None:
    found = _LENGTH.match(value.strip())
    if found is None:
        return None
    try:
        number = float(found[1])
    except ValueError:
        return None
    unit = (found[2] or "").lower()
    return number * _PIXELS[unit] if unit in _PIXELS else number * (10.0 if unit in ("vw", "vh") else 1.0)


def _is_pale(element: Any, declared: dict[str, str]) -> bool:
    """Tell white text on the white of a page: nothing around it has a background, or a rule that might give one."""
    colour = declared.get("color", "")
    if _CLEAR.match(colour):
        return "background-clip" not in declared and "-webkit-background-clip" not in declared
    if not _WHITE.match(colour) or any("shadow" in name or name.startswith("background") for name in declared):
        return False
    for around in (element, *element.iterancestors()):
        marks = around.get("bgcolor") or around.get("background") or around.get("class") or around.get("id")
        if marks or "background" in (around.get("style") or ""):
            return False
    return element.getroottree().find(".//style") is None and element.getroottree().find(".//link") is None
