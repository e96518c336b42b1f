"""Functions of the engine that Ibis has no name for.

Belongs here: declarations, so that another engine can be given its own. Not here: what they are used for.
"""

import ibis
import ibis.expr.types as ir


@ibis.udf.scalar.builtin(name="try_strptime", signature=(("string", "string"), "timestamp"))
def _try_strptime(text, format):  # type: ignore[no-untyped-def]
    ...


@ibis.udf.scalar.builtin(name="timezone", signature=(("string", "timestamp"), "timestamp('UTC')"))
def _moment(zone, local):  # type: ignore[no-untyped-def]
    ...


@ibis.udf.scalar.builtin(name="timezone", signature=(("string", "timestamp('UTC')"), "timestamp"))
def _local(zone, moment):  # type: ignore[no-untyped-def]
    ...


@ibis.udf.scalar.builtin(name="error", signature=(("string",), "boolean"))
def _error(message):  # type: ignore[no-untyped-def]
    ...


def failure(message: ir.StringValue) -> ir.BooleanValue:
    """A value that fails the query with a message as soon as it is computed."""
    return _error(message)


def parse_timestamp(text: ir.StringValue, format: str) -> ir.TimestampValue:
    """The local time a text stands for in a strptime format; null where it is not of that format."""
    return _try_strptime(text, format)


def to_utc(local: ir.TimestampValue, timezone: str) -> ir.TimestampValue:
    """The UTC time of a local time in an IANA time zone."""
    return local if timezone == "UTC" else _local("UTC", _moment(timezone, local))


def local_time(moment: ir.TimestampValue, timezone: str) -> ir.TimestampValue:
    """The local time, in an IANA time zone, of a UTC time."""
    return moment if timezone == "UTC" else _local(timezone, _moment("UTC", moment))


def local_day(moment: ir.TimestampValue, timezone: str) -> ir.DateValue:
    """The day, in an IANA time zone, of a UTC time."""
    return local_time(moment, timezone).date()
