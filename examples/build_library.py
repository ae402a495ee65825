"""Make the binary files of the example library from the texts in `library_source`.

Enters: a folder (by default `library`, beside this script). Leaves: the PDFs, the Office files, the
e-book and the pictures in it, byte for byte the same at every run with the same packages. The
text files of the library are kept as they are and not touched.

    python examples/build_library.py [FOLDER]
"""

import sys
from pathlib import Path

from library_source import pictures
from library_source.manual import MANUAL, MANUAL_TITLE
from library_source.office import (
    HISTORY,
    HISTORY_TITLE,
    POLICY,
    POLICY_TITLE,
    PRICES,
    SLIDES,
    SLIDES_TITLE,
)
from library_source.report import REPORT, REPORT_TITLE
from library_source.writers import write_docx, write_epub, write_pdf, write_pptx, write_xlsx

__all__ = ["build_library"]


def build_library(folder: Path) -> None:
    """Write every binary file of the library under `folder`."""
    for name in ("reports", "manuals", "policies", "slides", "data", "handbook", "pictures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_pdf(folder / "reports/field-trial-2024.pdf", REPORT_TITLE, REPORT)
    write_pdf(folder / "manuals/otter-2-user-manual.pdf", MANUAL_TITLE, MANUAL)
    write_docx(folder / "policies/field-work-and-travel.docx", POLICY_TITLE, POLICY)
    write_pptx(folder / "slides/sales-kick-off-2025.pptx", SLIDES_TITLE, SLIDES)
    write_xlsx(folder / "data/price-list-2025.xlsx", PRICES)
    write_epub(folder / "handbook/ten-years-of-tarnsee.epub", HISTORY_TITLE, HISTORY)
    wiring = pictures.describe_png(
        pictures.draw_wiring(),
        "Plug and wires of the Otter 2 cable: red supply, black ground, green RS-485 A, yellow RS-485 B, blue wake-up.",
    )
    (folder / "pictures/otter-2-cable-wire-colours.png").write_bytes(wiring)
    section = pictures.encode_jpeg(
        pictures.draw_buoy_section(),
        "The Heron buoy cut open, from the lamp on its mast down to the ballast ring of 6 kg under the copper cage.",
    )
    (folder / "pictures/heron-buoy-cross-section.jpg").write_bytes(section)


if __name__ == "__main__":
    build_library(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "library")
