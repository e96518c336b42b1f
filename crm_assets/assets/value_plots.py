"""Plots of customer value, in the common look of `plots.py`.

Belongs here: pictures of value models. Not here: the look, or pictures of other subjects (`plots.py`).
"""

from __future__ import annotations

import pandas as pd

from crm_assets.assets import plots


def orders_by_frequency(
    calibration: pd.DataFrame, title: str = "Orders expected and realised, by orders before"
) -> str:
    """Mean orders in the days that were held out, by the number of orders after the first one before.

    Args:
        calibration: frequency (text, in order), expected, realised (mean orders), customers.
        title: shown above the picture.

    Returns:
        Markdown image, as figure 4 of Fader, Hardie and Lee (2005): lines that lie together are a process that fits.
    """
    import altair as alt

    names = calibration["frequency"].tolist()
    long = calibration.melt("frequency", ["realised", "expected"], var_name="orders", value_name="mean")
    lines = (
        alt.Chart(long)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            x=alt.X("frequency:O", sort=names, title="orders after the first one", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("mean:Q", title="mean orders in the days held out"),
            color=alt.Color(
                "orders:N",
                title=None,
                scale=alt.Scale(domain=["realised", "expected"], range=[plots.MUTED, plots.ACCENT]),
                legend=alt.Legend(orient="bottom"),
            ),
        )
    )
    return plots.markdown(lines, title, drawn=len(calibration))
