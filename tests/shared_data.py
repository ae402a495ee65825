"""Records of the data beside the project (``../shared/data``), read from their archives; absent data skips the test."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "data"


def read_text(archive: str, member: str) -> str:
    path = FOLDER / f"{archive}.tar.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    with tarfile.open(path) as files:
        stream = files.extractfile(f"{archive}/{member}")
        assert stream is not None
        return stream.read().decode()


def read_records(archive: str, member: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_text(archive, member).splitlines()]
