"""Plots for asset metadata: a frame in, a markdown image out.

Belongs here: small pure functions that draw one picture each, and their common look. Not here: computing what is
drawn (`crm_assets.mining`), attaching it to an asset.

Pictures are PNG inside the markdown, so they need no server, no network and no file beside them. Text in Chinese,
Japanese or Korean needs a font that has it on the machine, such as Debian's fonts-noto-cjk.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from typing import TYPE_CHECKING, cast

import pandas as pd

if TYPE_CHECKING:
    import altair as alt

WIDTH = 600
"""Width of a picture in pixels, titles and axes included."""

HEIGHT = 360
"""Height of a picture in pixels; lists of bars grow with their rows."""

BAR_HEIGHT = 22
"""Height of one row in a list of bars, in pixels."""

CURVE_POINTS = 200
"""Points kept of a curve: more are not seen at this size."""

LABEL_WIDTH = 300
"""Widest label beside a bar in pixels; longer ones end in an ellipsis."""

LATIN_FONTS = "Liberation Sans, Noto Sans, DejaVu Sans, Arial, sans-serif"
CJK_FONTS = (
    "Noto Sans CJK SC, Noto Sans SC, Source Han Sans SC, WenQuanYi Zen Hei, Microsoft YaHei, PingFang SC, sans-serif"
)
"""First faces of a picture with Chinese, Japanese or Korean text: the renderer's own fallback mixes in a serif face."""

INK = "#333333"
MUTED = "#8a8f98"
GRID = "#e6e8eb"
ACCENT = "#2f6690"
SECOND = "#d98e32"
_CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PALETTE = (ACCENT, SECOND, "#4f9d69", "#a34a5b", "#7b68a6", "#7f7f7f", "#58a4b0", "#b59f3b")


def segment_sizes(segments: pd.DataFrame, title: str = "Segments by share of customers and of value") -> str:
    """Bars of each segment's share of customers and of value.

    Args:
        segments: segment (name), customers (count), value (workspace currency), one row per segment.
        title: shown above the picture.

    Returns:
        Markdown image; segments in the order of their share of value.
    """
    import altair as alt

    need(segments, "segment", "customers", "value")
    totals = segments[["customers", "value"]].astype("float64")
    shares = (totals / totals.sum().where(totals.sum() > 0, 1.0)).assign(segment=words(segments["segment"]))
    order = shares.sort_values("value", ascending=False, kind="stable")["segment"].tolist()
    long = shares.melt(id_vars="segment", var_name="measure", value_name="share")
    bars = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            y=alt.Y("segment:N", sort=order, title=None),
            yOffset=alt.YOffset("measure:N"),
            x=alt.X("share:Q", title="share of the total", axis=alt.Axis(format="%")),
            color=alt.Color(
                "measure:N",
                title=None,
                scale=alt.Scale(domain=["customers", "value"], range=[MUTED, ACCENT]),
                legend=alt.Legend(orient="bottom"),
            ),
        )
    )
    return markdown(bars, title, drawn=len(segments), height=_list_height(len(segments) * 1.2))


def calibration_curve(bins: pd.DataFrame, title: str = "Calibration: predicted against observed") -> str:
    """How often it happened, by how likely it was said to be.

    Args:
        bins: predicted (mean probability), observed (share that happened), customers (in the bin, optional).
        title: shown above the picture.

    Returns:
        Markdown image; the dashed diagonal is a model whose probabilities can be taken at their word.
    """
    import altair as alt

    need(bins, "predicted", "observed")
    points = bins.assign(customers=bins.get("customers", 1))
    highest = float(max(points["predicted"].max(), points["observed"].max(), 0.01)) * 1.05 if len(points) else 1.0
    scale = alt.Scale(domain=[0, min(highest, 1.0)], nice=False)
    percent = alt.Axis(format="%", tickCount=6)
    base = alt.Chart(points).encode(
        x=alt.X("predicted:Q", title="predicted probability", scale=scale, axis=percent),
        y=alt.Y("observed:Q", title="observed share", scale=scale, axis=percent),
    )
    size = alt.Size("customers:Q", title="customers", legend=alt.Legend(orient="right", values=_sizes(points)))
    dots = base.mark_circle(color=ACCENT, opacity=1, size=60)
    if "customers" in bins and points["customers"].nunique() > 1:
        dots = dots.encode(size=size)
    return markdown(_diagonal(min(highest, 1.0)) + base.mark_line(color=ACCENT) + dots, title, drawn=len(points))


def roc_curve(curve: pd.DataFrame, title: str = "ROC curve") -> str:
    """True against false positive rate, one line per candidate.

    Args:
        curve: false_positive_rate, true_positive_rate, candidate (optional; its text may carry the AUC).
        title: shown above the picture.

    Returns:
        Markdown image; the dashed diagonal is guessing.
    """
    return _curves(
        curve,
        ("false_positive_rate", "share of the others flagged (false positive rate)"),
        ("true_positive_rate", "share found (true positive rate)"),
        title,
    )


def gain_curve(curve: pd.DataFrame, title: str = "Cumulative gain") -> str:
    """Share found when customers are taken from the highest score down, one line per candidate.

    Args:
        curve: share_taken, share_found, candidate (optional).
        title: shown above the picture.

    Returns:
        Markdown image; the dashed diagonal is taking customers at random.
    """
    return _curves(
        curve,
        ("share_taken", "share of customers taken, highest score first"),
        ("share_found", "share of all found"),
        title,
    )


def feature_importance(features: pd.DataFrame, title: str = "What the model looks at", top: int = 12) -> str:
    """Bars of the most important features.

    Args:
        features: label (plain words), importance (any unit, >= 0).
        title: shown above the picture.
        top: how many features are shown.

    Returns:
        Markdown image; bars are shares of the importance of all features.
    """
    need(features, "label", "importance")
    total = float(features["importance"].sum()) or 1.0
    shares = pd.DataFrame(
        {"label": words(features["label"]), "value": features["importance"].astype("float64") / total}
    )
    shown = shares.sort_values("value", ascending=False, kind="stable").head(top)
    return markdown(
        _bar_list(shown, "share of all importance", ".0%"), title, drawn=len(shown), height=_list_height(len(shown))
    )


def top_rules(rules: pd.DataFrame, title: str = "Rules with the highest lift", top: int = 12) -> str:
    """Dots of the rules with the highest lift.

    Args:
        rules: rule (text, such as "herbs → root vegetables"), lift.
        title: shown above the picture.
        top: how many rules are shown.

    Returns:
        Markdown image; the dashed line at 1 is no connection.
    """
    import altair as alt

    need(rules, "rule", "lift")
    shown = pd.DataFrame({"label": words(rules["rule"]), "value": rules["lift"].astype("float64")})
    shown = shown.sort_values("value", ascending=False, kind="stable").head(top)
    y, highest = _list_axis(shown), float(shown["value"].max()) if len(shown) else 1.0
    x = alt.X("value:Q", title="lift (1 = no connection)", scale=alt.Scale(domain=[0, max(highest, 1.0) * 1.12]))
    base = alt.Chart(shown).encode(y=y, x=x)
    stems = base.mark_rule(color=GRID, strokeWidth=2).encode(x2=alt.X2Datum(1))
    dots = base.mark_circle(color=ACCENT, opacity=1, size=70)
    texts = base.mark_text(align="left", dx=8, color=INK).encode(text=alt.Text("value:Q", format=".2f"))
    none = alt.Chart(pd.DataFrame({"value": [1.0]})).mark_rule(color=MUTED, strokeDash=[4, 4]).encode(x="value:Q")
    return markdown(stems + none + dots + texts, title, drawn=len(shown), height=_list_height(len(shown)))


def cluster_counts(counts: pd.DataFrame, title: str = "Choice of the number of clusters") -> str:
    """Silhouette of each number of clusters tried.

    Args:
        counts: clusters, silhouette, refused (bool), as in a cluster model's card, and chosen (bool, optional).
        title: shown above the picture.

    Returns:
        Markdown image; the chosen number stands out, refused ones are hollow.
    """
    import altair as alt

    need(counts, "clusters", "silhouette", "refused")
    eligible = counts[~counts["refused"].astype("bool")]
    best = eligible["silhouette"].max()
    chosen = (
        counts["chosen"] if "chosen" in counts else counts["silhouette"].eq(best) & ~counts["refused"].astype("bool")
    )
    state = counts["refused"].map({True: "refused", False: "tried"}).mask(chosen.astype("bool"), "chosen")
    domain = [name for name in ("chosen", "tried", "refused") if name in set(state)]
    colors = {"chosen": SECOND, "tried": ACCENT, "refused": "#ffffff"}
    base = alt.Chart(counts.assign(state=state)).encode(
        x=alt.X("clusters:O", title="number of clusters", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("silhouette:Q", title="silhouette (higher separates better)", scale=alt.Scale(zero=False, padding=18)),
    )
    dots = base.mark_circle(opacity=1, size=110, stroke=ACCENT, strokeWidth=1.5).encode(
        color=alt.Color(
            "state:N",
            title=None,
            scale=alt.Scale(domain=domain, range=[colors[name] for name in domain]),
            legend=alt.Legend(orient="bottom", symbolStrokeColor=ACCENT),
        )
    )
    texts = base.mark_text(dy=-14, color=INK).encode(text=alt.Text("silhouette:Q", format=".3f"))
    return markdown(base.mark_line(color=GRID, strokeWidth=2) + dots + texts, title, drawn=len(counts))


def _curves(curve: pd.DataFrame, x: tuple[str, str], y: tuple[str, str], title: str) -> str:
    """Lines between 0 and 1 over a diagonal, one per candidate, in the order they come."""
    import altair as alt

    need(curve, x[0], y[0])
    named = curve.assign(candidate=words(curve["candidate"]) if "candidate" in curve else "model")
    candidates = named["candidate"].drop_duplicates().tolist()
    points = pd.concat([_thin(named[named["candidate"] == name]) for name in candidates] or [named])
    share = alt.Axis(format="%", tickCount=5)
    lines = (
        alt.Chart(points)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X(f"{x[0]}:Q", title=x[1], axis=share, scale=alt.Scale(domain=[0, 1])),
            y=alt.Y(f"{y[0]}:Q", title=y[1], axis=share, scale=alt.Scale(domain=[0, 1])),
            order=alt.Order("position:Q"),
            color=alt.Color(
                "candidate:N",
                title=None,
                scale=alt.Scale(domain=candidates, range=[PALETTE[i % len(PALETTE)] for i in range(len(candidates))]),
                legend=alt.Legend(orient="bottom", columns=3) if "candidate" in curve else None,
            ),
        )
    )
    return markdown(_diagonal(1.0) + lines, title, drawn=len(points))


def _thin(points: pd.DataFrame) -> pd.DataFrame:
    """At most `CURVE_POINTS` points, first and last included, numbered in their order."""
    step = max(1, -(-len(points) // (CURVE_POINTS - 1)))
    kept = pd.concat([points.iloc[::step], points.iloc[-1:]]) if step > 1 else points
    return kept.assign(position=range(len(kept)))


def _bar_list(values: pd.DataFrame, x_title: str, text_format: str) -> alt.LayerChart | alt.FacetChart:
    """Horizontal bars of (label, value) rows in their order, the value beside each bar."""
    import altair as alt

    highest = float(values["value"].max()) if len(values) else 1.0
    x = alt.X(
        "value:Q", title=x_title, axis=alt.Axis(format=text_format), scale=alt.Scale(domain=[0, (highest or 1.0) * 1.1])
    )
    base = alt.Chart(values).encode(y=_list_axis(values), x=x)
    texts = base.mark_text(align="left", dx=4, color=INK).encode(text=alt.Text("value:Q", format=text_format))
    return alt.layer(base.mark_bar(color=ACCENT, height={"band": 0.7}), texts)


def _list_axis(values: pd.DataFrame) -> alt.Y:
    """The y axis of a list: labels in the order of the rows."""
    import altair as alt

    return alt.Y("label:N", sort=values["label"].tolist(), title=None, axis=alt.Axis(grid=False))


def _diagonal(end: float) -> alt.Chart:
    """A dashed line from the origin."""
    import altair as alt

    ends = pd.DataFrame({"x": [0.0, end], "y": [0.0, end]})
    line = alt.Chart(ends).mark_line(color=MUTED, strokeDash=[4, 4], strokeWidth=1)
    return cast("alt.Chart", line.encode(x="x:Q", y="y:Q"))


def _sizes(points: pd.DataFrame) -> list[int]:
    """Two sizes that explain the dots: the smallest and the largest."""
    return sorted({int(points["customers"].min()), int(points["customers"].max())}) if len(points) else []


def words(labels: pd.Series) -> pd.Series:
    """Labels as people read them: underscores as spaces."""
    return labels.astype("str").str.replace("_", " ")


def need(frame: pd.DataFrame, *columns: str) -> None:
    """Refuse a frame without the columns that are drawn."""
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"The plot needs columns {', '.join(missing)}; the frame has {', '.join(frame.columns)}.")


def _list_height(rows: float) -> float:
    """Height of a picture with this many rows of bars."""
    return max(BAR_HEIGHT * rows + 110, 160)


def markdown(chart: alt.Chart | alt.LayerChart | alt.FacetChart, title: str, drawn: int, height: float = HEIGHT) -> str:
    """The chart in the common look, as a markdown image; a line of text where nothing is drawn."""
    import vl_convert

    if not drawn:
        return f"*{title}: no rows to draw.*"
    fit = {"type": "fit", "contains": "padding"}
    spec = chart.properties(title=title, width=WIDTH, height=height, autosize=fit).to_dict()
    fonts = CJK_FONTS if _CJK.search(json.dumps(spec, ensure_ascii=False)) else LATIN_FONTS
    png = _compressed(vl_convert.vegalite_to_png(spec, config=_look() | {"font": fonts}, scale=1))
    return f"![{re.sub(r'[][]', '', title)}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _compressed(png: bytes) -> bytes:
    """The same picture in about a third of the bytes: the renderer compresses for speed."""
    chunks, position = [], len(_PNG_SIGNATURE)
    while position < len(png):
        (length,) = struct.unpack_from(">I", png, position)
        chunks.append((png[position + 4 : position + 8], png[position + 8 : position + 8 + length]))
        position += length + 12
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    header = next(data for kind, data in chunks if kind == b"IHDR")
    kept = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in kept
    )


def _look() -> dict[str, object]:
    """One look for all pictures: little ink, no frame, readable at the size of a metadata entry."""
    return {
        "background": "#ffffff",
        "padding": 12,
        "view": {"stroke": None},
        "title": {"anchor": "start", "color": INK, "fontSize": 15, "fontWeight": "bold", "offset": 12},
        "axis": {
            "domainColor": MUTED,
            "gridColor": GRID,
            "labelColor": INK,
            "labelFlush": False,
            "labelFontSize": 12,
            "labelLimit": LABEL_WIDTH,
            "tickColor": GRID,
            "titleColor": INK,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
        },
        "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
        "legend": {
            "labelColor": INK,
            "labelFontSize": 12,
            "labelLimit": 260,
            "titleColor": INK,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "text": {"fontSize": 11},
    }
