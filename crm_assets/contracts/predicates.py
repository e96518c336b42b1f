"""What a contract asks of a value, as engine-side predicates over all rows.

Belongs here: one predicate and its reason per rule of a column. Not here: sampled checks (`checks/`).
"""

from collections.abc import Iterator

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.model import Column

LEFT_OUT = "left out by the mapping"
"""How the reason of a row begins that its mapping leaves out on purpose."""

VALUE_IN_REASON = r"(?s)^(\w+): '.*' (\w.*)$"
KIND_OF_REASON = r"\1 \2"
"""A reason as a regular expression, and what is left of it without the value, by which reasons are counted."""

Violation = tuple[ir.BooleanValue, ir.StringValue]
"""Where a rule is broken (never null), and the reason people read."""


def violations(
    column: Column, value: ir.Value, text: ir.StringValue | None = None, note: str = ""
) -> Iterator[Violation]:
    """The rules of a column that a typed value breaks.

    Args:
        column: The contract's column.
        value: Its values, already of the column's type.
        text: As delivered; what is there, but not of the type, is unreadable and not missing.
        note: Follows the reason that a value is missing, to say why.

    Yields:
        A boolean expression that is true where the rule is broken, and the reason, which names the column.
    """
    printed = value.cast("string")
    if column.required:
        absent = value.isnull() if text is None else value.isnull().ifelse(text.isnull(), False)
        yield absent, ibis.literal(f"{column.name}: missing{note}")
    if column.minimum is not None:
        yield _holds(value < _bound(column, column.minimum)), _reason(column, printed, f"is below {column.minimum}")
    if column.maximum is not None:
        yield _holds(value > _bound(column, column.maximum)), _reason(column, printed, f"is above {column.maximum}")
    if column.allowed:
        yield (
            _holds(value.notin(column.allowed)),
            _reason(column, printed, f"is not one of {', '.join(column.allowed)}"),
        )


def unreadable(column: Column, text: ir.StringValue, value: ir.Value) -> Violation:
    """Where something was delivered that is not of the column's type."""
    kind = {"timestamp": "a date and time", "date": "a date", "boolean": "yes or no", "int64": "a whole number"}
    wanted = kind.get(column.dtype, "a number")
    # A case is evaluated only where it applies, so the text of good values is never made.
    return value.isnull().ifelse(text.notnull(), False), _reason(column, text, f"is not {wanted}")


def _bound(column: Column, bound: float | str) -> ir.Scalar:
    return ibis.literal(bound).cast(column.dtype) if isinstance(bound, str) else ibis.literal(bound)


def _holds(condition: ir.BooleanValue) -> ir.BooleanValue:
    return condition.fill_null(False)


def _reason(column: Column, text: ir.StringValue, problem: str) -> ir.StringValue:
    return ibis.literal(f"{column.name}: '") + text.substr(0, 80) + ibis.literal(f"' {problem}")


def kind_of_reason(reason: ir.StringValue) -> ir.StringValue:
    """A reason without the value that gave it, such as ``quantity is not a number``."""
    return reason.re_replace(VALUE_IN_REASON, KIND_OF_REASON)
