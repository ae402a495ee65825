"""The content of a PDF page in, calls of an interpreter's operators out: a faster pdfminer.

pdfminer reads content streams character class by character class, which is two thirds of the time of a PDF. Here one
regular expression cuts a stream into the same objects. What it does not know for certain (procedures, encoded inline
pictures, brackets that do not match) is left to pdfminer's own parser. Lines and fills are not followed: only text and
the places of pictures are asked for. This module knows PDF syntax and nothing of layout.
"""

# ruff: noqa: D102, N802 - methods are named by PDF operators, and do what PDF says of them

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from pdfminer.pdfinterp import PDFPageInterpreter
from pdfminer.pdftypes import PDFStream, stream_value
from pdfminer.psparser import LIT, PSLiteral, literal_name

__all__ = ["ContentInterpreter"]

# Groups, in the order of how often they occur: number, keyword, string, array, name, hexadecimal string, dictionary.
_TOKEN = re.compile(
    rb"""[\x00\t\n\f\r ]*(?:
      ([-+]?(?:\d+\.?\d*|\.\d+)(?=[\x00\t\n\f\r ()<>\[\]{}/%]|\Z))
    | ([A-Za-z'"][A-Za-z0-9*]*(?=[\x00\t\n\f\r ()<>\[\]{}/%]|\Z))
    | \(((?:[^()\\]++|\\.|\((?:[^()\\]++|\\.)*+\))*+)\)
    | ([\[\]])
    | /([^\x00\t\n\f\r ()<>\[\]{}/%\#]*(?=[\x00\t\n\f\r ()<>\[\]{}/%]|\Z))
    | <([0-9A-Fa-f\x00\t\n\f\r ]*)>
    | (<<|>>)
    | %[^\r\n]*+
    | \Z )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|\r\n|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b"", b"\r": b"", b"\r\n": b""}
_SPACE = re.compile(rb"[\x00\t\n\f\r ]+")
_INLINE_END = re.compile(rb"[\x00\t\n\f\r ]EI(?=[\x00\t\n\f\r ]|$)")
_PAINTING = frozenset(b"S s f F f* B B* b b*".split())
_IGNORED = frozenset(
    b"m l c v y h re n W W* w J j M d ri i gs sh MP DP BMC BDC EMC BX EX G RG K CS SC SCN d0 d1".split()
)
"""Operators that move no text: paths, strokes and marks. That something was painted parts the texts of a form."""


class _UnknownSyntaxError(Exception):
    """Something that only pdfminer's own parser reads."""


class ContentInterpreter(PDFPageInterpreter):
    """pdfminer's interpreter with another tokenizer and without paths; it also tells which text is set in white.

    ``white`` holds where the fill was last set to white by a plain operator (``g``, ``rg``, ``k``): colours of named
    colour spaces are not followed.
    """

    def init_state(self, ctm: Any) -> None:
        super().init_state(ctm)
        self.white = False
        self.whites: list[bool] = []

    def execute(self, streams: Sequence[object]) -> None:
        self.stream_ids.clear()
        valid = []
        for one in streams:
            stream = stream_value(one)
            if stream.objid is not None and stream.objid not in self.parent_stream_ids:
                valid.append(stream)
                self.stream_ids.add(stream.objid)
        try:
            program = _program(b"\n".join(stream.get_data() for stream in valid))
        except _UnknownSyntaxError:
            super().execute(streams)
            return
        methods: dict[bytes, tuple[Callable[..., object], int] | None] = {}
        for operator, arguments in program:
            if operator not in methods:
                methods[operator] = self._method(operator)
            found = methods[operator]
            if found is None:
                continue
            method, count = found
            if not count:
                method()
            elif len(arguments) >= count:
                method(*arguments[-count:])
            elif operator in (b"sc", b"scn"):
                method()

    def do_paint(self) -> None:
        """Tell the device that something stands between the texts before and behind."""
        self.device.paint_path(self.graphicstate, True, True, False, ())

    def _method(self, operator: bytes) -> tuple[Callable[..., object], int] | None:
        if operator in _PAINTING:
            return self.do_paint, 0
        name = operator.decode("ascii").replace("*", "_a").replace('"', "_w").replace("'", "_q")
        method = getattr(self, f"do_{name}", None)
        return None if method is None else (method, method.__code__.co_argcount - 1)

    def do_q(self) -> None:
        super().do_q()
        self.whites.append(self.white)

    def do_Q(self) -> None:
        super().do_Q()
        if self.whites:
            self.white = self.whites.pop()

    def do_g(self, gray: Any) -> None:
        self.white = _number(gray) >= 0.97

    def do_rg(self, r: Any, g: Any, b: Any) -> None:
        self.white = min(_number(r), _number(g), _number(b)) >= 0.97

    def do_k(self, c: Any, m: Any, y: Any, k: Any) -> None:
        self.white = max(_number(c), _number(m), _number(y), _number(k)) <= 0.03

    def do_cs(self, name: Any) -> None:
        self.white = False

    def do_sc(self) -> None:
        self.white = False

    do_scn = do_sc

    def do_TJ(self, seq: Any) -> None:
        if self.textstate.font is not None:
            self.textstate.white = self.white  # type: ignore[attr-defined]
            # pdfminer copies the graphic state for every string; nothing here reads it again.
            self.device.render_string(self.textstate, seq, self.graphicstate.ncs, self.graphicstate)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.5


def _program(data: bytes) -> list[tuple[bytes, list[Any]]]:
    """Cut a content stream into operators with their arguments.

    Raises:
        _UnknownSyntaxError: something in it is not well formed, or is read by pdfminer alone.
    """
    program: list[tuple[bytes, list[Any]]] = []
    stack: list[Any] = []
    outer: list[list[Any]] = []
    at, end, match = 0, len(data), _TOKEN.match
    while at < end:
        token = match(data, at)
        if token is None or token.end() == at:
            raise _UnknownSyntaxError
        at = token.end()
        group = token.lastindex
        if group == 1:
            text = token[1]
            stack.append(float(text) if b"." in text else int(text))
        elif group == 2:
            operator = token[2]
            if operator in (b"true", b"false"):
                stack.append(operator == b"true")
                continue
            if outer:
                raise _UnknownSyntaxError
            if operator == b"BI":
                picture, at = _inline(data, at)
                program.append((b"EI", [picture]))
            elif operator not in _IGNORED:
                program.append((operator, stack))
            stack = []
        elif group == 3:
            text = token[3]
            stack.append(_ESCAPE.sub(_unescaped, text) if b"\\" in text else text)
        elif group in (4, 7):
            mark = token[group]
            if mark in (b"[", b"<<"):
                outer.append(stack)
                stack = []
                continue
            if not outer:
                raise _UnknownSyntaxError
            inner, stack = stack, outer.pop()
            stack.append(inner if mark == b"]" else _dictionary(inner))
        elif group == 5:
            stack.append(_name(token[5]))
        elif group == 6:
            digits = _SPACE.sub(b"", token[6]).decode("ascii")
            if len(digits) % 2:
                raise _UnknownSyntaxError
            stack.append(bytes.fromhex(digits))
    if outer:
        raise _UnknownSyntaxError
    return program


@functools.lru_cache(maxsize=4096)
def _name(name: bytes) -> PSLiteral:
    try:
        return LIT(name.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise _UnknownSyntaxError from exc


def _dictionary(items: list[Any]) -> dict[str, Any]:
    if len(items) % 2:
        raise _UnknownSyntaxError
    return {literal_name(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    if code[:1].isdigit() and code[0] < 0x38:
        return bytes((int(code, 8) & 255,))
    return _ESCAPED.get(code, code)


def _inline(data: bytes, at: int) -> tuple[PDFStream, int]:
    """Read an inline picture behind its ``BI``; return it and where it ends."""
    begin = data.find(b"ID", at)
    end = _INLINE_END.search(data, begin + 2) if begin >= 0 else None
    if end is None or re.search(rb"/(?:F|Filter)\b[^/]*/(?:A85|ASCII85Decode)", data[at:begin]):
        raise _UnknownSyntaxError
    items: list[Any] = []
    for operator, arguments in _program(data[at:begin] + b" ID"):
        if operator != b"ID":
            raise _UnknownSyntaxError
        items = arguments
    return PDFStream(_dictionary(items), data[begin + 3 : end.start()]), end.end()
