"""Deliveries: the folders `exports/<source>/<YYYY-MM-DD>/` that a CRM's exports land in.

Belongs here: finding deliveries and their files. Not here: reading what is in them (`readers.py`).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from crm_assets.sources.mapping import Source, matches, part_of


@dataclass(frozen=True, order=True)
class Delivery:
    """One export of one source."""

    source: str
    export_date: date

    @property
    def key(self) -> str:
        """Its partition key."""
        return f"{self.source}--{self.export_date.isoformat()}"

    @classmethod
    def of_key(cls, key: str) -> "Delivery":
        """The delivery of a partition key."""
        source, _, day = key.rpartition("--")
        return cls(source, date.fromisoformat(day))

    def folder(self, exports: Path) -> Path:
        """Its folder."""
        return exports / self.source / self.export_date.isoformat()


@dataclass(frozen=True)
class ExportFile:
    """One file of a delivery, as its folder lists it."""

    name: str
    bytes: int
    modified_ns: int


def find_deliveries(exports: Path, sources: Iterable[str]) -> list[Delivery]:
    """Every delivery that has landed for the known sources, oldest export first."""
    found = []
    for source in sources:
        folders = filter(_is_dated, (exports / source).glob("*"))
        found += [Delivery(source, date.fromisoformat(folder.name)) for folder in folders]
    return sorted(found, key=lambda delivery: (delivery.export_date, delivery.source))


def unknown_folders(exports: Path, sources: Iterable[str]) -> list[str]:
    """Folders under `exports` that no source or no date explains, so that nothing lies there unseen."""
    known = set(sources)
    folders = [folder for folder in exports.glob("*") if folder.is_dir()]
    strangers = [folder.name for folder in folders if folder.name not in known]
    for folder in folders:
        if folder.name in known:
            strangers += [f"{folder.name}/{child.name}" for child in folder.iterdir() if not _is_dated(child)]
    return sorted(strangers)


def list_files(folder: Path) -> list[ExportFile]:
    """The files of a delivery by name; hidden and temporary ones (`.part`, `.tmp`) are still being written."""
    listed = [
        ExportFile(path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".part", ".tmp", ".crdownload"}
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        for stat in [path.stat()]
    ]
    return sorted(listed, key=lambda file: file.name)


def fingerprint(files: Iterable[ExportFile]) -> str:
    """A short name for exactly these files: names, sizes and modification times."""
    text = "\n".join(f"{file.name}\t{file.bytes}\t{file.modified_ns}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256(path: Path) -> str:
    """Digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tables_of(source: Source, file: str) -> list[str]:
    """Canonical tables that a file of this name feeds, by its rows or by what they are looked up for."""
    return [
        name
        for name, parts in source.tables.items()
        if part_of(parts, file) or any(matches(lookup.files, file) for part in parts for lookup in part.lookup)
    ]


def _is_dated(folder: Path) -> bool:
    try:
        # Other ISO forms, such as 20240131, are not the name that partition keys have.
        return date.fromisoformat(folder.name).isoformat() == folder.name and folder.is_dir()
    except ValueError:
        return False
