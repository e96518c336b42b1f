"""Plots: each is one markdown image of sensible size, and says so where there is nothing to draw."""

import base64
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest

from crm_assets.assets import behaviour_plots, flow_plot, plots, response_plots, segment_plots, value_plots

SHARES = np.linspace(0, 1, 3_000)
CURVES = pd.concat(
    pd.DataFrame(
        {
            "candidate": name,
            "false_positive_rate": SHARES,
            "true_positive_rate": SHARES**power,
            "share_taken": SHARES,
            "share_found": SHARES**power,
        }
    )
    for name, power in (("LightGBM (AUC 0.861)", 0.2), ("logistic (AUC 0.848)", 0.3), ("recency (AUC 0.750)", 0.6))
)
SEGMENTS = pd.DataFrame({"segment": ["champions", "at_risk"], "customers": [20, 80], "value": [700.0, 300.0]})
BINS = pd.DataFrame({"predicted": [0.05, 0.2, 0.6], "observed": [0.04, 0.25, 0.55], "customers": [500, 200, 50]})
FEATURES = pd.DataFrame({"label": ["days since the last order", "orders so far"], "importance": [30, 10]})
RULES = pd.DataFrame({"rule": ["herbs → root vegetables", "liquor → bottled beer"], "lift": [3.956, 3.537]})
COUNTS = pd.DataFrame({"clusters": [3, 4, 5], "silhouette": [0.95, 0.3, 0.2], "refused": [True, False, False]})
MOVES = pd.DataFrame(
    {
        "previous": ["active", "active", "at_risk", "lapsed"],
        "next": ["active", "at_risk", "active", "won_back"],
        "customers": [1788, 14, 13, 4],
    }
)
STATES = ["active", "won_back", "at_risk", "lapsed"]

ORDERS = pd.DataFrame({"frequency": ["0", "1", "7+"], "expected": [0.2, 0.9, 5.0], "realised": [0.3, 0.8, 5.2]})
COHORTS = pd.DataFrame(
    {
        "cohort_month": ["2024-01-01"] * 3 + ["2024-02-01"] * 2,
        "months_since": [0, 1, 2, 0, 1],
        "retention": [1, 0.5, 0, 1, 1],
    }
)
REPEATS = pd.DataFrame({"order_number": [2, 2, 3, 3], "days": [1, 5, 1, 5], "share": [0.1, 0.3, 0.0, 0.2]})
EFFECTS = pd.DataFrame(
    {
        "campaign_id": ["spring", "sommer"],
        "starts_on": ["2024-03-01", "2024-06-01"],
        "effect": [1.5, -0.5],
        "low": [0.5, -2.0],
        "high": [2.5, 1.0],
    }
)

GAINED = pd.DataFrame(
    {
        "candidate": "e-mail 邮件",
        "share_taken": [0, 0.25, 0.5, 1],
        "gained": [0, 0.03, 0.05, 0.06],
        "random": [0, 0.015, 0.03, 0.06],
    }
)
PARETO = pd.DataFrame({"percent": [10, 50, 100], "value_share": [0.4, 0.9, 1.0], "value_tier": ["A", "B", "C"]})

PLOTS: dict[str, tuple[Callable[..., str], pd.DataFrame]] = {
    "segment_sizes": (plots.segment_sizes, SEGMENTS),
    "calibration_curve": (plots.calibration_curve, BINS),
    "roc_curve": (plots.roc_curve, CURVES),
    "gain_curve": (plots.gain_curve, CURVES),
    "feature_importance": (plots.feature_importance, FEATURES),
    "top_rules": (plots.top_rules, RULES),
    "cluster_counts": (plots.cluster_counts, COUNTS),
    "orders_by_frequency": (value_plots.orders_by_frequency, ORDERS),
    "cohort_retention": (behaviour_plots.cohort_retention, COHORTS),
    "campaign_effects": (behaviour_plots.campaign_effects, EFFECTS),
    "repeat_rates": (behaviour_plots.repeat_rates, REPEATS),
    "pareto_curve": (segment_plots.pareto_curve, PARETO),
    "lift_curve": (response_plots.lift_curve, CURVES),
    "qini_curve": (response_plots.qini_curve, GAINED),
    "flows": (partial(flow_plot.flows, states=STATES), MOVES),
}
each_plot = pytest.mark.parametrize(("plot", "frame"), PLOTS.values(), ids=PLOTS.keys())


def png_of(markdown: str) -> bytes:
    return base64.b64decode(markdown.partition("base64,")[2].removesuffix(")"), validate=True)


def pixels_of(png: bytes) -> bytes:
    """The inflated picture; a broken stream or checksum raises."""
    (length,) = struct.unpack_from(">I", png, 33)
    kind_and_data = png[37 : 41 + length]
    assert kind_and_data.startswith(b"IDAT")
    assert struct.unpack_from(">I", png, 41 + length) == (zlib.crc32(kind_and_data),)
    return zlib.decompress(kind_and_data[4:])


@each_plot
def test_a_plot_is_a_small_markdown_image(plot, frame):
    markdown = plot(frame, title="What it shows")
    assert markdown.startswith("![What it shows](data:image/png;base64,")
    png = png_of(markdown)
    width, height = struct.unpack_from(">II", png, 16)
    assert (width, height) == (600, pytest.approx(360, abs=200))
    assert len(png) < 40_000
    assert len(pixels_of(png)) == height * (1 + 4 * width)


@each_plot
def test_nothing_to_draw_is_said(plot, frame):
    assert plot(frame.head(0), title="What it shows") == "*What it shows: no rows to draw.*"


@each_plot
def test_a_missing_column_is_named(plot, frame):
    with pytest.raises(ValueError, match=r"The plot needs columns .*; the frame has other"):
        plot(pd.DataFrame({"other": [1]}))


def test_the_frame_is_left_as_it_was():
    for plot, frame in PLOTS.values():
        before = frame.copy()
        plot(frame)
        pd.testing.assert_frame_equal(frame, before)


def test_who_stayed_is_not_drawn_as_a_flow():
    stayed = MOVES[MOVES["previous"] == MOVES["next"]]
    assert flow_plot.flows(stayed, STATES, title="Moves") == "*Moves: no rows to draw.*"


def test_a_wider_ribbon_is_another_picture():
    more = MOVES.assign(customers=[1788, 14, 130, 4])
    assert png_of(flow_plot.flows(MOVES, STATES)) != png_of(flow_plot.flows(more, STATES))


def test_optional_columns_may_be_left_out():
    for markdown in (
        plots.roc_curve(CURVES.head(3_000).drop(columns="candidate")),
        plots.calibration_curve(BINS.drop(columns="customers")),
        plots.cluster_counts(COUNTS.assign(refused=True)),
        plots.segment_sizes(SEGMENTS.assign(value=0.0)),
        plots.feature_importance(FEATURES.assign(importance=0)),
    ):
        assert png_of(markdown)


def test_chinese_labels_are_drawn_where_a_font_has_them():
    words = "重要价值客户"
    markdown = plots.segment_sizes(SEGMENTS.assign(segment=[words, "流失客户"]), title="客户分群")
    other = plots.segment_sizes(SEGMENTS.assign(segment=["一般发展客户", "流失客户"]), title="客户分群")
    if pixels_of(png_of(markdown)) == pixels_of(png_of(other)):
        pytest.skip("no font with Chinese glyphs on this machine: install fonts-noto-cjk")
    assert markdown.startswith("![客户分群](")


def test_brackets_in_a_title_do_not_break_the_image():
    assert plots.top_rules(RULES, title="Rules [department]").startswith("![Rules department](data:")
