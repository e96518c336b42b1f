"""The plot of who went from which stage to which.

Belongs here: drawing flows between two states. Not here: other plots and their common look (`plots.py`), counting.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_assets.assets.plots import INK, PALETTE, markdown, need

CURVE_STEPS = 24
"""Points of a ribbon's edge from left to right."""

BAND_GAP = 0.04
"""Space between two states, as a share of all who move."""


def flows(moves: pd.DataFrame, states: list[str], title: str = "Who moved since the day before") -> str:
    """Ribbons from each state to the states its customers went to; those who stayed are counted, not drawn.

    Args:
        moves: previous, next (states), customers (count), one row per pair.
        states: every state, from top to bottom.
        title: shown above the picture.

    Returns:
        Markdown image; a ribbon's width is its number of customers and its colour the state they came from.
    """
    import altair as alt

    need(moves, "previous", "next", "customers")
    stayed = moves[moves["previous"] == moves["next"]].groupby("previous")["customers"].sum()
    moved = moves[moves["previous"] != moves["next"]].reset_index(drop=True)
    left, left_ends = _stacked(moved, "previous", "next", states)
    right, right_ends = _stacked(moved, "next", "previous", states)
    color = alt.Color("previous:N", scale=alt.Scale(domain=states, range=_colors(states)), legend=None)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.45, 1.45]))
    y = alt.Y("low:Q", axis=None, scale=alt.Scale(zero=False, reverse=True))
    ribbons = (
        alt.Chart(_ribbons(moved, left, right))
        .mark_area(opacity=0.75)
        .encode(x=x, y=y, y2="high:Q", color=color, detail="ribbon:N")
    )
    froms = {state: f"{customers:,} from {_plain(state)}" for state, (_, customers) in left_ends.items()}
    tos = {
        state: f"{customers:,} to {_plain(state)}, where {stayed.get(state, 0):,} stayed"
        for state, (_, customers) in right_ends.items()
    }
    before = alt.Chart(_labels(-0.02, left_ends, froms)).mark_text(align="right", color=INK)
    after = alt.Chart(_labels(1.02, right_ends, tos)).mark_text(align="left", color=INK)
    texts = [side.encode(x=x, y=y, text="text:N") for side in (before, after)]
    return markdown(alt.layer(ribbons, *texts), title, drawn=len(moved))


def _stacked(
    moved: pd.DataFrame, at: str, other: str, states: list[str]
) -> tuple[pd.Series, dict[str, tuple[float, int]]]:
    """Where each ribbon begins on one side, by row, and the middle and the size of each state's band."""
    rank = {state: number for number, state in enumerate(states)}
    order = moved.assign(a=moved[at].map(rank), b=moved[other].map(rank)).sort_values(["a", "b"])
    gap, position = BAND_GAP * float(moved["customers"].sum()), 0.0
    starts, bands = {}, {}
    for state in [state for state in states if state in set(order[at])]:
        rows, first = order[order[at] == state], position
        for row, customers in rows["customers"].items():
            starts[row] = position
            position += float(customers)
        bands[state] = ((first + position) / 2, int(rows["customers"].sum()))
        position += gap
    return pd.Series(starts, dtype="float64"), bands


def _ribbons(moved: pd.DataFrame, left: pd.Series, right: pd.Series) -> pd.DataFrame:
    """Points of each ribbon's lower and upper edge."""
    x = np.linspace(0, 1, CURVE_STEPS)
    bend = x * x * (3 - 2 * x)
    parts = [
        pd.DataFrame(
            {
                "x": x,
                "low": left[row] + (right[row] - left[row]) * bend,
                "high": left[row] + (right[row] - left[row]) * bend + customers,
                "previous": previous,
                "ribbon": str(row),
            }
        )
        for row, previous, customers in zip(moved.index, moved["previous"], moved["customers"], strict=True)
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["x", "low", "high", "previous", "ribbon"])


def _labels(x: float, ends: dict[str, tuple[float, int]], texts: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({"x": x, "low": [ends[state][0] for state in texts], "text": list(texts.values())})


def _plain(state: str) -> str:
    return state.replace("_", " ")


def _colors(states: list[str]) -> list[str]:
    return [PALETTE[number % len(PALETTE)] for number in range(len(states))]
