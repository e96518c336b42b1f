"""Sheets of workbooks (xlsx, xlsm, xlsb, xls, ods) as rows of text.

Belongs here: choosing a sheet and writing its cells as text. Not here: which row is the header (`dialect.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from crm_assets.sources.archives import UnreadableFileError, check_workbook
from crm_assets.sources.mapping import nearest

WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"})
_COMPOUND = bytes.fromhex("d0cf11e0a1b11ae1")
"""How old workbooks begin, and new ones that need a password."""


@dataclass(frozen=True)
class Sheet:
    """One sheet.

    Attributes:
        name: Its name.
        rows: Its rows that are not blank, as text, with the row's number in the sheet from 1.
    """

    name: str
    rows: list[tuple[int, list[str]]]


def read_sheet(path: Path, suffix: str, wanted: str | None) -> Sheet:
    """A sheet of a workbook, by default the first that holds rows.

    Args:
        path: The workbook.
        suffix: What its name ends with.
        wanted: The sheet's name, if the mapping gives one.

    Raises:
        UnreadableFileError: It is damaged, needs a password, is too large, or has no such sheet.
    """
    import python_calamine

    with path.open("rb") as file:
        begins = file.read(8)
    if begins != _COMPOUND:
        check_workbook(path)
    elif suffix != ".xls":
        raise UnreadableFileError("the workbook needs a password, or is an old one renamed; save it as xlsx without")
    try:
        with python_calamine.CalamineWorkbook.from_path(str(path)) as workbook:
            names = list(workbook.sheet_names)
            if wanted is not None and wanted not in names:
                raise UnreadableFileError(
                    f"the workbook has no sheet {wanted!r}{nearest(wanted, names)}; its sheets: {', '.join(names)}"
                )
            sheet = Sheet(wanted or "", [])
            for name in [wanted] if wanted is not None else names:
                sheet = Sheet(name, _rows(workbook, name))
                if sheet.rows:
                    break
            return sheet
    except UnreadableFileError:
        raise
    except BaseException as error:
        # A parser written in Rust tells a fault of its own in a class that is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        text = str(error) or type(error).__name__
        hint = "; save it without a password" if "password" in text.lower() else "; deliver it again"
        raise UnreadableFileError(f"the workbook cannot be read: {text}{hint}") from error


def _rows(workbook: Any, name: str) -> list[tuple[int, list[str]]]:
    found = workbook.get_sheet_by_name(name)
    begins = found.start[0] if found.start else 0
    rows = ((begins + place + 1, _as_text(row)) for place, row in enumerate(found.to_python(skip_empty_area=True)))
    left = found.start[1] if found.start else 0
    return [(number, [""] * left + row) for number, row in rows if any(row)]


def _as_text(row: Sequence[Any]) -> list[str]:
    return [cell_text(value) for value in row]


def cell_text(value: Any) -> str:
    """A cell as a csv export of the same table would write it: whole numbers without .0, dates as ISO text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e17 else repr(value)
    if isinstance(value, datetime):
        # Times are kept as fractions of a day, so that they miss the second by a little.
        value = (value + timedelta(milliseconds=500)).replace(microsecond=0)
        return value.date().isoformat() if value.time() == time.min else value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return "" if value is None else str(value)
