"""What must become of each file of the hostile collection: the words of its manifest, as checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.parse_folder import MAX_TOKENS

Fate = Mapping[str, Any]
Check = Callable[["Case"], bool]


@dataclass(frozen=True)
class Case:
    """A row of the manifest and what became of its file; ``content`` are the file's bytes, ``truth`` its true text."""

    file: str
    expect: str
    fate: Fate
    content: bytes
    truth: str | None

    @property
    def text(self) -> str:
        return str(self.fate.get("text", ""))

    @property
    def reason(self) -> str:
        return str(self.fate.get("reason", ""))

    @property
    def indexed(self) -> bool:
        return self.fate["state"] == "indexed" and bool(self.fate["tokens"])

    @property
    def refused(self) -> bool:
        """It is refused in words that end with a remedy, and the parser neither hung nor died of it."""
        misfortunes = ("took longer", "brought its parser down", "MB of memory")
        return self.fate["state"] != "indexed" and ";" in self.reason and not any(m in self.reason for m in misfortunes)

    @property
    def either(self) -> bool:
        return self.indexed or self.refused


def encrypted(case: Case) -> bool:
    return case.refused and "encrypted" in case.reason


def extracted(case: Case) -> bool:
    return case.indexed and bool(case.text.strip() or case.fate["figures"])


def true_text(case: Case) -> bool:
    """The text is the true sentence, once or many times over."""
    return case.indexed and bool(case.truth) and not case.text.replace(str(case.truth), "").strip()


def without(*words: str) -> Check:
    return lambda case: case.either and not any(word in case.text for word in words)


def with_words(*words: str) -> Check:
    return lambda case: case.indexed and all(word in case.text for word in words)


def no_garbage(case: Case) -> bool:
    """Words that stand in a picture may be read from it; its bytes may not."""
    return case.either and all(char.isprintable() or char in "\n\t" for char in case.text) and "IHDR" not in case.text


def bounded(case: Case) -> bool:
    """Memory and time are measured over the whole run."""
    return case.either


CHECKS: dict[str, Check] = {
    'clear "password protected" error, no crash, no indexed garbage': encrypted,
    "opens with empty password but has no text: 0 chunks, no crash": lambda case: case.refused,
    "opens with empty password (or only edit-protected); text must be extracted": extracted,
    "no crash/hang/OOM; either text or a clear per-file error": lambda case: case.either,
    "XXE: must not read local files or the network": without("root:"),
    "must not contain /etc/passwd": without("root:"),
    "no network or file access": lambda case: without("root:")(case) and with_words("needle")(case),
    "bounded memory": bounded,
    "if archives are supported: bounded": bounded,
    "10 GB when fully expanded: never expand": lambda case: case.refused,
    "XML entity bomb: bounded memory/time, clear error": lambda case: case.refused,
    "bounded depth/size; no hang": bounded,
    "decoded text equals truth": true_text,
    "decoded text equals truth (encoding/truth.json)": true_text,
    "both needles searchable": with_words("needleone", "needletwo"),
    "text must be extracted": extracted,
    "0 chunks": lambda case: case.refused,
    "0 chunks, script text must not be indexed": lambda case: case.refused,
    "0 bytes: reported as empty/failed, 0 chunks, run continues": lambda case: case.refused and "empty" in case.reason,
    "detect by content or clear error": lambda case: case.either,
    "must not index binary garbage as text": no_garbage,
    "clear error": lambda case: case.refused,
    "no RecursionError": lambda case: case.either and "Recursion" not in case.reason,
    'no RecursionError; "needle" found': with_words("needle"),
    "1 MB with no spaces: chunks within limit": lambda case: case.indexed and max(case.fate["tokens"]) <= MAX_TOKENS,
    "no quadratic time": lambda case: case.indexed,
    "first frame": lambda case: case.indexed and len(case.fate["figures"]) == 1,
    "900 MP: refuse or downscale, bounded memory": lambda case: case.either,
    "EXIF orientation applied": extracted,  # by the image encoder; here it is only a picture
    "indexable or clear skip": lambda case: case.either,
    "dedup or both, stable ids": extracted,
    "script/comment text not indexed": lambda case: (
        with_words("visible needle")(case) and without("SCRIPTHIDDEN", "COMMENTHIDDEN", "TPL")(case)
    ),
    "stored verbatim": lambda case: case.text.encode() == case.content.strip(),
}

JUDGED: dict[str, tuple[str, Check]] = {
    "encrypted/full_encrypted.7z": ("archives are no documents; said so", lambda case: "archive" in case.reason),
    "encrypted/test7Z_protected_passTika.7z": (
        "archives are no documents; said so",
        lambda case: "archive" in case.reason,
    ),
    "encrypted/testRFC822_encrypted_zip": ("the mail is plain, only what is attached to it is not", extracted),
    "encoding/testZipEntryNameCharsetShiftSJIS.zip": (
        "archives are no documents; said so",
        lambda case: case.refused and "unpack it" in case.reason,
    ),
}
"""Files of which something else is asked than this program does, why, and what is asked instead."""

SLOW = frozenset({"shape/many_short_lines.txt"})
"""Files that take longer than all others together: `make soak` reads them too."""


def unexpected(cases: Iterable[Case]) -> list[str]:
    """One line for each file whose fate is not the expected one."""
    lines = []
    for case in cases:
        check = JUDGED[case.file][1] if case.file in JUDGED else CHECKS[case.expect]
        if not check(case):
            shown = case.reason or f"{len(case.text)} characters: {case.text[:60]!r}"
            lines.append(f"{case.file}: expected {case.expect!r}, {case.fate['state']}: {shown}")
    return lines


def table(cases: Iterable[Case]) -> str:
    """Categories down, fates across."""
    counts = Counter((case.file.split("/")[0], case.fate["state"]) for case in cases)
    states = ("indexed", "quarantined", "passed over")
    categories = sorted({category for category, _ in counts})
    rows = {category: [counts[category, state] for state in states] for category in categories}
    rows["all"] = [sum(numbers) for numbers in zip(*rows.values(), strict=True)]
    lines = (f"{name:<12}{''.join(f'{number:>13}' for number in numbers)}" for name, numbers in rows.items())
    return "\n".join([f"{'category':<12}{''.join(f'{state:>13}' for state in states)}", *lines])
