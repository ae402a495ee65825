"""The text of `manuals/otter-2-user-manual.pdf`: five pages, the last on the warranty."""

from library_source import pictures
from library_source.blocks import Block, Bullets, Heading, PageBreak, Picture, Table, Text

__all__ = ["MANUAL", "MANUAL_TITLE"]

MANUAL_TITLE = "Otter 2 Water Probe: User Manual"

_START: tuple[Block, ...] = (
    Heading(MANUAL_TITLE, 0),
    Text("Edition 4, March 2025, for firmware 3.4 and later. Tarnsee Instruments GmbH, Lindau."),
    Heading("1 Getting started"),
    Text(
        "The Otter 2 measures temperature, conductivity, dissolved oxygen, pH and turbidity. It can "
        "be held in the hand on its cable, fixed to a wall, or hung under a Heron buoy."
    ),
    Heading("1.1 In the box", 2),
    Bullets(
        (
            "one probe with its sensor guard and a wetting cap filled with storage solution,",
            "one cable of 10 metres with an eight-pole plug,",
            "one calibration cup, one spare wiper blade, one 2.5 mm hex key,",
            "two lithium cells of type 18650; others may leak and void the warranty.",
        )
    ),
    Heading("1.2 Switching on", 2),
    Text(
        "Unscrew the battery tube, put in both cells with the plus pole towards the plug, and close "
        "the tube until the blue ring can no longer be seen. Hold a magnet to the dot on the "
        "housing for three seconds. The lamp blinks green once for each working sensor: five "
        "blinks mean that all is well."
    ),
    Picture(
        pictures.draw_sensor_head,
        "Figure 1. The sensor head seen from below. The wiper parks over the temperature sensor, "
        "which does not mind being covered.",
        13.0,
    ),
    PageBreak(),
)

_CALIBRATION: tuple[Block, ...] = (
    Heading("2 Calibration"),
    Text(
        "Calibrate before the first use and then at the intervals in Table 1. Work indoors, and "
        "let the probe and all solutions stand in the same room for two hours beforehand."
    ),
    Table(
        "Table 1. Calibration at a glance",
        ("Sensor", "Points", "How often", "Time needed"),
        (
            ("pH", "4.01 and 7.00, then 10.01 if you expect alkaline water", "every 8 weeks", "15 min"),
            ("Dissolved oxygen", "water-saturated air", "every 6 months", "10 min"),
            ("Turbidity", "0 and 100 NTU", "once a year", "20 min"),
            ("Conductivity", "1,413 µS/cm", "once a year", "5 min"),
            ("Temperature", "none, set at the factory", "never", "-"),
        ),
        (3.8, 6.6, 3.2, 3.0),
    ),
    Heading("2.1 pH", 2),
    Text(
        "Rinse the sensor guard with deionised water and dab it dry; never rub the glass. Fill the "
        "cup to the line with buffer 7.00 and wait until the app shows a steady value. Confirm, "
        "rinse, and repeat with buffer 4.01. The app accepts a slope between 54 and 60 mV per pH "
        "unit. A lower slope means that the electrode is worn out and has to be replaced."
    ),
    Heading("2.2 Dissolved oxygen", 2),
    Text(
        "Pour a finger's breadth of water into the cup and screw it on loosely, so that air can "
        "enter. The sensor must hang above the water without a drop on its cap. Enter the air "
        "pressure of the day at your altitude, not the value reduced to sea level that the "
        "weather service publishes."
    ),
    Heading("2.3 Turbidity", 2),
    Text(
        "Use the amber bottles supplied. Turn them over ten times, do not shake: bubbles look like "
        "particles to the sensor. Keep the cup away from daylight while the reading settles."
    ),
    PageBreak(),
)

_CARE: tuple[Block, ...] = (
    Heading("3 Cleaning and storage"),
    Text(
        "Wash the housing with lukewarm water and a drop of dish soap. Remove lime by standing the "
        "sensor head in household vinegar for 20 minutes. Do not use acetone, petrol or "
        "alcohol: they make the clear window of the turbidity sensor go blind."
    ),
    Text(
        "Replace the wiper blade every six months, or when it leaves streaks. Loosen the grub "
        "screw with the hex key, pull the old blade off, push the new one on as far as the "
        "groove, and tighten the screw by hand only."
    ),
    Text(
        "For breaks of more than two weeks take the cells out and put on the wetting cap. The pH "
        "electrode must never dry out; if it did, stand it in storage solution overnight before "
        "you calibrate it. Store the probe between 2 and 30 °C. Frost cracks the electrode."
    ),
    Heading("4 Lamp signals and error codes"),
    Text("The lamp shows a colour and the app a code. Codes that are not listed are for the workshop."),
    Table(
        "Table 2. Error codes",
        ("Code", "Lamp", "Meaning", "What to do"),
        (
            ("E03", "red, twice", "Battery below 3.1 V", "Replace both cells, never one alone"),
            ("E07", "red, 3 times", "Water in the battery tube", "Switch off, dry, replace the O-ring"),
            ("E11", "yellow, twice", "Wiper cannot turn", "Remove weed or shell, then restart"),
            ("E14", "yellow, 3 times", "No gateway for 24 hours", "Check antenna; readings are kept"),
            ("E17", "yellow, 4 times", "Clock not set", "Open the app near the probe once"),
            ("E22", "red, lasting", "Sensor board does not answer", "Send the probe to us"),
        ),
        (1.6, 3.0, 5.4, 6.8),
    ),
    PageBreak(),
)

_DATA: tuple[Block, ...] = (
    Heading("5 Technical data"),
    Table(
        "Table 3. Measuring ranges",
        ("Parameter", "Range", "Accuracy", "Response (90 %)"),
        (
            ("Temperature", "-5 to 45 °C", "0.1 °C", "8 s"),
            ("Conductivity", "0 to 100 mS/cm", "1 % of reading", "2 s"),
            ("Dissolved oxygen", "0 to 25 mg/l", "0.2 mg/l", "35 s"),
            ("pH", "2 to 12", "0.1", "20 s"),
            ("Turbidity", "0 to 1,500 NTU", "5 % of reading", "4 s"),
        ),
        (4.2, 4.2, 4.0, 4.2),
    ),
    Table(
        "Table 4. Housing and supply",
        ("Property", "Value"),
        (
            ("Material", "glass-filled polyamide, guard of stainless steel 1.4404"),
            ("Length and diameter", "312 mm, 48 mm"),
            ("Weight with cells", "790 g"),
            ("Greatest depth", "40 m (IP68)"),
            ("Cells", "2 x 18650, 3.6 V, 3,500 mAh"),
            ("Memory", "60 days of readings at an interval of 10 minutes"),
            ("Outputs", "RS-485 with Modbus RTU, LoRaWAN through a Reed gateway"),
        ),
        (5.0, 11.6),
    ),
    Text(
        "The Modbus address is 17 when the probe leaves the factory; the registers start at "
        "40001 and hold 32-bit floating point numbers, high word first. The baud rate is 9,600 "
        "with even parity."
    ),
    Heading("5.1 Disposal", 2),
    Text(
        "Do not throw the probe into household waste. We take old instruments back free of charge "
        "at our address in Lindau and pass them on to a certified recycler."
    ),
    PageBreak(),
)

_WARRANTY: tuple[Block, ...] = (
    Heading("6 Warranty"),
    Heading("6.1 What is covered, and for how long", 2),
    Text(
        "We repair or replace parts that fail because of faulty material or workmanship. The time "
        "runs from the date of the invoice."
    ),
    Table(
        "Table 5. Warranty periods",
        ("Part", "Period", "If registered within 60 days"),
        (
            ("Housing and electronics", "24 months", "36 months"),
            ("Optical sensors (oxygen, turbidity)", "24 months", "36 months"),
            ("pH electrode", "12 months", "12 months"),
            ("Wiper motor", "18 months", "24 months"),
            ("Wiper blades, O-rings, cells", "wear parts, not covered", "not covered"),
        ),
        (6.4, 4.6, 5.6),
    ),
    Heading("6.2 What is not covered", 2),
    Bullets(
        (
            "damage by frost, by solvents, or by use below 40 metres,",
            "cells other than type 18650, or cells that have leaked,",
            "probes opened beyond the battery tube by anyone but an authorised workshop,",
            "loss or theft of the probe, for whatever reason.",
        )
    ),
    Heading("6.3 Making a claim", 2),
    Text(
        "Ask for a return number by mail to support or by telephone before you send anything. Write "
        "the number on the outside of the parcel. Clean and disinfect the probe; we send "
        "parcels that smell of sewage back unopened. We pay the postage within the European Union "
        "if the claim is accepted. A repair takes ten working days on average, and you get a loan "
        "probe after five."
    ),
    Heading("6.4 If the claim is refused", 2),
    Text(
        "You receive an estimate before any paid work begins. If you decline it, we return the "
        "probe as it is and charge 45 euros for the inspection."
    ),
)

MANUAL: tuple[Block, ...] = _START + _CALIBRATION + _CARE + _DATA + _WARRANTY
