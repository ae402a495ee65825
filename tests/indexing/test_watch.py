import threading
import time
from pathlib import Path

from rag_pipeline.indexing.watch import changes


def test_a_change_is_told_once_it_is_quiet_and_what_happens_meanwhile_is_not_missed(tmp_path: Path) -> None:
    docs, index = tmp_path / "docs", tmp_path / "docs" / "index"
    index.mkdir(parents=True)
    stop = threading.Event()
    times = changes([docs], index, stop, quiet_s=0.2)
    next(times)
    for number in range(20):
        (docs / f"{number}.txt").write_text("new")
    next(times)
    (docs / "sub").mkdir()
    (docs / "sub" / "meanwhile.txt").write_text("new")  # while the caller works
    next(times)
    (index / "points").write_text("the index itself is no document")
    threading.Timer(1.5, stop.set).start()
    started = time.monotonic()
    assert list(times) == []
    assert time.monotonic() - started > 1
