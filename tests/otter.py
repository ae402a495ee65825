"""A few files about a boat: what tests ask of an index of them, which is made once where they only read it."""

__all__ = ["DOCUMENTS", "OFFICE", "WARRANTY"]

DOCUMENTS = {
    "warranty.md": "# Warranty\n\nThe warranty of the Otter 2 lasts thirty months.\n\nIt covers no wiper blades.\n",
    "office.md": "# Office\n\nThe office in Lindau opens at nine in the morning.\n",
    "buoy.md": "# Buoy\n\nThe yellow buoy floats on the lake, two kilometres from the harbour.\n",
}
WARRANTY = "How long does the warranty of the Otter 2 last?"
OFFICE = "When does the office in Lindau open?"
