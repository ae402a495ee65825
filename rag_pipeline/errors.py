"""The errors a caller can meet, each of which says what to do next.

::

    RagError
    ├── ConfigError        the settings are wrong: correct them          (exit 2)
    ├── InputError         this file or text is unusable: skip it        (exit 1, or 3 in a run of many)
    │   └── MissingProgramError  ... until an outside program is there: install it
    ├── UnavailableError   something is missing or busy: fetch it, retry (exit 1)
    │   └── OutOfMemoryError     ... and it is memory: free the device, or take a smaller model
    └── MismatchError      the index was made otherwise: migrate it      (exit 1)

Every message has three parts: what is wrong, the value that was met, and the remedy. Vendor
exceptions are translated once, in the vendor's room, with ``from exc``.
"""

__all__ = [
    "ConfigError", "InputError", "MismatchError", "MissingProgramError", "OutOfMemoryError", "RagError",
    "UnavailableError",
]  # fmt: skip


class RagError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(RagError):
    """A setting, a profile or an argument is wrong; the caller corrects it."""


class InputError(RagError):
    """One file or text cannot be used; the caller skips it and goes on."""


class MissingProgramError(InputError):
    """A file is read by an outside program that is not installed; ``program`` is its command."""

    def __init__(self, message: str, program: str) -> None:
        super().__init__(message)
        self.program = program


class UnavailableError(RagError):
    """A weight, a package, a server or the index itself is missing or busy; the caller provides it and retries."""


class OutOfMemoryError(UnavailableError):
    """The device has no memory for one text alone, or for the weights; the caller takes another device or model."""


class MismatchError(RagError):
    """The index was made with other models or other chunking; the caller migrates or uses another index."""
