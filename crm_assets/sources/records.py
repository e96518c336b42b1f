"""Every row of a delimited text, and every line that is not one.

Belongs here: splitting a text into rows so that each physical line is in exactly one of them. Not here: detecting how the
text is laid out (`dialect.py`).

A text is read in blocks. One that is regular throughout is parsed by Arrow, and the rows are counted against the line
ends outside quotes. Where it is not, or where the counts differ, smaller blocks are tried, and the smallest is read
record by record, which is slower and finds what is wrong: the line becomes a row with its text and the reason.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from crm_assets.sources.dialect import Dialect
from crm_assets.sources.encodings import BROKEN

BLOCK = 4 << 20
LEAST_BLOCK = 16 << 10
MOST_BYTES_A_RECORD = 16 << 20
MOST_LINES_A_RECORD = 10_000
SHOWN_BYTES = 100_000
"""Of a malformed line, kept as its text."""

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)?")
_BLANK_LINE = re.compile(rb"\n(?=\r?\n)")


@dataclass
class Rows:
    """Some rows of a file in its order.

    Attributes:
        columns: Values by place of the column; empty text is null.
        errors: For malformed rows, by place in these rows, the reason; the line's text stands in `lines`.
        lines: Text of malformed rows, by place.
        count: Number of rows, malformed ones included.
    """

    columns: list[Any]
    count: int
    errors: dict[int, str] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)


def read_rows(blocks: Iterable[bytes], dialect: Dialect, block: int = BLOCK) -> Iterator[Rows]:
    """The rows of a text in its order.

    Args:
        blocks: The text as UTF-8, in pieces of any size.
        dialect: Its layout.
        block: Bytes that are parsed at once.
    """
    source = _Source(iter(blocks))
    _skip_lines(source, dialect.first_data_line - 1)
    least = min(LEAST_BLOCK, block) if len(dialect.columns) > 1 else block
    size = block
    while source.fill(size):
        window = source.data[:size]
        cut = _end_of_records(window, dialect, source.ended and len(source.data) <= size)
        rows = _parsed_fast(window[:cut], dialect) if cut else None
        if rows is None and size > least:
            # Most of the block is regular: look for the part that is not.
            size = max(size // 8, least)
            continue
        if rows is None:
            rows, cut = _parsed_carefully(source, dialect, size)
        else:
            size = min(8 * size, block)
        source.drop(cut)
        if rows.count:
            yield rows


class _Source:
    """Bytes of a text that have come and not been used."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.data = b""
        self.ended = False

    def fill(self, size: int) -> bool:
        """Have at least `size` bytes, unless the text ends before; whether there are any."""
        parts, have = [self.data], len(self.data)
        while have < size and not self.ended:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
            else:
                parts.append(block)
                have += len(block)
        self.data = b"".join(parts) if len(parts) > 1 else self.data
        return bool(self.data)

    def drop(self, size: int) -> None:
        """Forget the first `size` bytes."""
        self.data = self.data[size:]


def _skip_lines(source: _Source, count: int) -> None:
    for _ in range(count):
        size = BLOCK
        while source.fill(size):
            end = _line_end(source.data, 0)
            if end < len(source.data) or source.ended:
                source.drop(end)
                break
            size = 2 * len(source.data)


def _end_of_records(data: bytes, dialect: Dialect, ended: bool) -> int:
    """Where the last record ends that is whole, judged by the number of quotes; 0 when none is."""
    if ended:
        return len(data)
    cut = data.rfind(b"\n") + 1
    quote = dialect.quote.encode()
    if not cut or not quote or data.count(quote, 0, cut) % 2 == 0:
        return cut
    # An odd number of quotes: the last line end lies within a value, so go back to before the value.
    opening = data.rfind(quote, 0, cut)
    cut = data.rfind(b"\n", 0, opening) + 1
    return cut if data.count(quote, 0, cut) % 2 == 0 else 0


def _parsed_fast(data: bytes, dialect: Dialect) -> Rows | None:
    """The rows of whole records that are regular throughout, or None."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    expected = _expected_rows(data, dialect)
    if expected is None:
        return None
    if expected == 0:
        return Rows([], 0)
    names = [str(place) for place in range(len(dialect.columns))]
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=len(data) + 1, use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote or False,
                newlines_in_values=bool(dialect.quote),
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
    except pa.ArrowInvalid:
        return None
    return Rows(table.columns, table.num_rows) if table.num_rows == expected else None


def _expected_rows(data: bytes, dialect: Dialect) -> int | None:
    """How many rows a regular text holds: its line ends outside quotes, but for blank lines; None if not regular."""
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    if len(dialect.columns) < 2 or len(delimiter) > 1 or len(quote) > 1 or b"\0" in data or BROKEN in data:
        return None
    outside = data
    if quote and quote in data:
        pieces = data.split(quote)
        outside = quote.join(pieces[::2])
        if len(pieces) % 2 == 0 or not _quotes_surround_values(outside, quote, delimiter):
            return None
    if b"\r" in outside and outside.count(b"\r") != outside.count(b"\r\n"):
        return None
    ends = outside.count(b"\n") + (not outside.endswith(b"\n"))
    if b"\n\n" in outside or b"\n\r\n" in outside:
        ends -= len(_BLANK_LINE.findall(outside))
    return ends - outside.startswith((b"\n", b"\r\n"))


def _quotes_surround_values(outside: bytes, quote: bytes, delimiter: bytes) -> bool:
    """Whether each quoted value, of which `outside` holds one quote, stands between delimiters or line ends."""
    while quote + quote in outside:
        outside = outside.replace(quote + quote, quote)
    count = outside.count(quote)
    before = outside.startswith(quote) + outside.count(delimiter + quote) + outside.count(b"\n" + quote)
    after = outside.endswith(quote) + sum(outside.count(quote + end) for end in (delimiter, b"\n", b"\r"))
    return before == after == count


def _parsed_carefully(source: _Source, dialect: Dialect, block: int) -> tuple[Rows, int]:
    """Rows from the beginning of what has come, record by record, and the bytes they take."""
    width, delimiter = len(dialect.columns), dialect.delimiter.encode()
    values: list[list[str | None]] = []
    errors: dict[int, str] = {}
    lines: dict[int, str] = {}
    at = 0
    while at < min(len(source.data), block):
        end = _whole_line(source, at)
        if end - at > MOST_BYTES_A_RECORD:
            errors[len(values)] = f"a line longer than {MOST_BYTES_A_RECORD >> 20} MB"
            lines[len(values)] = _shown(source.data[at:end])
            values.append([None] * width)
            at = _rest_of_line(source, end)
            break
        if delimiter not in source.data[at:end] and not source.data[at:end].strip():
            at = end
            continue
        record_end, found = _record(source, at, end, dialect)
        if isinstance(found, str):
            errors[len(values)], lines[len(values)] = found, _shown(source.data[at:record_end])
            found = [None] * width
        values.append(found)
        at = record_end
    columns = list(zip(*values, strict=True)) if values else []
    return Rows([list(column) for column in columns], len(values), errors, lines), at


def _record(source: _Source, at: int, end: int, dialect: Dialect) -> tuple[int, list[str | None] | str]:
    """The record that begins at a line: where it ends, and its values or why it has none.

    A record that goes wrong ends with its first line, so that an open quote swallows no good rows.
    """
    first_end = end
    problem = _bad_bytes(source.data[at:end])
    if problem:
        return end, problem
    quote = dialect.quote.encode()
    line = source.data[at:end]
    if quote and line.count(quote) % 2:
        closed = _closing_line(source, at, end, quote)
        if closed is None:
            return _split_or(line, first_end, dialect, "a quote is opened and never closed")
        end = closed
    found = _split(source.data[at:end], dialect)
    if end > first_end and (isinstance(found, str) or len(found) != len(dialect.columns)):
        rest = source.data[first_end:end].splitlines()
        alone = _split(line, dialect)
        if isinstance(found, str) or any(_is_row(other, dialect) for other in rest):
            end, found = first_end, alone if isinstance(alone, str) else "a quote is opened and never closed"
            return _split_or(line, end, dialect, found)
    if isinstance(found, str):
        return end, found
    if len(found) != len(dialect.columns):
        return end, f"{len(found)} values, but the file has {len(dialect.columns)} columns"
    return end, [value or None for value in found]


def _split_or(line: bytes, end: int, dialect: Dialect, reason: str) -> tuple[int, list[str | None] | str]:
    """A line with an odd number of quotes is a row all the same when they stand within unquoted values."""
    found = _split(line, dialect)
    if not isinstance(found, str) and len(found) == len(dialect.columns):
        return end, [value or None for value in found]
    return end, reason


def _is_row(line: bytes, dialect: Dialect) -> bool:
    found = _split(line, dialect)
    return not isinstance(found, str) and len(found) == len(dialect.columns)


def _split(record: bytes, dialect: Dialect) -> list[str] | str:
    """The values of one record, or what is wrong with it."""
    problem = _bad_bytes(record)
    if problem:
        return problem
    text = record.decode("utf-8").removesuffix("\n").removesuffix("\r")
    quote, delimiter = dialect.quote, dialect.delimiter
    if not quote or quote not in text:
        return text.split(delimiter)
    found: list[str] | str = ""
    for manner in _MANNERS:
        given = _split_quoted(text, delimiter, quote, manner)
        if not found or (not isinstance(given, str) and len(given) == len(dialect.columns)):
            found = given
        if not isinstance(found, str) and len(found) == len(dialect.columns):
            break
    return found


_MANNERS: tuple[dict[str, Any], ...] = ({}, {"skipinitialspace": True}, {"escapechar": "\\"})
"""Ways to write quotes, the standard one first; the others count where they give the right number of values."""


def _split_quoted(text: str, delimiter: str, quote: str, manner: dict[str, Any]) -> list[str] | str:
    if csv.field_size_limit() < 2 * MOST_BYTES_A_RECORD:
        csv.field_size_limit(2 * MOST_BYTES_A_RECORD)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote, strict=True, **manner)
        found = list(reader)
    except csv.Error as error:
        if "unexpected end" in str(error):
            return "a quote is opened and never closed"
        return "text follows a closing quote" if "expected after" in str(error) else str(error)
    return found[0] if len(found) == 1 else "a line ends within the row"


def _closing_line(source: _Source, at: int, end: int, quote: bytes) -> int | None:
    """Where the line ends that makes the quotes of the record at `at` even, if one does within reason."""
    for _ in range(MOST_LINES_A_RECORD):
        place = source.data.find(quote, end)
        while place < 0 and not source.ended and len(source.data) - at < MOST_BYTES_A_RECORD:
            source.fill(len(source.data) + BLOCK)
            place = source.data.find(quote, end)
        if place < 0 or place - at > MOST_BYTES_A_RECORD:
            return None
        start = max(source.data.rfind(b"\n", end, place), source.data.rfind(b"\r", end, place)) + 1 or end
        end = _whole_line(source, start)
        if source.data.count(quote, start, end) % 2:
            return end
    return None


def _rest_of_line(source: _Source, at: int) -> int:
    """Where a line ends that is too long to be held, forgetting what is before."""
    while (end := source.data.find(b"\n", at)) < 0:
        source.drop(len(source.data))
        at = 0
        if not source.fill(BLOCK):
            return 0
    return end + 1


def _whole_line(source: _Source, at: int) -> int:
    """Where the line that begins at `at` ends, or what has come of it if it is too long."""
    end = _line_end(source.data, at)
    while end >= len(source.data) and not source.ended and end - at <= MOST_BYTES_A_RECORD:
        source.fill(len(source.data) + BLOCK)
        end = _line_end(source.data, at)
    return end


def _line_end(data: bytes, at: int) -> int:
    found = _LINE.match(data, at)
    return found.end() if found else len(data)


def _bad_bytes(data: bytes) -> str | None:
    if BROKEN in data:
        return "bytes that are not of the file's encoding"
    if b"\0" in data:
        return "zero bytes"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"bytes that are not UTF-8, at byte {error.start + 1} of the row"
    return None


def _shown(line: bytes) -> str:
    text = line[:SHOWN_BYTES].replace(BROKEN + b"\\x", b"\\x").decode("utf-8", "backslashreplace").rstrip("\r\n")
    return f"{text} ... ({len(line)} bytes)" if len(line) > SHOWN_BYTES else text
