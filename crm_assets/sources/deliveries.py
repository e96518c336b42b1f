"""Deliveries: the folders `exports/<source>/<YYYY-MM-DD>/` that a CRM's exports land in.

Belongs here: finding deliveries and their files. Not here: reading what is in them (`readers.py`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from crm_assets.sources.archives import ARCHIVE, UnreadableFileError, members_of
from crm_assets.sources.mapping import Source, TableMapping, matches, part_of


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
    """The files of a delivery by name; hidden and temporary ones (`.part`, `.tmp`) are still being written.

    Links that lead out of the folder are listed as links, and never followed.
    """
    listed = [
        ExportFile(path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns)
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink()) and path.suffix not in {".part", ".tmp", ".crdownload"}
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        for stat in [path.lstat() if leads_outside(folder, path) else path.stat()]
    ]
    return sorted(listed, key=lambda file: file.name)


def leads_outside(folder: Path, path: Path) -> bool:
    """Whether a file of a delivery is a link, or lies behind one, that leads out of its folder or nowhere."""
    real = path.resolve()
    return not real.is_relative_to(folder.resolve()) or not real.is_file()


def fingerprint(files: Iterable[ExportFile]) -> str:
    """A short name for exactly these files: names, sizes and modification times."""
    text = "\n".join(f"{file.name}\t{file.bytes}\t{file.modified_ns}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256(path: Path) -> str:
    """Digest of a file's content; that of a link which cannot be followed is of where it leads."""
    if path.is_symlink() and leads_outside(path.parent, path):
        return hashlib.sha256(str(path.readlink()).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tables_of(source: Source, file: str, folder: Path | None = None) -> list[str]:
    """Canonical tables that a file of this name feeds; an archive in `folder` feeds those its members do."""
    names = [file]
    if folder is not None and file.lower().endswith(ARCHIVE) and not leads_outside(folder, folder / file):
        try:
            names = [f"{file}/{member}" for member in members_of(folder / file)]
        except UnreadableFileError:
            # What it holds cannot be known, so each table says that it may lack rows.
            return list(source.tables)
    return [table for table, parts in source.tables.items() if any(_feeds(name, parts) for name in names)]


def _feeds(name: str, parts: Sequence[TableMapping]) -> bool:
    looked_up = any(matches(lookup.files, name) for part in parts for lookup in part.lookup)
    return looked_up or part_of(parts, name) is not None


def _is_dated(folder: Path) -> bool:
    try:
        # Other ISO forms, such as 20240131, are not the name that partition keys have.
        return date.fromisoformat(folder.name).isoformat() == folder.name and folder.is_dir()
    except ValueError:
        return False
