"""The disk fills up in the middle of a run: a real file system, small enough to be full."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
SCRIPT = """
import shutil, subprocess, sys
from pathlib import Path
from rag_pipeline.errors import UnavailableError
from tests.indexing.library import ParagraphParser, open_bench, write
from tests.indexing.test_crash import fresh

place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(place)], check=True)
docs, ballast = place / "docs", place / "ballast"

class FillingParser(ParagraphParser):
    def _parse(self, source):
        if len(self.parsed) == 3:
            ballast.write_bytes(bytes(shutil.disk_usage(place).free - 200 * 2**20))
        return super()._parse(source)

write(docs, staying="alpha")
with open_bench(place / "index") as bench:
    bench.ingest(docs)
    write(docs, **{f"file{number}": f"beta {number}" for number in range(8)})
    bench.parser = FillingParser()
    try:
        bench.ingest(docs, batch=1)
    except UnavailableError as exc:
        print(exc)
    assert bench.texts()["staying.txt"] == ["alpha"]
ballast.unlink()
with open_bench(place / "index") as bench:
    bench.ingest(docs)
    assert bench.export() == fresh(place / "fresh", docs)
print("whole")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system in a namespace of its own")
def test_a_full_disk_is_said_and_the_next_run_finishes_the_job(tmp_path: Path) -> None:
    if subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    done = subprocess.run(
        [*IN_A_NAMESPACE, sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    assert "MiB free, 256 are needed to write safely; free space and run again" in "".join(said), done.stdout
    assert last == "whole"
