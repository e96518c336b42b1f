"""What a source mapping is: the YAML file that says how a CRM's exports become canonical tables.

Belongs here: the mapping's model and how it is read. Not here: reading data files (`readers.py`) or rows (`rows.py`).
"""

import difflib
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from crm_assets.contracts.canonical import CANONICAL

SOURCE_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")


class MappingError(ValueError):
    """A mapping cannot be used; the message names the file, the place and what to write instead."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnMapping(_Model):
    """Where a canonical column comes from: exactly one of `column`, `sql`, `row_number` or `value`."""

    column: str | None = Field(None, description="A column of the file.")
    format: str | None = Field(None, description="With `column`: the strptime format of its dates.")
    values: Mapping[str, str] | None = Field(None, description="With `column`: replacements for codes.")
    sql: str | None = Field(None, description="An expression over the file's columns, DuckDB's dialect.")
    row_number: tuple[str, ...] | None = Field(
        None, description="Number rows within these columns, canonical or of the file, in file order."
    )
    value: str | int | float | bool | None = Field(None, description="The same value for every row.")

    @model_validator(mode="after")
    def _one_origin(self) -> "ColumnMapping":
        given = [name for name in ("column", "sql", "row_number", "value") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("name exactly one of column, sql, row_number and value")
        if given != ["column"] and (self.format or self.values):
            raise ValueError("format and values go with column")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the file it names; those inside `sql` are not known."""
        return (self.column,) if self.column else self.row_number or ()


def _short_form(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class CsvOptions(_Model):
    """How the text files of a table are written, where detection would be wrong."""

    delimiter: str | None = Field(None, min_length=1, max_length=1)
    quote: str | None = Field(None, max_length=1)
    encoding: str | None = None
    header: bool | None = None


class TableMapping(_Model):
    """How one canonical table is read from the files of a delivery."""

    files: str = Field(description="Glob of file names within the delivery.")
    csv: CsvOptions = Field(default_factory=lambda: CsvOptions.model_validate({}))
    where: str | None = Field(None, description="Rows to keep, DuckDB's dialect; the others go to quarantine.")
    columns: Mapping[str, Annotated[ColumnMapping, BeforeValidator(_short_form)]]


class Source(_Model):
    """One source: its time zone, and the canonical tables its files hold."""

    source: str
    timezone: str = "UTC"
    tables: Mapping[str, TableMapping]

    @field_validator("source")
    @classmethod
    def _source_name(cls, name: str) -> str:
        if not SOURCE_NAME.fullmatch(name):
            raise ValueError("use lower-case letters, digits and single - or _ between them")
        return name

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        if name not in zoneinfo.available_timezones():
            raise ValueError(f"{name!r} is not an IANA time zone{nearest(name, zoneinfo.available_timezones())}")
        return name

    @field_validator("tables")
    @classmethod
    def _canonical_names(cls, tables: Mapping[str, TableMapping]) -> Mapping[str, TableMapping]:
        for name, table in tables.items():
            if name not in CANONICAL:
                raise ValueError(f"there is no table {name!r}{nearest(name, CANONICAL)}")
            known = CANONICAL[name].by_name
            for mapped in table.columns:
                if mapped not in known:
                    raise ValueError(f"{name} has no column {mapped!r}{nearest(mapped, known)}")
            for column in known.values():
                if column.required and column.name not in table.columns:
                    raise ValueError(f"{name} needs a mapping for {column.name!r}: {column.description}")
        return tables


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was meant, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def read_source(path: Path) -> Source:
    """Read one mapping.

    Raises:
        MappingError: It is not YAML, or not a mapping of this form.
    """
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
        source = Source.model_validate(document)
    except UnicodeDecodeError as error:
        raise MappingError(f"{path.name} is not UTF-8: {error}; save it in that encoding") from error
    except yaml.YAMLError as error:
        raise MappingError(f"{path.name} is not YAML: {error}") from error
    except ValidationError as error:
        problems = [
            f"{path.name}: {'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        ]
        raise MappingError("\n".join(problems)) from error
    if source.source != path.stem:
        raise MappingError(f"{path.name}: source is {source.source!r}; name the file {source.source}.yaml")
    return source


def read_sources(folder: Path) -> dict[str, Source]:
    """The bundled sources and the user's own in `folder`, by name; a user's own replaces a bundled one."""
    bundled = Path(str(resources.files(__package__)))
    found = [*sorted(bundled.glob("*.yaml")), *sorted(folder.glob("*.yaml"))]
    return {source.source: source for source in map(read_source, found)}
