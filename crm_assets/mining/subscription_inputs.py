"""Contracts and contacts as numbers: demographics and the attributes a source brings, whatever they are called.

Belongs here: encoding, and putting columns into words. Not here: the models (`subscription_churn.py`,
`response_training.py`).
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.mining.churn_reasons import NOTHING, REASON_COUNT
from crm_assets.mining.subscriptions import CATEGORIES, MONTH_DAYS, NUMBERS

_MOST_VALUES = 20
_LEAST_ROWS = 20
_MISSING = ""
_THEME_OF = {"paid": "tenure_days"}
"""Fees so far grow with tenure, so they are one theme."""

_WORDS = {
    "tenure_days": "months since the start",
    "monthly_fee": "fee a month",
    "paid": "fees so far",
    "contracts": "running contracts of the customer",
    "orders": "orders in the last 90 days",
    "order_amount": "amount of orders in the last 90 days",
    "recency_days": "days since the last order",
}


@dataclass(frozen=True)
class Encoding:
    """How rows become columns of numbers.

    Attributes:
        columns: Name of each column.
        sources: The field each is made from.
        values: The value a column stands for; None for numbers, which the training rows decided: an attribute is one if all
            its values there were.
        numbers: Columns of the rows that are counted.
        categories: Columns of the rows that are named; the keys of `attributes` come on top.
    """

    columns: list[str]
    sources: list[str]
    values: list[str | None]
    numbers: list[str] = field(default_factory=lambda: list(NUMBERS))
    categories: list[str] = field(default_factory=lambda: list(CATEGORIES))

    def to_document(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def theme(self, column: str) -> str:
        """The field that a column speaks of; one of several columns of a field says nothing by itself."""
        source = self.sources[self.columns.index(column)]
        return _THEME_OF.get(source, source)

    def label(self, column: str) -> str:
        """A column in words."""
        place = self.columns.index(column)
        value = self.values[place]
        return words(self.sources[place]) + (f" is {value or 'missing'}" if value is not None else "")

    def labels(self) -> dict[str, str]:
        """Every column in words, no two alike."""
        said = {column: self.label(column) for column in self.columns}
        times = Counter(said.values())
        return {column: f"{text} ({column})" if times[text] > 1 else text for column, text in said.items()}


def fit_encoding(
    rows: pd.DataFrame, numbers: Sequence[str] = NUMBERS, categories: Sequence[str] = CATEGORIES
) -> Encoding:
    """Columns for what differs between rows; values that fewer than 20 have count as other.

    Args:
        rows: the columns of numbers and categories, and `attributes`.
        numbers: columns that are counted.
        categories: columns that are named.
    """
    fields = _fields(rows, numbers, categories)
    found: list[tuple[str, str, str | None]] = []
    for name in sorted(fields, key=lambda field: (field not in numbers, field)):
        column = fields[name]
        if column.dtype == np.float64:
            if column.nunique(dropna=False) > 1:
                found.append((name if name in numbers else "", name, None))
            continue
        counts = column.value_counts()
        common = [
            value for value in sorted(counts.index, key=lambda v: (-counts[v], v)) if counts[value] >= _LEAST_ROWS
        ]
        if len(counts) > 1:
            found += [("", name, value) for value in common[:_MOST_VALUES]]
    # Names of fields are the source's own, which not every learner takes as names of columns.
    names = [name or f"x{number}" for number, (name, _, _) in enumerate(found)]
    sources, values = [source for _, source, _ in found], [value for _, _, value in found]
    return Encoding(names, sources, values, list(numbers), list(categories))


def encode(rows: pd.DataFrame, encoding: Encoding) -> pd.DataFrame:
    """The rows as float64 columns; fields that the rows lack, and text in place of a number, are null, or missing."""
    pairs = zip(encoding.sources, encoding.values, strict=True)
    fields = _fields(rows, encoding.numbers, encoding.categories, {source for source, value in pairs if value is None})
    columns = {}
    for name, source, value in zip(encoding.columns, encoding.sources, encoding.values, strict=True):
        field = fields.get(source)
        if value is None:
            columns[name] = np.full(len(rows), np.nan) if field is None else field.to_numpy()
        else:
            is_value = np.full(len(rows), value == _MISSING) if field is None else (field == value).to_numpy()
            columns[name] = is_value.astype(np.float64)
    return pd.DataFrame(columns, index=rows.index, dtype="float64")


def typical_of(inputs: pd.DataFrame, encoding: Encoding) -> dict[str, float | None]:
    """The typical contract: the median of each number and the most common value of each name."""
    typical: dict[str, float | None] = {}
    shares = inputs.mean()
    for name, source, value in zip(encoding.columns, encoding.sources, encoding.values, strict=True):
        if value is None:
            middle = inputs[name].median()
            typical[name] = None if np.isnan(middle) else float(middle)
        else:
            alike = [c for c, s in zip(encoding.columns, encoding.sources, strict=True) if s == source]
            typical[name] = float(name == max(alike, key=lambda column: shares[column]))
    return typical


def subscription_reasons(
    inputs: pd.DataFrame, lowered: NDArray[np.float64], typical: Mapping[str, float | None], encoding: Encoding
) -> list[list[str]]:
    """The reasons of each contract: the fields without which its score would fall most.

    Args:
        inputs: what the model read.
        lowered: how far the score falls when each field is put back to the typical contract's, as
            `explaining.lowered_by_theme` gives it.
        typical: as `typical_of` gives it.
        encoding: of the inputs.
    """
    themes = list(dict.fromkeys(map(encoding.theme, encoding.columns)))
    sentences = {theme: _sentences(inputs, typical, encoding, theme) for theme in themes}
    order = np.argsort(-lowered, axis=1, kind="stable")[:, :REASON_COUNT]
    return [
        [sentences[themes[theme]][row] for theme in chosen if lowered[row, theme] > 0] or [NOTHING]
        for row, chosen in enumerate(order)
    ]


def words(field: str) -> str:
    """A field in plain words."""
    return _WORDS.get(field, field.replace("_", " "))


def _sentences(inputs: pd.DataFrame, typical: Mapping[str, float | None], encoding: Encoding, theme: str) -> list[str]:
    opening = words(theme)[:1].upper() + words(theme)[1:]
    of_theme = [column for column in encoding.columns if encoding.theme(column) == theme]
    values = {column: encoding.values[encoding.columns.index(column)] for column in of_theme}
    if values[of_theme[0]] is None:
        column = theme if theme in inputs else of_theme[0]
        usual = typical[column]
        ending = "" if usual is None else f"; typical is {_number(theme, usual)}"
        return [f"{opening}: {_number(theme, value)}{ending}" for value in inputs[column]]
    common = next((values[column] for column in of_theme if typical[column]), None)
    present = inputs[of_theme].to_numpy() > 0
    names = np.array([values[column] or "missing" for column in of_theme], dtype=object)
    shown = np.where(present.any(axis=1), names[present.argmax(axis=1)], "other")
    return [f"{opening}: {value}; most have {common or 'none'}" for value in shown]


def _number(field: str, value: float) -> str:
    if np.isnan(value):
        return "none"
    if field == "tenure_days":
        return f"{value / MONTH_DAYS:,.0f}"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def _fields(
    rows: pd.DataFrame, numbers: Sequence[str], categories: Sequence[str], counted: Collection[str] | None = None
) -> dict[str, pd.Series]:
    """Every field as float64 or as text, attributes taken apart; those `counted` are numbers, or the rows decide."""
    fields = {name: pd.to_numeric(rows[name]).astype("float64") for name in numbers}
    named = {}
    for name in categories:
        place, distinct = rows[name].factorize(use_na_sentinel=False)
        named[name] = _texts(pd.Series(distinct, dtype=object), place, rows.index)
    # Attributes are taken apart once for all rows that have the same.
    place, distinct = rows["attributes"].factorize(use_na_sentinel=False)
    attributes = [_attributes(text) for text in distinct]
    for key in sorted({key for found in attributes for key in found}):
        values = pd.Series([found.get(key) for found in attributes], dtype=object)
        name = key if key not in fields and key not in named else f"attributes {key}"
        if _all_numbers(values) if counted is None else name in counted:
            numbers_of = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
            fields[name] = pd.Series(numbers_of[place], index=rows.index)
        else:
            named[name] = _texts(values, place, rows.index)
    return {**fields, **named}


def _texts(values: pd.Series, place: NDArray[np.intp], index: pd.Index) -> pd.Series:
    """Values as text, null as missing, of rows that have the one at their place."""
    codes, texts = values.where(values.notna(), _MISSING).astype(str).factorize()
    return pd.Series(pd.Categorical.from_codes(codes[place], pd.Index(texts)), index=index)


def _attributes(text: str | None) -> dict[str, Any]:
    """The scalar members of a JSON object; what is no object has none."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError:
        return {}
    return (
        {key: value for key, value in found.items() if isinstance(value, str | int | float)}
        if isinstance(found, dict)
        else {}
    )


def _all_numbers(values: Sequence[Any] | pd.Series) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
