"""In which encoding a text file is written, and its bytes as UTF-8.

Belongs here: encodings. Not here: what the text holds (`dialect.py`, `records.py`).
"""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks at the beginning of a file."""

SAMPLE_BYTES = 1 << 20
"""Most bytes of lines beyond ASCII that the encoding is told from."""

BROKEN = b"\xff"
"""Stands before the text of bytes that are not of the encoding; UTF-8 never has it."""

_COMMON_CJK = ("\u4e00", "\u9fff")
_HANDLER = "crm_assets.broken"


def _keep_broken(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    shown = "".join(f"\\x{byte:02x}" for byte in error.object[error.start : error.end])
    return f"\udcff{shown}", error.end


codecs.register_error(_HANDLER, _keep_broken)


@dataclass
class EncodingSurvey:
    """Looks at a file's bytes, block by block, and tells the encoding at the end."""

    _begin: bytes = b""
    _tail: bytes = b""
    _beyond: bytearray = field(default_factory=bytearray)
    _is_utf8: bool = True

    def add(self, block: bytes) -> None:
        """Look at the next block."""
        if len(self._begin) < 4096:
            self._begin += block[:4096]
        if block.isascii() and self._tail.isascii():
            self._tail = b""
            return
        cut = block.rfind(b"\n") + 1
        if not cut and len(block) < SAMPLE_BYTES and len(self._tail) < SAMPLE_BYTES:
            self._tail += block
            return
        self._look(self._tail + block[:cut] if cut else self._tail + block)
        self._tail = block[cut:] if cut else b""

    def encoding(self) -> str:
        """The encoding's name, as Python knows it."""
        self._look(self._tail)
        self._tail = b""
        for mark, name in MARKS:
            if self._begin.startswith(mark):
                return name
        if wide := _without_mark(self._begin):
            return wide
        return "utf-8" if self._is_utf8 else best_encoding(bytes(self._beyond))

    def _look(self, lines: bytes) -> None:
        if lines.isascii():
            return
        try:
            lines.decode("utf-8")
        except UnicodeDecodeError:
            self._is_utf8 = False
        if len(self._beyond) < SAMPLE_BYTES:
            self._beyond += b"".join(line for line in lines.splitlines(keepends=True) if not line.isascii())[
                :SAMPLE_BYTES
            ]


def best_encoding(sample: bytes) -> str:
    """The encoding of a text that is not all UTF-8: UTF-8 with broken bytes, GB18030, or that of Western Europe."""
    readable, broken = _readable(sample, "utf-8")
    if readable > 2 * broken:
        return "utf-8"
    readable, broken = _readable(sample, "gb18030")
    text = sample.decode("gb18030", "ignore")
    chinese = sum(1 for letter in text if _is_common(letter))
    beyond = sum(1 for letter in text if not letter.isascii())
    if chinese > 2 * broken and 2 * chinese > beyond:
        return "gb18030"
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def to_utf8(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """A file's bytes as UTF-8 without byte order mark; bytes that are not of the encoding follow `BROKEN`, in hex."""
    encoding = codecs.lookup(encoding).name
    mark = {name: mark for mark, name in MARKS}.get(encoding, b"")
    begun = False
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)(_HANDLER)
    for block in blocks:
        if not begun:
            begun, block = True, block.removeprefix(mark)
        text = block if decoder is None else _encoded(decoder.decode(block))
        if text:
            yield text
    if decoder is not None and (text := _encoded(decoder.decode(b"", final=True))):
        yield text


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _without_mark(begin: bytes) -> str | None:
    """UTF-16 without its mark, told from the zero bytes of letters of ASCII."""
    pairs = len(begin) // 2
    if pairs < 8:
        return None
    even, odd = begin[: 2 * pairs : 2].count(0), begin[1 : 2 * pairs : 2].count(0)
    if odd > 0.4 * pairs and even < 0.05 * pairs:
        return "utf-16-le"
    if even > 0.4 * pairs and odd < 0.05 * pairs:
        return "utf-16-be"
    return None


def _readable(sample: bytes, encoding: str) -> tuple[int, int]:
    """Characters beyond ASCII that can be read, and broken places."""
    text = sample.decode(encoding, "replace")
    broken = text.count("\ufffd")
    return sum(1 for letter in text if not letter.isascii()) - broken, broken


def _is_common(letter: str) -> bool:
    """Whether it is a character of everyday Chinese, full-width forms and punctuation included."""
    if _COMMON_CJK[0] <= letter <= _COMMON_CJK[1]:
        # The first level of GB 2312: characters in use, which chance pairs of Latin-1 seldom hit.
        lead, trail = letter.encode("gb18030")[:2]
        return 0xB0 <= lead <= 0xD7 and trail >= 0xA1
    return "\u3000" <= letter <= "\u303f" or "\uff00" <= letter <= "\uffef"
