"""Segments as readable rules: what a rule says, who meets it, and its words.

Belongs here: rules as plain values, in memory and in the engine. Not here: learning them (`segment_trees.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pandas as pd

from crm_assets.contracts.features import FEATURE_LABELS
from crm_assets.contracts.segments import RULE_TARGETS

EVERYONE = "everyone"
"""The rule of a target that nothing explains."""


@dataclass(frozen=True)
class Condition:
    """What a rule asks of one feature.

    Attributes:
        column: Column of `customer_features`.
        above: Numbers must be above this; None for no limit.
        at_most: Numbers must not be above this; None for no limit.
        unknown: Whether a customer without a value meets it.
        known: Whether any customer with a value does; otherwise only those without one.
        level: For words, the one that is asked for; None for any.
        other_than: For words, those that are ruled out.
        unknown_seen: Whether any value was unknown in learning; else it is not spoken of.
    """

    column: str
    above: float | None = None
    at_most: float | None = None
    unknown: bool = False
    known: bool = True
    level: str | None = None
    other_than: tuple[str, ...] = ()
    unknown_seen: bool = True

    @property
    def is_of_words(self) -> bool:
        """Whether the feature has words for values."""
        return self.level is not None or bool(self.other_than)

    def text(self) -> str:
        """The condition in plain words."""
        name = FEATURE_LABELS.get(self.column, self.column.replace("_", " "))
        if self.level is not None:
            return f"{name} is {self.level}"
        if self.other_than:
            return f"{name} is not {' or '.join(self.other_than)}"
        if not self.known:
            return f"{name} unknown"
        limits = []
        if self.above is not None:
            limits.append(f"above {_figure(self.column, self.above)}")
        if self.at_most is not None:
            limits.append(f"at most {_figure(self.column, self.at_most)}")
        return f"{name} {' and '.join(limits) or 'known'}{' or unknown' if self.unknown and self.unknown_seen else ''}"

    def holds(self, features: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Whether each customer meets it."""
        if self.is_of_words:
            words = features[self.column]
            said = words == self.level if self.level is not None else ~words.isin(self.other_than)
            return np.asarray(said.fillna(False), dtype=bool)
        values = features[self.column].to_numpy(dtype="float64", na_value=np.nan)
        missing = np.isnan(values)
        met = np.full(len(values), self.known)
        if self.above is not None:
            met &= values > self.above
        if self.at_most is not None:
            met &= values <= self.at_most
        return np.asarray(np.where(missing, self.unknown, met), dtype=bool)

    def expression(self, features: ir.Table) -> ir.BooleanValue:
        """The same in the engine."""
        value = features[self.column]
        if self.level is not None:
            return (value == self.level).fill_null(False)
        if self.other_than:
            return value.isnull() | value.notin(self.other_than)
        number = value.cast("float64")
        limits = [ibis.literal(self.known)]
        if self.above is not None:
            limits.append(number > self.above)
        if self.at_most is not None:
            limits.append(number <= self.at_most)
        return (
            ibis.and_(*limits).fill_null(self.unknown)
            if len(limits) > 1
            else (value.isnull().ifelse(self.unknown, self.known))
        )


@dataclass(frozen=True)
class Rule:
    """A segment: its conditions, and its figures in training and on the days held out.

    Attributes:
        rule_id: From 1; the first has the highest rate in training.
        conditions: All of them must hold.
        figures: Columns of `contracts.segmentation.SEGMENT_RULES` from `train_rows` to `holdout_lift`.
    """

    rule_id: int
    conditions: tuple[Condition, ...]
    figures: Mapping[str, float | int | None]

    def text(self) -> str:
        """Who meets it, in words."""
        return ", ".join(condition.text() for condition in self.conditions) or EVERYONE

    def holds(self, features: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Whether each customer meets it."""
        met = np.ones(len(features), dtype=bool)
        for condition in self.conditions:
            met &= condition.holds(features)
        return met


@dataclass(frozen=True)
class SegmentRules:
    """The rules of a month, by target; a target that could not be learnt has none."""

    rules: Mapping[str, tuple[Rule, ...]]

    def to_document(self) -> dict[str, Any]:
        """The rules as plain values."""
        return {target: [asdict(rule) for rule in rules] for target, rules in self.rules.items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "SegmentRules":
        """The rules that `to_document` wrote."""
        return cls({target: tuple(map(_rule, rules)) for target, rules in document.items()})


def rule_ids(rules: SegmentRules, features: ir.Table) -> ir.Table:
    """The rule that each customer meets, for each target.

    Args:
        rules: of the month of the day.
        features: rows of `customer_features` of a day.

    Returns:
        customer_id, and for each target `<target>_rule` (int64); null where the target has no rules.
    """
    columns: dict[str, ir.Value] = {}
    for target in RULE_TARGETS:
        found = rules.rules.get(target, ())
        cases = [
            (ibis.and_(*[condition.expression(features) for condition in rule.conditions]), rule.rule_id)
            for rule in found
            if rule.conditions
        ]
        alone = ibis.literal(found[0].rule_id if found else None, type="int64")
        columns[f"{target}_rule"] = (ibis.cases(*cases) if cases else alone).cast("int64")
    return features.select("customer_id", **columns)


def rule_rows(rules: SegmentRules, counts: Mapping[tuple[str, int], int], customers: int) -> list[dict[str, Any]]:
    """Rows of `contracts.segmentation.SEGMENT_RULES` without as_of and trained_for.

    Args:
        rules: of a month.
        counts: customers of a day by target and rule.
        customers: all customers of the day.
    """
    rows = []
    for target, found in rules.rules.items():
        for rule in found:
            size = counts.get((target, rule.rule_id), 0)
            place = {"target": target, "rule_id": rule.rule_id, "rule": rule.text(), "customers": size}
            rows.append({**place, "share": size / customers if customers else 0.0, **rule.figures})
    return rows


def _rule(values: Mapping[str, Any]) -> Rule:
    conditions: Sequence[Mapping[str, Any]] = values["conditions"]
    read = (Condition(**{**given, "other_than": tuple(given["other_than"])}) for given in conditions)
    return Rule(values["rule_id"], tuple(read), dict(values["figures"]))


def _figure(column: str, value: float) -> str:
    if "share" in column:
        return f"{value:.1%}".replace(".0%", "%")
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
