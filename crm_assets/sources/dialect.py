"""How a text file of rows is laid out: its delimiter, its quote and the line its header stands on.

Belongs here: what a sample of the text tells, and names of columns. Not here: encodings (`encodings.py`) or all rows of
a file (`records.py`).
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crm_assets.contracts.layers import ERROR, EXPORT_DATE, FILE, FILE_SHA256, LINE, LINE_TEXT, SOURCE
from crm_assets.sources.mapping import CsvOptions

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_RECORDS = 1000
MOST_LINES_ABOVE_HEADER = 20
MOST_LETTERS_A_NAME = 200
MOST_LINES_A_VALUE = 100
"""In the sample; an open quote that runs on for longer is taken for a fault of its line."""

RESERVED = tuple(column.name for column in (FILE, FILE_SHA256, LINE, ERROR, LINE_TEXT, SOURCE, EXPORT_DATE))
"""Names that the pipeline gives to columns of its own."""

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Dialect:
    """How a text file of rows is laid out.

    Attributes:
        delimiter: Between the values of a row.
        quote: Around values that hold delimiters or line ends; empty when nothing is quoted.
        header_line: Physical line of the header, from 1; 0 when there is none.
        first_data_line: Physical line of the first row of data, from 1.
        columns: Names of the columns, each once.
    """

    delimiter: str
    quote: str
    header_line: int
    first_data_line: int
    columns: tuple[str, ...]


def detect(sample: str, csv_options: CsvOptions, delimiter: str | None = None) -> Dialect:
    """The layout of a text, from its beginning.

    Args:
        sample: The first lines; the last may be cut off.
        csv_options: What the mapping says; only the rest is detected.
        delimiter: That of the file's format, if it has one.
    """
    quote = '"' if csv_options.quote is None else csv_options.quote
    chosen = csv_options.delimiter or delimiter
    if chosen is None:
        chosen = max(DELIMITERS, key=lambda sign: (_agreement(sample, sign, quote), -DELIMITERS.index(sign)))
    records = _records(sample, chosen, quote)
    header = csv_options.header
    if header is False:
        width = Counter(len(values) for _, _, values in records).most_common(1)
        return Dialect(chosen, quote, 0, 1, column_names([""] * (width[0][0] if width else 1)))
    if header is None or header is True:
        place = header_place([values for _, _, values in records])
    else:
        place = next((at for at, (line, _, _) in enumerate(records) if line >= header), None)
    if place is None or not records:
        return Dialect(chosen, quote, 1, 2, ())
    line, ends, names = records[place]
    return Dialect(
        chosen, quote, line, ends + 1, column_names(_widened(names, [v for _, _, v in records[place + 1 :]]))
    )


def header_place(rows: Sequence[Sequence[str]]) -> int | None:
    """Which of the first rows holds the names of the columns; titles above it have fewer values.

    Args:
        rows: The first rows of a file or sheet that are not blank.
    """
    if not rows:
        return None
    width = _usual_width(rows)
    for place, row in enumerate(rows[:MOST_LINES_ABOVE_HEADER]):
        filled = sum(1 for value in row if value.strip())
        # A header that lost a name, or has none for a delimiter that ends each row, is still one; a title is not.
        if 2 * filled > width and (
            len(row) >= width or 4 * filled >= 3 * width or (len(row) == width - 1 and not place)
        ):
            return place
    return 0


def column_names(header: Iterable[str]) -> tuple[str, ...]:
    """Names of columns as the engine can hold them: none blank, none twice, whatever their case."""
    taken = {name.casefold() for name in RESERVED}
    names = []
    for place, given in enumerate(header):
        words = given[:MOST_LETTERS_A_NAME].replace("\0", "").replace("\ufeff", "").split()
        base = " ".join(words) or f"column{place}"
        name, number = base, 0
        while name.casefold() in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return tuple(names)


def _usual_width(rows: Sequence[Sequence[str]]) -> int:
    counts = Counter(map(len, rows))
    return max(counts, key=lambda width: (counts[width], width))


def _widened(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The header with blank names for columns it does not have but every row does."""
    width = min(map(len, rows), default=len(names))
    return [*names, *[""] * (width - len(names))]


def _agreement(sample: str, delimiter: str, quote: str) -> tuple[float, int]:
    """How far the lines agree on a number of values, and the number; one value a line says nothing."""
    widths = [len(values) for _, _, values in _records(sample, delimiter, quote)]
    if not widths:
        return 0.0, 0
    counts = Counter(width for width in widths if width > 1)
    if not counts:
        return 0.0, 1
    width = max(counts, key=lambda found: (counts[found], found))
    return round(counts[width] / len(widths), 1), width


def _records(sample: str, delimiter: str, quote: str) -> list[tuple[int, int, list[str]]]:
    """First and last physical line, from 1, and values of the records at the beginning that are not blank."""
    lines = _LINE_END.split(sample)
    found: list[tuple[int, int, list[str]]] = []
    at = 0
    while at < len(lines) and len(found) < SAMPLE_RECORDS:
        end = _end_of_record(lines, at, quote)
        if delimiter in lines[at] or lines[at].strip():
            found.append((at + 1, end, _values("\n".join(lines[at:end]), delimiter, quote)))
        at = end
    return found


def _end_of_record(lines: Sequence[str], at: int, quote: str) -> int:
    """The line after the record, which goes on while a quote is open; an unclosed one ends with its line."""
    if not quote or lines[at].count(quote) % 2 == 0:
        return at + 1
    for end in range(at + 1, min(at + MOST_LINES_A_VALUE, len(lines))):
        if lines[end].count(quote) % 2:
            return end + 1
    return at + 1


def _values(record: str, delimiter: str, quote: str) -> list[str]:
    if not quote or quote not in record:
        return record.split(delimiter)
    try:
        return next(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter, quotechar=quote), [""])
    except csv.Error:
        return record.split(delimiter)
