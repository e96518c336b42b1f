"""Files in which people say which records are one person: decisions on pairs, and labels to measure against.

Belongs here: reading and judging their rows. Not here: what follows from them (`identity_persons.py`).
"""

import csv
from collections.abc import Iterable
from datetime import date

from crm_assets.contracts.canonical import EARLIEST
from crm_assets.mining.identity_persons import Decisions

PAIR_COLUMNS = ("customer_id_a", "customer_id_b", "decision")
TRUTH_COLUMNS = ("customer_id", "person")
DECISIONS = ("always", "never")


class IdentityFileError(ValueError):
    """A file of pairs or labels cannot be used; the message names every bad line and what to do."""


def read_decisions(lines: Iterable[str], name: str) -> Decisions:
    """Decisions from the lines of a csv file.

    Args:
        lines: A header with customer_id_a, customer_id_b, decision (always or never) and, if wanted, decided_on, the
            day (YYYY-MM-DD) from which the decision holds; without one it holds from the beginning.
        name: The file's name, for messages.

    Raises:
        IdentityFileError: Columns are missing, rows cannot be read, or decisions contradict each other.
    """
    decisions, problems = Decisions(), []
    seen: dict[tuple[str, str], tuple[str, int]] = {}
    for line, row in _rows(lines, name, PAIR_COLUMNS):
        a, b, decision = (row[column] for column in PAIR_COLUMNS)
        since = _day(row.get("decided_on", "") or EARLIEST)
        if not a or not b:
            problems.append(f"line {line}: a customer_id is missing; give both")
        elif a == b:
            problems.append(f"line {line}: {a} is paired with itself; give two records")
        elif decision.lower() not in DECISIONS:
            problems.append(f"line {line}: decision is {decision!r}; write always or never")
        elif since is None:
            problems.append(f"line {line}: decided_on is {row['decided_on']!r}; write a day as YYYY-MM-DD or nothing")
        else:
            pair = (min(a, b), max(a, b))
            before = seen.setdefault(pair, (decision.lower(), line))
            if before[0] != decision.lower():
                problems.append(f"line {line}: {a} and {b} are {before[0]} on line {before[1]}; keep one of the two")
            elif before[1] == line:
                (decisions.always if decision.lower() == "always" else decisions.never).append((since, *pair))
    problems += _contradictions(decisions, seen)
    if problems:
        raise IdentityFileError(f"{name} cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))
    return decisions


def read_labels(lines: Iterable[str], name: str) -> dict[str, str]:
    """The person of each labelled customer, from the lines of a csv file with customer_id and person.

    Raises:
        IdentityFileError: Columns or values are missing, or a customer has two persons.
    """
    labels: dict[str, str] = {}
    problems = []
    for line, row in _rows(lines, name, TRUTH_COLUMNS):
        customer, person = row["customer_id"], row["person"]
        if not customer or not person:
            problems.append(f"line {line}: customer_id or person is missing; give both")
        elif labels.setdefault(customer, person) != person:
            problems.append(f"line {line}: {customer} is {labels[customer]} and {person}; keep one of the two")
    if problems:
        raise IdentityFileError(f"{name} cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))
    return labels


def _rows(lines: Iterable[str], name: str, needed: tuple[str, ...]) -> Iterable[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(lines)
    header = [column.strip().lstrip("\ufeff") for column in reader.fieldnames or ()]
    missing = [column for column in needed if column not in header]
    if missing:
        raise IdentityFileError(f"{name} lacks columns {missing}: its first line must name {', '.join(needed)}")
    reader.fieldnames = header
    for row in reader:
        yield reader.line_num, {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _contradictions(decisions: Decisions, seen: dict[tuple[str, str], tuple[str, int]]) -> list[str]:
    """Records that are never one person, but always the same as a third."""
    root: dict[str, str] = {}

    def find(customer: str) -> str:
        while (parent := root.get(customer, customer)) != customer:
            customer = parent
        return customer

    for _, a, b in decisions.always:
        root[find(a)] = find(b)
    return [
        f"line {seen[a, b][1]}: {a} and {b} are never one person, but other lines make them one; take one line away"
        for _, a, b in decisions.never
        if find(a) == find(b)
    ]
