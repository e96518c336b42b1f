"""Rows of JSON: one object a line, or an array of objects.

Belongs here: from JSON to rows of text. Not here: encodings and archives.

Values become text as they are written: 1.50 stays 1.50, true is `true`, null is null, and what is nested stays JSON.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from crm_assets.sources.archives import UnreadableFileError
from crm_assets.sources.encodings import BROKEN
from crm_assets.sources.records import SHOWN_BYTES

MOST_BYTES_A_VALUE = 64 << 20
"""Characters of one object; a document that is not an array of objects is held in memory up to this."""

LINES = frozenset({".jsonl", ".ndjson"})

_SPACE_OR_COMMA = re.compile(r"[\s,]*")

Row = dict[str, str | None] | tuple[str, str]
"""Values by name, or why a line is no row, and its text."""


def read_objects(blocks: Iterable[bytes], suffix: str) -> Iterator[Row]:
    """The objects of a JSON file in its order.

    Args:
        blocks: The text as UTF-8.
        suffix: The file's; `.jsonl` and `.ndjson` hold an object a line, so that one bad line spoils no other.

    Raises:
        UnreadableFileError: It is not JSON, nor rows.
    """
    return map(_row, _lines(blocks)) if suffix in LINES else _document(blocks)


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(rest) > MOST_BYTES_A_VALUE:
            raise UnreadableFileError(f"a line is longer than {MOST_BYTES_A_VALUE >> 20} MB")
    if rest.strip():
        yield rest


def _row(line: bytes) -> Row:
    try:
        found = _load(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"bytes that are not of the file's encoding, at byte {error.start + 1}", _shown(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}", _shown(line)
    if not isinstance(found, dict):
        return f"a JSON {type(found).__name__} where an object is expected", _shown(line)
    return _as_text(found)


def _document(blocks: Iterable[bytes]) -> Iterator[Row]:
    """Objects of an array, of a sequence, or of the one array within a single object, as programs answer."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    scan = _decoder().raw_decode
    source, text, at, ended = iter(blocks), "", 0, False
    in_array: bool | None = None
    while True:
        space = _SPACE_OR_COMMA.match(text, at)
        at = space.end() if space else at
        if in_array is None and at < len(text):
            in_array = text[at] == "["
            at += in_array
            continue
        if at < len(text) and in_array and text[at] == "]":
            _nothing_follows(text[at + 1 :], source)
            return
        if at < len(text):
            try:
                found, end = scan(text, at)
            except RecursionError as error:
                raise UnreadableFileError("it is not JSON that can be read: nested too deeply") from error
            except ValueError as error:
                if ended:
                    raise UnreadableFileError(f"it is not JSON, or was cut off: {error}") from error
            else:
                # A number may go on in the next block; what is closed by a bracket does not.
                if end < len(text) or ended or text[end - 1] in "}]":
                    at = end
                    yield from _rows_of(found, bool(in_array))
                    continue
        if ended:
            if in_array or (at < len(text)):
                raise UnreadableFileError("it is not JSON, or was cut off: its array is not closed; deliver it again")
            return
        if len(text) - at > MOST_BYTES_A_VALUE:
            raise UnreadableFileError(f"an object is longer than {MOST_BYTES_A_VALUE >> 20} MB; deliver jsonl instead")
        block = next(source, None)
        ended = block is None
        try:
            text, at = text[at:] + decoder.decode(block or b"", final=ended), 0
        except UnicodeDecodeError as error:
            raise UnreadableFileError(f"it has bytes that are not of its encoding: {error.reason}") from error


def _rows_of(found: Any, in_array: bool) -> Iterator[Row]:
    if not isinstance(found, dict):
        text = json.dumps(found, ensure_ascii=False)
        yield f"a JSON {type(found).__name__} where an object is expected", text[:SHOWN_BYTES]
        return
    tables = [value for value in found.values() if _is_table(value)]
    if in_array or len(tables) != 1:
        yield _as_text(found)
    else:
        yield from map(_as_text, tables[0])


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _nothing_follows(text: str, blocks: Iterator[bytes]) -> None:
    if text.strip() or any(block.strip() for block in blocks):
        raise UnreadableFileError("text follows the end of the JSON array")


def _as_text(found: dict[str, Any]) -> Row:
    row = {name: _text(value) for name, value in found.items()}
    if any("\ud800" <= letter <= "\udfff" for text in (*row, *row.values()) if text for letter in _beyond(text)):
        return "half of a surrogate pair, which is no character", json.dumps(row)[:SHOWN_BYTES]
    return row


def _beyond(text: str) -> str:
    return "" if text.isascii() else text


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return value.text
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


class _Number:
    """A number as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text


def _plain(number: _Number) -> int | float:
    try:
        return int(number.text)
    except ValueError:
        return float(number.text)


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def _load(text: str) -> Any:
    return _decoder().decode(text.strip("\ufeff \t\r\n"))


def _shown(line: bytes) -> str:
    text = line[:SHOWN_BYTES].replace(BROKEN, b"").decode("utf-8", "backslashreplace").rstrip("\r\n")
    return f"{text} ... ({len(line)} bytes)" if len(line) > SHOWN_BYTES else text
