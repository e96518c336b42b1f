"""What is compared between two records of customers, and how much each agreement says before anything was learned.

Belongs here: comparisons with their levels, which records are compared at all, the untrained weights. Not here:
learning the weights and scoring pairs (`identity_model.py`).

Conditions are in the dialect of Splink's backend: `x_l` and `x_r` are the values of the two records.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

BLOCK_LIMIT = 100
"""A value shared by more records than this, such as a first name in a large city, proposes no pairs."""


@dataclass(frozen=True)
class Level:
    """One outcome of a comparison.

    Attributes:
        label: For people.
        condition: When it holds and none before it.
        m: Share of pairs of one person with this outcome, untrained.
        u: Share of pairs of two persons with it, untrained.
        term: Column whose value's frequency says how much the agreement is worth.
        differs: The two values belong to two persons, as far as this comparison can tell.
    """

    label: str
    condition: str
    m: float
    u: float
    term: str | None = None
    differs: bool = False


_GIVEN = "jaro_winkler_similarity(given_l, given_r) >= 0.85"
_FAMILY = "jaro_winkler_similarity(family_l, family_r) >= 0.88"
_INITIAL = "(length(given_l) = 1 or length(given_r) = 1) and initial_l = initial_r"
_COMMON = "len(list_intersect(tokens_l, tokens_r))"
_ELSE = "ELSE"

COMPARISONS: Mapping[str, tuple[str, tuple[Level, ...]]] = {
    "name": (
        "family_l is null or family_r is null or script_l <> script_r",
        (
            Level("same name", "name_key_l = name_key_r", 0.36, 0.0003, "name_key"),
            Level("same given and family name", "full_l = full_r", 0.1, 0.0001, "full"),
            Level(
                "given and family name exchanged", "given_l = family_r and family_l = given_r", 0.01, 0.00001, "family"
            ),
            Level("same family, similar given name", f"family_l = family_r and {_GIVEN}", 0.12, 0.0003, "family"),
            Level("same family name and initial", f"family_l = family_r and {_INITIAL}", 0.03, 0.0002, "family"),
            Level("same given, similar family name", f"given_l = given_r and {_FAMILY}", 0.06, 0.0001, "given"),
            Level("similar given and family name", f"{_GIVEN} and {_FAMILY}", 0.03, 0.0001),
            Level("two parts in common", f"{_COMMON} >= 2", 0.03, 0.0001),
            Level("same family name", "family_l = family_r", 0.12, 0.004, "family", differs=True),
            Level("family name is a part", "list_contains(tokens_r, family_l)", 0.015, 0.001, "family"),
            Level("family name is a part, reversed", "list_contains(tokens_l, family_r)", 0.015, 0.001, "family"),
            Level("same given name", "given_l = given_r", 0.03, 0.01, "given"),
            Level("one part in common", f"{_COMMON} >= 1", 0.01, 0.003),
            Level(
                "similar family name", "jaro_winkler_similarity(family_l, family_r) >= 0.85", 0.02, 0.002, None, True
            ),
            Level("similar given name", _GIVEN, 0.01, 0.007, None, True),
            Level("other name", _ELSE, 0.04, 0.9703, None, True),
        ),
    ),
    "birth_date": (
        "birth_date_l is null or birth_date_r is null",
        (
            Level("same day", "birth_date_l = birth_date_r", 0.85, 0.0002, "birth_date"),
            Level("one digit differs", "damerau_levenshtein(birth_date_l, birth_date_r) <= 1", 0.08, 0.002),
            Level("two digits differ", "damerau_levenshtein(birth_date_l, birth_date_r) <= 2", 0.03, 0.03),
            Level("same day of another year", "birth_date_l[6:] = birth_date_r[6:]", 0.01, 0.003, None, True),
            Level("same year", "birth_date_l[:4] = birth_date_r[:4]", 0.01, 0.02, None, True),
            Level("other day", _ELSE, 0.02, 0.9448, None, True),
        ),
    ),
    "email": (
        "email_l is null or email_r is null",
        (
            Level("same address", "email_l = email_r", 0.7, 0.00002, "email"),
            Level("same mailbox of another host", "mailbox_l = mailbox_r", 0.05, 0.00005, "mailbox"),
            Level("similar address", "jaro_winkler_similarity(email_l, email_r) >= 0.92", 0.05, 0.0002),
            Level("other address", _ELSE, 0.2, 0.99973),
        ),
    ),
    "phone": (
        "phone_l is null or phone_r is null",
        (
            Level("same number", "phone_l = phone_r", 0.7, 0.00002, "phone"),
            Level("same last digits", "phone_end_l = phone_end_r", 0.03, 0.00002),
            Level("one digit differs", "damerau_levenshtein(phone_l, phone_r) <= 1", 0.03, 0.0002),
            Level("other number", _ELSE, 0.24, 0.99976),
        ),
    ),
    "address": (
        "address_l is null or address_r is null",
        (
            Level("same address", "address_l = address_r", 0.5, 0.0003, "address"),
            Level("similar address", "jaro_winkler_similarity(address_l, address_r) >= 0.92", 0.2, 0.002),
            Level("other address", _ELSE, 0.3, 0.9977),
        ),
    ),
    "postcode": (
        "postcode_l is null or postcode_r is null",
        (
            Level("same postcode", "postcode_l = postcode_r", 0.65, 0.001, "postcode"),
            Level("one character differs", "levenshtein(postcode_l, postcode_r) <= 1", 0.08, 0.001),
            Level("same district", "district_l = district_r", 0.07, 0.005),
            Level("same area", "postcode_l[:2] = postcode_r[:2]", 0.06, 0.05),
            Level("other postcode", _ELSE, 0.14, 0.943),
        ),
    ),
    "city": (
        "city_l is null or city_r is null",
        (
            Level("same city", "city_l = city_r", 0.82, 0.06, "city"),
            Level(
                "similar city",
                "jaro_winkler_similarity(city_l, city_r) >= 0.85 or contains(city_l, city_r) or contains(city_r, city_l)",
                0.03,
                0.01,
            ),
            Level("other city", _ELSE, 0.15, 0.93),
        ),
    ),
    "gender": (
        "gender_l is null or gender_r is null",
        (Level("same gender", "gender_l = gender_r", 0.95, 0.5), Level("other gender", _ELSE, 0.05, 0.5)),
    ),
    "occupation": (
        "occupation_l is null or occupation_r is null",
        (
            Level("same occupation", "occupation_l = occupation_r", 0.8, 0.1, "occupation"),
            Level("other occupation", _ELSE, 0.2, 0.9),
        ),
    ),
}
"""By name: when nothing can be said, and the levels from most to least alike."""

UNTRAINED_PRIOR = 0.00003
"""Chance, untrained, that two records picked at random are one person; such that a name and a city are not enough."""

TERMS = tuple(sorted({level.term for _, levels in COMPARISONS.values() for level in levels if level.term}))
"""Columns whose values count by how rare they are."""

_KEYS: tuple[tuple[tuple[str, int | None], ...], ...] = (
    (("email", None),),
    (("phone", None),),
    (("phone_end", None),),
    (("mailbox", None),),
    (("name_key", None),),
    (("family", None), ("given", 3)),
    (("family", 4), ("given", 3)),
    (("family", None), ("birth_date", None)),
    (("given", None), ("birth_date", None)),
    (("family", None), ("birth_date", 4)),
    (("birth_date", None), ("city", None)),
    (("birth_date", None), ("postcode", 3)),
    (("birth_date", -6), ("postcode", 3)),
    (("postcode", None),),
    (("family", None), ("postcode", 2)),
    (("given", None), ("postcode", 3)),
    (("family", None), ("city", None)),
    (("given", None), ("city", None)),
    (("family", None), ("occupation", None)),
    (("address", None),),
)
"""Records that agree on all columns of one of these, whole or on so many characters, are compared."""

BLOCKS = tuple(f"block_{number}" for number in range(len(_KEYS)))
"""Names of the blocking keys."""


def with_blocks(nodes: "pd.DataFrame") -> "pd.DataFrame":
    """Records with their blocking keys.

    A key is given only while no more than `BLOCK_LIMIT` records up to and including the record's own day share it. So
    what is delivered later never changes which earlier records are compared.

    Args:
        nodes: The columns of `COMPARED`, `customer_id`, and `day`, that of the export that brought the record.
    """
    import pandas as pd

    keys = {}
    for block, parts in zip(BLOCKS, _KEYS, strict=True):
        key, known = pd.Series("", index=nodes.index), pd.Series(True, index=nodes.index)
        for column, length in parts:
            values = nodes[column]
            known &= values.notna()
            cut = values if length is None else values.str[length:] if length < 0 else values.str[:length]
            key = key + "|" + cut.fillna("").astype(str)
        keys[block] = key.where(known, None)
    limited = {
        block: key.where(shared_by(key, nodes["day"], nodes["customer_id"]) <= BLOCK_LIMIT, None)
        for block, key in keys.items()
    }
    return nodes.assign(**limited)


def shared_by(values: "pd.Series", days: "pd.Series", customers: "pd.Series") -> "pd.Series":
    """How many customers had a row's value by the row's own day; 0 where it has none."""
    import pandas as pd

    rows = pd.DataFrame({"value": values.to_numpy(dtype=object), "day": [day.toordinal() for day in days]})
    rows["customer"] = customers.to_numpy()
    known = rows[rows["value"].notna()].sort_values("day", kind="stable")
    daily = known.drop_duplicates(["value", "customer"]).groupby(["value", "day"]).size()
    so_far = daily.groupby(level="value").cumsum().rename("holders").reset_index().sort_values("day", kind="stable")
    found = pd.merge_asof(known.reset_index(), so_far, on="day", by="value").set_index("index")["holders"]
    counts = found.reindex(rows.index).fillna(0).astype("int64")
    return pd.Series(counts.to_numpy(), index=values.index)


def untrained_settings(with_terms: bool = True) -> dict[str, Any]:
    """Splink's settings with the untrained weights; rare values may count for more than frequent ones."""
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "node",
        "probability_two_random_records_match": UNTRAINED_PRIOR,
        "retain_matching_columns": True,
        "retain_intermediate_calculation_columns": True,
        "em_convergence": 0.0001,
        "max_iterations": 30,
        "comparisons": [
            _comparison(name, missing, levels, with_terms) for name, (missing, levels) in COMPARISONS.items()
        ],
        "blocking_rules_to_generate_predictions": [
            {"blocking_rule": f"l.{block} = r.{block}", "sql_dialect": "duckdb"} for block in BLOCKS
        ],
    }


def _comparison(name: str, missing: str, levels: tuple[Level, ...], with_terms: bool) -> dict[str, Any]:
    known = [
        {
            "sql_condition": level.condition,
            "label_for_charts": level.label,
            "m_probability": level.m,
            "u_probability": level.u,
            **(
                {"tf_adjustment_column": level.term, "disable_tf_exact_match_detection": True}
                if level.term and with_terms
                else {}
            ),
        }
        for level in levels
    ]
    nothing = {"sql_condition": missing, "label_for_charts": "not known in both", "is_null_level": True}
    return {"output_column_name": name, "comparison_levels": [nothing, *known]}
