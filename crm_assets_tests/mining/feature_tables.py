"""Small clean tables for the tests of customer days, features and churn."""

from datetime import date, datetime, time
from decimal import Decimal

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from crm_assets.contracts.canonical import CAMPAIGN_CONTACTS, CUSTOMERS, PRODUCTS, TRANSACTIONS

_VERSIONS = {"valid_from": "date", "valid_to": "date"}


def line(
    customer: str | None,
    day: date,
    order: str,
    product: str,
    amount: str,
    quantity: str = "1",
    hour: int = 12,
    **more: object,
) -> dict:
    """One order line; money as text."""
    money = {key: Decimal(value) if isinstance(value, str) else value for key, value in more.items()}
    return {
        "day": day,
        "customer_id": customer,
        "order_id": order,
        "line_id": product,
        "product_id": product,
        "ordered_at": datetime.combine(day, time(hour)),
        "quantity": Decimal(quantity),
        "amount": Decimal(amount),
        **money,
    }


def transactions_table(connection: ibis.BaseBackend, rows: list[dict]) -> ir.Table:
    """A clean transactions table of these rows."""
    return _table(connection, rows, {"day": "date", **dict(TRANSACTIONS.schema), "is_outlier": "boolean"})


def products_table(connection: ibis.BaseBackend, categories: dict[str, str]) -> ir.Table:
    """Product versions, one per product."""
    rows = [{"product_id": product, "category": category} for product, category in categories.items()]
    return product_versions_table(connection, rows)


def product_versions_table(connection: ibis.BaseBackend, rows: list[dict]) -> ir.Table:
    """Product versions."""
    return _table(connection, rows, {**dict(PRODUCTS.schema), **_VERSIONS})


def customers_table(connection: ibis.BaseBackend, rows: list[dict]) -> ir.Table:
    """Customer versions."""
    return _table(connection, rows, {**dict(CUSTOMERS.schema), **_VERSIONS})


def contacts_table(connection: ibis.BaseBackend, rows: list[dict]) -> ir.Table:
    """Campaign contacts."""
    return _table(connection, rows, {"day": "date", **dict(CAMPAIGN_CONTACTS.schema)})


def _table(connection: ibis.BaseBackend, rows: list[dict], columns: dict) -> ir.Table:
    schema = ibis.schema(columns)
    known = {"valid_from": date(1990, 1, 1)}
    filled = [{name: row.get(name, known.get(name)) for name in schema} for row in rows]
    arrow = pa.Table.from_pylist(filled, schema=schema.to_pyarrow())
    return connection.create_table(ibis.util.gen_name("t"), arrow)


def churn_frames(days: list[date], customers: int = 400) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Made-up features and labels in which a long pause after frequent orders means churn."""
    import numpy as np

    from crm_assets.mining.churn import CHURN_FEATURES

    generator = np.random.default_rng(0)
    features, labels = [], []
    for day in days:
        frame = pd.DataFrame(generator.gamma(2, 2, (customers, len(CHURN_FEATURES))), columns=list(CHURN_FEATURES))
        frame["recency_days"] = generator.integers(0, 60, customers)
        odds = frame["recency_days"] / 12 - frame["orders_30d"] - 1
        names = [f"c{number:04d}" for number in range(customers)]
        features.append(frame.assign(as_of=day, customer_id=names))
        churned = generator.random(customers) < 1 / (1 + np.exp(-odds))
        labels.append(pd.DataFrame({"as_of": day, "customer_id": names, "churned": churned}))
    return pd.concat(features, ignore_index=True), pd.concat(labels, ignore_index=True)
