"""Settings of one workspace: `crm.toml` in its folder, and `CRM_` environment variables, which win.

Belongs here: what a user may set, with defaults. Not here: anything read from the environment at import.
"""

import fcntl
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Literal

import tomlkit
from pydantic import Field, NonNegativeFloat, NonNegativeInt, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

SETTINGS_FILE = "crm.toml"


class Settings(BaseSettings):
    """Settings of one workspace; every field may be set in `crm.toml` or as `CRM_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="CRM_", extra="forbid", frozen=True)

    home: Path = Field(Path("data"), description="The workspace's folder.")
    timezone: str = Field("UTC", description="Time zone in which a day is a day, an IANA name.")
    start_date: date | None = Field(None, description="First event day; written by the first ingestion.")
    end_date: date | None = Field(None, description="Last day, for a workspace of historical data; open when absent.")
    engine: Literal["duckdb", "spark"] = Field("duckdb", description="The engine that runs queries.")
    spark_remote: str = Field("local[*]", description="Spark's master URL, or a Spark Connect address, sc://host.")
    spark_conf: dict[str, str] = Field({}, description="Spark properties, such as spark.executor.memory.")
    memory_limit: str = Field("1200MB", description="An engine's memory limit; beyond it, it spills to disk.")
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="The engine's threads.")
    processes: int = Field(
        2, ge=1, le=2, description="Processes that a command makes runs in, each with an engine of its own."
    )
    seed: int = Field(20170101, description="Seed of everything random.")
    late_window_days: int = Field(7, ge=0, description="Rows older than this at export are reported as late.")
    check_rows: int = Field(100_000, ge=1, le=1_000_000, description="Most rows a distribution check samples.")
    training_rows: int = Field(
        500_000, ge=1_000, description="Most rows a model learns from; beyond, customers are drawn by digest."
    )
    training_customers: int = Field(
        25_000, ge=100, description="Most customers whose features of training days are kept for the models."
    )
    screening_rows: int = Field(
        5_000, ge=1_000, description="Most rows that candidates which seldom win are tried on first."
    )
    churn_horizon_days: int | None = Field(
        None, ge=1, description="Days without an order that count as churn; from the gaps between orders when absent."
    )
    churn_active_days: int | None = Field(
        None, ge=1, description="Customers who ordered within these days are scored; twice the horizon when absent."
    )
    subscription_horizon_days: int = Field(30, ge=1, description="A contract that ends within so many days churned.")
    value_horizon_days: int = Field(365, ge=1, description="Days ahead that a customer is valued for.")
    value_discount_rate: float = Field(0.1, ge=0, description="Discount of spend to come, per year.")
    value_holdout_days: int = Field(90, ge=1, description="Days of spend held out to choose the value model.")
    rfm_bins: int = Field(5, ge=2, le=10, description="Scores of each RFM measure.")
    rfm_weights: list[NonNegativeFloat] = Field(
        [1.0, 1.0, 1.0], min_length=3, max_length=3, description="Weights of recency, frequency and monetary score."
    )
    strata_fields: list[str] = Field(
        ["value_tier", "activity"], description="Columns of segments and dimensions that make strata."
    )
    strata_sample: int = Field(1_000, ge=0, description="Customers drawn from all strata together.")
    strata_quotas: dict[str, NonNegativeInt] = Field({}, description="Customers drawn from a stratum, by its name.")
    retention_capacity: int | None = Field(None, ge=1, description="Most customers to contact on a day.")
    retention_contact_cost: float = Field(1.0, ge=0, description="What a contact costs, workspace currency.")
    retention_save_rate: float = Field(0.1, gt=0, le=1, description="Share of those leaving whom a contact keeps.")
    retention_margin: float = Field(0.25, gt=0, le=1, description="Share of spend that is profit.")
    retention_holdout_share: float = Field(0.1, ge=0, lt=1, description="Share of the queue that is not contacted.")
    campaign_effect_days: int = Field(30, ge=1, description="Days from the first contact that a campaign is measured.")
    propensity_items: list[str] | None = Field(
        None,
        description='Items with a propensity model, such as "category: BEEF"; the three categories that most customers '
        "buy when absent.",
    )
    propensity_horizon_days: int = Field(30, ge=1, description="Days ahead in which an item may be bought.")
    rule_min_confidence: float = Field(0.25, ge=0, le=1, description="Least confidence of a cross-sell rule.")
    rule_min_support: dict[str, float] = Field(
        {"product": 0.001, "product_type": 0.003, "category": 0.01, "brand": 0.003},
        description="Least share of baskets of a cross-sell rule, for each level that is mined.",
    )
    rule_max_items: int = Field(2_000, ge=2, le=4_000, description="Most items of a level that rules are made of.")
    rule_max_basket_items: int = Field(250, ge=2, description="Baskets with more items make no rules and are counted.")
    rule_max_baskets: int = Field(
        2_000_000,
        ge=10_000,
        description="Most baskets that cross-sell rules are made of, about; beyond, drawn by digest.",
    )
    rule_holdout_days: int = Field(28, ge=0, description="Newest days a cross-sell rule is measured again in.")
    history_refresh_days: int = Field(
        1,
        ge=1,
        le=31,
        description="Days after which rules, offers, recommendations and descriptions of all history are made anew.",
    )
    offer_count: int = Field(5, ge=1, description="Most cross-sell offers to each customer.")
    offer_history_days: int = Field(90, ge=1, description="Days whose purchases a cross-sell offer rests on.")
    offer_repeat_days: int = Field(
        90, ge=0, description="Days after a purchase in which what was bought is not a cross-sell offer."
    )
    sequence_days: int = Field(30, ge=1, description="Days in which the second purchase of a sequential rule follows.")
    offer_take_rate: float = Field(
        0.1, gt=0, le=1, description="Share of the purchases or responses a contact hopes for that it brings about."
    )
    offer_contact_cost: float = Field(0.01, ge=0, description="What sending an offer costs, workspace currency.")
    contact_capacity: int | None = Field(None, ge=1, description="Most customers for whom a next best action is named.")
    contact_gap_days: int = Field(7, ge=0, description="Days after a campaign's contact in which nobody is contacted.")
    contact_history_days: int = Field(
        180, ge=1, description="Days whose interactions say when and where to reach a customer."
    )
    response_horizon_days: int = Field(
        30, ge=1, description="Days after a contact in which a response counts; fewer where nearly all come sooner."
    )
    response_contact_cost: float = Field(1.0, ge=0, description="What a campaign's contact costs, workspace currency.")
    response_value: float | None = Field(
        None, ge=0, description="Profit of a response; the mean value of past responses times the margin when absent."
    )
    response_margin: float = Field(0.25, gt=0, le=1, description="Share of the value of a response that is profit.")
    response_budget: float | None = Field(
        None, ge=0, description="Most to spend on the contacts of a kind of campaign; no limit when absent."
    )
    response_least_profit: float = Field(0.0, ge=0, description="Least profit expected of a contact that is made.")
    forecast_weeks: int = Field(13, ge=1, description="Weeks that sales are forecast for.")
    forecast_months: int = Field(3, ge=1, description="Months that sales are forecast for.")
    forecast_parts: int = Field(
        10, ge=1, description="Most categories, regions and channels with a forecast of their own, the largest."
    )
    recommendation_count: int = Field(20, ge=1, description="Products recommended to each customer.")
    recommendation_horizon_days: int = Field(
        30, ge=1, description="Days ahead in which a recommendation may be bought."
    )
    recommendation_repeat_days: int = Field(
        0, ge=0, description="Days after a purchase in which the product is not recommended again."
    )
    recommendation_new_share: float = Field(
        0.2, ge=0, le=1, description="Least share of a customer's recommendations that were not bought before."
    )
    identity_threshold: float = Field(
        0.5, gt=0, lt=1, description="Records at least so probably one person are joined."
    )
    phone_region: str | None = Field(None, description="Region of phone numbers without country code, such as CN.")
    source_priority: list[str] = Field([], description="Sources whose values of a person survive, the first first.")
    export_settle_seconds: int = Field(30, ge=0, description="An export is complete once unchanged for this long.")

    @property
    def exports(self) -> Path:
        """Where exports land: `<source>/<YYYY-MM-DD>/`."""
        return self.home / "exports"

    @property
    def sources(self) -> Path:
        """The user's own source mappings."""
        return self.home / "sources"

    @property
    def lake(self) -> Path:
        """The Parquet lake."""
        return self.home / "lake"

    @property
    def models(self) -> Path:
        """Trained models and their cards."""
        return self.home / "models"

    @property
    def reports(self) -> Path:
        """Reports for people, such as the Data Docs of the checks."""
        return self.home / "reports"

    @property
    def identity_pairs(self) -> Path:
        """What people decided on pairs of records, if they did."""
        return self.home / "identity_pairs.csv"

    @property
    def identity_truth(self) -> Path:
        """Labels of persons to measure against, if there are some."""
        return self.home / "identity_truth.csv"

    @property
    def spill(self) -> Path:
        """Where engines put what does not fit in memory."""
        return self.home / ".spill"

    @property
    def warehouse(self) -> Path:
        """The published DuckDB file."""
        return self.home / "warehouse.duckdb"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then `crm.toml`."""
        home = Path(init_settings().get("home") or os.environ.get("CRM_HOME") or "data")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, home / SETTINGS_FILE)


class SettingsError(ValueError):
    """A setting cannot be used; the message names it and its place."""


def load_settings(home: Path | str | None = None) -> Settings:
    """Read the settings of the workspace at `home`, by default `$CRM_HOME` or `./data`.

    Raises:
        SettingsError: A setting is unknown or invalid.
    """
    values: dict[str, Any] = {"home": Path(home)} if home is not None else {}
    try:
        settings = Settings(**values)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{SETTINGS_FILE} is not TOML: {error}") from error
    except ValidationError as error:
        problems = "\n".join(f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"{SETTINGS_FILE} or a CRM_ variable cannot be used:\n{problems}") from error
    return settings.model_copy(update={"home": settings.home.absolute()})


def write_settings(home: Path, **values: object) -> Settings:
    """Set `values` in the workspace's `crm.toml`, keeping what else stands there, and read it again."""
    with _written_alone(home):
        return _write(home, values)


def extend_history(home: Path, first_day: date) -> None:
    """Let the workspace's days begin no later than `first_day`."""
    with _written_alone(home):
        start = load_settings(home).start_date
        if start is None or first_day < start:
            _write(home, {"start_date": first_day})


def _write(home: Path, values: Mapping[str, object]) -> Settings:
    path = home / SETTINGS_FILE
    document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    document.update(values)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(tomlkit.dumps(document), "utf-8")
    if path.exists():
        # Whoever may read it, and nobody else, still may.
        shutil.copymode(path, new)
    os.replace(new, path)
    return load_settings(home)


@contextmanager
def _written_alone(home: Path) -> Iterator[None]:
    """Of several that change settings at once, each reads what the one before wrote."""
    home.mkdir(parents=True, exist_ok=True)
    folder = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
