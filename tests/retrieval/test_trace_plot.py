from pathlib import Path

import pytest
from PIL import Image

from rag_pipeline.errors import ConfigError
from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.retrieval.trace_plot import plot_traces
from rag_pipeline.types import FusedHit, Hit, LegRank

pytest.importorskip("matplotlib", reason="plots are an extra")


def traced(query: str, formula: str | None) -> Trace:
    trace = Trace(query=query, timings_ms={"encode": 20.0, "search": 5.0, "total": 30.0})
    hit = FusedHit("a", 1, 0.5, {"dense": LegRank(1, 0.9, 0.7), "sparse": LegRank(4, 1.0, -0.2)})
    trace.record_search({"dense": [Hit("a", 1, 0.9)], "sparse": []}, [hit], depth=3, exact=True, formula=formula)
    trace.record_result(["a"], "beyond rank 1")
    return trace


@pytest.mark.parametrize("formula", ["sum of $\\frac{broken$", None])
def test_traces_become_a_picture(tmp_path: Path, formula: str | None) -> None:
    """Dollar signs and other mathematics in a question stay what they are."""
    file = tmp_path / "traces.png"
    plot_traces([traced("$\\nonsense{ 5 $", formula), traced("how long?", formula), Trace()][:2], file)
    with Image.open(file) as image:
        assert image.format == "PNG"
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(31, 119, 180), (255, 127, 14)} <= colours, "the bars of two steps, and of two legs"


def test_an_empty_trace_can_be_drawn(tmp_path: Path) -> None:
    plot_traces([Trace()], tmp_path / "traces.png")
    assert (tmp_path / "traces.png").stat().st_size > 1000


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*nowhere"):
        plot_traces([traced("x", None)], tmp_path / "nowhere" / "traces.png")
