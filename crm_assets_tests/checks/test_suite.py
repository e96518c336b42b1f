"""What contracts mean."""

import subprocess
import sys

import pandas as pd
import pytest

from crm_assets.checks import all_checks
from crm_assets.checks.gates import _value_verdict, _verdict
from crm_assets.checks.suite import ExpectationError, rules_of, validate
from crm_assets.contracts.model import Column, Table

TABLE = Table(
    "answers",
    "Answers.",
    (
        Column("id", "string", "Id.", required=True),
        Column("score", "int64", "Score.", minimum=1, maximum=5),
        Column("born", "date", "Day of birth.", minimum="1900-01-01", personal=True),
    ),
    key=("id",),
)


def frame(**columns):
    values = {"id": ["a", "b"], "score": [1, 5], "born": pd.to_datetime(["1950-01-01", None])} | columns
    return pd.DataFrame(values)


def test_structure_keys_and_required_columns_block():
    blocking = {rule.name: rule.is_blocking for rule in rules_of(TABLE)}
    assert blocking == {
        "columns": True,
        "key_unique": True,
        "id_not_null": True,
        "score_in_range": False,
        "born_in_range": False,
    }


def test_good_rows_meet_every_rule():
    findings, page = validate("test.good", TABLE, frame())
    assert all(finding.holds for finding in findings.values())
    assert "test.good" in page


def test_values_of_persons_are_not_shown():
    findings, page = validate("test.personal", TABLE, frame(born=pd.to_datetime(["1812-02-07", None])))
    assert findings["born_in_range"].violations == 1
    assert findings["born_in_range"].examples == ()
    assert "1812" not in page


def test_a_rule_that_cannot_be_evaluated_is_not_a_broken_rule():
    with pytest.raises(ExpectationError, match=r"test\.absent: key_unique could not be evaluated"):
        validate("test.absent", TABLE, frame().drop(columns="id"))


def test_check_names_are_unique_for_each_asset():
    keys = [key for checks in all_checks() for key in checks.check_keys]
    assert len(keys) == len(set(keys))


def auc(candidate, low, value, high, is_champion=False):
    return {"candidate": candidate, "low": low, "value": value, "high": high, "is_champion": is_champion}


def test_a_champion_must_beat_the_rule():
    rule = auc("recency", 0.70, 0.75, 0.80)
    assert _verdict([rule, auc("lightgbm", 0.81, 0.85, 0.9, True)])[1].endswith("clear")
    assert _verdict([rule, auc("lightgbm", 0.78, 0.82, 0.9, True)]) == (
        True,
        "lightgbm has AUC 0.820, the recency rule 0.750: better, but their intervals overlap",
    )
    assert not _verdict([rule, auc("lightgbm", 0.6, 0.7, 0.8, True)])[0]
    assert _verdict([rule | {"is_champion": True}]) == (True, "the recency rule stayed champion, AUC 0.750")


def ranks(candidate, capture, rank, champion=False):
    figures = {"top_decile_capture": capture, "rank_correlation": rank}
    return [{"candidate": candidate, "metric": m, "value": v, "is_champion": champion} for m, v in figures.items()]


def test_a_value_champion_must_rank_better_than_past_spend():
    past = ranks("past_spend", 0.4, 0.7)
    assert _value_verdict(past + ranks("mbg_nbd", 0.5, 0.7, True)) == (
        True,
        "mbg_nbd against past spend: top_decile_capture 0.500 to 0.400, rank_correlation 0.700 to 0.700",
    )
    assert not _value_verdict(past + ranks("mbg_nbd", 0.4, 0.6, True))[0]
    assert _value_verdict(ranks("past_spend", 0.4, 0.7, True)) == (True, "past spend stayed champion")


def test_queries_of_dagsters_storage_never_meet_half_of_a_library_that_is_imported_aside():
    ask = (
        "import sys; from crm_assets.checks.suite import getting_ready\n"
        "with getting_ready(): print(hasattr(sys.modules.get('sqlalchemy.orm.exc'), 'UnmappedClassError'))"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
