"""Small tables in which engines could differ, for the tests that two engines give equal results.

They hold nulls in every column that may have them, ties that only an identifier breaks, amounts whose quotients end in a
half, month ends, empty baskets, text in several scripts and widths, keys that were moved, corrected and deleted.
"""

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import (
    CAMPAIGN_CONTACTS,
    CAMPAIGNS,
    CUSTOMERS,
    INTERACTIONS,
    PRODUCTS,
    SUBSCRIPTIONS,
    TRANSACTIONS,
)
from crm_assets.contracts.churn import CHURN_SCORES
from crm_assets.contracts.identity import IDENTITY_MEMBERS
from crm_assets.contracts.model import Table
from crm_assets.mining.response import SCORED as SCORED_RESPONSES

FIRST_DAY = date(2024, 1, 1)
LAST_DAY = date(2024, 6, 30)
DAYS = (LAST_DAY - FIRST_DAY).days + 1
EXPORTS = [date(2024, 7, 1), date(2024, 7, 8), date(2024, 7, 15)]
SCORED = [date(2024, 4, 30), date(2024, 5, 31), date(2024, 6, 15)]
CUSTOMER_COUNT, PRODUCT_COUNT = 60, 25

NAMES = [
    "Ann  Lee",
    " Zoë\tÅs ",
    "王小明",
    "李　四",
    "ΝΊΚΟΣ ΠΑΠΑΣ",
    "O'Brien \\ Co",
    "İlker",
    "Straße",
    "ａｂｃ",
    "x y",
]
EMAILS = ["ANN@Example.COM", "zoe @example.com", "ΝΊΚΟΣ@ex.gr", "ｗａｎｇ＠ｅｘ．ｃｎ", "İ@ex.tr", "a+b@ex.com"]
PHONES = ["+44 (0)20 7946-0958", "０１０－１２３４", "020.7946.0958", "()", "-"]
GENDERS = ["F", "男", "ｆｅｍａｌｅ", "Divers", "WOMAN", ""]
CATEGORIES = ["tea", "Tea", "äpfel", "茶", "bread", "soap", None]


class Tables:
    """The tables, as Arrow, by name; the same ones for the same seed."""

    def __init__(self, seed: int = 20240630) -> None:
        self._chance = random.Random(seed)
        lines = self._lines()
        people = [self._person(number) for number in range(CUSTOMER_COUNT)]
        goods = [self._product(number) for number in range(PRODUCT_COUNT)]
        contacts = self._contacts()
        self.arrow: dict[str, pa.Table] = {
            "clean_transactions": _table(layers.clean(TRANSACTIONS), lines),
            "clean_customers": _table(layers.clean(CUSTOMERS), self._versions(people, "customer_id")),
            "clean_products": _table(layers.clean(PRODUCTS), self._versions(goods, "product_id")),
            "clean_contacts": _table(layers.clean(CAMPAIGN_CONTACTS), contacts),
            "validated_transactions": self._delivered(TRANSACTIONS, lines, "ordered_at"),
            "validated_customers": self._delivered(CUSTOMERS, people),
            "validated_products": self._delivered(PRODUCTS, goods),
            "validated_contacts": self._delivered(CAMPAIGN_CONTACTS, contacts, "contacted_at"),
            "members": _table(IDENTITY_MEMBERS, self._members()),
            "scores": _table(layers.by_partition(CHURN_SCORES), self._scores()),
            "values": self._values(),
            "clean_campaigns": _table(layers.clean(CAMPAIGNS), self._campaigns()),
            "clean_interactions": _table(layers.clean(INTERACTIONS), self._interactions()),
            "responses": self._responses(),
            "clean_subscriptions": _table(layers.clean(SUBSCRIPTIONS), self._subscriptions()),
            "validated_subscriptions": self._delivered(SUBSCRIPTIONS, self._subscriptions()),
            "validated_campaigns": self._delivered(CAMPAIGNS, self._campaigns()),
            "clusters": pa.table({"customer_id": ["c1", "c3", "nobody"], "cluster_name": ["a", "b", "c"]}),
            "full": pa.table({"_source": ["crm"], "_export_date": pa.array([EXPORTS[1]])}),
        }

    def _lines(self) -> list[dict[str, Any]]:
        chance = self._chance
        found = []
        for number in range(900):
            # Some customers order daily, most rarely; some orders are anonymous.
            customer = None if number % 17 == 0 else f"c{int(chance.random() ** 2 * CUSTOMER_COUNT)}"
            day = FIRST_DAY + timedelta(chance.choice([30, 59, 90, 120, chance.randrange(DAYS)]))
            at = datetime.combine(day, datetime.min.time()) + timedelta(
                seconds=chance.randrange(86_400), microseconds=7
            )
            is_return = chance.choice([None, False, False, False, True])
            for line in range(chance.choice([1, 1, 2, 3, 5])):
                quantity = Decimal(chance.choice(["1", "2", "3", "7", "8", "0", "0.5"])).quantize(Decimal("0.0001"))
                amount = Decimal(chance.randrange(1, 40_000)) / Decimal(10_000 if number % 3 else 1)
                sign = -1 if is_return and chance.random() < 0.5 else 1
                found.append(
                    {
                        "order_id": f"o{number}",
                        "line_id": str(line + 1),
                        "customer_id": customer,
                        "product_id": f"p{int(chance.random() ** 2 * (PRODUCT_COUNT + 2))}",
                        "ordered_at": at,
                        "quantity": quantity * sign,
                        "amount": amount * sign,
                        "unit_price": chance.choice([None, None, Decimal("1.2345")]),
                        "discount": chance.choice([None, Decimal(0), Decimal("0.5")]),
                        "coupon_discount": chance.choice([None, Decimal(0), Decimal("1.0001")]),
                        "channel": chance.choice([None, "web", " Store  1"]),
                        "on_display": chance.choice([None, True, False]),
                        "in_mailer": chance.choice([None, True, False]),
                        "is_return": is_return,
                        "is_outlier": False,
                        "day": day,
                    }
                )
        # A day with enough rows for outliers, and one of them.
        for number in range(45):
            found.append(
                {
                    "order_id": f"d{number}",
                    "line_id": "1",
                    "customer_id": f"c{number % 7}",
                    "product_id": f"p{number % 5}",
                    "ordered_at": datetime(2024, 3, 3, 12),
                    "quantity": Decimal(1 + number % 3),
                    "amount": Decimal("99999.99") if number == 44 else Decimal(2 + number % 5),
                    "is_outlier": False,
                    "day": date(2024, 3, 3),
                }
            )
        return found

    def _subscriptions(self) -> list[dict[str, Any]]:
        """Contracts drawn apart from everything else, so that the other tables stay as they were."""
        chance, found = random.Random(11), []
        for number in range(50):
            started = datetime(2024, 1, 1) + timedelta(days=chance.randrange(120), hours=chance.randrange(24))
            row = {
                "subscription_id": f"s{number}",
                "customer_id": f"c{number % 40}",
                "started_at": started,
                "ended_at": chance.choice([None, None, started + timedelta(days=chance.randrange(1, 200))]),
                "plan": chance.choice([None, "basic", "全部"]),
                "monthly_fee": chance.choice([None, Decimal("9.9900"), Decimal(0)]),
                "attributes": chance.choice([None, '{"a": 1}']),
                "is_outlier": False,
                "day": started.date(),
            }
            found.append(row)
        return found

    def _campaigns(self) -> list[dict[str, Any]]:
        """One campaign changed its kind, another is not on file."""
        early, later = date(1990, 1, 1), date(2024, 3, 1)
        kinds = [("mail", early, later), ("e-mail 邮件", later, None)]
        lasts = {"start_at": datetime(2024, 1, 31, 20), "end_at": datetime(2024, 4, 1, 15, 30)}
        return [
            {"campaign_id": "m0", "kind": kind, **lasts, "valid_from": since, "valid_to": until}
            for kind, since, until in kinds
        ]

    def _interactions(self) -> list[dict[str, Any]]:
        """Drawn apart from everything else, so that the other tables stay as they were."""
        chance, found = random.Random(13), []
        for number in range(200):
            at = datetime(2024, 1, 1) + timedelta(days=chance.randrange(DAYS), seconds=chance.randrange(86_400))
            row = {"interaction_id": f"i{number}", "customer_id": f"c{chance.randrange(30)}", "occurred_at": at}
            kind, channel = chance.choice(["view", "open", "call"]), ("app", "邮件", None)[number % 3]
            found.append(row | {"kind": kind, "channel": channel, "is_outlier": False, "day": at.date()})
        return found

    def _responses(self) -> pa.Table:
        """Scores of persons, some alike."""
        names = [name for name in SCORED_RESPONSES.names if name not in ("uplift_group", "expected_profit")]
        rows = [
            (SCORED[number % 2], "mail", f"c{number}", number % 9 / 9, None, number % 7 == 0, "m", number % 9 / 9)
            for number in range(CUSTOMER_COUNT)
        ]
        profits = [None if number % 4 == 0 else number % 9 - 3.5 for number in range(CUSTOMER_COUNT)]
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        columns |= {"uplift_group": [None] * CUSTOMER_COUNT, "expected_profit": profits}
        return pa.table({name: columns[name] for name in SCORED_RESPONSES.names}, schema=SCORED_RESPONSES.to_pyarrow())

    def _person(self, number: int) -> dict[str, Any]:
        chance = self._chance
        row = {
            "customer_id": f"c{number}",
            "full_name": chance.choice([*NAMES, None]),
            "email": chance.choice([*EMAILS, None]),
            "phone": chance.choice([*PHONES, None]),
            "birth_date": chance.choice([None, date(1905, 2, 28), date(2000, 2, 29)]),
            "gender": chance.choice([*GENDERS, None]),
            "city": chance.choice([None, "Łódź", " 上海  市 "]),
            "signup_at": chance.choice([None, datetime(1999, 12, 31, 23, 59, 59, 999_999), datetime(2024, 2, 29)]),
            "consent_email": chance.choice([None, True, False]),
        }
        return row | {name: chance.choice([None, "a b", ""]) for name in ("age_band", "education", "interests")}

    def _product(self, number: int) -> dict[str, Any]:
        chance = self._chance
        return {
            "product_id": f"p{number}",
            "product_name": chance.choice(NAMES),
            "category": CATEGORIES[number % len(CATEGORIES)],
            "subcategory": f"{CATEGORIES[number % len(CATEGORIES)]} {number % 3}" if number % 6 else None,
            "list_price": chance.choice([None, Decimal("1.5")]),
            "attributes": '{"a": 1}',
        }

    def _contacts(self) -> list[dict[str, Any]]:
        chance = self._chance
        found = []
        for number in range(80):
            day = FIRST_DAY + timedelta(chance.randrange(DAYS))
            found.append(
                {
                    "campaign_id": f"m{number // 40}",
                    "customer_id": f"c{number % 40}",
                    "contacted_at": datetime.combine(day, datetime.min.time()) + timedelta(hours=23),
                    "is_control": chance.choice([None, True, False]),
                    "responded_at": chance.choice([None, datetime(2024, 5, 31, 1), datetime(2024, 6, 29)]),
                    "response_value": chance.choice([None, Decimal("0.0001")]),
                    "attributes": None if number % 3 else f'{{"价": {number}}}',
                    "is_outlier": False,
                    "day": day,
                }
            )
        return found

    def _versions(self, rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
        """Every third row has a second version."""
        found = []
        for number, row in enumerate(rows):
            changed = date(2024, 4, 1) + timedelta(number)
            first = {**row, "valid_from": date(1990, 1, 1), "valid_to": None if number % 3 else changed}
            found.append(first)
            if number % 3 == 0:
                other = rows[(number + 1) % len(rows)]
                found.append({**other, key: row[key], "valid_from": changed, "valid_to": None})
        return found

    def _delivered(self, contract: Table, rows: list[dict[str, Any]], event_time: str | None = None) -> pa.Table:
        """The rows as three exports of two sources brought them, some again, corrected or moved to the next day."""
        chance = self._chance
        delivered = []
        for number, row in enumerate(rows):
            for export, source, file in [
                (0, "crm", "a.csv"),
                (1, "crm", "b.csv"),
                (2, "crm", "b.csv"),
                (2, "web", "a"),
            ]:
                if chance.random() < (0.9 if export == 0 else 0.3):
                    changed = dict(row)
                    if event_time and chance.random() < 0.3:
                        changed[event_time] += timedelta(days=1)
                        changed["day"] += timedelta(days=1)
                    if not event_time and chance.random() < 0.5:
                        changed |= {
                            name: other for name, other in chance.choice(rows).items() if name not in contract.key
                        }
                    place = {"_file": file, "_line": number % 50, "_source": source, "_export_date": EXPORTS[export]}
                    delivered.append(changed | place)
        table = layers.validated(contract)
        return _table(table.with_columns(layers.DAY) if event_time else table, delivered)

    def _members(self) -> list[dict[str, Any]]:
        early = date(1990, 1, 1)
        return [
            *(
                {"customer_id": f"c{n}", "person_id": f"c{n - n % 2}", "valid_from": early, "valid_to": None}
                for n in range(0, 40)
                if n % 4
            ),
            *(
                {"customer_id": f"c{n}", "person_id": f"c{n}", "valid_from": early, "valid_to": date(2024, 5, 1)}
                for n in range(0, 40, 4)
            ),
            *(
                {"customer_id": f"c{n}", "person_id": f"c{n + 1}", "valid_from": date(2024, 5, 1), "valid_to": None}
                for n in range(0, 40, 4)
            ),
        ]

    def _values(self) -> pa.Table:
        """What customers are worth; some are worth as much as others, and one nothing is known of."""
        places = [(day, number) for day in SCORED for number in range(1, CUSTOMER_COUNT)]
        columns = {
            "as_of": [day for day, _ in places],
            "customer_id": [f"c{number}" for _, number in places],
            "clv": [1_000.0 / (1 + number // 2) for _, number in places],
        }
        return pa.table(columns)

    def _scores(self) -> list[dict[str, Any]]:
        return [
            {
                "as_of": day,
                "customer_id": f"c{number}",
                "churn_probability": number / CUSTOMER_COUNT,
                "risk_band": "low",
                "reasons": [["No order for 9 days; typical is 3 days", "x"], ["Orders in the last 30 days: 1"]][
                    number % 2
                ],
                "model_id": "m",
            }
            for day in SCORED
            for number in range(CUSTOMER_COUNT)
        ]


def _table(contract: Table, rows: list[dict[str, Any]]) -> pa.Table:
    schema = contract.schema.to_pyarrow()
    filled = [{name: row.get(name) for name in contract.by_name} for row in rows]
    return pa.Table.from_pylist(filled, schema=pa.schema([field.with_nullable(True) for field in schema]))
