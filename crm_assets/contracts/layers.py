"""How a canonical table looks in each layer it passes through.

Belongs here: the columns the pipeline adds on the way. Not here: the canonical columns themselves (`canonical.py`).
"""

from dataclasses import replace

from crm_assets.contracts.model import Column, Shape, Table

SOURCE = Column("_source", "string", "Source the row came from.", required=True)
EXPORT_DATE = Column("_export_date", "date", "Date of the export that delivered the row.", required=True)
FILE = Column("_file", "string", "File within the export.", required=True)
FILE_SHA256 = Column("_file_sha256", "string", "Digest of the file's content.", required=True)
LINE = Column(
    "_line",
    "int64",
    "Row within the file; 1 is the first row of data, 0 stands for a file that cannot be read.",
    required=True,
    minimum=0,
)
ERROR = Column("_error", "string", "Why the row, or the whole file, cannot be read; null where it can.")
LINE_TEXT = Column("_line_text", "string", "Text of a line that cannot be read; null for all others.", personal=True)
DELIVERY = (SOURCE.name, EXPORT_DATE.name)
"""The columns that name a delivery, by which raw and validated tables are partitioned."""

DAY = Column("day", "date", "Day of the event in the workspace's time zone.", required=True)
VALID_FROM = Column("valid_from", "date", "First day this version is valid.", required=True)
VALID_TO = Column("valid_to", "date", "First day it is no longer valid; null for the current version.")


def validated(table: Table) -> Table:
    """A canonical table's rows that meet its contract, with where each came from."""
    return table.with_columns(
        FILE, LINE, SOURCE, EXPORT_DATE, key=(*DELIVERY, FILE.name, LINE.name), partition_by=DELIVERY
    )


def quarantine(table: Table) -> Table:
    """A canonical table's rejected rows, with every reason."""
    return Table(
        name=f"quarantine_{table.name}",
        description=f"Rows delivered for {table.name} that were rejected, and why.",
        columns=(
            Column("table_name", "string", "Canonical table the row was meant for.", required=True),
            Column("reasons", "array<string>", "Every reason it was rejected.", required=True),
            Column("raw_row", "string", "The row as delivered, a JSON object.", required=True, personal=True),
            FILE,
            LINE,
            SOURCE,
            EXPORT_DATE,
        ),
        key=(*DELIVERY, FILE.name, LINE.name),
        partition_by=DELIVERY,
    )


def clean(table: Table) -> Table:
    """A canonical table deduplicated and normalised: events by day, dimensions as versions."""
    if table.shape is Shape.DIMENSION:
        return table.with_columns(VALID_FROM, VALID_TO, key=(*table.key, VALID_FROM.name))
    outlier = Column("is_outlier", "boolean", "A measure of the row lies far outside that day's.", required=True)
    return table.with_columns(outlier, DAY, key=(*table.key, DAY.name), partition_by=(DAY.name,))


DELIVERED_FILES = Table(
    name="delivered_files",
    description="Every file of every delivery that was ingested, and the tables it feeds.",
    columns=(
        Column("file", "string", "File within the export.", required=True),
        Column("bytes", "int64", "Size.", required=True, minimum=0),
        Column("modified_ns", "int64", "Modification time, nanoseconds since 1970.", required=True),
        Column("sha256", "string", "Digest of the content.", required=True),
        Column("tables", "array<string>", "Canonical tables the source maps it to; empty when none.", required=True),
        Column("mapping_sha256", "string", "Digest of the source's mapping that the rows were read by.", required=True),
        SOURCE,
        EXPORT_DATE,
    ),
    key=(*DELIVERY, "file"),
    partition_by=DELIVERY,
)

LANDED_FILES = replace(
    DELIVERED_FILES,
    name="landed_files",
    description="Files of each delivery as they were when its ingestion began; a file that changes meanwhile is new.",
)

DELIVERED_DAYS = Table(
    name="delivered_days",
    description="Event days each delivery touched; exactly these days of the clean tables depend on it.",
    columns=(
        Column("table_name", "string", "Event table.", required=True),
        Column("day", "date", "Event day in the workspace's time zone.", required=True),
        Column(
            "rows",
            "int64",
            "Validated rows; 0 where the delivery takes rows away: moved, deleted or held before it was corrected.",
            required=True,
            minimum=0,
        ),
        Column("late_rows", "int64", "Of these, rows later than the late window.", required=True, minimum=0),
        Column(
            "shared_days", "array<date>", "Other days on which any delivery has rows of the same keys.", required=True
        ),
        SOURCE,
        EXPORT_DATE,
    ),
    key=(*DELIVERY, "table_name", "day"),
    partition_by=DELIVERY,
)

MONTH = Column("month", "date", "Month the row is for, its first day; made from earlier days only.", required=True)


def monthly(table: Table, name: str, description: str) -> Table:
    """A table kept once a month, for the models trained for that month."""
    return table.with_columns(
        MONTH, name=name, description=description, key=(MONTH.name, *table.key), partition_by=(MONTH.name,)
    )


def by_partition(table: Table) -> Table:
    """A table of events or snapshots as the lake holds it: partitioned by its day."""
    return replace(table, partition_by=("as_of",) if table.shape is Shape.SNAPSHOT else (DAY.name,))


def current(table: Table) -> Table:
    """A dimension's current versions, one row per key."""
    return replace(
        table, name=f"{table.name}_current", shape=Shape.PLAIN, description=f"{table.description} Current values only."
    )
