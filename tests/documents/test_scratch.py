import subprocess
import sys
from pathlib import Path

from rag_pipeline.documents.scratch import Scratch, empty

HOLD = """
import sys, time
from pathlib import Path
from rag_pipeline.documents.scratch import Scratch
print(Scratch(Path(sys.argv[1])).folder, flush=True)
time.sleep(60)
"""


def test_folders_are_made_emptied_and_gone_in_the_end(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    one, two = scratch.make(), scratch.make()
    assert one != two
    (one / "sub").mkdir()
    (one / "sub" / "file").write_text("x")
    (one / "link").symlink_to(tmp_path)
    empty(one)
    assert list(one.iterdir()) == []
    assert tmp_path.exists()
    scratch.close()
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept_but_not_what_a_living_one_holds(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    held = Path(holder.stdout.readline().strip())
    (held / "file").write_text("x")
    Scratch(tmp_path).close()
    assert (held / "file").exists()
    holder.kill()
    holder.communicate()
    Scratch(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_follows_no_link_and_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "rag-parse-link").symlink_to(tmp_path / "mine")
    (tmp_path / "rag-parse-file").write_text("x")
    Scratch(tmp_path).close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine", "rag-parse-file", "rag-parse-link"]
