"""Small inputs for every public function of `mining` that takes Ibis tables, for the tests that engines agree.

A new function needs an entry in `CALLS`; the tests find the functions by themselves and say so.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

import crm_assets.mining as mining
from crm_assets.contracts.basket import CROSS_SELL_RULES, SEQUENTIAL_RULES
from crm_assets.contracts.canonical import CAMPAIGN_CONTACTS, CUSTOMERS, PRODUCTS, TRANSACTIONS
from crm_assets.mining.as_of_days import as_of_table, calendar, numbered, union
from crm_assets.mining.behaviour_cohorts import cohorts
from crm_assets.mining.behaviour_repeats import order_gaps, repeat_curves
from crm_assets.mining.behaviour_sales import Earlier, newest_categories, sales
from crm_assets.mining.campaign_effects import Window, campaign_customers, measurable
from crm_assets.mining.campaign_responses import campaign_response_sums
from crm_assets.mining.category_features import category_features
from crm_assets.mining.churn import churn_labels, order_histories
from crm_assets.mining.churn_performance import realised_outcomes
from crm_assets.mining.churn_terms import ChurnTerms, churn_terms
from crm_assets.mining.cleaning import clean_dimension, clean_events, flag_outliers, normalise, valid_on
from crm_assets.mining.cluster_scores import cluster_names_of
from crm_assets.mining.clustering import ClusterModel
from crm_assets.mining.contact_preferences import contact_choices, contact_preferences
from crm_assets.mining.cross_sell import basket_items, cross_sell_rules
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.customer_dimensions import customer_dimensions
from crm_assets.mining.deliveries import deleted_days, deletions, delivered_days, shared_days
from crm_assets.mining.features import customer_features
from crm_assets.mining.identity import deliveries_of, has_personal_values, record_versions
from crm_assets.mining.identity_survivors import surviving_customers, surviving_versions
from crm_assets.mining.itemsets import count_itemsets, frequent_itemsets
from crm_assets.mining.lifecycle import (
    LifecycleRules,
    fit_lifecycle_rules,
    gap_counts,
    known_spans,
    lifecycle,
    transitions,
)
from crm_assets.mining.look_ahead import known_by
from crm_assets.mining.next_best_action import ContactPolicy, next_best_action, product_prices
from crm_assets.mining.offer_rules import chosen_rules
from crm_assets.mining.offers import CrossSell, OfferRules, cross_sell_offers, items_of, products_bought
from crm_assets.mining.package_sizes import package_size_of, package_sizes
from crm_assets.mining.persons import Persons
from crm_assets.mining.product_purchases import (
    basket_lines,
    customer_segments_of,
    known_customers,
    later_purchases,
    offered_products,
    purchase_history,
    purchases,
    sales_of_segments,
)
from crm_assets.mining.propensity import best_sellers, item_days, item_histories, ranked_propensities
from crm_assets.mining.purchases import next_orders
from crm_assets.mining.response import ResponsePolicy, ranked_responses
from crm_assets.mining.response_cases import (
    campaign_cases,
    contacted_rows,
    delay_days,
    kind_contacts,
    known_of,
    response_rates,
    scored_rows,
)
from crm_assets.mining.retention import RetentionPolicy, retention_queue
from crm_assets.mining.retention_outcomes import queue_outcomes
from crm_assets.mining.revenue_changes import customer_effects, price_volume_mix
from crm_assets.mining.rfm import rfm_cuts, rfm_measures, rfm_scores, value_tiers
from crm_assets.mining.sales_months import mattered
from crm_assets.mining.sales_series import dated_campaigns, sales_by_day
from crm_assets.mining.samples import about, as_floats, bounded, drawn_by_day, sample_customers
from crm_assets.mining.segment_profiles import described_customers, levels_by_segments, sums_by_segments
from crm_assets.mining.segment_rules import Condition, Rule, SegmentRules, rule_ids
from crm_assets.mining.segment_trees import response_labels
from crm_assets.mining.segments import customer_segments
from crm_assets.mining.sequential_rules import SequenceLimits, sequential_rules
from crm_assets.mining.strata import draw_strata, with_strata
from crm_assets.mining.subscriptions import contract_outcomes, contract_versions, running_subscriptions
from crm_assets.mining.truth import newest_rows, not_deleted, spans, states, true_events
from crm_assets.mining.up_sell import (
    FEATURES,
    bought_lately,
    catalogue,
    kind_lines,
    price_ladders,
    standings,
    step_cases,
    step_outcomes,
    steps,
)
from crm_assets.mining.up_sell_offers import up_sell_offers
from crm_assets.mining.up_sell_training import StepModel, with_probability
from crm_assets.mining.value_curve import value_curve
from crm_assets.mining.value_measures import later_spend, value_measures
from crm_assets_tests.parity_tables import EXPORTS, FIRST_DAY, LAST_DAY, SCORED

Read = Callable[[str], ir.Table]
"""A table by its name, in the engine that is tried."""

MONTH_ENDS = [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), LAST_DAY]
RULES = LifecycleRules(20, 40)
TERMS = {day: ChurnTerms(14 * (1 + number), 60) for number, day in enumerate(SCORED)}
HORIZONS = {day: terms.horizon_days for day, terms in TERMS.items()}
FULL = {"crm": EXPORTS[1:], "web": []}
CLUSTERS = ClusterModel(
    columns=("recency_days", "orders_365d", "average_order_amount", "discount_share_365d"),
    log=(True, True, True, False),
    means=(3.0, 1.2, 2.5, 0.1),
    scales=(1.1, 0.7, 0.9, 0.2),
    centers=((-0.8, 0.9, 0.2, 0.0), (1.1, -0.7, -0.3, 0.4), (0.2, 0.1, 0.9, -0.5)),
    names=("recent", "long absent", "大 baskets"),
    sizes=(20, 20, 20),
    medians=((5.0, 4.0, 12.0, 0.1),) * 3,
    counts=(),
    dropped={},
    seed=1,
)

_FEATURES = ("customer_days", "clean_transactions", "clean_products", "clean_customers", "clean_contacts")
RULES_OF_SEGMENTS = SegmentRules(
    {
        "churn": (
            Rule(1, (Condition("gap_median", above=3.5, unknown=True), Condition("city", level="Łódź")), {}),
            Rule(2, (Condition("gap_median", above=3.5, unknown=True), Condition("city", other_than=("Łódź",))), {}),
            Rule(3, (Condition("gap_median", at_most=3.5),), {}),
        ),
        "value": (Rule(1, (), {}),),
    }
)

DERIVED: Mapping[str, Callable[[Read], ir.Table]] = {
    "customer_days": lambda t: customer_days(t("clean_transactions")),
    "measures": lambda t: rfm_measures(t("customer_days"), LAST_DAY),
    "cuts": lambda t: rfm_cuts(t("measures")),
    "deliveries": lambda t: deliveries_of(t("validated_customers")),
    "customers_current": lambda t: valid_on(t("clean_customers"), None).drop("valid_from", "valid_to"),
    "baskets": lambda t: basket_items(t("clean_transactions"), t("clean_products"), "product_type", LAST_DAY),
    "known": lambda t: known_spans(t("clean_customers"), t("clean_contacts"), t("customer_days")),
    "stages": lambda t: lifecycle(t("customer_days"), t("known"), MONTH_ENDS, RULES),
    "features": lambda t: customer_features(*map(t, _FEATURES), MONTH_ENDS),
    "segments": lambda t: customer_segments(
        t("measures"), t("cuts"), t("clusters"), rule_ids(RULES_OF_SEGMENTS, of_last_day(t))
    ),
    "dimensions": lambda t: customer_dimensions(of_last_day(t), t("customers_current")),
    "described": lambda t: described_customers(t("segments"), t("dimensions"), of_last_day(t), last_stages(t)),
    "strata": lambda t: with_strata(t("segments"), ["value_tier", "cluster_name"]),
    "lines": lambda t: purchases(t("clean_transactions"), LAST_DAY),
    "cases": lambda t: campaign_cases(t("clean_contacts"), t("clean_campaigns"), LAST_DAY),
    "groups": lambda t: customer_segments_of(valid_on(t("clean_customers"), LAST_DAY)),
    "history": lambda t: purchase_history(t("lines"), LAST_DAY),
    "cross_sell_rules": lambda t: ibis.memtable(
        cross_sell_rules(
            t("clean_transactions"), t("clean_products"), LAST_DAY, minimum_count=3, holdout_days=0
        ).rules.assign(q_value=0.01),
        schema=CROSS_SELL_RULES.schema,
    ),
    "sequences": lambda t: as_sequences(t("cross_sell_rules")),
    "offers": lambda t: offered(t, OfferRules()).offers,
    "goods": lambda t: _of_one_kind(t("clean_products")),
    "known_goods": lambda t: catalogue(t("goods"), LAST_DAY),
    "kind_lines": lambda t: kind_lines(t("clean_transactions"), t("known_goods"), LAST_DAY, 180),
    "ladders": lambda t: price_ladders(t("kind_lines"), t("known_goods"), MONTH_ENDS),
    "steps": lambda t: steps(t("ladders")),
    "standings": lambda t: standings(t("kind_lines"), t("ladders"), MONTH_ENDS, 60),
    "step_cases": lambda t: step_cases(t("standings"), t("steps")),
    "up_sell_offers": lambda t: (
        up_sell_offers(t("clean_transactions"), t("goods"), LAST_DAY, OfferRules(3, 90, 14), 1, hold).offers
    ),
    "new_products": lambda t: t("history").select(
        "customer_id",
        "product_id",
        score=_share(ibis._.bought_365d),
        method=ibis.literal("alike"),
        reason=ibis.literal("茶"),
    ),
    "queue": lambda t: retention_queue(t("scores"), t("values"), RetentionPolicy(None, 1.0, 0.1, 0.25, 0.3, 1)),
}
"""Inputs that other functions make, in the order they are made."""


def of_last_day(t: Read) -> ir.Table:
    return t("features").filter(ibis._.as_of == LAST_DAY)


def last_stages(t: Read) -> ir.Table:
    return t("stages").filter(ibis._.as_of == LAST_DAY)


def known_of_contacts(t: Read) -> tuple[ir.Table, ...]:
    return t("cases"), t("customer_days"), t("clean_customers"), t("clean_interactions")


def bought(t: Read) -> ir.Table:
    return products_bought(t("clean_transactions"), t("clean_products"), LAST_DAY, 90)


def sold(t: Read) -> tuple[ir.Table, ...]:
    return t("clean_transactions"), t("customer_days"), t("clean_products"), t("customers_current")


def histories(t: Read) -> ir.Table:
    days = item_days(bought(t), best_sellers(bought(t), "category", 2))
    return item_histories(days, [date(2024, 3, 1), LAST_DAY], 14)


def propensities(t: Read) -> ir.Table:
    """Scores of the histories, many alike."""
    known = histories(t)
    given = {"level": "category", "rank": 1, "reason": "bought", "model_id": "m"}
    return known.select(
        *["as_of", "item", "customer_id", "bought_days"],
        probability=known.bought_days / 100,
        last_bought_on=known.as_of,
        **{name: ibis.literal(value) for name, value in given.items()},
    )


def consents(t: Read) -> ir.Table:
    """Some customers refuse e-mail, others phone, and most say nothing."""
    known = t("clean_customers").select("customer_id").distinct()
    last = known.customer_id.right(1)
    return known.mutate(consent_email=(last == "3").ifelse(False, ibis.null("boolean")), consent_phone=last != "4")


def step_model(champion: str) -> StepModel:
    rates = pd.DataFrame({"ladder": [1, 2], "kind": ["premium", "bigger pack"], "rate": [0.25, 0.5]})
    weights = {name: number / 4 - 1 for number, name in enumerate(FEATURES)}
    return StepModel(champion, {"premium": 0.1, "bigger pack": 0.2}, rates, {}, weights, -0.5)


def as_sequences(rules: ir.Table) -> ir.Table:
    """Rules of two items as if the one came after the other, every second one more confident."""
    pairs = rules.filter(rules.antecedent_length == 1, rules.consequent_length == 1)
    given = {"antecedent": pairs.antecedents[0], "consequent": pairs.consequents[0], "within_days": 30}
    counts = {"customers": pairs.antecedent_baskets, "followers": pairs.baskets}
    surer = (pairs.baskets % 2 == 0).ifelse((pairs.confidence + 1) / 2, pairs.confidence)
    columns = pairs.mutate(**given, **counts, confidence=surer, expected_confidence=pairs.confidence / pairs.lift)
    return columns.select(
        **{column.name: columns[column.name].cast(column.dtype) for column in SEQUENTIAL_RULES.columns}
    )


def offered(t: Read, limits: OfferRules) -> CrossSell:
    names = "clean_transactions", "clean_products", "cross_sell_rules", "sequences"
    return cross_sell_offers(*map(t, names), LAST_DAY, limits, hold=hold)


def hold(table: ir.Table) -> ir.Table:
    """As assets hold tables: without, an engine may compute a table as often as it is used."""
    return table.cache()


def _share(value: Any) -> Any:
    """A number from 0 to 1; a literal would be a decimal in Spark."""
    return value.cast("float64") / (value.cast("float64") + 3)


def _of_one_kind(products: ir.Table) -> ir.Table:
    """Products of two types that come in packages, some of one brand."""
    number = products.product_id.substr(1).cast("int64")
    sizes = ["16 OZ", "1.5升", "500 g", "1/2 GAL", "10 1/2 OZ", "6 PK/12 OZ", "4×125克", "2 LB", "LARGE", ".5 kg BAG"]
    texts = ibis.cases(*[(number % len(sizes) == place, text) for place, text in enumerate(sizes)])
    return products.mutate(
        subcategory=(number % 2 == 0).ifelse("茶", "bread"),
        category=ibis.null("string"),
        brand=(number % 3 > 0).ifelse("X", ibis.null("string")),
        attributes=ibis.literal('{"a": 1, "package_size": "') + texts + '"}',
    )


def _first_days(t: Read) -> ir.Table:
    lines = t("clean_transactions").filter(ibis._.customer_id.notnull())
    return lines.group_by("customer_id").aggregate(day=lines.day.min())


CALLS: Mapping[Callable[..., Any], Callable[[Read], Iterator[Any]]] = {
    newest_rows: lambda t: iter(
        [
            newest_rows(t("validated_transactions"), ("order_id", "line_id")),
            newest_rows(t("validated_customers"), ("customer_id",)),
        ]
    ),
    not_deleted: lambda t: iter([not_deleted(t("validated_transactions"), FULL)]),
    states: lambda t: iter(
        [states(t("validated_customers"), CUSTOMERS, {}), states(t("validated_customers"), CUSTOMERS, FULL)]
    ),
    spans: lambda t: iter([spans(t("validated_transactions"), TRANSACTIONS.key, FULL)]),
    true_events: lambda t: iter(
        [
            true_events(t("validated_transactions"), TRANSACTIONS, date(2024, 3, 1), date(2024, 3, 31), {}),
            true_events(t("validated_transactions"), TRANSACTIONS, FIRST_DAY, LAST_DAY, FULL),
        ]
    ),
    clean_events: lambda t: iter(
        [
            clean_events(t("validated_transactions"), TRANSACTIONS, FIRST_DAY, LAST_DAY),
            clean_events(t("validated_contacts"), CAMPAIGN_CONTACTS, date(2024, 3, 1), date(2024, 3, 31), FULL),
        ]
    ),
    clean_dimension: lambda t: iter(
        [
            clean_dimension(t("validated_customers"), CUSTOMERS),
            clean_dimension(t("validated_products"), PRODUCTS, FULL),
        ]
    ),
    valid_on: lambda t: iter([valid_on(t("clean_customers"), None), valid_on(t("clean_products"), date(2024, 4, 7))]),
    normalise: lambda t: iter(
        [
            normalise(t("validated_customers"), CUSTOMERS),
            normalise(t("validated_transactions"), TRANSACTIONS),
            normalise(t("validated_products"), PRODUCTS),
        ]
    ),
    flag_outliers: lambda t: iter(
        [
            flag_outliers(t("clean_transactions").drop("is_outlier"), TRANSACTIONS),
            flag_outliers(t("clean_customers"), CUSTOMERS),
        ]
    ),
    customer_days: lambda t: iter([customer_days(t("clean_transactions"))]),
    delivered_days: lambda t: iter(
        [
            delivered_days(t("validated_transactions"), TRANSACTIONS, 7),
            delivered_days(t("validated_contacts"), CAMPAIGN_CONTACTS, 30),
        ]
    ),
    shared_days: lambda t: iter(
        [
            shared_days(
                t("validated_transactions").filter(t("validated_transactions")["_export_date"] == EXPORTS[2]),
                t("validated_transactions"),
                TRANSACTIONS,
            )
        ]
    ),
    deleted_days: lambda t: iter(
        [
            deleted_days(t("validated_transactions"), TRANSACTIONS, FULL, {"crm": EXPORTS[1:2]}),
            deleted_days(t("validated_transactions"), TRANSACTIONS, FULL, {}),
        ]
    ),
    deletions: lambda t: iter([deletions(t("validated_transactions"), TRANSACTIONS, FULL)]),
    customer_features: lambda t: iter(
        [
            customer_features(*map(t, _FEATURES), MONTH_ENDS, hold),
            customer_features(*map(t, _FEATURES), [LAST_DAY]),
        ]
    ),
    category_features: lambda t: iter(
        category_features(
            t("clean_transactions"),
            t("clean_products"),
            numbered([t("clean_transactions")], "customer_id", "customer"),
            MONTH_ENDS,
            hold,
        )
    ),
    calendar: lambda t: iter(
        [calendar(t("clean_transactions").select("day").distinct(), as_of_table(MONTH_ENDS), (7, 30))]
    ),
    gap_counts: lambda t: iter([gap_counts(t("customer_days"), LAST_DAY)]),
    churn_terms: lambda t: iter([vars(churn_terms(t("customer_days"), day)) for day in (MONTH_ENDS[0], LAST_DAY)]),
    numbered: lambda t: iter([numbered([t("clean_transactions"), t("clean_products")], "product_id", "number")]),
    union: lambda t: iter([union([t("measures"), t("measures")])]),
    sales: lambda t: iter(
        [
            sales(*sold(t), FIRST_DAY, day, hold, earlier)
            for day in (MONTH_ENDS[1], LAST_DAY)
            for earlier in (None, Earlier(sales(*sold(t), FIRST_DAY, MONTH_ENDS[1]), MONTH_ENDS[1].replace(day=1)))
        ]
    ),
    mattered: lambda t: iter(
        [
            mattered(t("clean_transactions"), t("customer_days"), t("clean_products"), others)
            for others in (None, Persons.of(t("members")).stand_on(LAST_DAY))
        ]
    ),
    sales_by_day: lambda t: iter(
        [
            sales_by_day(t("clean_transactions"), t("clean_products"), t("clean_customers"), day)
            for day in MONTH_ENDS[1:3]
        ]
    ),
    dated_campaigns: lambda t: iter(
        [
            dated_campaigns(
                t("clean_campaigns").mutate(first_day=ibis._.start_at.date(), last_day=ibis._.end_at.date()),
                t("validated_campaigns"),
            )
        ]
    ),
    newest_categories: lambda t: iter([newest_categories(t("clean_products"))]),
    cohorts: lambda t: iter([cohorts(t("customer_days"), FIRST_DAY, day) for day in (MONTH_ENDS[1], LAST_DAY)]),
    repeat_curves: lambda t: iter([repeat_curves(t("customer_days"), LAST_DAY)]),
    order_gaps: lambda t: iter([order_gaps(t("customer_days"), day) for day in (MONTH_ENDS[1], LAST_DAY)]),
    price_volume_mix: lambda t: iter(
        [price_volume_mix(t("clean_transactions"), t("clean_products"), FIRST_DAY, LAST_DAY, hold)]
    ),
    customer_effects: lambda t: iter(
        [customer_effects(t("clean_transactions"), t("customer_days"), FIRST_DAY, LAST_DAY)]
    ),
    measurable: lambda t: iter([measurable(t("clean_contacts"), day, LAST_DAY, 1) for day in (FIRST_DAY, EXPORTS[0])]),
    campaign_customers: lambda t: iter(
        [
            campaign_customers(
                t("customer_days"),
                t("clean_contacts"),
                [Window("m0", MONTH_ENDS[0], False), Window("m1", MONTH_ENDS[1], True)],
                20,
                most,
                1,
            )
            for most in (20, 1000)
        ]
    ),
    next_orders: lambda t: iter([next_orders(t("customer_days"), MONTH_ENDS[:3], 45)]),
    churn_labels: lambda t: iter([churn_labels(t("customer_days"), MONTH_ENDS[:3], 30, 45)]),
    running_subscriptions: lambda t: iter(
        [
            running_subscriptions(
                t("clean_subscriptions"), t("clean_customers"), t("customer_days"), MONTH_ENDS[1:3], 30, versions
            )
            for versions in (None, contract_versions(t("validated_subscriptions")))
        ]
    ),
    contract_versions: lambda t: iter([contract_versions(t("validated_subscriptions"), {"crm": [EXPORTS[1]]})]),
    contract_outcomes: lambda t: iter(
        [
            contract_outcomes(
                t("scores").mutate(subscription_id=t("scores").customer_id.replace("c", "s")),
                t("clean_subscriptions"),
                t("validated_subscriptions"),
                HORIZONS,
            )
        ]
    ),
    known_by: lambda t: iter(
        [
            known_by(t(name), EXPORTS[0])
            for name in ("clean_contacts", "clean_subscriptions", "clean_customers", "validated_customers", "members")
        ]
    ),
    order_histories: lambda t: iter(
        [order_histories(customer_features(*map(t, _FEATURES), MONTH_ENDS, hold), MONTH_ENDS[1:], 1000, 1)]
    ),
    realised_outcomes: lambda t: iter(
        [
            realised_outcomes(t("scores"), t("customer_days"), LAST_DAY, TERMS),
            realised_outcomes(t("scores"), t("customer_days"), LAST_DAY, TERMS, Persons.of(t("members"))),
        ]
    ),
    deliveries_of: lambda t: iter([deliveries_of(t("validated_customers"))]),
    has_personal_values: lambda t: iter(
        [has_personal_values(t("clean_customers")), has_personal_values(t("clean_customers").limit(0))]
    ),
    record_versions: lambda t: iter([record_versions(t("clean_customers"), t("deliveries"))]),
    surviving_customers: lambda t: iter(
        [
            surviving_customers(t("customers_current"), t("members"), t("deliveries")),
            surviving_customers(t("customers_current"), t("members"), t("deliveries"), ["web", "crm"]),
        ]
    ),
    surviving_versions: lambda t: iter(
        [
            surviving_versions(
                t("clean_customers"), t("members").drop("valid_from", "valid_to"), t("validated_customers"), days, order
            )
            for days, order in (([date(2024, 4, 30)], []), ([date(2024, 7, 8), date(2024, 7, 15)], ["web", "crm"]))
        ]
    ),
    Persons.of.__func__: lambda t: iter([Persons.of(t("members")).spans, Persons.of(t("members").limit(0)).spans]),
    Persons.rows: lambda t: iter([Persons.of(t("members")).rows(t("clean_transactions"), day) for day in MONTH_ENDS]),
    Persons.customer_days: lambda t: iter([Persons.of(t("members")).customer_days(t("customer_days"), LAST_DAY)]),
    Persons.customer_days_of: lambda t: (
        rows for _, rows in Persons.of(t("members")).customer_days_of(t("customer_days"), MONTH_ENDS)
    ),
    Persons.contacts: lambda t: iter([Persons.of(t("members")).contacts(t("clean_contacts"), LAST_DAY)]),
    Persons.founders: lambda t: iter([Persons.of(t("members")).founders(t("clean_customers"), LAST_DAY)]),
    Persons.customers: lambda t: iter(
        [Persons.of(t("members")).customers(t("clean_customers"), t("validated_customers"), [LAST_DAY], ["web"])]
    ),
    basket_items: lambda t: iter(
        [
            basket_items(t("clean_transactions"), t("clean_products"), "category", LAST_DAY),
            basket_items(t("clean_transactions"), t("clean_products"), "product_type", date(2024, 4, 7)),
        ]
    ),
    frequent_itemsets: lambda t: iter([frequent_itemsets(t("baskets"), 3), frequent_itemsets(t("baskets"), 5, 2)]),
    count_itemsets: lambda t: iter([count_itemsets(t("baskets"), [("tea 0", "茶 0"), ("Tea 1",), ("none",)])]),
    cross_sell_rules: lambda t: iter(
        [cross_sell_rules(t("clean_transactions"), t("clean_products"), LAST_DAY, minimum_count=3)]
    ),
    best_sellers: lambda t: iter(
        [ibis.memtable({"item": [str(item) for item in best_sellers(bought(t), "category", 3)]})]
    ),
    item_days: lambda t: iter([item_days(bought(t), best_sellers(bought(t), "category", 2))]),
    item_histories: lambda t: iter([histories(t)]),
    ranked_propensities: lambda t: iter([ranked_propensities(propensities(t))]),
    contact_choices: lambda t: iter([contact_choices(t("clean_interactions"), LAST_DAY, 90)]),
    contact_preferences: lambda t: iter(
        [contact_preferences(contact_choices(t("clean_interactions"), LAST_DAY, 90), consents(t), LAST_DAY)]
    ),
    sequential_rules: lambda t: iter(
        [
            sequential_rules(
                t("clean_transactions"),
                t("clean_products"),
                LAST_DAY,
                SequenceLimits(30, 7, least_expected=0.1),
            )
        ]
    ),
    products_bought: lambda t: iter([bought(t)]),
    items_of: lambda t: iter([items_of(bought(t), "category")]),
    chosen_rules: lambda t: iter(
        [chosen_rules(t("cross_sell_rules"), t("sequences"), t("clean_products"), LAST_DAY, 90)]
    ),
    cross_sell_offers: lambda t: iter([offered(t, OfferRules(3, 90, repeat_days)) for repeat_days in (0, 14)]),
    package_sizes: lambda t: iter(
        [package_sizes(t("goods").select(package_size=package_size_of(t("goods").attributes)))]
    ),
    catalogue: lambda t: iter(
        [catalogue(t("goods"), LAST_DAY, hold), catalogue(t("clean_products"), date(2024, 4, 7))]
    ),
    kind_lines: lambda t: iter([kind_lines(t("clean_transactions"), t("known_goods"), day, 60) for day in MONTH_ENDS]),
    price_ladders: lambda t: iter(
        [price_ladders(t("kind_lines"), t("known_goods"), days) for days in (MONTH_ENDS, [LAST_DAY])]
    ),
    steps: lambda t: iter([steps(t("ladders"))]),
    standings: lambda t: iter(
        [standings(t("kind_lines"), t("ladders"), days, 200) for days in (MONTH_ENDS, [LAST_DAY])]
    ),
    step_cases: lambda t: iter([step_cases(t("standings"), t("steps"))]),
    bought_lately: lambda t: iter([bought_lately(t("kind_lines"), MONTH_ENDS, 20)]),
    step_outcomes: lambda t: iter(
        [step_outcomes(t("step_cases"), t("kind_lines"), t("ladders"), MONTH_ENDS, 30, days) for days in (0, 20)]
    ),
    with_probability: lambda t: iter(
        [with_probability(t("step_cases"), step_model(champion)) for champion in ("logistic", "step_rate")]
    ),
    up_sell_offers: lambda t: iter(
        [up_sell_offers(t("clean_transactions"), t("goods"), LAST_DAY, OfferRules(3, 90, 14), 1, hold)]
    ),
    product_prices: lambda t: iter([product_prices(t("clean_transactions"), LAST_DAY)]),
    next_best_action: lambda t: iter(
        [
            next_best_action(
                SCORED[-1],
                ContactPolicy(capacity=capacity, gap_days=20),
                t("queue").filter(ibis._.as_of == SCORED[-1]),
                t("offers"),
                t("up_sell_offers"),
                t("new_products"),
                ranked_responses(t("responses"), ResponsePolicy(0.3, None, 1.0, None)).filter(
                    ibis._.as_of == SCORED[0]
                ),
                t("values"),
                t("values").group_by("customer_id").agg(p_order_30d=_share(ibis._.clv.max().abs())),
                product_prices(t("clean_transactions"), LAST_DAY),
                t("clean_contacts"),
                hold,
            )
            for capacity in (None, 12)
        ]
    ),
    rfm_measures: lambda t: iter([rfm_measures(t("customer_days"), day) for day in (date(2024, 4, 7), LAST_DAY)]),
    rfm_cuts: lambda t: iter(
        [rfm_cuts(t("measures")), rfm_cuts(t("measures").limit(0)), rfm_cuts(t("measures"), 3, [0.5, 0, 2])]
    ),
    rfm_scores: lambda t: iter([rfm_scores(t("measures"), t("cuts")), rfm_scores(t("measures"), t("cuts").limit(0))]),
    drawn_by_day: lambda t: iter([drawn_by_day(_first_days(t), MONTH_ENDS, 7, 1)]),
    about: lambda t: iter([about(t("clean_transactions"), "order_id", 50, 7)[0]]),
    sample_customers: lambda t: iter(
        [sample_customers(t("clean_transactions").filter(ibis._.customer_id.notnull()), most, 1) for most in (7, 1000)]
    ),
    as_floats: lambda t: iter([t("customer_days").select(**as_floats(t("customer_days"), ["amount", "orders"]))]),
    bounded: lambda t: iter([bounded(t("scores"), most, 3, 1) for most in (30, 1000)]),
    fit_lifecycle_rules: lambda t: iter(
        [fit_lifecycle_rules(t("customer_days"), day) for day in (FIRST_DAY, LAST_DAY)]
    ),
    known_spans: lambda t: iter([known_spans(t("clean_customers"), t("clean_contacts"), t("customer_days"))]),
    lifecycle: lambda t: iter([lifecycle(t("customer_days"), t("known"), MONTH_ENDS, RULES)]),
    transitions: lambda t: iter([transitions(t("stages"))]),
    purchases: lambda t: iter([purchases(t("clean_transactions"), LAST_DAY, days) for days in (30, 365)]),
    purchase_history: lambda t: iter([purchase_history(t("lines"), LAST_DAY, most) for most in (2, 60)]),
    customer_segments_of: lambda t: iter([customer_segments_of(valid_on(t("clean_customers"), LAST_DAY))]),
    sales_of_segments: lambda t: iter([sales_of_segments(t("lines"), t("groups"), LAST_DAY)]),
    offered_products: lambda t: iter(
        [
            offered_products(t("lines"), t("clean_products"), LAST_DAY),
            offered_products(t("lines"), t("clean_products"), date(2024, 4, 7)),
            offered_products(t("lines"), None, LAST_DAY),
        ]
    ),
    basket_lines: lambda t: iter([basket_lines(t("lines"), LAST_DAY, most) for most in (5, 4_000)]),
    later_purchases: lambda t: iter([later_purchases(t("lines"), date(2024, 4, 30), 30)]),
    known_customers: lambda t: iter([known_customers(t("groups"), t("history"), t("groups"))]),
    campaign_cases: lambda t: iter(
        [campaign_cases(t("clean_contacts"), t("clean_campaigns"), day) for day in MONTH_ENDS]
    ),
    campaign_response_sums: lambda t: iter([campaign_response_sums(t("cases"))]),
    response_rates: lambda t: iter([response_rates(t("cases"), days) for days in (30, 120)]),
    delay_days: lambda t: iter([t("cases").mutate(delay=delay_days(t("cases")))]),
    contacted_rows: lambda t: iter(
        [contacted_rows(*known_of_contacts(t), t("cases").filter(ibis._.day > date(2024, 3, 1)))]
    ),
    scored_rows: lambda t: iter([scored_rows(*known_of_contacts(t), ["e-mail 邮件", "other"], LAST_DAY)]),
    known_of: lambda t: iter(
        [known_of(t("cases").select("customer_id", as_of="day").distinct(), *known_of_contacts(t))]
    ),
    kind_contacts: lambda t: iter(
        [
            kind_contacts(
                t("cases").select("campaign_kind", "customer_id", as_of=ibis.literal(LAST_DAY)).distinct(), t("cases")
            )
        ]
    ),
    ranked_responses: lambda t: iter(
        [
            ranked_responses(t("responses"), ResponsePolicy(0.3, None, 1.0, budget, least))
            for budget, least in ((None, 0.0), (2.1, 0.5))
        ]
    ),
    retention_queue: lambda t: iter(
        [
            retention_queue(t("scores"), t("values"), policy)
            for policy in (RetentionPolicy(None, 1.0, 0.1, 0.25, 0.1, 1), RetentionPolicy(10, 2.0, 0.1, 0.25, 0.3, 5))
        ]
    ),
    queue_outcomes: lambda t: iter(
        [
            queue_outcomes(t("queue"), t("customer_days"), LAST_DAY, HORIZONS),
            queue_outcomes(t("queue"), t("customer_days"), LAST_DAY, HORIZONS, Persons.of(t("members"))),
        ]
    ),
    value_measures: lambda t: iter([value_measures(t("customer_days"), day) for day in MONTH_ENDS]),
    later_spend: lambda t: iter([later_spend(t("customer_days"), MONTH_ENDS[:3], 45)]),
    cluster_names_of: lambda t: iter([cluster_names_of(CLUSTERS, t("features").filter(ibis._.as_of == LAST_DAY))]),
    rule_ids: lambda t: iter([rule_ids(RULES_OF_SEGMENTS, t("features")), rule_ids(SegmentRules({}), t("features"))]),
    Condition.expression: lambda t: iter(
        t("features").select("as_of", "customer_id", met=condition.expression(t("features")))
        for rule in RULES_OF_SEGMENTS.rules["churn"]
        for condition in rule.conditions
    ),
    response_labels: lambda t: iter([response_labels(t("clean_contacts"), MONTH_ENDS)]),
    customer_dimensions: lambda t: iter(
        [customer_dimensions(t("features")), customer_dimensions(of_last_day(t), t("customers_current"))]
    ),
    with_strata: lambda t: iter([with_strata(t("segments"), fields) for fields in (["rfm_segment"], [])]),
    draw_strata: lambda t: iter([draw_strata(t("strata"), {"A / recent": 3, "B / unknown": 1, "gone": 4}, 7)]),
    described_customers: lambda t: iter(
        [
            described_customers(t("segments"), t("dimensions"), of_last_day(t), last_stages(t)),
            described_customers(t("segments"), t("dimensions"), of_last_day(t)),
        ]
    ),
    sums_by_segments: lambda t: iter([sums_by_segments(t("described"))]),
    levels_by_segments: lambda t: iter([levels_by_segments(t("described"))]),
    value_curve: lambda t: iter([value_curve(t("segments")), value_curve(t("segments").limit(0))]),
    value_tiers: lambda t: iter([value_tiers(t("measures"))]),
    customer_segments: lambda t: iter(
        [
            customer_segments(t("measures"), t("cuts")),
            customer_segments(t("measures"), t("cuts"), t("clusters")),
        ]
    ),
}
"""Functions of `mining`, and results of each on small inputs."""


def functions_on_tables() -> Iterator[Callable[..., Any]]:
    """Every public function of `mining`, or method of a public class, with a parameter that is an Ibis table."""
    for found in pkgutil.iter_modules(mining.__path__):
        module = importlib.import_module(f"{mining.__name__}.{found.name}")
        own = [item for _, item in _public(module) if getattr(item, "__module__", None) == module.__name__]
        classes = [item for item in own if inspect.isclass(item)]
        methods = [inspect.unwrap(getattr(item, "__func__", item)) for kind in classes for _, item in _public(kind)]
        yield from (item for item in (*own, *methods) if inspect.isfunction(item) and _takes_tables(item))


def _public(place: object) -> list[tuple[str, Any]]:
    return [(name, item) for name, item in vars(place).items() if not name.startswith("_")]


def _takes_tables(function: Callable[..., Any]) -> bool:
    hints = inspect.get_annotations(function)
    given = [str(hint) for name, hint in hints.items() if name != "return" and "Callable" not in str(hint)]
    return any(re.search(r"\b(ir|relations)\.Table\b", hint) for hint in given)
