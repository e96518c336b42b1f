"""One person from many records: crm_assets beside a plain Splink model, on records whose persons are known.

The data are the reference data's historical figures with typed-in errors (50,578 records of 5,156 persons) and Splink's
fake_1000. Both sides see the same columns. Labels are used to measure only; thresholds are each side's own default:
0.5 here, and for the plain model the best of several, which favours it.

  crm_assets  from records to links, members and ledger: normal forms, training, scores, persons
  plain       Splink as its tutorials use it: name, birth date, postcode, place and occupation compared at usual levels,
              ten blocking rules, expectation maximisation, connected components

Growth: nine tenths of the records, then all of them; persons of the first may only change by logged merges.
Run: python benchmarks/identity.py --help
"""

import argparse
import os
import resource
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.mining.identity import due_model, find_identity, identity_nodes
from crm_assets.mining.identity_persons import Decisions
from crm_assets.mining.identity_quality import pairwise

REFERENCE = Path(os.environ.get("CRM_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
FIRST, SECOND = date(2024, 1, 1), date(2024, 1, 2)
PLAIN_THRESHOLDS = (0.5, 0.9, 0.95, 0.99, 0.999)


def main() -> None:
    """Run both sides on each data set and print a table."""
    arguments = _arguments()
    data = {
        "historical figures": historical_figures(arguments.reference),
        "fake_1000": fake_people(arguments.reference),
    }
    print(f"{'data':20}{'side':26}{'precision':>10}{'recall':>8}{'F1':>7}{'wall s':>9}{'cpu s':>8}")
    with tempfile.TemporaryDirectory() as spill:
        engine = DuckDBEngine(arguments.memory_limit, arguments.threads, spill)
        for name, (records, truth) in data.items():
            (found, _), wall, cpu = _timed(lambda records=records: persons(engine, records))
            _line(name, "crm_assets", pairwise(found.loc[truth.index], truth), wall, cpu)
            scores, wall, cpu = _timed(lambda records=records, truth=truth: plain_splink(engine, records, truth))
            for threshold, figures in scores.items():
                _line(name, f"plain Splink, {threshold:g}", figures, wall, cpu)
        _growth(engine, *data["historical figures"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"largest resident set: {peak} MB")


def historical_figures(reference: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Records with the canonical columns, and the person of each."""
    path = reference / "identity" / "historical_figures_with_errors_50k.parquet"
    raw = pd.read_parquet(path)
    records = pd.DataFrame(
        {
            "customer_id": raw["unique_id"],
            "full_name": raw["full_name"],
            "birth_date": pd.to_datetime(raw["dob"], errors="coerce", format="%Y-%m-%d").dt.date,
            "postcode": raw["postcode_fake"],
            "city": raw["birth_place"],
            "occupation": raw["occupation"],
            "gender": raw["gender"],
        }
    )
    return _of_one_day(records), pd.Series(raw["cluster"].to_numpy(), records["customer_id"])


def fake_people(reference: Path) -> tuple[pd.DataFrame, pd.Series]:
    """The same of fake_1000."""
    raw = pd.read_csv(reference / "identity" / "fake_1000.csv", dtype=str)
    names = raw["first_name"].fillna("") + " " + raw["surname"].fillna("")
    records = pd.DataFrame(
        {
            "customer_id": raw["unique_id"],
            "full_name": names.str.strip().replace("", None),
            "birth_date": pd.to_datetime(raw["dob"], errors="coerce").dt.date,
            "city": raw["city"],
            "email": raw["email"],
        }
    )
    return _of_one_day(records), pd.Series(raw["cluster"].to_numpy(), records["customer_id"])


def persons(
    engine: DuckDBEngine, records: pd.DataFrame, models: dict[date, Any] | None = None
) -> tuple[pd.Series, Any]:
    """The person of each record, and what was found besides with the model it was found by."""
    nodes = identity_nodes(records)
    with engine.scratch() as connection:
        models = models or dict(filter(None, [due_model(nodes, {}, connection, seed=1)]))
        found = find_identity(nodes, models, Decisions(), connection, threshold=0.5)
    current = found.members[found.members["valid_to"].isna()]
    return current.set_index("customer_id")["person_id"], (found, models)


def plain_splink(
    engine: DuckDBEngine, records: pd.DataFrame, truth: pd.Series
) -> dict[float, tuple[float, float, float]]:
    """Precision, recall and F1 of a plain Splink model at each threshold."""
    import splink.comparison_library as compare
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    names = records["full_name"].str.split()
    table = pd.DataFrame(
        {
            "unique_id": records["customer_id"],
            "first_name": names.str[0],
            "surname": names.str[-1].where(names.str.len() > 1),
            "dob": records["birth_date"].map(lambda day: None if pd.isna(day) else str(day)),
            **{name: records[name] for name in ("postcode", "city", "occupation", "email") if name in records},
        }
    )
    table = table.astype(object).where(table.notna(), None)
    place = "postcode" if "postcode" in table else "email"
    comparisons = [
        compare.ForenameSurnameComparison("first_name", "surname"),
        compare.DateOfBirthComparison("dob", input_is_string=True),
        compare.PostcodeComparison("postcode") if place == "postcode" else compare.EmailComparison("email"),
        *(
            compare.ExactMatch(name).configure(term_frequency_adjustments=True)
            for name in ("city", "occupation")
            if name in table
        ),
    ]
    rules = [
        block_on("substr(first_name,1,3)", "substr(surname,1,4)"),
        block_on("surname", "dob"),
        block_on("first_name", "dob"),
        block_on(place, "first_name"),
        block_on(place, "surname"),
        block_on("dob", "city"),
        block_on(f"substr({place},1,3)", "dob"),
        block_on(f"substr({place},1,3)", "first_name"),
        block_on(f"substr({place},1,3)", "surname"),
        block_on("substr(first_name,1,2)", "substr(surname,1,2)", "substr(dob,1,4)"),
    ]
    settings = SettingsCreator("dedupe_only", comparisons, rules)
    with engine.scratch() as connection:
        import pyarrow as pa

        linker = Linker(DuckDBAPI(connection).register(pa.Table.from_pandas(table)), settings, log_level=None)
        sure = ["l.first_name = r.first_name and l.surname = r.surname and l.dob = r.dob"]
        sure.append(f"l.surname = r.surname and l.{place} = r.{place}")
        linker.training.estimate_probability_two_random_records_match(sure, recall=0.6)
        linker.training.estimate_u_using_random_sampling(max_pairs=2e6, seed=1)
        for rule in (block_on("first_name", "surname"), block_on("dob")):
            linker.training.estimate_parameters_using_expectation_maximisation(rule)
        pairs = linker.inference.predict(threshold_match_probability=0.01)
        scores = {}
        for threshold in PLAIN_THRESHOLDS:
            clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(
                pairs, threshold_match_probability=threshold
            ).as_pandas_dataframe()
            group = clusters.set_index("unique_id")["cluster_id"]
            scores[threshold] = pairwise(group.loc[truth.index], truth)
    return scores


def _growth(engine: DuckDBEngine, records: pd.DataFrame, truth: pd.Series) -> None:
    late = pd.util.hash_pandas_object(records["customer_id"], index=False) % 10 == 0
    before, (_, models) = persons(engine, records[~late].reset_index(drop=True))
    day = late.map({False: FIRST, True: SECOND})
    grown = records.assign(day=day, first_day=day).sort_values(["day", "customer_id"], ignore_index=True)
    after, (found, _) = persons(engine, grown, models)
    changed = before.index[before != after.loc[before.index]]
    ledger = found.ledger[found.ledger["export_date"] == SECOND].set_index("customer_id")["event"]
    events = ledger.loc[changed].value_counts().to_dict()
    share = 100 * late.mean()
    print(f"growth by {share:.0f}% of the records: {len(changed)} of {len(before)} records changed person: {events}")


def _of_one_day(records: pd.DataFrame) -> pd.DataFrame:
    return records.assign(day=FIRST, first_day=FIRST)


def _timed(work: Any) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def _line(data: str, side: str, figures: tuple[float, float, float], wall: float, cpu: float) -> None:
    precision, recall, f1 = figures
    print(f"{data:20}{side:26}{precision:10.3f}{recall:8.3f}{f1:7.3f}{wall:9.1f}{cpu:8.1f}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="folder of the reference data")
    parser.add_argument("--threads", type=int, default=2, help="the engine's threads")
    parser.add_argument("--memory-limit", default="2GB", help="the engine's memory limit")
    return parser.parse_args()


if __name__ == "__main__":
    main()
