"""Plots of response and uplift, in the common look of `plots.py`.

Belongs here: pictures of response models. Not here: the look, or the gains curve that other models share (`plots.py`).
"""

from __future__ import annotations

import pandas as pd

from crm_assets.assets import plots

_FIRST_SHARE = 0.02
"""Share of the contacts from which on a lift is drawn; that of a handful is chance."""


def lift_curve(gains: pd.DataFrame, title: str = "Lift: responses found, as a multiple of contacting at random") -> str:
    """How many times more responses the best contacts give than as many at random, one line per candidate.

    Args:
        gains: share_taken, share_found and candidate.
        title: shown above the picture.

    Returns:
        Markdown image; 1 is contacting at random.
    """
    plots.need(gains, "share_taken", "share_found", "candidate")
    drawn = gains[gains["share_taken"] >= _FIRST_SHARE]
    lift = drawn["share_found"] / drawn["share_taken"]
    return _lines(
        drawn.assign(value=lift, line=plots.words(drawn["candidate"])),
        "share of contacts taken, likeliest first",
        "lift (1 = at random)",
        title,
    )


def qini_curve(curves: pd.DataFrame, title: str = "Qini: responses gained, beside contacting at random") -> str:
    """How many more respond when customers are contacted from the highest uplift down.

    Args:
        curves: share_taken (of held-out customers), gained and random (responses per customer), candidate.
        title: shown above the picture.

    Returns:
        Markdown image; the line below is contacting as many at random.
    """
    plots.need(curves, "share_taken", "gained", "random", "candidate")
    named = plots.words(curves["candidate"])
    both = [
        curves.assign(value=curves["gained"], line=named),
        curves.assign(value=curves["random"], line=named + " at random"),
    ]
    return _lines(
        pd.concat(both), "share of customers contacted, highest uplift first", "responses gained per customer", title
    )


def _lines(points: pd.DataFrame, x_title: str, y_title: str, title: str) -> str:
    """A line for each value of `line`, of at most so many points as are seen."""
    import altair as alt

    names = points["line"].drop_duplicates().tolist()
    step = max(1, len(points) // (plots.CURVE_POINTS * max(1, len(names))))
    thin = pd.concat([points[points["line"] == name].iloc[::step] for name in names] or [points])
    colors = [plots.PALETTE[number % len(plots.PALETTE)] for number in range(len(names))]
    lines = (
        alt.Chart(thin[["share_taken", "value", "line"]])
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("share_taken:Q", title=x_title, axis=alt.Axis(format="%", tickCount=5)),
            y=alt.Y("value:Q", title=y_title),
            color=alt.Color(
                "line:N",
                title=None,
                scale=alt.Scale(domain=names, range=colors),
                legend=alt.Legend(orient="bottom", columns=3),
            ),
        )
    )
    return plots.markdown(lines, title, drawn=len(thin))
