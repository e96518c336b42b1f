"""Export files in the formats that CRMs give, made for tests."""

import gzip
import io
import json
import zipfile
from datetime import date, datetime
from pathlib import Path

from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.sources.mapping import TableMapping
from crm_assets.sources.readers import read_files

_PARTS = {
    "[Content_Types].xml": '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
    "_rels/.rels": '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="xl/workbook.xml"/></Relationships>',
    "xl/styles.xml": '<?xml version="1.0"?><styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    '<cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/>'
    '<xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>',
}
_EPOCH = datetime(1899, 12, 30)


def workbook(**sheets: list[list[object]]) -> bytes:
    """An xlsx of sheets by name, whose cells are texts, numbers, booleans, dates, times of a date, or None."""
    names = list(sheets)
    listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in enumerate(names, 1))
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    links = "".join(
        f'<Relationship Id="rId{n}" Type="{kind}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(names) + 1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    files = {
        **_PARTS,
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{kind}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'{links}<Relationship Id="rIdS" Type="{kind}/styles" Target="styles.xml"/></Relationships>',
        **{
            f"xl/worksheets/sheet{n}.xml": f'<worksheet xmlns="{main}"><sheetData>{_rows(rows)}</sheetData></worksheet>'
            for n, rows in enumerate(sheets.values(), 1)
        },
    }
    return zipped({name: text.encode() for name, text in files.items()})


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip archive of members by name."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def gzipped(content: bytes) -> bytes:
    """The content in gz."""
    return gzip.compress(content, mtime=0)


def delimited(rows: list[list[object]], sign: str = ",") -> str:
    """A text of rows; values that hold the sign, a quote or a line end are quoted."""

    def shown(value: object) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in (sign, '"', "\n")) else text

    return "".join(sign.join(map(shown, row)) + "\n" for row in rows)


def lines_of_json(rows: list[list[object]]) -> str:
    """An object a line, of rows whose first one names the columns."""
    header, *rest = rows
    return "".join(json.dumps(dict(zip(header, row, strict=True)), default=str) + "\n" for row in rest)


def read_delivery(
    engine: DuckDBEngine, folder: Path, files: dict[str, bytes], glob: str = "*", **part: object
) -> list[dict]:
    """Lay files down as a delivery and read them; the rows in the order of files and lines."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    mapping = TableMapping.model_validate({"files": glob, "columns": {}, **part})
    rows = read_files(engine.backend, folder, [mapping], sorted(files))
    return [] if rows is None else rows.order_by("_file", "_line").to_pyarrow().to_pylist()


def values(rows: list[dict]) -> list[dict]:
    """Rows without what says where they came from."""
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def _rows(rows: list[list[object]]) -> str:
    return "".join(
        f'<row r="{n}">{"".join(_cell(n, at, value) for at, value in enumerate(row))}</row>'
        for n, row in enumerate(rows, 1)
    )


def _cell(row: int, at: int, value: object) -> str:
    place = f"{chr(ord('A') + at)}{row}"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    if isinstance(value, datetime):
        return f'<c r="{place}" s="2"><v>{(value - _EPOCH).total_seconds() / 86_400!r}</v></c>'
    if isinstance(value, date):
        return f'<c r="{place}" s="1"><v>{(datetime(value.year, value.month, value.day) - _EPOCH).days}</v></c>'
    text = str(value).replace("&", "&amp;").replace("<", "&lt;")
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
