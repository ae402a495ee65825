"""The texts of the Word policy, the slides, the price list and the e-book."""

from library_source import pictures
from library_source.blocks import Block, Bullets, Heading, Picture, Slide, Table, Text

__all__ = ["HISTORY", "HISTORY_TITLE", "POLICY", "POLICY_TITLE", "PRICES", "SLIDES", "SLIDES_TITLE"]

POLICY_TITLE = "Field Work and Travel Policy"

POLICY: tuple[Block, ...] = (
    Heading(POLICY_TITLE, 0),
    Text(
        "Version 3, in force from 1 January 2025. Owner: Nadia Okafor, finance and people. It "
        "replaces version 2 of May 2022 and applies to everybody on our payroll, interns included."
    ),
    Heading("Working on and near the water"),
    Heading("Who may go out", 2),
    Text(
        "Nobody goes out alone. A crew is two people at least, and one of them holds a boat licence "
        "and a first aid certificate no older than two years. Interns may come along but do not "
        "count as crew."
    ),
    Heading("Clothing and weather", 2),
    Bullets(
        (
            "Automatic life jackets of 150 newtons are worn from the slipway on, also in summer.",
            "Below a water temperature of 12 °C a dry suit is worn as well.",
            "The boat stays ashore from wind force 4 on, and whenever the storm lights blink.",
            "Tell the workshop when you leave; if you have not called back two hours after the "
            "agreed time, the workshop calls the water police.",
        )
    ),
    Heading("Lifting buoys", 2),
    Text(
        "A buoy with its probe and mooring weighs more than it looks. It is lifted with the crane, "
        "never by hand over the side. The person at the crane gives the signals; everybody else "
        "keeps out of the marked zone."
    ),
    Picture(
        pictures.draw_slipway,
        "Figure 1. The slipway at the boathouse. Orange is the lifting zone, which is closed while a "
        "buoy hangs on the hook; the green strip beside the shed is the assembly point.",
        12.5,
    ),
    Heading("Travelling"),
    Heading("Booking", 2),
    Text(
        "Trains come first. A flight needs the agreement of your head of department and is possible "
        "only where the train takes longer than seven hours. Hotels cost up to 130 euros a night "
        "with breakfast; above that, ask before you book. For your own car we pay 38 cents a "
        "kilometre, for your own bicycle 15 cents."
    ),
    Heading("Daily allowances", 2),
    Text("Allowances are for meals and small costs; no receipts are needed for them."),
    Table(
        "Table 1. Daily allowance in euros",
        ("Country", "More than 8 hours", "Full day", "Breakfast included: minus"),
        (
            ("Germany", "14", "28", "5.60"),
            ("Austria", "20", "40", "8.00"),
            ("Switzerland", "43", "64", "12.80"),
            ("Sweden", "44", "66", "13.20"),
            ("Norway", "50", "75", "15.00"),
        ),
        (4.0, 4.0, 4.0, 4.4),
    ),
    Heading("Claiming expenses", 2),
    Text(
        "Hand in your claim within 30 days of your return. Claims that come later than 90 days are "
        "not paid. Lost receipts can be replaced by a signed note for amounts below 25 euros, "
        "three times a year at most."
    ),
    Heading("Time and rest"),
    Text(
        "Travelling time counts as working time in full if you drive, and by half if you are a "
        "passenger. After a day in the field of more than ten hours the next day begins at noon. "
        "Work on a Sunday needs the agreement of Nadia Okafor in writing and gives one and a half "
        "days off."
    ),
    Heading("Accidents"),
    Text(
        "Help first, then call 112, then the workshop. Every accident and every near miss goes into "
        "the red book in the boathouse on the same day. Hanna Wieser reads it every Monday."
    ),
)

SLIDES_TITLE = "Sales Kick-off 2025"

SLIDES: tuple[Slide, ...] = (
    Slide(
        SLIDES_TITLE,
        Bullets(("Sofia Lindqvist, head of sales", "Lindau, 14 January 2025", "Internal, do not pass on")),
        "Welcome. We have one hour, and the last twenty minutes are for your questions. Coffee is "
        "in the workshop, because the kitchen is being painted.",
    ),
    Slide(
        "2024 in four numbers",
        Bullets(
            (
                "Revenue: 4.6 million euros, up 12 percent on 2023",
                "312 Otter 2 probes and 87 Heron buoys delivered",
                "61 new customers, of whom 9 are fish farms",
                "Average time from first call to order: 74 days",
            )
        ),
        "The growth comes from buoys. Probes alone were flat. If someone asks about profit: Ilse "
        "presents the accounts in April, please do not guess.",
    ),
    Slide(
        "Where the orders come from",
        Picture(
            pictures.draw_orders,
            "Orders in 2024 by kind of customer, in percent of value",
            20.0,
        ),
        "Municipal water works are still our bread and butter. Fish farming was 15 percent in 2022 "
        "and is 27 percent now. Research grew least, as two universities postponed their projects.",
    ),
    Slide(
        "Why we lost orders",
        Table(
            "Fourteen lost orders, by the reason the customer gave",
            ("Reason", "Orders lost", "Lost to"),
            (
                ("No ammonium sensor", "6", "Aquatron"),
                ("Price of the buoy", "4", "self-built"),
                ("Delivery later than ten weeks", "3", "Aquatron, Limnotec"),
                ("No interface to their control system", "1", "Limnotec"),
            ),
            (9.0, 5.0, 8.0),
        ),
        "Do not promise an ammonium sensor to anybody before the second quarter of 2026. Marek has "
        "a prototype on the bench, but it drifts by a third within a week.",
    ),
    Slide(
        "Targets for 2025",
        Table(
            "Targets by region, in thousand euros",
            ("Region", "2024", "Target 2025", "Responsible"),
            (
                ("Germany, Austria", "2,710", "2,950", "Sofia Lindqvist"),
                ("Switzerland", "940", "1,050", "Reto Amsler"),
                ("Nordic countries", "330", "800", "Maja Holmgren"),
                ("Rest of the world", "620", "700", "Sofia Lindqvist"),
            ),
            (7.0, 4.5, 5.0, 6.5),
        ),
        "The Nordic target stands or falls with our reseller Vattenlinje in Gothenburg. Maja wants "
        "the contract signed by the end of April.",
    ),
    Slide(
        "What changes for you",
        Bullets(
            (
                "Discounts above 12 percent need a signature from Ilse Brandauer",
                "Loan instruments come back after 21 days, or are invoiced",
                "Every visit to a customer is entered in the diary within three days",
                "Fairs: Aquatech in Amsterdam in March, Wasser Berlin in May",
            )
        ),
        "The discount rule is new and will hurt for a month. We gave away 190,000 euros last year, "
        "most of it to customers who would have bought anyway.",
    ),
)

PRICES: tuple[tuple[str, tuple[tuple[str | float, ...], ...]], ...] = (
    (
        "Instruments",
        (
            ("Article", "Description", "Price EUR net", "Delivery weeks"),
            ("OT2-STD", "Otter 2 probe, five sensors, 10 m cable", 3480, 4),
            ("OT2-LNG", "Otter 2 probe, five sensors, 25 m cable", 3790, 5),
            ("OT2-LIT", "Otter 2 Lite, temperature and oxygen only", 1950, 3),
            ("HER-130", "Heron buoy 1.3 with solar panel, without probe", 5240, 7),
            ("HER-COP", "Copper cage for Heron buoy", 385, 2),
            ("REE-LTE", "Reed gateway with LTE modem", 890, 3),
            ("REE-SAT", "Reed gateway with satellite modem", 2160, 9),
            ("SRV-CAL", "Factory calibration with certificate, per probe", 240, 2),
            ("SRV-TRN", "Training day at the customer, up to six people", 1150, 6),
        ),
    ),
    (
        "Spare parts",
        (
            ("Article", "Description", "Price EUR net", "Fits", "In stock"),
            ("SP-PHE", "pH electrode with O-ring", 268, "Otter 2", 44),
            ("SP-OXC", "Oxygen sensor cap, pack of two", 119.5, "Otter 2, Lite", 120),
            ("SP-WBL", "Wiper blade, pack of five", 32, "Otter 2", 310),
            ("SP-WMO", "Wiper motor with seal", 174, "Otter 2", 18),
            ("SP-ORK", "O-ring kit with grease", 14.9, "Otter 2, Lite", 260),
            ("SP-CUP", "Calibration cup", 27, "Otter 2", 75),
            ("SP-BAT", "Battery pack, lithium iron phosphate, 26 Ah", 412, "Heron", 9),
            ("SP-LMP", "Mast lamp, yellow, flashing", 88, "Heron", 21),
            ("SP-MOR", "Mooring set: chain 6 m, welded rings, swivel", 236, "Heron", 14),
            ("SP-ANT", "Antenna 868 MHz with 5 m cable", 67, "Reed", 33),
        ),
    ),
)

HISTORY_TITLE = "Ten Years of Tarnsee Instruments"

HISTORY: tuple[Block, ...] = (
    Heading("A thermometer in a milk can"),
    Text(
        "In the dry summer of 2013 Ilse Brandauer was a doctoral student who rowed out on the lake "
        "every morning at five to lower a thermometer on a string. Marek Dvorak repaired outboard "
        "motors in the yard next to her jetty. He watched her for two weeks and then built, from an "
        "aluminium milk can and the electronics of a bicycle computer, a logger that stayed in the "
        "water by itself. It sank on the fourth night. The second one, sealed with beeswax, lasted "
        "until October."
    ),
    Text(
        "The milk can hangs in the entrance hall today. Visitors take it for a work of art, and nobody corrects them."
    ),
    Heading("The first customer"),
    Text(
        "The company was entered in the commercial register on 3 March 2014 with a capital of 25,000 "
        "euros, 10,000 of which came from Ilse's aunt Walburga. The first invoice, number 0001, went "
        "to the water works of Bregenz in September of that year: two loggers at 1,900 euros each. "
        "One of them was still measuring in 2023."
    ),
    Heading("The year without pay"),
    Text(
        "In 2017 the first Otter failed. A glue between glass and plastic let go in warm water, and "
        "of 140 probes sold 96 came back. The founders recalled the rest without being asked, paid "
        "themselves nothing for eleven months and found the answer in an aquarium shop in Dornbirn: "
        "the silicone used for the windows of large tanks. Hanna Wieser was hired in that year as the "
        "ninth employee, with the words: make sure that this never happens again."
    ),
    Heading("Out on the water"),
    Text(
        "The Heron buoy began as a joke at the Christmas party of 2019, when somebody put a probe "
        "through the middle of a life belt. Eighteen months later the first one floated in front "
        "of the boathouse. It was named by Marek's daughter Klara, then six years old, because it "
        "stood in the water all day and did nothing."
    ),
    Text(
        "In 2024 we moved from the boatyard into the old net factory on the Achweg, which has a test "
        "tank of 90 cubic metres in its cellar. We were 43 people on the day of the move, and it "
        "took a single weekend."
    ),
)
