import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rag_pipeline.documents.sandbox import Sandbox, network_isolation

PYTHON = [sys.executable, "-P", "-c"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="namespaces and signals on a closed pipe are Linux's")


def exit_code(code: str, folder: Path, *arguments: str, memory_mb: int = 4096) -> int | None:
    """What Python code ends with in a sandbox."""
    sandbox = Sandbox([*PYTHON, code, *arguments], folder=folder, memory_mb=memory_mb)
    try:
        return sandbox.ended(30)
    finally:
        sandbox.kill()


def alive(group: int) -> bool:
    """Whether a process of the group still runs; one that nobody has buried does not."""
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    lines = (line.split() for line in listed.splitlines())
    return any(int(one) == group and not state.startswith("Z") for one, state in lines)


def test_the_program_runs_and_its_end_is_told(tmp_path: Path) -> None:
    assert exit_code("raise SystemExit(7)", tmp_path) == 7
    assert exit_code("import os; os.abort()", tmp_path) in (
        -signal.SIGABRT,
        -signal.SIGSEGV,  # the first process of a namespace cannot abort
    )


def test_a_sandbox_that_runs_on_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    sandbox = Sandbox(["/bin/sh", "-c", "sleep 100 & sleep 100"], folder=tmp_path, memory_mb=4096)
    assert sandbox.ended(0.2) is None
    assert alive(sandbox.pid)
    sandbox.kill()
    sandbox.kill()
    time.sleep(0.2)
    assert not alive(sandbox.pid)


@linux_only
def test_what_has_left_the_group_is_killed_too(tmp_path: Path) -> None:
    if network_isolation() != "namespace":
        pytest.skip("this kernel or container allows no namespace")
    seconds = str(10**6 + os.getpid())  # no other test sleeps as long
    sandbox = Sandbox(["/bin/sh", "-c", f"setsid sleep {seconds} & sleep 100"], folder=tmp_path, memory_mb=4096)

    def sleeps() -> bool:
        listed = subprocess.run(["ps", "-e", "-o", "stat=,args="], capture_output=True, text=True, check=True).stdout
        return any(line.endswith(f"sleep {seconds}") and line[0] != "Z" for line in listed.splitlines())

    assert sandbox.ended(0.5) is None
    assert sleeps()
    sandbox.kill()
    time.sleep(0.2)
    assert not sleeps()


def test_home_and_temporary_files_are_in_its_own_folder(tmp_path: Path) -> None:
    code = (
        "import os, sys, tempfile\n"
        "assert tempfile.gettempdir() == os.path.expanduser('~') == sys.argv[1]\n"
        "assert not any(name.startswith('XDG_') and name.endswith('_HOME') for name in os.environ)\n"
    )
    assert exit_code(code, tmp_path, str(tmp_path)) == 0


def test_memory_files_and_cores_are_limited(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "gb = 2**30\n"
        "for name, value in (('AS', gb), ('FSIZE', 2 * gb), ('NOFILE', 1024), ('CORE', 0)):\n"
        "    assert resource.getrlimit(getattr(resource, 'RLIMIT_' + name)) == (value, value), name\n"
        "try:\n    bytearray(gb)\nexcept MemoryError:\n    sys.exit(5)\n"
    )
    assert exit_code(code, tmp_path, memory_mb=1024) == 5


@linux_only
def test_neither_python_nor_another_program_reaches_a_server_on_this_machine(tmp_path: Path) -> None:
    if network_isolation() != "namespace":
        pytest.skip("this kernel or container allows no network namespace")
    code = (
        "import socket, subprocess, sys\n"
        "port = sys.argv[1]\n"
        "try:\n    socket.create_connection(('127.0.0.1', int(port)), 2)\nexcept OSError:\n    pass\n"
        "else:\n    sys.exit(1)\n"
        "sys.exit(subprocess.run(['/bin/bash', '-c', f'exec 3<>/dev/tcp/127.0.0.1/{port}']).returncode == 0)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert subprocess.run([*PYTHON, code, port], check=False).returncode == 1  # outside it is reached
        server.settimeout(1)
        server.accept()[0].close()
        assert exit_code(code, tmp_path, port) == 0
        with pytest.raises(TimeoutError):
            server.accept()


@linux_only
def test_the_isolation_is_told_by_trying_it() -> None:
    flags = "-n" if os.geteuid() == 0 else "-rn"
    allowed = shutil.which("unshare") and subprocess.run(["unshare", flags, "true"], check=False).returncode == 0
    assert network_isolation() == ("namespace" if allowed else "hook")


@linux_only
def test_where_the_kernel_refuses_a_namespace_the_program_still_runs(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv, can give up the right to make namespaces")
    powerless = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", *PYTHON]
    code = "from rag_pipeline.documents.sandbox import network_isolation; print(network_isolation())"
    done = subprocess.run([*powerless, code], capture_output=True, text=True, check=True)
    assert done.stdout == "hook\n"


@linux_only
def test_another_user_keeps_name_and_rights_in_a_namespace(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0:
        pytest.skip("this kernel or container allows no user namespace")
    shared, secret = tmp_path / "shared.txt", tmp_path / "secret.txt"
    shared.write_text("for all")
    secret.write_text("for root")
    shared.chmod(0o644)
    secret.chmod(0o600)
    code = (
        "import ctypes, os, socket, sys\n"
        "from rag_pipeline.documents import sandbox\n"
        "folder = os.open(sys.argv[1], os.O_PATH)\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(23456)\n"
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"  # a process that has changed its user may not read itself
        "sandbox._leave_network()\n"
        "assert (os.getuid(), os.getgid()) == (23456, 12345)\n"
        "assert os.read(os.open('shared.txt', os.O_RDONLY, dir_fd=folder), 99) == b'for all'\n"
        "try:\n    os.open('secret.txt', os.O_RDONLY, dir_fd=folder)\n"
        "except PermissionError:\n    pass\n"
        "else:\n    sys.exit('the secret was read')\n"
        "assert [name for _, name in socket.if_nameindex()] == ['lo']\n"
    )
    tmp_path.chmod(0o755)
    done = subprocess.run([*PYTHON, code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.create_connection(('example.com', 80))",
        "socket.getaddrinfo('example.com', 80)",
        "socket.gethostbyname('example.com')",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.1', 9))",
        "socket.socket().bind(('127.0.0.1', 0))",
        "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
        "urllib.request.urlopen('http://127.0.0.1:9/')",
    ],
)
def test_the_second_line_refuses_python_code_by_itself(attempt: str) -> None:
    code = (
        "import socket, urllib.request\n"
        "from rag_pipeline.documents.sandbox import refuse_network\n"
        "refuse_network()\n"
        "a, b = socket.socketpair()\n"
        "a.sendall(b'x')\n"
        "assert b.recv(1) == b'x'\n"
        f"try:\n    {attempt}\n"
        "except OSError as exc:\n    assert 'parsers have no network' in str(exc), exc\n"
        "else:\n    raise SystemExit('it went through')\n"
    )
    done = subprocess.run([*PYTHON, code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@linux_only
def test_no_sandbox_outlives_its_parent_even_where_it_holds_pythons_lock(tmp_path: Path) -> None:
    busy = "import ctypes, subprocess; subprocess.Popen(['sleep', '100']); ctypes.PyDLL(None).sleep(100)"
    code = (
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from rag_pipeline.documents.sandbox import Sandbox\n"
        "made = []\n"
        f"command = [sys.executable, '-c', {busy!r}]\n"
        f"start = lambda: made.append(Sandbox(command, folder=Path({str(tmp_path)!r}), memory_mb=4096))\n"
        "thread = threading.Thread(target=start)\n"
        "thread.start()\n"
        "thread.join()\n"
        "time.sleep(0.7)\n"  # the thread that started it is gone: that alone must not end it
        "print(made[0].pid, made[0].ended(0) is None, flush=True)\n"
        "time.sleep(100)\n"
    )
    parent = subprocess.Popen([*PYTHON, code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, running = parent.stdout.readline().split()
    try:
        assert running == "True"
        assert alive(int(pid))
        parent.kill()
        parent.communicate()
        time.sleep(0.3)
        assert not alive(int(pid))
    finally:
        parent.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)
