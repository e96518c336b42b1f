"""From a contract to what is expected of its table, as Great Expectations suites.

Belongs here: which expectations a contract means, and asking Great Expectations. Not here: Dagster's side of it
(`contract.py`), references to other tables (`references.py`), any rule of a particular table (`contracts/`).

Great Expectations takes seconds to import and is imported once there are rows to look at, or aside while files are read.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from crm_assets.checks.pages import without_network
from crm_assets.contracts.model import Column, Table

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations import ExpectationSuite
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.render.view.view import DefaultJinjaPageView

EXAMPLES = 5
COLUMNS = "columns"


class ExpectationError(RuntimeError):
    """An expectation could not be evaluated; the message says which and why."""


@dataclass(frozen=True)
class Rule:
    """One expectation.

    Attributes:
        name: Name of the check, unique within its table.
        description: What must hold, for people.
        kind: Class of `great_expectations.expectations`.
        arguments: Its arguments.
        is_blocking: A violation is an error and keeps what is downstream from being made; otherwise it warns.
        is_personal: It looks at personal data, so no values are shown.
    """

    name: str
    description: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_blocking: bool = False
    is_personal: bool = False


@dataclass(frozen=True)
class Finding:
    """What became of one rule.

    Attributes:
        holds: Every row meets it.
        violations: Rows that do not.
        examples: A few of their values.
    """

    holds: bool
    violations: int = 0
    examples: tuple[str, ...] = ()


def rules_of(contract: Table) -> list[Rule]:
    """What a contract means: structure, key and required columns block, ranges and closed sets warn."""
    # Partition columns are read off folder names, so their values are there and as they were asked for.
    columns = [column for column in contract.columns if column.name not in contract.partition_by]
    return [_structure(contract), _key(contract), *(rule for column in columns for rule in _values(column))]


def validate(name: str, contract: Table, frame: "pd.DataFrame") -> tuple[dict[str, Finding], str]:
    """Ask Great Expectations.

    Args:
        name: Name of the table for people, with its layer.
        contract: Its contract.
        frame: Rows of it, as `rows.sample` gives them.

    Returns:
        What became of each rule, by name, and the validation as a page of Data Docs.

    Raises:
        ExpectationError: Great Expectations failed to evaluate a rule, which is not the same as the rule being broken.
    """
    batch = _batch_definition(name).get_batch(batch_parameters={"dataframe": frame})
    suite = _suite(name, contract)
    format_ = {"result_format": "BASIC", "partial_unexpected_count": EXAMPLES}
    validation = batch.validate(suite, result_format=format_)
    findings = {}
    by_name = {rule.name: rule for rule in rules_of(contract)}
    for result in validation.results:
        rule = by_name[_check_name(result)]
        _raise_exception(name, rule, result)
        if rule.is_personal:
            result.result = {key: value for key, value in result.result.items() if not key.startswith("partial")}
        findings[rule.name] = _finding(result)
    return findings, _page(validation)


@contextmanager
def getting_ready() -> Iterator[None]:
    """Import Great Expectations aside, while what is done waits for the engine and imports little itself.

    Two threads that import the same library may meet half of it, so this ends when the import has.
    """
    # Half of it would do harm: once its first module is there, each query of Dagster's storage asks it.
    import sqlalchemy.orm  # noqa: F401

    ready = _ready()
    try:
        yield
    finally:
        ready.result()


def _structure(contract: Table) -> Rule:
    names = list(contract.by_name)
    description = f"The {len(names)} columns of the contract, in order."
    return Rule(COLUMNS, description, "ExpectTableColumnsToMatchOrderedList", {"column_list": names}, True)


def _key(contract: Table) -> Rule:
    description = f"No two rows have the same {', '.join(contract.key)}."
    if len(contract.key) == 1:
        return Rule("key_unique", description, "ExpectColumnValuesToBeUnique", {"column": contract.key[0]}, True)
    arguments = {"column_list": list(contract.key)}
    return Rule("key_unique", description, "ExpectCompoundColumnsToBeUnique", arguments, True)


def _values(column: Column) -> Iterator[Rule]:
    name, target = column.name, {"column": column.name}
    if column.required:
        kind = "ExpectColumnValuesToNotBeNull"
        yield Rule(f"{name}_not_null", f"{name} is never missing.", kind, target, True, column.personal)
    if column.allowed:
        arguments = {**target, "value_set": list(column.allowed)}
        description = f"{name} is one of {', '.join(column.allowed)}."
        yield Rule(f"{name}_in_set", description, "ExpectColumnValuesToBeInSet", arguments, False, column.personal)
    if column.minimum is not None or column.maximum is not None:
        bounds = {"min_value": _bound(column.minimum), "max_value": _bound(column.maximum)}
        given = {key: value for key, value in bounds.items() if value is not None}
        description = f"{name} is {_range_in_words(column)}."
        yield Rule(
            f"{name}_in_range",
            description,
            "ExpectColumnValuesToBeBetween",
            {**target, **given},
            False,
            column.personal,
        )


def _bound(bound: float | str | None) -> float | datetime | None:
    return datetime.fromisoformat(bound) if isinstance(bound, str) else bound


def _range_in_words(column: Column) -> str:
    if column.maximum is None:
        return f"at least {column.minimum}"
    return f"at most {column.maximum}" if column.minimum is None else f"from {column.minimum} to {column.maximum}"


def _context() -> "EphemeralDataContext":
    return _ready().result()


@cache
def _ready() -> "Future[EphemeralDataContext]":
    aside = ThreadPoolExecutor(1, "great_expectations")
    try:
        return aside.submit(_new_context)
    finally:
        aside.shutdown(wait=False)


def _new_context() -> "EphemeralDataContext":
    # Read when the package is imported.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    # Looks for each type it trusts in all modules there are, so it comes before the many of Great Expectations.
    import skops.io  # noqa: F401, I001

    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    context.data_sources.add_pandas("lake")
    return context


@cache
def _batch_definition(name: str) -> "BatchDefinition":
    asset = _context().data_sources.get("lake").add_dataframe_asset(name)  # type: ignore[attr-defined]
    return asset.add_batch_definition_whole_dataframe("rows of the run")


def _suite(name: str, contract: Table) -> "ExpectationSuite":
    from great_expectations import ExpectationSuite, expectations

    return ExpectationSuite(
        name=name,
        expectations=[
            getattr(expectations, rule.kind)(**rule.arguments, meta={"check": rule.name}) for rule in rules_of(contract)
        ],
    )


def _check_name(result: "ExpectationValidationResult") -> str:
    meta = result.expectation_config.meta if result.expectation_config else None
    return (meta or {})["check"]


def _raise_exception(name: str, rule: Rule, result: "ExpectationValidationResult") -> None:
    # Either one record, or one for each metric that failed.
    info = result.exception_info or {}
    records = [info] if "raised_exception" in info else list(info.values())
    messages = [record["exception_message"] for record in records if record.get("raised_exception")]
    if messages:
        raise ExpectationError(f"{name}: {rule.name} could not be evaluated: {messages[0]}")


def _finding(result: "ExpectationValidationResult") -> Finding:
    found = result.result
    examples = dict.fromkeys(map(str, found.get("partial_unexpected_list", [])))
    return Finding(bool(result.success), int(found.get("unexpected_count", 0)), tuple(examples))


def _page(validation: "ExpectationSuiteValidationResult") -> str:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    return without_network(_view().render(ValidationResultsPageRenderer().render(validation)))


@cache
def _view() -> "DefaultJinjaPageView":
    """One for all pages, since each compiles its templates anew."""
    from great_expectations.render.view.view import DefaultJinjaPageView

    return DefaultJinjaPageView()
