"""How well records are joined into persons, measured on pairs of records of which the truth is known.

Belongs here: pairwise precision and recall. Not here: joining (`identity_persons.py`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from crm_assets.contracts.identity import IDENTITY_QUALITY
from crm_assets.mining.identity_persons import Decisions

if TYPE_CHECKING:
    import pandas as pd

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Match probabilities at which single pairs are measured."""


def measure_labels(
    labels: Mapping[str, str], person_of: Mapping[str, str], links: "pd.DataFrame", threshold: float
) -> "pd.DataFrame":
    """Precision and recall against labelled persons: of persons as they are, and of single pairs at thresholds.

    Args:
        labels: True person of some customers.
        person_of: Person of each customer as found.
        links: `profile.identity_links`.
        threshold: The one in force.
    """
    known = {customer: person for customer, person in labels.items() if customer in person_of}
    true = _pairs(Counter(known.values()).values())
    found = _pairs(Counter(person_of[customer] for customer in known).values())
    right = _pairs(Counter((known[customer], person_of[customer]) for customer in known).values())
    rows = [_row("labels", "persons", threshold, true, found, right, len(known))]
    ends = links[links["customer_id"].isin(known.keys()) & links["other_customer_id"].isin(known.keys())]
    is_right = ends["customer_id"].map(known) == ends["other_customer_id"].map(known)
    for level in sorted({*THRESHOLDS, threshold}):
        at = ends["match_probability"] >= level
        rows.append(_row("labels", "pairs", level, true, int(at.sum()), int((at & is_right).sum()), len(known)))
    return _frame(rows)


def measure_decisions(decisions: Decisions, links: "pd.DataFrame", threshold: float) -> "pd.DataFrame":
    """Precision and recall of single pairs against what people decided; of what the model alone would have said."""
    always = {(a, b) for _, a, b in decisions.always}
    never = {(a, b) for _, a, b in decisions.never}
    if not always | never:
        return _frame([])
    # A pair that only people linked has no evidence: the model did not find it.
    judged = links[links["evidence"] != "{}"]
    pairs = zip(judged["customer_id"], judged["other_customer_id"], judged["match_probability"], strict=True)
    scores = {(a, b): score for a, b, score in pairs if (a, b) in always | never}
    records = len({customer for pair in always | never for customer in pair})
    rows = []
    for level in sorted({*THRESHOLDS, threshold}):
        at = {pair for pair, score in scores.items() if score >= level}
        rows.append(_row("pairs", "pairs", level, len(always), len(at), len(at & always), records))
    return _frame(rows)


def pairwise(found: Iterable[Any], truth: Iterable[Any]) -> tuple[float, float, float]:
    """Pairwise precision, recall and F1 of a grouping against the true one, in the same order of records."""
    together = list(zip(found, truth, strict=True))
    found_pairs = _pairs(Counter(group for group, _ in together).values())
    true_pairs = _pairs(Counter(person for _, person in together).values())
    right = _pairs(Counter(together).values())
    row = _row("labels", "persons", 0.0, true_pairs, found_pairs, right, len(together))
    return row["precision"] or 0.0, row["recall"] or 0.0, row["f1"] or 0.0


def _pairs(sizes: Iterable[int]) -> int:
    return sum(size * (size - 1) // 2 for size in sizes)


def _row(
    truth: str, measured: str, threshold: float, true: int, found: int, right: int, records: int
) -> dict[str, Any]:
    return {
        "truth": truth,
        "measured": measured,
        "threshold": threshold,
        "precision": right / found if found else None,
        "recall": right / true if true else None,
        "f1": 2 * right / (true + found) if true + found else None,
        "true_pairs": true,
        "found_pairs": found,
        "right_pairs": right,
        "records": records,
    }


def _frame(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows, columns=list(IDENTITY_QUALITY.by_name))
