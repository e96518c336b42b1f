"""Plots of behaviour, in the common look of `plots.py`.

Belongs here: pictures of cohorts, repeat rates, campaigns, drivers and sales to come. Not here: the look, or pictures of other subjects (`plots.py`).
"""

from __future__ import annotations

import pandas as pd

from crm_assets.assets import plots

SHOWN_COHORTS = 24
"""Most cohorts of a picture, the newest."""

SHOWN_CAMPAIGNS = 20
"""Most campaigns of a picture, the newest."""

SHOWN_WEEKS = 104
"""Most past weeks of a picture."""

SHOWN_DAYS = 365
"""Days after the first order that a picture shows."""


def cohort_retention(cohorts: pd.DataFrame, title: str = "Share of each cohort who ordered, by month since") -> str:
    """A cell for each cohort and month since its first order.

    Args:
        cohorts: cohort_month, months_since, retention.
        title: shown above the picture.

    Returns:
        Markdown image; the darker, the more of the cohort ordered in the month. The month itself, when all did, is left
        out.
    """
    import altair as alt

    plots.need(cohorts, "cohort_month", "months_since", "retention")
    later = cohorts[cohorts["months_since"] > 0]
    cells = later.assign(cohort=pd.to_datetime(later["cohort_month"]).dt.strftime("%Y-%m"))
    cells = cells[cells["cohort"].isin(sorted(cells["cohort"].unique())[-SHOWN_COHORTS:])]
    base = alt.Chart(cells[["cohort", "months_since", "retention"]]).encode(
        x=alt.X("months_since:O", title="months since the first order", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("cohort:O", title="month of the first order"),
    )
    shades = base.mark_rect().encode(
        color=alt.Color("retention:Q", legend=None, scale=alt.Scale(range=["#f4f6f8", "#7fa8c9"]))
    )
    texts = base.mark_text(color=plots.INK).encode(text=alt.Text("retention:Q", format=".0%"))
    height = max(plots.BAR_HEIGHT * cells["cohort"].nunique() + 80, 160)
    return plots.markdown(shades + texts, title, drawn=len(cells), height=height)


def repeat_rates(curves: pd.DataFrame, title: str = "Share of customers with a second, third, ... order") -> str:
    """A line for each order over the days since the first one.

    Args:
        curves: order_number, days, share.
        title: shown above the picture.

    Returns:
        Markdown image; customers who were not seen long enough to tell are accounted for.
    """
    import altair as alt

    plots.need(curves, "order_number", "days", "share")
    shown = curves[(curves["days"] <= SHOWN_DAYS) & ((curves["days"] - 1) % 4 == 0)]
    numbers = [str(number) for number in sorted(shown["order_number"].unique())]
    points = pd.DataFrame(
        {"order": shown["order_number"].astype("str"), "days": shown["days"], "share": shown["share"]}
    )
    colors = [plots.PALETTE[number % len(plots.PALETTE)] for number in range(len(numbers))]
    lines = (
        alt.Chart(points)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("days:Q", title="days since the first order"),
            y=alt.Y("share:Q", title="share of customers", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "order:N",
                title="order number",
                sort=numbers,
                scale=alt.Scale(domain=numbers, range=colors),
                legend=alt.Legend(orient="bottom"),
            ),
        )
    )
    return plots.markdown(lines, title, drawn=len(points))


def campaign_effects(effects: pd.DataFrame, title: str = "Effect on spend of each contacted customer") -> str:
    """A dot with its interval for each campaign that could be measured.

    Args:
        effects: campaign_id, starts_on, effect, low, high.
        title: shown above the picture.

    Returns:
        Markdown image, the newest campaign on top; an interval that holds the dashed 0 may be chance.
    """
    import altair as alt

    plots.need(effects, "campaign_id", "starts_on", "effect", "low", "high")
    shown = effects[effects["effect"].notna()].sort_values("starts_on", ascending=False, kind="stable")
    shown = shown.head(SHOWN_CAMPAIGNS).assign(starts=lambda rows: rows["starts_on"].astype("str"))
    names = (shown["starts"] + "  " + shown["campaign_id"]).tolist()
    points = shown[["effect", "low", "high"]].astype("float64").assign(campaign=names)
    y = alt.Y("campaign:N", sort=names, title=None)
    x = alt.X("low:Q", title="difference a contact makes, with its 95% interval")
    ranges = alt.Chart(points).mark_rule(color=plots.ACCENT, strokeWidth=2).encode(y=y, x=x, x2="high:Q")
    dots = alt.Chart(points).mark_circle(color=plots.ACCENT, opacity=1, size=70).encode(y=y, x="effect:Q")
    none = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=plots.MUTED, strokeDash=[4, 4]).encode(x="x:Q")
    height = max(plots.BAR_HEIGHT * len(points) + 80, 160)
    return plots.markdown(none + ranges + dots, title, drawn=len(points), height=height)


def driver_ranges(drivers: pd.DataFrame, title: str) -> str:
    """A bar for each driver, from the lowest mean prediction over its levels to the highest.

    Args:
        drivers: rank, label, level, effect.
        title: shown above the picture.

    Returns:
        Markdown image, the driver that moves predictions most on top; the dot is the highest level of the sign.
    """
    import altair as alt

    plots.need(drivers, "rank", "label", "level", "effect")
    ends = drivers.groupby(["rank", "label"])["effect"].agg(low="min", high="max").reset_index()
    top = drivers[drivers["level"] == drivers["level"].max()].set_index("rank")["effect"]
    shown = ends.assign(top=ends["rank"].map(top)).sort_values("rank")
    y = alt.Y("label:N", sort=shown["label"].tolist(), title=None, axis=alt.Axis(labelLimit=320))
    x = alt.X("low:Q", title="mean prediction, less that of customers as they are")
    bars = alt.Chart(shown).mark_bar(color=plots.ACCENT, opacity=0.5, height=8).encode(y=y, x=x, x2="high:Q")
    dots = alt.Chart(shown).mark_circle(color=plots.INK, opacity=1, size=60).encode(y=y, x="top:Q")
    return plots.markdown(bars + dots, title, drawn=len(shown), height=max(plots.BAR_HEIGHT * len(shown) + 80, 160))


def sales_to_come(
    past: pd.Series, ahead: pd.DataFrame, title: str = "Revenue of each week, and of those to come"
) -> str:
    """A line of what was, and of what is expected with its interval.

    Args:
        past: revenue by first day of the week.
        ahead: period, forecast, low, high.
        title: shown above the picture.

    Returns:
        Markdown image.
    """
    import altair as alt

    plots.need(ahead, "period", "forecast", "low", "high")
    shown = past.tail(SHOWN_WEEKS)
    known = pd.DataFrame({"week": pd.DatetimeIndex(shown.index).strftime("%Y-%m-%d"), "revenue": shown.to_numpy()})
    later = ahead.assign(week=pd.to_datetime(ahead["period"]).dt.strftime("%Y-%m-%d"))
    later = later[["week", "forecast", "low", "high"]]
    x = alt.X("week:T", title=None)
    y = alt.Y("revenue:Q", title="revenue", scale=alt.Scale(zero=False))
    band = alt.Chart(later).mark_area(color=plots.ACCENT, opacity=0.25).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
    expected = alt.Chart(later).mark_line(color=plots.ACCENT, strokeWidth=2).encode(x=x, y="forecast:Q")
    line = alt.Chart(known).mark_line(color=plots.INK, strokeWidth=2).encode(x=x, y=y)
    return plots.markdown(band + line + expected, title, drawn=len(known) + len(later))
