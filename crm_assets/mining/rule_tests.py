"""Whether association rules are more than chance, and more than their shorter forms.

Belongs here: tests of mined rules, false discovery control, redundancy. Not here: mining (`cross_sell.py`), counting
(`itemsets.py`).
Source: Webb, Discovering Significant Patterns (Machine Learning, 2007): a rule is productive if each of its antecedents
makes the consequents likelier, by Fisher's exact test; Benjamini and Hochberg, Controlling the False Discovery Rate
(1995).
"""

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

from crm_assets.contracts.basket import FALSE_DISCOVERY_RATE
from crm_assets.mining.itemsets import Itemsets

if TYPE_CHECKING:
    import pandas as pd


def tested_rules(rules: "pd.DataFrame", itemsets: Itemsets, hypotheses: int) -> "pd.DataFrame":
    """The rules with `p_value`, `q_value` and `is_redundant`.

    The p-value is the largest of one-sided Fisher exact tests, one for each antecedent: among the baskets with the
    other antecedents (all baskets, if it is the only one), that those with it too have the consequents more often. So a
    rule that owes its lift to a shorter form is not significant. The q-value counts every rule that could have been
    found, and takes those that were not as chance: what passes the limits of mining was picked for its counts.

    Args:
        rules: antecedents, consequents and items (both), as sorted tuples, with baskets and antecedent_baskets.
        itemsets: what the rules were mined from; it holds every subset of their items.
        hypotheses: number of rules that could have been found, as `hypotheses_of` counts them.

    Returns:
        The rules in their order. Redundant is a longer rule of which no test says that it beats its shorter forms.
    """
    import numpy as np
    from scipy.stats import false_discovery_control, hypergeom

    counts = itemsets.counts
    owners, drawn = [], []
    for number, (antecedents, consequents) in enumerate(zip(rules["antecedents"], rules["consequents"], strict=True)):
        for others in combinations(antecedents, len(antecedents) - 1):
            owners.append(number)
            if others:
                drawn.append((counts[others], counts[tuple(sorted(others + consequents))]))
            else:
                drawn.append((itemsets.baskets, counts[consequents]))
    p_values = np.zeros(len(rules))
    if owners:
        population, successes = np.array(drawn, dtype="int64").T
        both, with_all = rules["baskets"].to_numpy()[owners], rules["antecedent_baskets"].to_numpy()[owners]
        np.maximum.at(p_values, owners, np.clip(hypergeom.sf(both - 1, population, successes, with_all), 0, 1))
    q_values = p_values
    if len(rules):
        q_values = np.minimum(1, false_discovery_control(p_values) * (max(hypotheses, len(rules)) / len(rules)))
    is_longer = np.array([len(antecedents) > 1 for antecedents in rules["antecedents"]], dtype=bool)
    return rules.assign(p_value=p_values, q_value=q_values, is_redundant=is_longer & (q_values > FALSE_DISCOVERY_RATE))


def hypotheses_of(itemsets: Itemsets, max_length: int, max_consequents: int | None) -> int:
    """How many rules could have been found: frequent antecedents times what may be suggested with each.

    Consequents of one item are the frequent items that are not among the antecedents; longer ones, frequent sets.
    """
    frequent = Counter(itemsets.frame["length"].tolist())
    longest = max_length - 1 if max_consequents is None else min(max_consequents, max_length - 1)
    return sum(
        antecedents * (max(0, suggested - length) if size == 1 else suggested)
        for length, antecedents in frequent.items()
        for size, suggested in frequent.items()
        if size <= longest and length + size <= max_length
    )
