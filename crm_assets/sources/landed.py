"""Which mappings and files a check looks at.

Belongs here: choosing them. Not here: what is wrong with them (`check.py`).
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from crm_assets.sources.check import Landed
from crm_assets.sources.deliveries import find_deliveries, list_files
from crm_assets.sources.mapping import MappingError, nearest, own_and_bundled


def mappings_to_check(folder: Path, exports: Path, name: str | None, files: Sequence[Path]) -> list[Path]:
    """The mapping of a source, or those of all sources that are the user's own or have exports.

    Raises:
        MappingError: There is no such source, or files are given without saying whose they are.
    """
    known = {path.stem: (path, is_own) for path, is_own in own_and_bundled(folder)}
    if name is not None:
        if name not in known:
            raise MappingError(
                f"there is no source {name!r}{nearest(name, known)}; its mapping is {folder}/{name}.yaml"
            )
        return [known[name][0]]
    if files:
        raise MappingError("say which source the files are of: crm-assets sources check SOURCE --files FILE")
    return [path for source, (path, is_own) in known.items() if is_own or (exports / source).is_dir()]


def landed_files(exports: Path, source: str, files: Sequence[Path], all_exports: bool) -> list[Landed]:
    """The given files, or else those of the source's newest export, or of all of its exports."""
    if files:
        return [Landed(path.absolute().parent, path.name, _date_of(path)) for path in files]
    deliveries = find_deliveries(exports, [source])
    return [
        Landed(delivery.folder(exports), file.name, delivery.export_date)
        for delivery in (deliveries if all_exports else deliveries[-1:])
        for file in list_files(delivery.folder(exports))
    ]


def _date_of(path: Path) -> date:
    """The export's date: that of the folder, or else the day the file was written."""
    try:
        return date.fromisoformat(path.absolute().parent.name)
    except ValueError:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
