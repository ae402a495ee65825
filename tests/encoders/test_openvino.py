"""The runner: what it returns, to whom, and what it never does. The graphs are of small models with random weights."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from rag_pipeline.encoders.agreement import built_in_sample
from rag_pipeline.encoders.bge_m3 import load_bge_m3
from rag_pipeline.encoders.checkpoint import load_tokenizer
from rag_pipeline.encoders.openvino import OpenVinoRunner
from rag_pipeline.encoders.quantize import quantize
from rag_pipeline.encoders.runner import TorchRunner
from rag_pipeline.errors import UnavailableError
from tests.test_network import HARMLESS, WATCH

OUTPUTS = ("dense", "sparse", "multi")
ROWS = [np.array([0, *(5 + (7 * place) % 90 for place in range(length)), 2]) for length in (7, 1, 40, 7, 300, 18)]


@pytest.fixture(scope="module")
def graphs(tiny_bge_m3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openvino") / "bge-m3"
    quantize(load_bge_m3(tiny_bge_m3), load_tokenizer(tiny_bge_m3), built_in_sample(), folder)
    return folder


@pytest.fixture(scope="module")
def runner(graphs: Path) -> OpenVinoRunner:
    return OpenVinoRunner(graphs, "bf16", threads=2)


def test_gives_what_torch_gives(runner: OpenVinoRunner, tiny_bge_m3: Path) -> None:
    trusted = TorchRunner(load_bge_m3(tiny_bge_m3), [torch.device("cpu")], torch.float32, 4096).run(ROWS, OUTPUTS)
    found = runner.run(ROWS, OUTPUTS)
    assert set(found) == set(OUTPUTS)
    for name in OUTPUTS:
        assert [value.shape for value in found[name]] == [value.shape for value in trusted[name]]
        assert {value.dtype for value in found[name]} == {np.dtype(np.float32)}
        for one, other in zip(found[name], trusted[name], strict=True):
            # bfloat16 has 8 bits of mantissa, and these numbers are at most 2.
            assert one == pytest.approx(other, abs=0.05)
            assert np.vdot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)) > 0.999


def test_gives_only_what_is_wanted(runner: OpenVinoRunner) -> None:
    found = runner.run(ROWS[:2], ["sparse"])
    assert {name: [value.shape for value in values] for name, values in found.items()} == {"sparse": [(9,), (3,)]}


def test_nothing_in_nothing_out(runner: OpenVinoRunner) -> None:
    assert runner.run([], ["dense"]) == {"dense": []}


def test_a_text_does_not_depend_on_its_neighbours_nor_on_other_callers(runner: OpenVinoRunner) -> None:
    alone = [runner.run([row], ["dense"])["dense"][0] for row in ROWS]
    with ThreadPoolExecutor(8) as pool:
        for together in pool.map(lambda _: runner.run(ROWS, ["dense"])["dense"], range(16)):
            assert np.array_equal(together, alone)


def test_the_longest_text_is_read(runner: OpenVinoRunner) -> None:
    found = runner.run([np.array([0, *[7] * 8190, 2])], OUTPUTS)
    assert found["multi"][0].shape == (8192, 64)
    assert np.isfinite(found["dense"][0]).all()


def test_says_what_runs(runner: OpenVinoRunner) -> None:
    assert re.fullmatch(r"openvino cpu bf16 [0-9a-f]{8}, computed in (bf16|f32)", runner.name)


def test_a_graph_that_cannot_be_loaded_says_how_to_make_it(graphs: Path, tmp_path: Path) -> None:
    (tmp_path / "int8.xml").write_text("<net")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UnavailableError, match="make it again with rag models quantize"):
            OpenVinoRunner(folder, "int8")


def test_where_openvino_is_missing_the_line_says_how_to_install_it(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["openvino"] = None
from pathlib import Path
from rag_pipeline.encoders.openvino import OpenVinoRunner
from rag_pipeline.errors import UnavailableError
try:
    OpenVinoRunner(Path(), "int8")
except UnavailableError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'rag-pipeline[openvino]'" in done.stdout


def test_the_first_two_threads_do_not_wait_for_each_other() -> None:
    """OpenVINO's own table of types, made by two threads at once, hung 32 of 40 starts of this program."""
    code = """
import sys, threading
from rag_pipeline.encoders.openvino import import_openvino
sys.setswitchinterval(1e-6)
openvino = import_openvino()
together = threading.Barrier(2)
def use():
    together.wait()
    openvino.Type.i64.to_dtype()
threads = [threading.Thread(target=use, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
print(any(thread.is_alive() for thread in threads))
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=90)
        assert done.stdout == "False\n"


def test_loading_the_module_loads_no_vendor() -> None:
    code = "import sys, rag_pipeline.encoders.openvino; print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in loaded
    assert "'openvino'" not in loaded


@pytest.mark.soak
def test_converting_and_running_reports_to_nobody(tiny_bge_m3: Path, tmp_path: Path) -> None:
    """With the telemetry package on the path, as pip installs it: neither OpenVINO nor NNCF gets to import it.

    Not under pytest, where NNCF keeps quiet by itself.
    """
    (tmp_path / "openvino_telemetry").mkdir()
    (tmp_path / "openvino_telemetry" / "__init__.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'reported')!r}).touch()\nclass Telemetry: pass\n"
    )
    code = (
        WATCH
        + """
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[3])
from rag_pipeline.encoders.agreement import built_in_sample
from rag_pipeline.encoders.bge_m3 import load_bge_m3
from rag_pipeline.encoders.checkpoint import load_tokenizer
from rag_pipeline.encoders.openvino import OpenVinoRunner
from rag_pipeline.encoders.quantize import quantize
model, out = Path(sys.argv[1]), Path(sys.argv[2])
quantize(load_bge_m3(model), load_tokenizer(model), built_in_sample(), out)
assert len(OpenVinoRunner(out, "bf16").run([np.array([0, 5, 2])], ["dense"])["dense"]) == 1
print(json.dumps(seen))
"""
    )
    command = [sys.executable, "-c", code, str(tiny_bge_m3), str(tmp_path / "graphs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [one for one in json.loads(done.stdout) if one not in HARMLESS] == []
    assert not (tmp_path / "reported").exists()
