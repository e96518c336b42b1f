"""What a delivered file is, found out before its rows are read: its format, encoding, layout and columns.

Belongs here: telling the kind of one file, or why it cannot be read. Not here: its rows (`readers.py`).
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from crm_assets.sources.archives import ARCHIVES, UnreadableFileError, blocks_of
from crm_assets.sources.deliveries import leads_outside, sha256
from crm_assets.sources.dialect import SAMPLE_RECORDS, Dialect, column_names, detect, header_place
from crm_assets.sources.encodings import EncodingSurvey, to_utf8
from crm_assets.sources.mapping import TableMapping
from crm_assets.sources.objects import LINES, read_objects
from crm_assets.sources.workbooks import WORKBOOKS, Sheet, read_sheet

DELIMITED: dict[str, str | None] = {".csv": None, ".tsv": "\t", ".txt": None}
JSON = frozenset({".json", *LINES})
PARQUET = ".parquet"
KNOWN = "csv, tsv, txt, xlsx, json, jsonl or parquet, plain, in .gz or in .zip"

OUTSIDE = "it is a link that leads out of the delivery's folder, which is not followed; deliver the file itself"
MOST_COLUMNS = 2_000
SAMPLE = 1 << 18
"""Bytes that the layout of a text is told from."""


@dataclass(frozen=True)
class Place:
    """Where one table of a delivery stands: a file, or a member of an archive.

    Attributes:
        name: As raw rows name it, such as `orders.zip/orders_1.csv`.
        path: The delivered file.
        member: The member's name, of an archive.
        part: The mapping that reads it.
        problem: Why it cannot be read, where that is known before it is opened.
    """

    name: str
    path: Path
    member: str | None
    part: TableMapping
    problem: str | None = None

    @property
    def is_packed(self) -> bool:
        """Whether it must be unpacked to be read."""
        return self.member is not None or self.path.name.lower().endswith(".gz")

    @property
    def suffix(self) -> str:
        """The format's, without .gz."""
        name = PurePosixPath(self.name.lower())
        return (name.with_suffix("") if name.suffix == ".gz" else name).suffix


@dataclass(frozen=True)
class Survey:
    """What is known of a file before its rows are read.

    Attributes:
        place: Which file.
        sha256: Digest of the delivered file.
        state: Size and modification time as they were before.
        columns: Names of its columns; empty for parquet, which has its own types.
        encoding: Of a text.
        dialect: Of a delimited text.
        keys: Of JSON, the objects' keys, in the order of `columns`.
        sheet: Of a workbook, the sheet's name.
        header_row: Of a workbook, the row of the header, from 1; 0 when there is none.
        cells: Of a workbook, the places of the columns in a row.
        error: Why the file cannot be read.
    """

    place: Place
    sha256: str
    state: tuple[int, int]
    columns: tuple[str, ...] = ()
    encoding: str | None = None
    dialect: Dialect | None = None
    keys: tuple[str, ...] = ()
    sheet: str | None = None
    header_row: int = 0
    cells: tuple[int, ...] = ()
    error: str | None = None


def state_of(path: Path) -> tuple[int, int]:
    """What changes when a file is written."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def survey(folder: Path, place: Place, spill: Path) -> Survey:
    """Look at one file of a delivery.

    Args:
        folder: The delivery's folder.
        place: Which file.
        spill: Folder for what must be unpacked to be read.

    Returns:
        What it is. What is wrong with it stands there too, so that it stops no other file.
    """
    if leads_outside(folder, place.path):
        return Survey(place, sha256(place.path), (0, 0), error=OUTSIDE)
    try:
        state, digest = state_of(place.path), sha256(place.path)
    except OSError as error:
        return Survey(place, "", (0, 0), error=f"it cannot be opened: {error.strerror or error}")
    try:
        if place.problem:
            raise UnreadableFileError(place.problem)
        found = _look(place, digest, state, spill)
        if len(found.columns) > MOST_COLUMNS:
            raise UnreadableFileError(
                f"it has {len(found.columns)} columns; at most {MOST_COLUMNS} are read. Is its delimiter right?"
            )
    except (UnreadableFileError, OSError) as error:
        return Survey(place, digest, state, error=str(error))
    return found


def text_of(place: Place, encoding: str) -> Iterator[bytes]:
    """A text's content as UTF-8."""
    return to_utf8(blocks_of(place.path, place.member), encoding)


def _look(place: Place, digest: str, state: tuple[int, int], spill: Path) -> Survey:
    suffix = place.suffix
    if suffix in DELIMITED:
        encoding = _encoding(place)
        found = detect(_sample(place, encoding), place.part.csv, DELIMITED[suffix])
        if not found.columns:
            raise UnreadableFileError("it is empty: it has not even a header; deliver it again")
        return Survey(place, digest, state, found.columns, encoding, found)
    if suffix in JSON:
        encoding = _encoding(place)
        keys: dict[str, None] = {}
        for row in read_objects(text_of(place, encoding), suffix):
            if isinstance(row, dict):
                keys |= dict.fromkeys(row)
            if len(keys) > MOST_COLUMNS:
                raise UnreadableFileError(f"its objects have more than {MOST_COLUMNS} different keys")
        return Survey(place, digest, state, column_names(keys), encoding, keys=tuple(keys))
    if suffix in WORKBOOKS:
        with on_disk(place, spill) as path:
            return _survey_of_sheet(place, digest, state, read_sheet(path, suffix, place.part.sheet))
    if suffix == PARQUET:
        return Survey(place, digest, state)
    if suffix in ARCHIVES:
        raise UnreadableFileError(
            f"an archive of the format {suffix!r} is not opened"
            + (" within another" if place.member else f"; use {KNOWN}")
        )
    raise UnreadableFileError(f"the format {suffix!r} is not known; use {KNOWN}")


def _encoding(place: Place) -> str:
    looking = EncodingSurvey()
    for block in blocks_of(place.path, place.member):
        looking.add(block)
    given = place.part.csv.encoding
    if given is None:
        return looking.encoding()
    try:
        "".encode(given)
    except LookupError as error:
        raise UnreadableFileError(
            f"the mapping's encoding {given!r} is not known; use such as utf-8 or gb18030"
        ) from error
    return given


def _sample(place: Place, encoding: str) -> str:
    sample = b""
    for block in text_of(place, encoding):
        sample += block
        if len(sample) >= SAMPLE:
            # The last line is cut off, so that it says nothing.
            cut = max(sample.rfind(b"\n", 0, SAMPLE), sample.rfind(b"\r", 0, SAMPLE)) + 1
            sample = sample[: cut or SAMPLE]
            break
    return sample.decode("utf-8", "replace")


def _survey_of_sheet(place: Place, digest: str, state: tuple[int, int], sheet: Sheet) -> Survey:
    if not sheet.rows:
        raise UnreadableFileError("the workbook is empty: no sheet has a row")
    wanted = place.part.csv.header
    texts = [row for _, row in sheet.rows]
    if wanted is False:
        above, names = 0, [""] * len(texts[0])
    else:
        if wanted is None or wanted is True:
            at = header_place(texts[:SAMPLE_RECORDS]) or 0
        else:
            at = next((at for at, (number, _) in enumerate(sheet.rows) if number >= wanted), 0)
        above, names = sheet.rows[at]
    filled = {place for number, row in sheet.rows if number > above for place, text in enumerate(row) if text}
    cells = tuple(at for at, name in enumerate(names) if name.strip() or at in filled)
    columns = column_names(names[at] if names[at].strip() else f"column{at}" for at in cells)
    return Survey(place, digest, state, columns, sheet=sheet.name, header_row=above, cells=cells)


@contextmanager
def on_disk(place: Place, spill: Path) -> Iterator[Path]:
    """The content of a file as a file of its own: itself, or unpacked into `spill` for as long as it is used."""
    if not place.is_packed:
        yield place.path
        return
    path = unpacked(place, spill)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def unpacked(place: Place, spill: Path) -> Path:
    """The content of a packed file in a new file in `spill`, named by us and not by the archive."""
    spill.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=spill, suffix=place.suffix, delete=False) as file:
        try:
            file.writelines(blocks_of(place.path, place.member))
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)
