"""The first tables of the demonstration: by the pipeline, and by one plain script of pandas, LightGBM and mlxtend.

Both sides read the same export files and make the same tables: clean rows, customer days, customer features, RFM
scores, tiers and clusters, a churn model for each of two months with its leaderboard, scores and reasons, cross-sell
rules. Each starts as a process of its own, from reading the exports to the last table on disk; totals of both must be
equal. `--times` has each household several times, with orders of its own, since much of what the pipeline does costs the
same however few the rows.

Both leaderboards have the same learners, rows to learn from, folds, figures and number of resamples; the script's are
scikit-learn's. Only the pipeline also keeps every layer, validates and quarantines rows, checks the tables, keeps versions
of customers and products, fits an order process, draws plots, and records every run, so that the next day costs a day. The
script takes shortcuts the pipeline may not: ids as integers, money as floats, only the days that are needed, simpler words.

The whole of `crm-assets demo`, with all the tables the script does not make, is a line of its own.
Peak memory is resident, of a side's processes together.
Run: python benchmarks/demo_vs_pandas.py --help
"""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from calendar import monthrange
from datetime import date, timedelta
from pathlib import Path

from processes import take

# As crm_assets does, and as early: on a busy machine OpenMP's spinning threads would slow the script many times over.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

MEGABYTE = 1_000_000
TEXT = {"keep_default_na": False, "na_values": [""]}
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY_PARTS = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}
TREND_WINDOWS = (30, 90, 180)
RULE_LEVELS = ("category", "product_type")
"""Levels of rules that both sides mine; the pipeline mines products and brands besides."""

BACKTESTED_DAY = date(2017, 10, 31)
"""Past day whose churn both sides score too, with a model of its month."""

LEARNERS = ("lightgbm", "logistic", "blend", "random_forest", "neural_network", "linear_svm", "decision_tree")
FROM_ALL_ROWS = ("lightgbm", "logistic", "blend")
RECENT_GAPS = (3, 5, 10)
DAY_SUMS = (
    "orders", "order_days", "lines", "quantity", "amount", "bought_amount", "list_amount", "discount",
    "coupon_discount", "coupon_orders", "promoted_amount", "return_lines", "return_amount",
)  # fmt: skip
CLUSTERED = ("recency_days", "tenure_days", "orders_365d", "amount_365d", "average_order", "categories_365d")
SEGMENT_GRID = {
    5: ("new", "potential_loyalist", "potential_loyalist", "champions", "champions"),
    4: ("promising", "potential_loyalist", "potential_loyalist", "loyal", "champions"),
    3: ("about_to_sleep", "about_to_sleep", "need_attention", "loyal", "loyal"),
    2: ("hibernating", "hibernating", "at_risk", "at_risk", "at_risk"),
    1: ("lost", "lost", "at_risk", "cant_lose", "cant_lose"),
}


def main() -> None:
    """Run the sides, compare, print."""
    arguments = _arguments()
    if arguments.step:
        _STEPS[arguments.step](arguments.home, *([arguments.times] if arguments.step == "prepare" else []))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(arguments.home or folder).absolute()
        sides = [arguments.only] if arguments.only else ["pipeline", "pandas", "demo"]
        if sides != ["pandas"] and (home / "lake").exists():
            sys.exit(f"{home} has a lake already, which the pipeline would not make again: name an empty folder.")
        print(f"Load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.", flush=True)
        print(f"Laying down the exports of Complete Journey {arguments.times} times (not timed) ...", flush=True)
        take([*_step("prepare", home), "--times", str(arguments.times)], home)
        used = {}
        for side in sides:
            print(f"Running {side} ...", flush=True)
            if side == "demo":
                whole = home / "demo"
                shutil.copytree(home / "exports", whole / "exports", copy_function=shutil.copy2)
                command = [sys.executable, "-W", "ignore", "-m", "crm_assets.cli", "demo"]
                used[side] = take(command, whole)
            else:
                used[side] = take(_step(side, home), home)
        print(f"Load after: {os.getloadavg()[0]:.1f}.\n\n{'':12}{'wall':>10}{'processor':>12}{'peak':>11}")
        for side, taken in used.items():
            print(f"{side:12}{taken.wall:>8.1f} s{taken.processor:>10.1f} s{taken.peak / MEGABYTE:>8.0f} MB")
        for side in ("pipeline", "demo") if {"pipeline", "pandas", "demo"} <= set(used) else ():
            own, plain = used[side], used["pandas"]
            ratios = plain.wall / own.wall, plain.processor / own.processor, plain.peak / own.peak
            print(f"{'ratio':12}{ratios[0]:>9.2f}x{ratios[1]:>11.2f}x{ratios[2]:>10.2f}x   (pandas / {side})")
        sys.stdout.flush()
        if "pandas" in used:
            _print_stages(home)
        if "pipeline" in used:
            take(_step("history", home), home, output=None)
        if "demo" in used:
            take(_step("history", home / "demo"), home / "demo", output=None)
        if {"pipeline", "pandas"} <= set(used):
            take(_step("compare", home), home, output=None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="empty folder for exports and results, kept (default: a temporary)")
    parser.add_argument(
        "--times", type=int, default=1, help="how often to have each household (1.5 million lines each)"
    )
    parser.add_argument("--only", choices=("pipeline", "pandas", "demo"), help="run one side, and compare nothing")
    parser.add_argument("--step", choices=sorted(_STEPS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _step(step: str, home: Path) -> list[str]:
    return [sys.executable, "-W", "ignore", __file__, "--home", str(home), "--step", step]


def _prepare(home: Path, times: int) -> None:
    """The exports, and what the script must have in common with the pipeline."""
    from scaled_exports import multiply

    from crm_assets import demo
    from crm_assets.contracts.features import WINDOWS
    from crm_assets.definitions import lake_of
    from crm_assets.mining import churn, classifiers, cross_sell, model_folds, model_metrics
    from crm_assets.settings import load_settings

    settings = load_settings(home)
    demo.lay_down_exports(lake_of(settings).engine.local, settings.exports, lambda done, total: None)
    for folder in (settings.exports / demo.SOURCE).iterdir():
        multiply(folder, times)
    shared = {
        "exports": str(settings.exports / demo.SOURCE),
        "training_days": list(churn.TRAINING_DAYS_OF_MONTH),
        "as_of_days": [str(day) for day in (BACKTESTED_DAY, demo.LAST_DAY)],
        "windows": WINDOWS,
        "seed": settings.seed,
        "churn_features": churn.CHURN_FEATURES,
        "lightgbm": {name: value for name, value in classifiers.parameters("lightgbm").items() if name != "rounds"},
        "rounds": classifiers.parameters("lightgbm")["rounds"],
        "resamples": len(model_metrics.bootstrap_weights(1)),
        "screening_rows": settings.screening_rows,
        "folds": model_folds.FOLDS,
        "held_out_days": model_folds.HELD_OUT_DAYS,
        "horizon_days": churn.HORIZON_DAYS,
        "active_days": churn.ACTIVE_DAYS,
        "minimum_support": {level: cross_sell.MINIMUM_SUPPORT[level] for level in RULE_LEVELS},
        "minimum_confidence": settings.rule_min_confidence,
        "holdout_days": settings.rule_holdout_days,
    }
    (home / "shared.json").write_text(json.dumps(shared))


def _pipeline(home: Path) -> None:
    """The pipeline's own runs, of the tables that the script makes."""
    from crm_assets import demo
    from crm_assets.automation.instance import open_instance
    from crm_assets.partitions import month_of
    from crm_assets.runs import BACKTESTED, MODELS, Planned, Runs
    from crm_assets.settings import load_settings, write_settings

    # Libraries' warnings, which Dagster turns on again.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").disabled = True
    shared = json.loads((home / "shared.json").read_text())
    write_settings(home, end_date=demo.LAST_DAY, rule_min_support=shared["minimum_support"])
    newest, past = demo.LAST_DAY, BACKTESTED_DAY
    churn = [("models", "churn_model"), *MODELS["churn_model"]]
    clusters = [("models", "customer_clusters"), *MODELS["customer_clusters"]]
    features = [("features", "training_features")]
    scores = [*BACKTESTED, ("marts", "customer_segments")]
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        with runs.with_help() as begin:
            runs.ingest()
            runs.clean()
            rules = begin([Planned("rules", "score", newest, newest, [("marts", "cross_sell_rules")])])
            first = month_of(runs.settings.start_date)
            runs.make(Planned("", "train", first, month_of(newest), features))
            backtest = begin(
                [
                    Planned("train", "train", month_of(past), month_of(past), churn),
                    Planned("score", "score", past, past, BACKTESTED),
                ]
            )
            runs.make(Planned("", "train", month_of(newest), month_of(newest), [*churn, *clusters]))
            runs.make(Planned("", "score", newest, newest, scores))
            rules()
            backtest()


# The plain script, top to bottom.


def _pandas(home: Path) -> None:
    import pandas as pd

    shared = json.loads((home / "shared.json").read_text())
    out = home / "pandas"
    out.mkdir(exist_ok=True)
    stages, clock = {}, [time.perf_counter()]

    def stage(name: str) -> None:
        stages[name] = time.perf_counter() - clock[0]
        clock[0] = time.perf_counter()

    tables = _clean(Path(shared["exports"]))
    for name, table in tables.items():
        table.to_parquet(out / f"{name}.parquet", index=False)
    stage("parse and clean")
    days = _customer_days(tables["transactions"])
    days.to_parquet(out / "customer_days.parquet", index=False)
    stage("customer days")

    as_of_days = [date.fromisoformat(day) for day in shared["as_of_days"]]
    first_day = days["day"].min().date()
    training = {day: _training_days(day.replace(day=1), first_day, shared) for day in as_of_days}
    newest = as_of_days[-1]
    before = newest.replace(day=1) - timedelta(1)
    wanted = sorted({*as_of_days, before, *(day for group in training.values() for day in group)})
    features = _features(tables, days, wanted, shared["windows"])
    features.drop(columns="next_day").to_parquet(out / "customer_features.parquet", index=False)
    stage("customer features")

    by_day = dict(iter(features.groupby("as_of")))
    by_day = {day.date(): rows for day, rows in by_day.items()}
    segments = _segments(by_day[newest], by_day[before], shared["seed"])
    segments.to_parquet(out / "customer_segments.parquet", index=False)
    stage("segments")
    scores, leaderboard, intervals = [], [], 0.0
    for day in as_of_days:
        known = pd.concat([by_day[known] for known in training[day]])
        scored, figures, resampling = _churn(known, by_day[day], shared)
        intervals += resampling
        scores.append(scored)
        leaderboard.append(figures.assign(trained_for=day.replace(day=1)))
    churn_scores = pd.concat(scores)
    churn_scores.to_parquet(out / "churn_scores.parquet", index=False)
    pd.concat(leaderboard).to_parquet(out / "leaderboard_churn.parquet", index=False)
    _performance(churn_scores, features, days["day"].max(), shared).to_parquet(out / "churn_performance.parquet")
    stage("churn")
    stages["  of it intervals of figures"] = intervals
    counts = {}
    for level, support in shared["minimum_support"].items():
        column = "category" if level == "category" else "subcategory"
        rules, counts[level] = _rules(tables["transactions"], tables["products"], column, support, shared)
        rules.to_parquet(out / f"rules_{level}.parquet", index=False)
    stage("cross-sell rules")
    (out / "notes.json").write_text(json.dumps({"itemsets": counts, "stages": stages}))


def _clean(exports: Path) -> dict:
    """Typed rows without duplicates, the newest export's first, from every delivery."""
    import numpy as np
    import pandas as pd

    def read(name: str, key: list[str], **options):
        files = sorted(exports.glob(f"*/{name}.csv"))
        rows = pd.concat([pd.read_csv(file, **TEXT, **options) for file in files], ignore_index=True)
        rows = rows.drop_duplicates(key, keep="last")
        for column in rows.select_dtypes("str"):
            unique = pd.Series(rows[column].dropna().unique())
            spaced = unique.str.replace(r"\s+", " ", regex=True).str.strip()
            if not spaced.equals(unique):
                rows[column] = rows[column].map(dict(zip(unique, spaced, strict=True)))
        return rows

    lines = read("order_lines", ["basket_id", "line_number"], parse_dates=["sold_at"])
    lines["day"] = lines["sold_at"].dt.normalize()
    lines["discount"] = lines["retail_disc"] + lines["coupon_match_disc"]
    lines["on_display"] = lines["display_location"].notna() & (lines["display_location"].astype("str") != "0")
    lines["in_mailer"] = lines["mailer_location"].notna() & (lines["mailer_location"].astype("str") != "0")
    lines["is_return"] = (lines["quantity"] < 0) | (lines["sales_value"] < 0)
    lines["unit_price"] = (lines["sales_value"] / lines["quantity"].replace(0, np.nan)).abs().round(4)
    measures = ["quantity", "sales_value", "unit_price"]
    scaled = np.log1p(lines[measures].abs())
    distance = (scaled - scaled.groupby(lines["day"]).transform("median")).abs()
    spread = distance.groupby(lines["day"]).transform("median")
    lines["is_outlier"] = ((spread > 0) & (0.6745 * distance > 5 * spread)).any(axis=1)
    lines = lines.rename(
        columns={
            "basket_id": "order_id", "line_number": "line_id", "household_id": "customer_id", "sold_at": "ordered_at",
            "sales_value": "amount", "coupon_disc": "coupon_discount",
        }
    ).drop(columns=["retail_disc", "coupon_match_disc", "display_location", "mailer_location"])  # fmt: skip
    contacts = read(
        "campaign_contacts", ["campaign_id", "household_id"], parse_dates=["contacted_on", "first_redeemed_on"]
    )
    products = read("products", ["product_id"])
    return {
        "transactions": lines.sort_values(["day", "order_id", "line_id"], ignore_index=True),
        "products": products.rename(columns={"product_category": "category", "product_type": "subcategory"}),
        "customers": read("customers", ["household_id"]).rename(columns={"household_id": "customer_id"}),
        "campaigns": read("campaigns", ["campaign_id"], parse_dates=["start_date", "end_date"]),
        "contacts": contacts.rename(
            columns={"household_id": "customer_id", "contacted_on": "day", "first_redeemed_on": "responded_on"}
        ),
    }


def _customer_days(lines):
    """One row per customer and day with an order or a return."""
    import pandas as pd

    bought = ~lines["is_return"]
    promoted = lines["on_display"] | lines["in_mailer"]
    parts = lines[["day", "customer_id", "order_id", "quantity", "amount", "ordered_at"]].assign(
        lines=bought.astype("int64"),
        bought_amount=lines["amount"].where(bought, 0),
        discount=lines["discount"].where(bought, 0),
        coupon_discount=lines["coupon_discount"].where(bought, 0),
        discount_lines=(bought & (lines["discount"] + lines["coupon_discount"] > 0)).astype("int64"),
        promoted_amount=lines["amount"].where(bought & promoted, 0),
        return_lines=lines["is_return"].astype("int64"),
        return_amount=-lines["amount"].where(lines["is_return"], 0),
    )
    sums = [name for name in parts.columns if name not in ("day", "customer_id", "order_id", "ordered_at")]
    grouped = parts.groupby(["day", "customer_id", "order_id"])
    orders = grouped[sums].sum().assign(hour=grouped["ordered_at"].min().dt.hour).reset_index()
    orders["orders"] = (orders["lines"] > 0).astype("int64")
    orders["coupon_orders"] = (orders["coupon_discount"] > 0).astype("int64")
    for part, (first, after) in DAY_PARTS.items():
        orders[part] = orders["orders"].where((orders["hour"] >= first) & (orders["hour"] < after), 0)
    days = orders.groupby(["day", "customer_id"])[[*sums, "orders", "coupon_orders", *DAY_PARTS]].sum()
    days["products"] = lines[bought].groupby(["day", "customer_id"])["product_id"].nunique()
    days = days.fillna({"products": 0}).reset_index()
    days["list_amount"] = days["bought_amount"] + days["discount"] + days["coupon_discount"]
    days["order_days"] = (days["orders"] > 0).astype("int64")
    weekday = days["day"].dt.weekday
    return pd.concat(
        [days, *(days["orders"].where(weekday == number, 0).rename(name) for number, name in enumerate(WEEKDAYS))],
        axis=1,
    )


def _features(tables: dict, days, as_of_days: list[date], windows: list[int]):
    """Features of every customer on each day; what does not depend on the day is computed once."""
    import numpy as np
    import pandas as pd

    ordered = days.loc[days["orders"] > 0, ["customer_id", "day"]].sort_values(["customer_id", "day"])
    own = ordered.groupby("customer_id")["day"]
    ordered["gap"] = own.diff().dt.days
    ordered["next_day"] = own.shift(-1)
    for count in RECENT_GAPS:
        ordered[f"gap_mean_{count}"] = (ordered["day"] - own.shift(count)).dt.days / count
    recent = ordered.groupby("customer_id")["gap"].rolling(RECENT_GAPS[-1], min_periods=1).max()
    ordered["gap_longest_recent"] = recent.reset_index(level=0, drop=True)
    lines = tables["transactions"].loc[~tables["transactions"]["is_return"]]
    lines = lines[["day", "customer_id", "product_id", "amount"]]
    category = tables["products"].set_index("product_id")["category"].astype("category")
    customers = tables["customers"].set_index("customer_id").sort_index()
    customers = customers[["age", "income", "marital_status", "household_size"]]
    frames = []
    for day in map(pd.Timestamp, as_of_days):
        parts = [
            _activity(days[days["day"] <= day], day, customers.index, windows),
            _rhythm(ordered[ordered["day"] <= day], day),
            _basket(lines, category, day, customers.index, windows),
            _contacts(tables["contacts"], day, customers.index, windows),
            customers,
        ]
        wide = pd.concat([part.reindex(customers.index) for part in parts], axis=1)
        wide["recency_over_median_gap"] = wide["recency_days"] / wide["gap_median"].replace(0, np.nan)
        wide.insert(0, "as_of", day)
        frames.append(wide.reset_index())
    return pd.concat(frames, ignore_index=True)


def _windowed(rows, names: list[str], age, customers, windows: list[int]):
    """Sums of each class of age, added up to windows: an array of (customers, names, windows and all history)."""
    import numpy as np
    import pandas as pd

    classes = pd.Series(np.searchsorted(windows, age, side="right"), rows.index, name="age_class")
    sums = rows.groupby(["customer_id", classes])[names].sum().unstack(fill_value=0)
    columns = pd.MultiIndex.from_product([names, range(len(windows) + 1)])
    sums = sums.reindex(index=customers, columns=columns, fill_value=0).fillna(0)
    return sums.to_numpy().reshape(len(customers), len(names), -1).cumsum(axis=2)


def _in_columns(sums, names: list[str], windows: list[int]) -> dict:
    return {
        f"{name}_{window}d": sums[:, number, place]
        for number, name in enumerate(names)
        for place, window in enumerate(windows)
    }


def _activity(days, as_of, customers, windows: list[int]):
    import numpy as np
    import pandas as pd

    age = (as_of - days["day"]).dt.days
    days = days.assign(aged_amount=days["amount"] * age)
    names = [*DAY_SUMS, "aged_amount", *WEEKDAYS, *DAY_PARTS]
    sums = _windowed(days, names, age, customers, windows)
    history = dict(zip(names, sums[:, :, -1].T, strict=True))
    habits = dict(zip(names, sums[:, :, -2].T, strict=True))
    columns = _in_columns(sums[:, : len(DAY_SUMS)], list(DAY_SUMS), windows)
    with np.errstate(divide="ignore", invalid="ignore"):
        for window in windows:
            at = {name: columns[f"{name}_{window}d"] for name in DAY_SUMS}
            bought = np.where(at["bought_amount"] == 0, np.nan, at["bought_amount"])
            columns[f"discount_share_{window}d"] = (at["discount"] + at["coupon_discount"]) / at["list_amount"]
            columns[f"coupon_share_{window}d"] = at["coupon_orders"] / at["orders"]
            columns[f"promoted_share_{window}d"] = at["promoted_amount"] / bought
            columns[f"return_share_{window}d"] = at["return_amount"] / bought
        for window in TREND_WINDOWS:
            amount, aged = (sums[:, names.index(name), windows.index(window)] for name in ("amount", "aged_amount"))
            columns[f"amount_slope_{window}d"] = (amount * (window - 1) - 2 * aged) * 6 / (window * (window**2 - 1))
        columns["amount_change"] = (
            3 * columns["amount_30d"] / np.where(columns["amount_90d"], columns["amount_90d"], np.nan)
        )
        columns["orders_change"] = 3 * columns["orders_30d"] / columns["orders_90d"]
        week = np.stack([habits[name] for name in WEEKDAYS], axis=1)
        total = week.sum(axis=1)
        columns["favourite_weekday"] = np.where(total > 0, np.array(WEEKDAYS)[week.argmax(axis=1)], None)
        columns["favourite_weekday_share"] = week.max(axis=1) / total
        columns["weekend_share"] = week[:, 5:].sum(axis=1) / total
        columns |= {f"{part}_share": habits[part] / total for part in DAY_PARTS}
    columns |= {name: history[name] for name in ("orders", "order_days", "amount")}
    return pd.DataFrame(columns, index=customers)


def _rhythm(ordered, as_of):
    last = ordered.drop_duplicates("customer_id", keep="last").set_index("customer_id")
    gaps = ordered.groupby("customer_id")["gap"]
    recency = (as_of - last["day"]).dt.days
    over = ordered["gap"] > ordered["customer_id"].map(recency)
    rhythm = last[["next_day", "gap_longest_recent", *(f"gap_mean_{count}" for count in RECENT_GAPS)]].assign(
        recency_days=recency,
        tenure_days=(as_of - ordered.groupby("customer_id")["day"].min()).dt.days,
        gap_mean=gaps.mean(),
        gap_median=gaps.median(),
        gap_deviation=gaps.std(ddof=0),
        gap_longest=gaps.max(),
        gap_last=last["gap"],
        gaps_over_20=(ordered["gap"] > 20).groupby(ordered["customer_id"]).sum(),
        gaps_over_30=(ordered["gap"] > 30).groupby(ordered["customer_id"]).sum(),
        gaps_over_recency=over.groupby(ordered["customer_id"]).sum(),
    )
    count = gaps.count()
    return rhythm.assign(gaps_over_recency_share=rhythm["gaps_over_recency"] / count.where(count > 0))


def _basket(lines, category, as_of, customers, windows: list[int]):
    """Distinct products and categories, favourite categories and their concentration."""
    import pandas as pd

    bounds = lines["day"].searchsorted([as_of - pd.Timedelta(days=windows[-1] - 1), as_of + pd.Timedelta(days=1)])
    seen = lines.iloc[bounds[0] : bounds[1]]
    bought = seen.groupby(["customer_id", "product_id"]).agg(day=("day", "max"), amount=("amount", "sum")).reset_index()
    bought["category"] = category.reindex(bought["product_id"]).array
    spend = bought.groupby(["customer_id", "category"], observed=True).agg(day=("day", "max"), amount=("amount", "sum"))
    spend = spend.reset_index()
    columns = {}
    for name, rows in (("products", bought), ("categories", spend)):
        counted = rows.assign(**{name: 1})
        columns |= _in_columns(
            _windowed(counted, [name], (as_of - rows["day"]).dt.days, customers, windows), [name], windows
        )
    result = pd.DataFrame(columns, index=customers)
    total = spend.groupby("customer_id")["amount"].transform("sum")
    spend["share"] = spend["amount"] / total.where(total > 0)
    spend = spend.sort_values(["customer_id", "amount", "category"], ascending=[True, False, True])
    rank = spend.groupby("customer_id").cumcount() + 1
    for number in (1, 2, 3):
        top = spend[rank == number].set_index("customer_id")
        result[f"top_category_{number}"] = top["category"].astype("str")
        result[f"top_category_{number}_share"] = top["share"]
    result["category_concentration"] = (spend["share"] ** 2).groupby(spend["customer_id"]).sum()
    return result


def _contacts(contacts, as_of, customers, windows: list[int]):
    import pandas as pd

    columns = {}
    for name, on in (("contacts", "day"), ("responses", "responded_on")):
        # A response counts on its own day; whoever responded by as_of was contacted by then.
        made = contacts[contacts[on] <= as_of].assign(**{name: 1})
        sums = _windowed(made, [name], (as_of - made[on]).dt.days, customers, windows)
        columns |= _in_columns(sums, [name], windows)
    return pd.DataFrame(columns, index=customers)


def _segments(today, fitted_on, seed: int):
    """RFM scores, tiers and clusters of a day, by cut points and centers of the day before its month."""
    import numpy as np
    import pandas as pd

    known = today[today["orders"] > 0].copy()
    past = fitted_on[fitted_on["orders"] > 0]
    for measure, score in (("recency_days", "r_score"), ("orders", "f_score"), ("amount", "m_score")):
        values = past[measure].to_numpy()
        fifth = (past[measure].rank(method="min").to_numpy() - 1) * 5 // len(past)
        cuts = [values[fifth <= number].max() for number in range(4)]
        passed = (known[measure].to_numpy()[:, None] > np.array(cuts)).sum(axis=1)
        known[score] = 5 - passed if score == "r_score" else 1 + passed
    middle = (known["f_score"] + known["m_score"]) // 2
    known["rfm_segment"] = [SEGMENT_GRID[r][fm - 1] for r, fm in zip(known["r_score"], middle, strict=True)]
    ranked = known.sort_values(["amount", "customer_id"], ascending=[False, True])["amount"].clip(lower=0)
    above, total = ranked.cumsum() - ranked, ranked.sum()
    tiers = np.select([ranked <= 0, above < 0.8 * total, above < 0.95 * total], ["C", "A", "B"], "C")
    known["value_tier"] = pd.Series(tiers, ranked.index)
    active = known[known["orders_365d"] > 0]
    clusters = pd.Series(_clusters(past[past["orders_365d"] > 0], active, seed), active.index)
    known["cluster_name"] = clusters
    kept = ["as_of", "customer_id", "recency_days", "orders", "amount", "r_score", "f_score", "m_score"]
    return known[[*kept, "rfm_segment", "value_tier", "cluster_name"]]


def _clusters(past, today, seed: int) -> list[str]:
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score
    from sklearn.preprocessing import StandardScaler

    def inputs(rows):
        rows = rows.assign(average_order=rows["amount_365d"] / rows["orders_365d"])
        return np.hstack([np.log1p(rows[list(CLUSTERED)].clip(lower=0)), rows[["discount_share_365d"]]])

    scaler = StandardScaler().fit(inputs(past))
    scaled = np.clip(np.nan_to_num(scaler.transform(inputs(past))), -4, 4)
    models = [KMeans(k, n_init=10, random_state=seed).fit(scaled) for k in range(3, 9)]
    best = max(models, key=lambda model: silhouette_score(scaled, model.labels_))
    words = [name.removesuffix("_365d").replace("_", " ") for name in (*CLUSTERED, "discount_share_365d")]
    names = []
    for center in best.cluster_centers_:
        order = np.argsort(-np.abs(center))[:3]
        names.append(", ".join(f"{'high' if center[column] > 0 else 'low'} {words[column]}" for column in order))
    labels = best.predict(np.clip(np.nan_to_num(scaler.transform(inputs(today))), -4, 4))
    return [names[label] for label in labels]


def _training_days(month: date, first_day: date, shared: dict) -> list[date]:
    """The training days of every month with 30 days of history and a label that ended before `month`."""
    earliest, latest = first_day + timedelta(30), month - timedelta(shared["horizon_days"] + 1)
    months = [date(year, number, 1) for year in range(first_day.year, month.year + 1) for number in range(1, 13)]
    days = [
        it.replace(day=min(day, monthrange(it.year, it.month)[1])) for it in months for day in shared["training_days"]
    ]
    return [day for day in days if earliest <= day <= latest]


def _active(rows, shared: dict):
    """Customers with a recent order, and whether they placed none within the horizon."""
    import pandas as pd

    active = rows[rows["recency_days"] < shared["active_days"]].reset_index(drop=True)
    returned = active["next_day"] <= active["as_of"] + pd.Timedelta(days=shared["horizon_days"])
    return active, (~returned).to_numpy(dtype=float)


def _matrix(rows, names: list[str]):
    inputs = rows[names].astype("float64")
    recency, tenure = inputs["recency_days"], inputs["tenure_days"] + 1
    paused = ("gap_mean", "gap_mean_3", "gap_mean_5", "gap_mean_10", "gap_longest", "gap_longest_recent")
    related = {f"recency_over_{gap}": (recency + 1) / (inputs[gap] + 3) for gap in paused}
    related["recency_beyond_gap_mean"] = (recency - inputs["gap_mean"]) / (inputs["gap_deviation"] + 3)
    related["order_days_pace"] = (inputs["order_days"] + 0.5) / (tenure + 20) * 30
    related["order_days_pace_90d"] = (inputs["order_days_90d"] + 0.3) / (tenure.clip(upper=90) + 8) * 30
    return inputs.drop(columns=["order_days", "tenure_days"]).assign(**related)


def _churn(training, today, shared: dict):
    """Scores of a day with reasons, by the learner that ranks best, and the figures of all candidates."""
    import numpy as np
    import pandas as pd

    rows, churned = _active(training, shared)
    inputs = _matrix(rows, shared["churn_features"])
    folds = _folds(rows["as_of"], churned, shared)
    draws = [_draws(rows.loc[held_out, "customer_id"], shared) for _, held_out in folds]
    resampling = 0.0

    def scored(name: str, fold: int, most: int | None = None):
        train, held_out = folds[fold]
        if name == "recency":
            return inputs.loc[held_out, "recency_days"].to_numpy()
        taken = _of_some_customers(rows["customer_id"], train, most, shared["seed"]) if most else train
        return _raw_scores(_fit(name, inputs[taken], churned[taken], shared), inputs[held_out])

    figures = []
    held_out = folds[0][1]
    half = rows.loc[held_out, "customer_id"].to_numpy() % 2
    actual, newest = churned[held_out], {}
    for name in (*LEARNERS, "recency"):
        sampled = None if name in ("lightgbm", "logistic", "recency") else shared["screening_rows"]
        blend = name == "blend"
        raw = newest[name] = (newest["lightgbm"] + newest["logistic"]) / 2 if blend else scored(name, 0, sampled)
        chance = np.empty(len(raw))
        for side in (0, 1):
            chance[half == side] = _calibration(name, raw[half != side], actual[half != side])(raw[half == side])
        started = time.perf_counter()
        resampled = [_figures(actual[drawn], chance[drawn]) for drawn in draws[0]]
        resampling += time.perf_counter() - started
        for metric, value in _figures(actual, chance).items():
            low, high = np.quantile([row[metric] for row in resampled], [0.025, 0.975])
            figures.append((name, metric, value, low, high))
    best = max(LEARNERS, key=lambda name: next(row[2] for row in figures if row[:2] == (name, "auc")))
    for name in (best, "recency"):
        raws = [newest[name] if fold == 0 and name in FROM_ALL_ROWS else None for fold in range(len(folds))]
        of_folds, resampled = [], []
        for fold, (_, part) in enumerate(folds):
            raw = raws[fold]
            if raw is None:
                parts = ("lightgbm", "logistic") if name == "blend" else (name,)
                raw = np.mean([scored(one, fold) for one in parts], axis=0)
            of_folds.append(_auc(churned[part], raw))
            started = time.perf_counter()
            resampled.append([_auc(churned[part][drawn], raw[drawn]) for drawn in draws[fold]])
            resampling += time.perf_counter() - started
        low, high = np.quantile(np.mean(resampled, axis=0), [0.025, 0.975])
        figures.append((name, "mean_auc", np.mean(of_folds), low, high))
    calibration = _calibration(best, newest[best], actual)
    model = _fit(best, inputs, churned, shared)

    active, _unknown = _active(today, shared)
    seen = _matrix(active, shared["churn_features"])
    probability = calibration(_raw_scores(model, seen))
    scores = active[["as_of", "customer_id"]].assign(
        churn_probability=probability,
        risk_band=pd.cut(probability, [-1, 0.1, 0.25, 0.5, 1.01], right=False, labels=False),
        reasons=_reasons(seen, _contributions(model, seen), inputs.median()),
    )
    return scores, pd.DataFrame(figures, columns=["candidate", "metric", "value", "low", "high"]), resampling


def _folds(as_of, churned, shared: dict) -> list:
    """Rows to learn from and held-out days, the newest first; labels of the first end before the second begin."""
    import pandas as pd

    folds, days = [], sorted(as_of.unique())
    while days and len(folds) < shared["folds"]:
        for count in range(min(shared["held_out_days"], len(days)), 0, -1):
            first = days[-count]
            train = (as_of < first - pd.Timedelta(days=shared["horizon_days"])).to_numpy()
            held_out = ((as_of >= first) & (as_of <= days[-1])).to_numpy()
            if all(30 <= churned[part].sum() <= part.sum() - 30 for part in (train, held_out)):
                break
        else:
            break
        folds.append((train, held_out))
        days = days[:-count]
    return folds or sys.exit("too few days to hold any out")


def _draws(customers, shared: dict) -> list:
    """The rows of customers drawn with replacement, once per resample."""
    import numpy as np

    groups = list(customers.groupby(customers.to_numpy()).indices.values())
    drawn = np.random.default_rng(shared["seed"]).integers(0, len(groups), (shared["resamples"], len(groups)))
    return [np.concatenate([groups[group] for group in own]) for own in drawn]


def _of_some_customers(customers, rows, most: int, seed: int):
    """Rows of so many customers that there are no more than `most`."""
    import numpy as np

    counts = customers[rows].value_counts().sample(frac=1, random_state=seed)
    return rows & np.isin(customers, counts.index[counts.cumsum() <= most])


def _figures(actual, chance) -> dict[str, float]:
    import numpy as np
    from sklearn.metrics import average_precision_score, brier_score_loss

    bins = np.minimum((chance * 10).astype("int64"), 9)
    top = np.argsort(-chance)[: max(1, len(chance) // 10)]
    return {
        "auc": _auc(actual, chance),
        "pr_auc": average_precision_score(actual, chance),
        "brier": brier_score_loss(actual, chance),
        "ece": np.abs(np.bincount(bins, chance - actual, minlength=10)).sum() / len(chance),
        "lift_at_10": actual[top].mean() / actual.mean(),
    }


def _auc(actual, scores) -> float:
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(actual, scores)


def _fit(name: str, inputs, churned, shared: dict):
    """A fitted learner: boosted trees, or what scikit-learn has; a blend is both of its parts."""
    import lightgbm
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    if name == "blend":
        return [_fit(part, inputs, churned, shared) for part in ("lightgbm", "logistic")]
    if name == "lightgbm":
        smallest = min(shared["lightgbm"]["min_child_samples"], max(5, len(inputs) // 50))
        parameters = {**shared["lightgbm"], "min_child_samples": smallest, "num_threads": 1, "seed": shared["seed"]}
        data = lightgbm.Dataset(inputs, churned, params=parameters)
        return lightgbm.train(parameters, data, num_boost_round=shared["rounds"])
    seed = shared["seed"]
    if name in ("random_forest", "decision_tree"):
        trees = {
            "random_forest": lambda: RandomForestClassifier(
                60, max_leaf_nodes=31, min_samples_leaf=20, random_state=seed
            ),
            "decision_tree": lambda: DecisionTreeClassifier(max_leaf_nodes=16, min_samples_leaf=100, random_state=seed),
        }
        return make_pipeline(SimpleImputer(strategy="median"), trees[name]()).fit(inputs, churned)
    models = {
        "logistic": lambda: LogisticRegression(C=0.01, max_iter=500),
        "linear_svm": lambda: LinearSVC(C=0.0001, dual=False),
        "neural_network": lambda: MLPClassifier(
            (16,), alpha=3.0, learning_rate_init=0.003, max_iter=15, random_state=seed
        ),
    }
    logged = FunctionTransformer(lambda values: np.sign(values) * np.log1p(np.abs(values)))
    return make_pipeline(logged, SimpleImputer(strategy="median"), StandardScaler(), models[name]()).fit(
        inputs, churned
    )


def _raw_scores(model, inputs):
    """Log-odds, or what ranks alike."""
    import numpy as np

    if isinstance(model, list):
        return np.mean([_raw_scores(part, inputs) for part in model], axis=0)
    if hasattr(model, "num_trees"):
        return model.predict(inputs, raw_score=True, num_threads=1)
    if hasattr(model[-1], "decision_function"):
        return model.decision_function(inputs)
    chance = np.clip(model.predict_proba(inputs)[:, 1], 1e-6, 1 - 1e-6)
    return np.log(chance / (1 - chance))


def _contributions(model, inputs):
    """How far each feature moves each score: SHAP values of trees, coefficient times value of linear models."""
    import numpy as np

    if isinstance(model, list):
        return np.mean([_contributions(part, inputs) for part in model], axis=0)
    if hasattr(model, "num_trees"):
        return model.predict(inputs, pred_contrib=True, num_threads=1)[:, :-1]
    if hasattr(model[-1], "coef_"):
        return model[:-1].transform(inputs) * model[-1].coef_[0]
    sys.exit("the script has no reasons for this champion")


def _calibration(name: str, raw, churned):
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    if name == "recency":
        return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(raw, churned).predict
    curve = LogisticRegression(C=1e6).fit(raw.reshape(-1, 1), churned)
    return lambda values: curve.predict_proba(values.reshape(-1, 1))[:, 1]


def _reasons(inputs, contributions, typical) -> list[list[str]]:
    """The three features that raise churn most, with their values and the usual ones."""
    import numpy as np

    order = np.argsort(-contributions, axis=1)[:, :3]
    values, names, usual = inputs.to_numpy(), list(inputs.columns), typical.to_numpy()
    return [
        [
            f"{names[column].replace('_', ' ')}: {values[row, column]:.3g}; typical is {usual[column]:.3g}"
            for column in order[row]
            if contributions[row, column] > 0
        ]
        for row in range(len(inputs))
    ]


def _performance(scores, features, newest, shared: dict):
    """How the scores of the days whose horizon has ended turned out."""
    import pandas as pd
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    ended = features[features["as_of"] <= newest - pd.Timedelta(days=shared["horizon_days"])]
    active, churned = _active(ended, shared)
    outcomes = scores.merge(active[["as_of", "customer_id", "recency_days"]].assign(churned=churned))
    rows = []
    for as_of, day in outcomes.groupby("as_of"):
        for candidate, chance in (("churn_scores", day["churn_probability"]), ("recency", day["recency_days"])):
            rows.append((as_of, candidate, "auc", roc_auc_score(day["churned"], chance)))
            rows.append((as_of, candidate, "pr_auc", average_precision_score(day["churned"], chance)))
        rows.append((as_of, "churn_scores", "brier", brier_score_loss(day["churned"], day["churn_probability"])))
    return pd.DataFrame(rows, columns=["as_of", "candidate", "metric", "value"])


def _rules(lines, products, column: str, support: float, shared: dict):
    """Rules of baskets with one consequent, tested, and measured again in the held-out days; and their itemsets."""
    import math

    import numpy as np
    import pandas as pd
    from mlxtend.frequent_patterns import association_rules, fpgrowth
    from scipy.sparse import csr_matrix
    from scipy.stats import false_discovery_control, hypergeom

    bought = lines.loc[~lines["is_return"] & (lines["quantity"] >= 0), ["order_id", "product_id", "day"]]
    pairs = bought.merge(products[["product_id", column]].dropna(), on="product_id")
    pairs = pairs.groupby(["order_id", column], as_index=False)["day"].min()
    first_day = pairs.groupby("order_id")["day"].transform("min")
    later = first_day > lines["day"].max() - pd.Timedelta(days=shared["holdout_days"])

    codes, items = pd.factorize(pairs[column], sort=True)

    def one_hot(part):
        rows, baskets = pd.factorize(pairs.loc[part, "order_id"])
        return csr_matrix((np.ones(len(rows), dtype=bool), (rows, codes[part])), shape=(len(baskets), len(items)))

    mined, held_out = one_hot(~later), one_hot(later).toarray()
    baskets = mined.shape[0]
    needed = max(20, math.ceil(round(support * baskets, 9)))
    frame = pd.DataFrame.sparse.from_spmatrix(mined, columns=items)
    itemsets = fpgrowth(frame, min_support=(needed - 0.5) / baskets, max_len=4, use_colnames=True)
    measures = ["antecedent support", "consequent support", "support", "confidence", "lift", "leverage", "conviction"]
    rules = association_rules(
        itemsets, metric="confidence", min_threshold=shared["minimum_confidence"] - 1e-12, return_metrics=measures
    )
    rules = rules[rules["consequents"].map(len) == 1].reset_index(drop=True)
    together, antecedents, consequents = (
        (rules[name] * baskets).round().astype("int64")
        for name in ("support", "antecedent support", "consequent support")
    )
    rules["p_value"] = hypergeom.sf(together - 1, baskets, consequents, antecedents)
    rules["q_value"] = false_discovery_control(rules["p_value"])

    place = {item: number for number, item in enumerate(items)}
    counted = {}

    def holding(wanted: frozenset) -> int:
        if wanted not in counted:
            counted[wanted] = held_out[:, [place[item] for item in wanted]].all(axis=1).sum()
        return counted[wanted]

    both = np.array([holding(a | c) for a, c in zip(rules["antecedents"], rules["consequents"], strict=True)])
    chance = np.array(rules["antecedents"].map(holding)) * np.array(rules["consequents"].map(holding))
    rules["holdout_baskets"] = both
    rules["holdout_lift"] = np.where(chance > 0, both * len(held_out) / np.maximum(chance, 1), np.nan)
    rules[["antecedents", "consequents"]] = rules[["antecedents", "consequents"]].map(sorted)
    return rules, len(itemsets)


# What came of it.


def _print_stages(home: Path) -> None:
    stages = json.loads((home / "pandas" / "notes.json").read_text())["stages"]
    print("\nWhere pandas' time goes:")
    for name, seconds in stages.items():
        print(f"  {name:34}{seconds:>8.1f} s")
    sys.stdout.flush()


def _history(home: Path) -> None:
    """Where the pipeline's time goes, from what Dagster recorded of its runs."""
    from collections import Counter

    import dagster as dg

    from crm_assets.automation.instance import open_instance

    jobs, runs, steps = Counter(), Counter(), Counter()
    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
    with open_instance(home) as instance:
        for record in instance.get_run_records():
            job = record.dagster_run.job_name
            jobs[job] += record.end_time - record.start_time
            runs[job] += 1
            started = {}
            for entry in instance.all_logs(record.dagster_run.run_id, of_type=kinds):
                if entry.dagster_event.event_type is dg.DagsterEventType.STEP_START:
                    started[entry.step_key] = entry.timestamp
                else:
                    steps[job, entry.step_key] += entry.timestamp - started[entry.step_key]
    print("\nWhere the pipeline's time goes:")
    print(f"  {'job':22}{'runs':>6}{'runs take':>12}{'of it steps':>14}")
    for job, seconds in jobs.most_common():
        inside = sum(taken for (name, _step), taken in steps.items() if name == job)
        print(f"  {job:22}{runs[job]:>6}{seconds:>10.1f} s{inside:>12.1f} s")
    total, inside = sum(jobs.values()), sum(steps.values())
    print(f"  {'all':22}{sum(runs.values()):>6}{total:>10.1f} s{inside:>12.1f} s")
    print(f"  Dagster between steps: {1 - inside / total:.0%} of the runs' time. The longest steps:")
    for (job, step), seconds in steps.most_common(12):
        print(f"  {job:10} {step:44}{seconds:>6.1f} s")


def _compare(home: Path) -> None:
    """Totals of both sides; fails where they differ."""
    import dagster as dg
    import duckdb

    from crm_assets.automation.instance import open_instance

    with open_instance(home) as instance:
        made = instance.get_latest_materialization_event(dg.AssetKey(["marts", "cross_sell_rules"]))
    table = made.asset_materialization.metadata["levels"].value.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if not set(line) <= set("|:- ")]
    levels = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    notes = json.loads((home / "pandas" / "notes.json").read_text())
    newest = json.loads((home / "shared.json").read_text())["as_of_days"][-1]
    totals = {
        "order lines": ("count(*)", "clean.transactions", "transactions", ""),
        "sales": ("round(sum(amount)::DOUBLE, 2)", "clean.transactions", "transactions", ""),
        "outlier lines": ("count(*)", "clean.transactions", "transactions", "is_outlier"),
        "customers": ("count(*)", "profile.customers_current", "customers", ""),
        "customer days": ("count(*)", "profile.customer_days", "customer_days", ""),
        **{
            f"{name}, {newest}": (f"round(sum({name})::DOUBLE, 2)", "features.customer_features", "customer_features", "as_of")
            for name in ("orders_30d", "amount_90d", "products_60d", "responses_180d", "gap_median", "amount_slope_30d")
        },
        **{
            f"customers in segments, {newest}": ("count(*)", "marts.customer_segments", "customer_segments", "as_of"),
            f"champions, {newest}": (
                "count(*) FILTER (rfm_segment = 'champions')", "marts.customer_segments", "customer_segments", "as_of"
            ),
            f"tier A, {newest}": (
                "count(*) FILTER (value_tier = 'A')", "marts.customer_segments", "customer_segments", "as_of"
            ),
            "scored, all days": ("count(*)", "marts.churn_scores", "churn_scores", ""),
            f"scored, {newest}": ("count(*)", "marts.churn_scores", "churn_scores", "as_of"),
        },
    }  # fmt: skip
    rows = []
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        for name, (figure, own, plain, where) in totals.items():
            kept = f" WHERE as_of::DATE = DATE '{newest}'" if where == "as_of" else f" WHERE {where}" if where else ""
            sources = (own, f"'{home}/pandas/{plain}.parquet'")
            rows.append(
                (name, *(connection.sql(f"SELECT {figure} FROM {source}{kept}").fetchone()[0] for source in sources))
            )
        for found in [row for row in levels if row["level"] in RULE_LEVELS]:
            level = found["level"]
            own = f"SELECT count(*), round(sum(lift), 3) FROM marts.cross_sell_rules WHERE level = '{level}'"
            plain = f"SELECT count(*), round(sum(lift), 3) FROM '{home}/pandas/rules_{level}.parquet'"
            both = connection.sql(own).fetchone(), connection.sql(plain).fetchone()
            rows.append((f"itemsets, {level}", int(found["itemsets"]), notes["itemsets"][level]))
            rows.append((f"rules, {level}", both[0][0], both[1][0]))
            rows.append((f"lifts added up, {level}", both[0][1], both[1][1]))
        probability = "SELECT avg(churn_probability) FROM"
        own, plain = (
            connection.sql(f"{probability} {source}").fetchone()[0]
            for source in ("marts.churn_scores", f"'{home}/pandas/churn_scores.parquet'")
        )
    print(f"\n{'totals':36}{'pipeline':>16}{'pandas':>16}")
    # Sums of floats differ in their last digits.
    different = [name for name, own_total, total in rows if abs(own_total - total) > 1e-8 * abs(own_total) + 0.011]
    for name, own_total, total in rows:
        print(f"{name:36}{own_total:>16,}{total:>16,}{'   DIFFERS' if name in different else ''}")
    print(f"{'mean churn probability (not compared)':36}{own:>15.4f}{plain:>16.4f}")
    if different:
        sys.exit(f"The sides differ in {', '.join(different)}: no comparison.")
    print("All equal.")


_STEPS = {"prepare": _prepare, "pipeline": _pipeline, "pandas": _pandas, "history": _history, "compare": _compare}

if __name__ == "__main__":
    main()
