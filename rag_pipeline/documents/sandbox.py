"""A command in, a process out that can do less: no network, bounded memory and files, no life after its parent.

Enters: a command, a folder of its own, a memory limit. Leaves: a running :class:`Sandbox`. The limits are laid on by a
small launcher, this very module run as a program, which then becomes the command: a user namespace may only be entered
by a process with a single thread, and numpy starts more as it is imported. This module knows nothing of documents and
imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import site
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

__all__ = ["Sandbox", "network_isolation", "refuse_network"]

_LARGEST_FILE = 2 * 2**30
"""Bytes of one file that a parser may write."""
_OPEN_FILES = 1024

_LAST_WORDS_S = 0.3

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1

_NETWORK_EVENTS = frozenset(
    f"socket.{name}"
    for name in ("bind", "connect", "getaddrinfo", "gethostbyaddr", "gethostbyname", "sendmsg", "sendto")
)

_ELSEWHERE = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")


class Sandbox:
    """One confined process, the leader of a session of its own.

    ``command`` starts with the path of a program; ``folder`` becomes its home and the place of its temporary files;
    ``memory_mb`` of address space are allowed to it, and to each program that it starts. The descriptors in
    ``pass_fds`` stay open in it.
    """

    def __init__(self, command: Sequence[str], *, folder: Path, memory_mb: int, pass_fds: Sequence[int] = ()) -> None:
        # Nothing is ever written to this pipe. Its other end closes with the parent, however that ends.
        theirs, self._lifeline = os.pipe()
        try:
            # -P: nothing in the folder where the program was started can pose as a module.
            self._process = subprocess.Popen(  # noqa: S603 - our own module, by the running interpreter
                [sys.executable, "-P", "-m", __name__, str(theirs), str(memory_mb), str(folder), *command],
                pass_fds=[theirs, *pass_fds],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the parent's to handle, and a kill takes pandoc along
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(theirs)

    @property
    def pid(self) -> int:
        """The process, and its group."""
        return self._process.pid

    def ended(self, within_s: float) -> int | None:
        """Return the exit code, the negative number of a signal if one ended it, or None if it still runs then."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End the process and what it has started: its group, and where the kernel gave it a namespace, all in that."""
        # The launcher first: it ends its child and waits for it, so that what that took is counted as ours.
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_WORDS_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def network_isolation() -> Literal["namespace", "hook"]:
    """Try out what keeps parsers off the network on this machine.

    ``"namespace"``: the kernel gives them, and the programs that they start, an empty network. ``"hook"``: it refuses
    to, and only Python's own sockets are closed to them.
    """
    if sys.platform != "linux":
        return "hook"
    code = "import os, sys; sys.exit(os.readlink('/proc/self/ns/net') == sys.argv[1])"
    try:
        ours = os.readlink("/proc/self/ns/net")
        with tempfile.TemporaryDirectory(prefix="rag-probe-") as folder:
            probe = Sandbox([sys.executable, "-c", code, ours], folder=Path(folder), memory_mb=4096)
            try:
                return "namespace" if probe.ended(30) == 0 else "hook"
            finally:
                probe.kill()
    except OSError:
        return "hook"


def refuse_network() -> None:
    """Close the network to all Python code of this process, for good; an open socket pair goes on working.

    The second line: it holds on every system, but not for programs that this process starts, nor for C code.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if event in _NETWORK_EVENTS:
        raise PermissionError(f"parsers have no network: {event} is refused")


# --------------------------------------------------------------------- inside, before the command


def _confine(lifeline: int, memory_mb: int, folder: str) -> None:
    _die_with(lifeline)
    _limit(memory_mb * 2**20)
    with contextlib.suppress(OSError):  # the kernel or a container forbids it: the audit hook remains
        _leave_network()
        _become_first()
    # The program keeps its own idea of where packages are that the user has installed for himself.
    os.putenv("PYTHONUSERBASE", site.getuserbase())
    for name in ("HOME", "TMPDIR", "TMP", "TEMP"):
        os.putenv(name, folder)
    for name in _ELSEWHERE:
        os.unsetenv(name)


def _die_with(lifeline: int) -> None:
    """Have the kernel kill this process group when the other end of a pipe closes.

    Not PR_SET_PDEATHSIG, which follows the thread that started us, and no watching thread, which a parser that holds
    Python's lock would stop.
    """
    if sys.platform != "linux":
        return  # there, a worker ends when it next waits for a file
    import fcntl

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        sys.exit(1)  # it closed before we listened


def _limit(memory: int) -> None:
    import resource

    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: _LARGEST_FILE,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        _, ceiling = resource.getrlimit(kind)
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        with contextlib.suppress(ValueError, OSError):  # no such limit on this system: the clock remains
            resource.setrlimit(kind, (value, value))


def _leave_network() -> None:
    """Enter a network namespace without any device, not even a loopback that is up; children get new process ids too.

    Root needs no user namespace for it, and in one would lose its right to read other people's files. Others keep
    their user and group: only the names of other users are gone there, not the permissions.

    Raises:
        OSError: the kernel does not allow it. Nothing has changed then.
    """
    if sys.platform != "linux":
        raise OSError("only Linux has network namespaces")
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _unshare(_CLONE_NEWNET | _CLONE_NEWPID)
        return
    # A user namespace whose maps cannot be written is a trap without a way back, so a child tries it first.
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            _enter_user_namespace(user, group)
            os._exit(0)
        os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        raise OSError("user namespaces are not allowed")
    _enter_user_namespace(user, group)


def _enter_user_namespace(user: int, group: int) -> None:
    _unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWPID)
    Path("/proc/self/setgroups").write_text("deny")  # or the kernel lets nobody write the next but one
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _become_first() -> None:
    """Go on as the first process of the new namespace: when it ends, the kernel ends all others in there.

    So LibreOffice, which moves into a process group of its own, does not survive. This process waits for the end and
    meets the same one.
    """
    child = os.fork()
    if child == 0:
        # Sound here: the parent has a single thread.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        return
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        with contextlib.suppress(OSError):  # of SIGKILL nothing else can be asked
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _main(lifeline: str, memory_mb: str, folder: str, *command: str) -> None:
    _confine(int(lifeline), int(memory_mb), folder)
    os.execv(command[0], command)  # noqa: S606 - what the parent asked for


if __name__ == "__main__":
    _main(*sys.argv[1:])
