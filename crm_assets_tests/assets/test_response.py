"""Campaigns of the small shop: the model of a month, scores of a day, and what past campaigns got, by Dagster's runs."""

import hashlib
import random
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.runs import Planned, Runs
from crm_assets.settings import load_settings, write_settings
from crm_assets_tests import shop

CAMPAIGNS = """
  campaigns:
    files: campaigns.csv
    columns: {campaign_id: id, kind: kind}
  campaign_contacts:
    files: contacts.csv
    columns: {campaign_id: campaign, customer_id: customer, contacted_at: at, responded_at: responded, response_value: value}
"""
MONTH = date(2024, 6, 1)


def rows_of(home: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        return warehouse.execute(query).fetchall()


def contacts() -> list[tuple]:
    """Six mailings to everyone; women, who have odd numbers, respond three times as often, on the day after."""
    chance, found = random.Random(5), []
    for wave in range(6):
        at = datetime(2024, 2, 1, 9) + timedelta(days=15 * wave)
        for number in range(80):
            responds = chance.random() < (0.75 if number % 2 else 0.25)
            found.append(
                (f"m{wave}", f"c{number}", at, at + timedelta(days=1) if responds else "", 8 if responds else "")
            )
    return found


@pytest.fixture(scope="module")
def campaigned(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished shop after its campaigns came; the response models and marts are made, read only."""
    home = shop.copy_of(finished, tmp_path_factory.mktemp("campaigned") / "home")
    shop.write(home, shop.LAST_DAY, "contacts.csv", "campaign,customer,at,responded,value", contacts())
    shop.write(home, shop.LAST_DAY, "campaigns.csv", "id,kind", [(f"m{wave}", "mail") for wave in range(6)])
    (home / "sources" / "shop.yaml").write_text(shop.MAPPING + CAMPAIGNS, "utf-8")
    with open_instance(home) as instance:
        Runs(load_settings(home), instance, lambda doing: None).ingest()
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.clean()
        make(runs)
    return home


IN_SHANGHAI = """
source: app
timezone: Asia/Shanghai
tables:
  customers:
    files: customers.csv
    columns: {customer_id: 编号, consent_email: 同意邮件}
  transactions:
    files: orders.csv
    columns: {order_id: order, line_id: order, customer_id: customer, product_id: sku, ordered_at: at,
              quantity: quantity, amount: amount}
  interactions:
    files: opens.csv
    columns: {interaction_id: {row_number: [customer]}, customer_id: customer, occurred_at: at, kind: kind, channel: channel}
"""


def test_hours_are_those_of_the_workspaces_time_zone(tmp_path: Path) -> None:
    settings = write_settings(tmp_path, timezone="Asia/Shanghai", memory_limit="500MB", end_date=date(2024, 3, 2))
    settings.sources.mkdir()
    (settings.sources / "app.yaml").write_text(IN_SHANGHAI, "utf-8")
    folder = settings.exports / "app" / "2024-03-02"
    folder.mkdir(parents=True)
    (folder / "customers.csv").write_text("编号,同意邮件\nc1,否\n", "utf-8")
    # Eight in the evening in Shanghai is noon in UTC.
    orders = "order,customer,sku,at,quantity,amount\no1,c1,p1,2024-03-01 20:00:00,1,9\n"
    (folder / "orders.csv").write_text(orders, "utf-8")
    opens = [f"c1,2024-03-0{day} 21:30:00,open,{channel}" for day, channel in ((1, "邮件"), (2, "邮件"), (2, "微信"))]
    (folder / "opens.csv").write_text("\n".join(["customer,at,kind,channel", *opens]) + "\n", "utf-8")
    with open_instance(tmp_path) as instance:
        Runs(load_settings(tmp_path), instance, lambda doing: None).ingest()
        runs = Runs(load_settings(tmp_path), instance, lambda doing: None)
        runs.clean()
        runs.make(Planned("", "score", None, None, [["marts", "contact_preferences"]]))
    assert rows_of(tmp_path, "SELECT evening_orders, afternoon_orders FROM profile.customer_days") == [(1, 0)]
    found = rows_of(tmp_path, "SELECT as_of, customer_id, hours, weekday, channel FROM marts.contact_preferences")
    assert found == [(date(2024, 3, 2), "c1", "21:00-24:00", "saturday", "微信")]


def make(runs: Runs) -> None:
    models = [["models", "response_model"], ["quality", "leaderboard_response"]]
    runs.make(Planned("", "train", MONTH, MONTH, models))
    day = shop.LAST_DAY
    runs.make(Planned("", "score", day, day, [["marts", "response_scores"], ["marts", "campaign_responses"]]))


def test_everyone_is_scored_and_those_who_respond_more_rank_first(campaigned: Path) -> None:
    found = rows_of(
        campaigned,
        "SELECT count(*), count(DISTINCT customer_id), min(campaign_kind), max(rank) FROM marts.response_scores",
    )
    assert found == [(80, 80, "mail", 80)]
    best = rows_of(campaigned, "SELECT customer_id FROM marts.response_scores WHERE rank <= 20")
    assert sum(int(name[1:]) % 2 for (name,) in best) >= 17
    profits = "SELECT max(abs(expected_profit - (response_probability * 8 * 0.25 - 1))) FROM marts.response_scores"
    assert rows_of(campaigned, profits)[0][0] == pytest.approx(0, abs=1e-9)


def test_figures_stand_in_the_leaderboard_of_all_models(campaigned: Path) -> None:
    query = "SELECT DISTINCT candidate FROM quality.model_leaderboard WHERE model = 'response: mail'"
    assert {"base_rate", "past_responses", "logistic"} <= {name for (name,) in rows_of(campaigned, query)}


def test_what_each_campaign_got(campaigned: Path) -> None:
    found = rows_of(
        campaigned, "SELECT campaign_id, contacts, responses, buyers FROM marts.campaign_responses ORDER BY 1"
    )
    got = [sum(1 for row in contacts() if row[0] == f"m{wave}" and row[3]) for wave in range(6)]
    assert found == [(f"m{wave}", 80, got[wave], got[wave]) for wave in range(6)]


def test_making_a_month_and_a_day_again_gives_equal_bytes(campaigned: Path, tmp_path: Path) -> None:
    home = shop.copy_of(campaigned, tmp_path / "home")
    files = list(home.glob("lake/*/*respon*/**/*.parquet"))
    before = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    with open_instance(home) as instance:
        make(Runs(load_settings(home), instance, lambda doing: None))
    assert len(files) == 3
    assert before == [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def test_a_shop_without_campaigns_has_empty_marts(finished: Path) -> None:
    assert rows_of(finished, "SELECT count(*) FROM marts.response_scores") == [(0,)]
    assert rows_of(finished, "SELECT count(*) FROM marts.campaign_responses") == [(0,)]
