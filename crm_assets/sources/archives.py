"""A delivered file's content as it is inside gz or zip, with guards against what no export does.

Belongs here: opening files and members of archives, and refusing those that are not safe to open. Not here: formats of
tables (`readers.py`). Nothing is ever extracted under a name that an archive gives.
"""

import gzip
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path, PurePosixPath
from typing import IO

BLOCK = 1 << 20

MOST_MEMBERS = 10_000
MOST_UNPACKED = 64 << 30
"""Bytes that one delivered file may unpack to."""

MOST_RATIO = 400
RATIO_COUNTS_FROM = 4 << 30
"""Bytes that a file may unpack to whatever its ratio: it is read as a stream, and repetitive tables pack well."""

MOST_WORKBOOK_BYTES = 1 << 30
"""Bytes of xml that a workbook may hold: it is read in memory."""

WORKBOOK_RATIO_COUNTS_FROM = 128 << 20

ARCHIVE = ".zip"
ARCHIVES = frozenset({".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".zst"})


class UnreadableFileError(ValueError):
    """A delivered file cannot be read; the message says why."""


def members_of(path: Path) -> list[str]:
    """Names of an archive's files in order, without folders and what systems add for themselves.

    Raises:
        UnreadableFileError: It is no zip archive, or not a safe one.
    """
    with _archive(path) as archive:
        return sorted(info.filename for info in archive.infolist() if _is_file(info))


def blocks_of(path: Path, member: str | None = None) -> Iterator[bytes]:
    """The content of a file or of an archive's member, unpacked from gz by its name.

    Raises:
        UnreadableFileError: It is damaged, encrypted, or unpacks to more than any export.
    """
    packed = path.stat().st_size
    try:
        if member is None:
            with path.open("rb") as file:
                yield from _unpacked(file, path.name, packed)
            return
        with _archive(path) as archive:
            info = archive.getinfo(member)
            with archive.open(info) as file:
                yield from _unpacked(file, member, info.compress_size)
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise UnreadableFileError(f"its compressed content is damaged or cut off: {error}; deliver it again") from error
    except (NotImplementedError, RuntimeError) as error:
        raise UnreadableFileError(f"it cannot be unpacked: {error}") from error


def check_workbook(path: Path) -> None:
    """Refuse a workbook that unpacks to more than fits in memory.

    Raises:
        UnreadableFileError: Its parts are too large, or damaged.
    """
    with _archive(path) as archive:
        total = 0
        for info in archive.infolist():
            # The size that the archive tells may be a lie, so that it is unpacked to be measured.
            honest = copy(info)
            honest.file_size = 1 << 62
            try:
                with archive.open(honest) as file:
                    while block := file.read(BLOCK):
                        total += len(block)
                        _guard(total, path.stat().st_size, MOST_WORKBOOK_BYTES, WORKBOOK_RATIO_COUNTS_FROM)
            except (EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
                raise UnreadableFileError(f"the workbook is damaged or cut off: {error}; deliver it again") from error


def _unpacked(file: IO[bytes], name: str, packed: int) -> Iterator[bytes]:
    is_gzip = name.lower().endswith(".gz")
    total = 0
    with gzip.open(file) if is_gzip else file as opened:
        while block := opened.read(BLOCK):
            total += len(block)
            if is_gzip or opened is not file or isinstance(file, zipfile.ZipExtFile):
                _guard(total, packed, MOST_UNPACKED, RATIO_COUNTS_FROM)
            yield block


def _guard(total: int, packed: int, most: int, ratio_counts_from: int) -> None:
    if total > most:
        raise UnreadableFileError(
            f"it unpacks to more than {most >> 30} GB, the most that is read; deliver it in several files"
        )
    if total > ratio_counts_from and total > MOST_RATIO * max(packed, 1):
        raise UnreadableFileError(
            f"it unpacks to more than {MOST_RATIO} times its size, as a decompression bomb does; deliver it unpacked"
        )


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise UnreadableFileError(f"it is not a zip archive, or one that was cut off: {error}") from error
    with archive:
        infos = archive.infolist()
        if len(infos) > MOST_MEMBERS:
            raise UnreadableFileError(f"the archive has {len(infos)} members; at most {MOST_MEMBERS} are read")
        _guard(sum(info.file_size for info in infos), path.stat().st_size, MOST_UNPACKED, RATIO_COUNTS_FROM)
        names: set[str] = set()
        for info in infos:
            _check_member(info)
            if info.filename in names:
                raise UnreadableFileError(f"the archive has two members named {info.filename!r}")
            names.add(info.filename)
        yield archive


def _check_member(info: zipfile.ZipInfo) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or (name.parts and ":" in name.parts[0]):
        raise UnreadableFileError(f"the archive's member {info.filename!r} names a place outside it; it is not opened")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UnreadableFileError(f"the archive's member {info.filename!r} is a link; it is not followed")
    if info.flag_bits & 0x1:
        raise UnreadableFileError(f"the archive's member {info.filename!r} needs a password; deliver it without")


def _is_file(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    return not info.is_dir() and "__MACOSX" not in parts and not any(part.startswith(".") for part in parts)
