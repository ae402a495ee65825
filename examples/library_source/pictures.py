"""The drawings of the example library, as PNG or JPEG bytes.

Enters: nothing. Leaves: bytes, the same ones at every call with the same matplotlib and Pillow.
The drawings know nothing about the documents they go into.
"""

import io

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle
from PIL import Image
from PIL.PngImagePlugin import PngInfo

__all__ = [
    "describe_png",
    "draw_buoy_section",
    "draw_orders",
    "draw_oxygen_drift",
    "draw_sensor_head",
    "draw_slipway",
    "draw_wiring",
    "encode_jpeg",
]

_EXIF_DESCRIPTION = 270
_BLUE, _ORANGE, _GREEN, _GREY = "#1f5f8b", "#e08a2e", "#4f9d5d", "#8a949b"


def _encode(figure: Figure, dpi: int) -> bytes:
    """Return the figure as PNG bytes, without the software name that matplotlib would write."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, facecolor="white")
    # A palette of 64 colours keeps the whole library below a megabyte.
    picture = Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    small = io.BytesIO()
    picture.save(small, format="PNG", optimize=True)
    return small.getvalue()


def describe_png(png: bytes, description: str) -> bytes:
    """Return the same picture with a description in its metadata."""
    picture, buffer, said = Image.open(io.BytesIO(png)), io.BytesIO(), PngInfo()
    said.add_text("Description", description)
    picture.save(buffer, format="PNG", optimize=True, pnginfo=said)
    return buffer.getvalue()


def encode_jpeg(png: bytes, description: str) -> bytes:
    """Return the picture as JPEG bytes, with a description in its EXIF data."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[_EXIF_DESCRIPTION] = description
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, format="JPEG", quality=85, exif=exif)
    return buffer.getvalue()


def draw_oxygen_drift() -> bytes:
    """Draw the error of the oxygen reading by week, with the wiper on and off."""
    weeks = [1 + 2 * i for i in range(14)]
    off = [0.02, -0.04, -0.12, -0.22, -0.35, -0.41, -0.56, -0.62, -0.79, -0.83, -0.97, -1.02, -1.11, -1.18]
    on = [0.03, -0.02, 0.05, 0.01, -0.06, 0.04, -0.03, 0.07, -0.05, 0.02, -0.08, 0.03, -0.04, -0.02]
    figure = Figure(figsize=(7, 3.3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(weeks, on, marker="o", color=_BLUE, label="wiper on")
    axes.plot(weeks, off, marker="s", color=_ORANGE, label="wiper off")
    for target in (-0.2, 0.2):
        axes.axhline(target, color="black", linestyle="--", linewidth=1.2)
    axes.set_xlabel("week of the trial")
    axes.set_ylabel("error in mg/l")
    axes.set_ylim(-1.3, 0.35)
    axes.legend(loc="lower left")
    return _encode(figure, 130)


def draw_sensor_head() -> bytes:
    """Draw the five sensors and the wiper on the face of the probe."""
    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.add_patch(Circle((0, 0), 1.0, facecolor="#dfe5e8", edgecolor="black", linewidth=2))
    spots = (
        ("pH", 0.0, 0.62, "#b03a48"),
        ("oxygen", 0.6, 0.18, _BLUE),
        ("turbidity", 0.38, -0.52, "#30363a"),
        ("conductivity", -0.38, -0.52, _GREEN),
        ("temperature", -0.6, 0.18, _ORANGE),
    )
    for name, x, y, colour in spots:
        axes.add_patch(Circle((x, y), 0.2, facecolor=colour, edgecolor="black"))
        side = 1 if x >= 0 else -1
        axes.annotate(
            name,
            (x, y),
            (side * 1.25, y),
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=12,
            arrowprops={"arrowstyle": "-", "color": "black"},
        )
    arm = ((0, 0.05), (-0.78, 0.26), (-0.8, 0.12), (0, -0.05))
    axes.add_patch(Polygon(arm, facecolor="white", edgecolor="black"))
    axes.add_patch(Circle((0, 0), 0.09, facecolor="white", edgecolor="black"))
    axes.annotate(
        "wiper", (-0.35, 0.12), (-1.25, -0.12), ha="right", va="center", fontsize=12, arrowprops={"arrowstyle": "-"}
    )
    axes.set_xlim(-2.4, 2.4)
    axes.set_ylim(-1.05, 1.05)
    axes.axis("off")
    return _encode(figure, 120)


def draw_orders() -> bytes:
    """Draw the orders of 2024 by kind of customer."""
    names = ("other", "research", "fish farming", "municipal water works")
    shares = (13, 19, 27, 41)
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(names, shares, color=(_GREY, _GREEN, _ORANGE, _BLUE))
    axes.bar_label(bars, labels=[f"{share} %" for share in shares], padding=4, fontsize=14)
    axes.tick_params(axis="y", labelsize=14)
    axes.set_xlim(0, 48)
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    return _encode(figure, 120)


def draw_slipway() -> bytes:
    """Draw the plan of the slipway with the lifting zone and the assembly point."""
    figure = Figure(figsize=(7, 3.9), layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.add_patch(Rectangle((0, 0), 12, 2.2, facecolor="#bcd9ea"))
    axes.add_patch(Rectangle((0, 2.2), 12, 4.3, facecolor="#ece7da"))
    axes.add_patch(Rectangle((0.6, 4.2), 3.6, 1.9, facecolor="#b9a58c", edgecolor="black"))
    axes.add_patch(Rectangle((4.3, 4.2), 1.0, 1.9, facecolor=_GREEN, edgecolor="black"))
    axes.add_patch(Polygon(((8.8, 6.5), (11.2, 6.5), (11.2, 0.8), (8.8, 0.8)), facecolor=_GREY, alpha=0.5))
    axes.add_patch(Circle((7.2, 2.7), 1.7, facecolor=_ORANGE, alpha=0.75, edgecolor="black"))
    axes.add_patch(Circle((7.2, 2.7), 0.18, facecolor="black"))
    labels = (
        ("boathouse", 2.4, 5.15),
        ("crane", 7.2, 3.15),
        ("lifting zone", 7.2, 1.9),
        ("slipway", 10.0, 4.6),
        ("lake", 2.0, 1.0),
    )
    for text, x, y in labels:
        axes.text(x, y, text, ha="center", va="center", fontsize=13)
    axes.text(4.8, 5.15, "assembly", ha="center", va="center", fontsize=12, rotation=90, color="white")
    axes.set_xlim(0, 12)
    axes.set_ylim(0, 6.5)
    axes.axis("off")
    return _encode(figure, 110)


def draw_wiring() -> bytes:
    """Draw the eight wires of the probe's cable with their colours and signals."""
    wires = (
        ("1", "red", "#c62828", "supply +5 to 24 V"),
        ("2", "black", "#202020", "ground"),
        ("3", "green", "#2e7d32", "RS-485 A"),
        ("4", "yellow", "#f2c811", "RS-485 B"),
        ("5", "blue", "#1565c0", "wake-up"),
        ("6", "white", "#ffffff", "alarm output"),
        ("7", "brown", "#6d4c41", "not connected"),
        ("8", "braid", "#9e9e9e", "shield"),
    )
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title("Otter 2 cable: wire colours and plug pins", fontsize=16)
    axes.add_patch(FancyBboxPatch((0.2, 0.3), 1.3, 8.2, boxstyle="round,pad=0.1", facecolor="#e3e7ea"))
    for row, (pin, colour, fill, signal) in enumerate(wires):
        y = 8 - row
        axes.text(0.85, y, pin, ha="center", va="center", fontsize=15)
        axes.add_patch(Rectangle((1.7, y - 0.16), 3.6, 0.32, facecolor=fill, edgecolor="black"))
        axes.text(5.5, y, colour, va="center", fontsize=14)
        axes.text(7.1, y, signal, va="center", fontsize=14)
    axes.set_xlim(0, 11)
    axes.set_ylim(0, 9)
    axes.axis("off")
    return _encode(figure, 110)


def draw_buoy_section() -> bytes:
    """Draw the Heron buoy cut open, from the lamp down to the ballast."""
    figure = Figure(figsize=(6.5, 7), layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.add_patch(Rectangle((-4, -6), 11, 6.4, facecolor="#cfe5f1"))
    axes.add_patch(Rectangle((-0.08, 2.2), 0.16, 2.6, facecolor=_GREY, edgecolor="black"))
    axes.add_patch(Circle((0, 5.0), 0.28, facecolor="#f6c945", edgecolor="black"))
    axes.add_patch(Polygon(((-1.6, 2.3), (1.6, 2.3), (1.3, 2.7), (-1.3, 2.7)), facecolor="#26384a", edgecolor="black"))
    axes.add_patch(
        Polygon(
            ((-2.4, 0.9), (-1.6, 2.2), (1.6, 2.2), (2.4, 0.9), (1.7, -1.1), (-1.7, -1.1)),
            facecolor=_ORANGE,
            edgecolor="black",
        )
    )
    axes.add_patch(Rectangle((-2.4, 0.38), 4.8, 0.5, facecolor="white", edgecolor="black", clip_on=True))
    axes.add_patch(Rectangle((-0.9, 0.95), 1.8, 1.0, facecolor="#5b6770", edgecolor="black"))
    axes.add_patch(Rectangle((-0.75, -3.9), 1.5, 2.8, facecolor="#f1d3bd", edgecolor="#a5562a", hatch="|||"))
    axes.add_patch(Rectangle((-0.25, -3.5), 0.5, 2.4, facecolor=_BLUE, edgecolor="black"))
    axes.add_patch(Rectangle((-0.9, -4.6), 1.8, 0.6, facecolor="#3c3c3c", edgecolor="black"))
    labels = (
        ("lamp", 0.28, 5.0),
        ("solar panel", 1.4, 2.5),
        ("battery box", 0.9, 1.5),
        ("white band", 2.3, 0.63),
        ("foam float", 1.8, -0.4),
        ("copper cage", 0.75, -1.9),
        ("probe", 0.25, -3.1),
        ("ballast ring, 6 kg", 0.9, -4.3),
    )
    for text, x, y in labels:
        axes.annotate(text, (x, y), (3.2, y), va="center", fontsize=14, arrowprops={"arrowstyle": "-"})
    axes.set_xlim(-3.2, 6.6)
    axes.set_ylim(-5.2, 5.5)
    axes.axis("off")
    return _encode(figure, 100)
