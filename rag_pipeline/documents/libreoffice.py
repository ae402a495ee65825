"""Old Office files in, new ones out, by the LibreOffice program where it is installed.

Each call has a profile folder of its own: two LibreOffices with one profile wait for each other, or give up. The
profile forbids macros, links to other places and the network. This module knows how LibreOffice is called, and nothing
of what is in a file.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rag_pipeline.errors import InputError, MissingProgramError

__all__ = ["converted"]

_TIMEOUT_S = 90
_RESTART = 81
"""The exit code with which LibreOffice asks to be started again."""
_SETTINGS = (
    ("Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Common/Security/Scripting", "DisableActiveContent", "true"),
    ("Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Common/Misc", "FirstRun", "false"),
    ("Writer/Content/Update", "Link", "0"),
)
_PROXY = (("ooInetProxyType", "1"), ("ooInetHTTPProxyName", "127.0.0.1"), ("ooInetHTTPSProxyName", "127.0.0.1"))
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema">
{items}
</oor:items>
"""


@contextlib.contextmanager
def converted(path: Path, suffix: str) -> Iterator[Path]:
    """Give the file in a newer format, ``".docx"`` or ``".pptx"``, for as long as the ``with`` block runs.

    Raises:
        MissingProgramError: LibreOffice is not installed.
        InputError: it cannot read the file, or takes longer than 90 seconds.
    """
    program = shutil.which("soffice") or shutil.which("libreoffice")
    if program is None:
        old = path.suffix.lower()
        raise MissingProgramError(
            f"{old} files are read by LibreOffice, which is not here; install it, or save as {suffix}", "soffice"
        )
    with tempfile.TemporaryDirectory(prefix="rag-office-") as name:
        folder = Path(name)
        _write_profile(folder / "profile")
        # Under a plain name: LibreOffice takes some names for options and others for addresses.
        source = folder / f"document{path.suffix.lower()}"
        shutil.copyfile(path, source)
        command = [
            str(_binary(Path(program).resolve())),
            f"-env:UserInstallation={(folder / 'profile').as_uri()}",
            *("--headless", "--norestore", "--nolockcheck", "--nodefault", "--nologo"),
            *("--convert-to", suffix.removeprefix("."), "--outdir", str(folder / "out"), str(source)),
        ]
        code = _run(command, folder)
        target = folder / "out" / f"document{suffix}"
        if not target.is_file():
            raise InputError(
                f"LibreOffice cannot read the {path.suffix.lower()} file (exit code {code}); it is damaged, or under a "
                f"password: open it and save it as {suffix}"
            )
        yield target


def _binary(program: Path) -> Path:
    """Return LibreOffice itself in place of the script that starts it: who ends the script does not end that."""
    binary = program.with_name("soffice.bin")
    return binary if binary.is_file() else program


def _run(command: list[str], folder: Path) -> int:
    """Run LibreOffice to its end, again where it asks for that to take a new profile into use."""
    code = _RESTART
    for _ in range(3):
        try:
            code = subprocess.run(  # noqa: S603 - a fixed command over a copy with a plain name
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                timeout=_TIMEOUT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as exc:
            raise InputError(f"LibreOffice took longer than {_TIMEOUT_S} s; open the file and save it anew") from exc
        if code != _RESTART:
            break
    return code


def _write_profile(folder: Path) -> None:
    settings = [(f"/org.openoffice.Office.{path}", name, value) for path, name, value in _SETTINGS]
    settings += [("/org.openoffice.Inet/Settings", name, value) for name, value in _PROXY]
    settings += [("/org.openoffice.Inet/Settings", f"ooInet{kind}ProxyPort", "9") for kind in ("HTTP", "HTTPS")]
    items = "\n".join(
        f'<item oor:path="{path}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>'
        for path, name, value in settings
    )
    (folder / "user").mkdir(parents=True)
    (folder / "user" / "registrymodifications.xcu").write_text(_PROFILE.format(items=items), encoding="utf-8")
