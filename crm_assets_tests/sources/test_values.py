"""Numbers, dates and yes or no are read as people and systems write them, or not at all."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import ibis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_assets.contracts.model import MONEY, Column
from crm_assets.sources.mapping import ColumnMapping, TableMapping
from crm_assets.sources.values import typed

SEVERAL = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MARCH = datetime(2024, 3, 5)


@pytest.fixture
def read(engine):
    """Read texts as a type; give their values in order."""

    def run(texts, dtype, timezone="UTC", delivered="string", **part):
        table = ibis.memtable({"n": list(range(len(texts))), "text": texts}, schema={"n": "int64", "text": delivered})
        mapping = TableMapping.model_validate({"files": "*", "columns": {}, **part})
        value = typed(table["text"], Column("c", dtype, "."), ColumnMapping(column=("text",)), mapping, timezone)
        found = engine.backend.to_pyarrow(table.select("n", value=value)).to_pylist()
        return [row["value"] for row in sorted(found, key=lambda row: row["n"])]

    return run


NUMBERS = {
    "1234.5": "1234.5",
    "1,234.5": "1234.5",
    "1 234.5": "1234.5",
    "1\u00a0234.5": "1234.5",
    "1'234.5": "1234.5",
    "12,34,567.89": "1234567.89",
    "¥1,234.50": "1234.5",
    "￥１，２３４．５０": "1234.5",
    "1234.50元": "1234.5",
    "人民币 5": "5",
    "US$ 3": "3",
    "-$5": "-5",
    "$-5": "-5",
    "($5.25)": "-5.25",
    "（5）": "-5",
    "5-": "-5",
    "−5": "-5",
    "+7": "7",
    ".5": "0.5",
    "12 EUR": "12",
    "CNY12": "12",
    "Rs. 1,200": "1200",
    "1e3": "1000",
}


def test_numbers_are_read_in_every_style(read):
    assert dict(zip(NUMBERS, read(list(NUMBERS), MONEY), strict=True)) == {
        text: Decimal(value) for text, value in NUMBERS.items()
    }


@pytest.mark.parametrize("dtype", [MONEY, "float64"])
def test_what_is_no_number_is_not_made_one(read, dtype):
    texts = [
        "12%",
        "9,99",
        "1,23",
        "1,234 567",
        "--5",
        "(-5)",
        "-5-",
        "1.2.3",
        "1.234,5",
        "ABC 5",
        "nan",
        "inf",
        "¥",
        "-",
    ]
    assert dict(zip(texts, read(texts, dtype), strict=True)) == dict.fromkeys(texts)


def test_with_a_decimal_comma_points_separate_thousands(read):
    texts = {"1.234,50": "1234.5", "1.234": "1234", "9,99": "9.99", "€ 1 234,5": "1234.5", "12": "12", "9.99": None}
    values = [None if value is None else Decimal(value) for value in texts.values()]
    assert read(list(texts), MONEY, decimal=",") == values


def test_no_number_of_a_typed_file_is_missing(read):
    assert read([1.5, float("nan"), None], MONEY, delivered="float64") == [Decimal("1.5"), None, None]
    assert read([1.5, float("nan"), float("inf")], "float64", delivered="float64") == [1.5, None, None]


FORMS = {
    "2024-03-05": MARCH,
    "2024-3-5 4:05": MARCH.replace(hour=4, minute=5),
    "2024/03/05 14:30": MARCH.replace(hour=14, minute=30),
    "2024.03.05": MARCH,
    "2024.3.5 14:30:05": MARCH.replace(hour=14, minute=30, second=5),
    "2024年3月5日": MARCH,
    "2024年03月05日 14时30分": MARCH.replace(hour=14, minute=30),
    "2024年3月5日14:30": MARCH.replace(hour=14, minute=30),
    "2024年3月5日14时": MARCH.replace(hour=14),
    "2024年3月5日 下午2:30": MARCH.replace(hour=14, minute=30),
    "2024/3/5 上午12:30:00": MARCH.replace(minute=30),
    "2024年3月5日 14时30分05秒": MARCH.replace(hour=14, minute=30, second=5),
    "２０２４年３月５日": MARCH,
    "5 Mar 2024": MARCH,
    "05-MAR-24": MARCH,
    "5th March 2024 2:30 pm": MARCH.replace(hour=14, minute=30),
    "Mar 5, 2024": MARCH,
    "March 5th, 2024, 12:30 PM": MARCH.replace(hour=12, minute=30),
    "Tue, 05 Mar 2024 14:30:00 GMT": MARCH.replace(hour=14, minute=30),
    "Sept 5, 2024": datetime(2024, 9, 5),
    "25/12/2024": datetime(2024, 12, 25),
    "12/25/2024 2:30 AM": datetime(2024, 12, 25, 2, 30),
    "04.04.2024": datetime(2024, 4, 4),
    "45356": MARCH,
    "45356.604166666664": MARCH.replace(hour=14, minute=30),
    "20240305": MARCH,
    "20240305143000": MARCH.replace(hour=14, minute=30),
    "202403051430": MARCH.replace(hour=14, minute=30),
    "1709649000": MARCH.replace(hour=14, minute=30),
    "1709649000000": MARCH.replace(hour=14, minute=30),
    "2024-03-05T14:30+08:00": MARCH.replace(hour=6, minute=30),
    "2024-03-05 14:30:00 +0800": MARCH.replace(hour=6, minute=30),
    "2024-03-05T14:30:00.000+0000": MARCH.replace(hour=14, minute=30),
    "2024-03-05 10:00:00-05:00": MARCH.replace(hour=15),
    "2024/3/5 2:30:00 PM +08": MARCH.replace(hour=6, minute=30),
}


def test_dates_are_read_in_every_form_within_one_column(read):
    assert dict(zip(FORMS, read(list(FORMS), "timestamp"), strict=True)) == FORMS


def test_what_is_no_date_is_not_made_one(read):
    texts = [
        *["2024-02-30", "30 Feb 2024", "31/11/2024", "20241399", "2024-03", "99999", "yesterday", "infinity", "12345"],
        *["2024-03-05 13:30 PM", "2024-03-05 0:30 PM", "2024-03-05 25:00", "2024-03-05 junk", "5 May 2024 junk"],
        *["03/04/2024", "5/3/24", "25/12/24", "12024-01-01", "5 Foo 2024"],
    ]
    assert dict(zip(texts, read(texts, "timestamp"), strict=True)) == dict.fromkeys(texts)


def test_the_order_of_day_and_month_is_that_of_the_part_where_a_date_does_not_tell(read):
    texts = ["03/04/2024", "03.04.24 10:00", "25/12/2024", "12/25/2024"]
    christmas = [datetime(2024, 12, 25)] * 2
    assert read(texts, "timestamp", dates="dmy") == [datetime(2024, 4, 3), datetime(2024, 4, 3, 10), *christmas]
    assert read(texts, "timestamp", dates="mdy") == [datetime(2024, 3, 4), datetime(2024, 3, 4, 10), *christmas]


def test_times_are_local_to_the_source_unless_they_say_otherwise(read):
    texts = ["2024年3月5日 8:00", "45356", "1709649000", "2024-03-05T14:30Z"]
    assert read(texts, "timestamp", timezone="Asia/Shanghai") == [
        MARCH,
        MARCH - timedelta(hours=8),
        MARCH.replace(hour=14, minute=30),
        MARCH.replace(hour=14, minute=30),
    ]


def test_a_day_is_the_one_that_is_written(read):
    texts = ["1980-05-01T00:00:00+08:00", "1980年5月1日 23:59", "May 1, 1980", "29342", "01-MAY-80"]
    assert read(texts, "date", timezone="America/New_York") == [*[date(1980, 5, 1)] * 4, None]


@given(
    number=st.decimals(min_value=-(10**9), max_value=10**9, places=2),
    separator=st.sampled_from([",", " ", "'", "\u00a0", ""]),
    before=st.sampled_from(["", "¥", "$ ", "€", "CNY ", "HK$"]),
    after=st.sampled_from(["", "元", " EUR"]),
    wide=st.booleans(),
    brackets=st.booleans(),
    comma=st.booleans(),
)
@SEVERAL
def test_a_number_written_in_any_style_is_read_back(read, number, separator, before, after, wide, brackets, comma):
    digits = f"{abs(number):,.2f}".replace(",", "_")
    if comma:
        digits = digits.replace(".", ",")
        separator = separator.replace(",", ".")
    digits = before + digits.replace("_", separator) + after
    text = f"({digits})" if brackets and number < 0 else ("-" if number < 0 else "") + digits
    if wide:
        text = text.translate(str.maketrans("0123456789,.()-", "０１２３４５６７８９，．（）－"))
    assert read([text], MONEY, decimal="," if comma else ".") == [number]


WRITTEN = [
    "%Y-%m-%d %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d %H:%M:%S",
    "%Y年%m月%d日 %H时%M分%S秒",
    "%Y%m%d%H%M%S",
    "%d %b %Y %H:%M:%S",
    "%a, %d %b %Y %H:%M:%S",
    "%B %d, %Y %I:%M:%S %p",
    "%d/%m/%Y %H:%M:%S",
    "%d.%m.%Y %I:%M:%S %p",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y/%m/%d %I:%M:%S %p %z",
]


@given(
    moment=st.datetimes(datetime(1992, 1, 1), datetime(2035, 12, 31)).map(lambda moment: moment.replace(microsecond=0)),
    zone=st.sampled_from(["UTC", "Asia/Shanghai", "Asia/Kolkata"]),
    minutes=st.sampled_from([0, 60, 330, -480]),
)
@SEVERAL
def test_a_moment_written_in_any_form_is_read_back(read, moment, zone, minutes):
    offset = timezone(timedelta(minutes=minutes))
    texts = [moment.replace(tzinfo=offset).strftime(form) for form in WRITTEN]
    local = moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)
    absolute = moment.replace(tzinfo=offset).astimezone(UTC).replace(tzinfo=None)
    expected = [absolute if "%z" in form else local for form in WRITTEN]
    assert dict(zip(texts, read(texts, "timestamp", timezone=zone, dates="dmy"), strict=True)) == dict(
        zip(texts, expected, strict=True)
    )
