"""Plots of segments.

Belongs here: one function per picture. Not here: their common look (`plots.py`), what is drawn (`crm_assets.mining`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm_assets.assets.plots import ACCENT, MUTED, PALETTE, markdown, need

if TYPE_CHECKING:
    import pandas as pd


def pareto_curve(curve: pd.DataFrame, title: str = "Share of value by share of customers") -> str:
    """How much of all value the most valuable customers bring, by value tier.

    Args:
        curve: percent (of customers), value_share (0 to 1), value_tier.
        title: shown above the picture.

    Returns:
        Markdown image; the dashed lines end the tiers A and B.
    """
    import altair as alt
    import pandas as pd

    need(curve, "percent", "value_share", "value_tier")
    points = pd.DataFrame(
        {
            "customers": curve["percent"].astype("float64") / 100,
            "value": curve["value_share"].astype("float64"),
            "tier": curve["value_tier"].astype("str"),
        }
    ).dropna()
    share = alt.Axis(format="%", tickCount=5)
    base = alt.Chart(points).encode(
        x=alt.X(
            "customers:Q", title="share of customers, most valuable first", axis=share, scale=alt.Scale(domain=[0, 1])
        ),
        y=alt.Y("value:Q", title="share of all value", axis=share, scale=alt.Scale(domain=[0, 1])),
    )
    tiers = sorted(points["tier"].unique())
    dots = base.mark_circle(opacity=1, size=28).encode(
        color=alt.Color(
            "tier:N",
            title="value tier",
            scale=alt.Scale(domain=tiers, range=list(PALETTE[: len(tiers)])),
            legend=alt.Legend(orient="bottom"),
        )
    )
    ends = alt.Chart(pd.DataFrame({"value": [0.8, 0.95]})).mark_rule(color=MUTED, strokeDash=[4, 4]).encode(y="value:Q")
    return markdown(ends + base.mark_line(color=ACCENT) + dots, title, drawn=len(points))
