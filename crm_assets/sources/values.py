"""How a delivered value becomes the contract's type: numbers, dates and yes or no as people and systems write them.

Belongs here: expressions from text or a file's own type to a column's type. Not here: which column a value comes from,
or what the contract asks of it (`rows.py`).
"""

from collections.abc import Callable

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.model import Column
from crm_assets.lake.functions import local_day, parse_timestamp, to_utc
from crm_assets.sources.mapping import ColumnMapping, TableMapping

TRUE_WORDS = ("true", "t", "yes", "y", "1", "1.0", "on", "是", "有", "真", "对", "已", "√", "✓")
FALSE_WORDS = ("false", "f", "no", "n", "0", "0.0", "off", "否", "无", "没有", "假", "不", "未", "×")

CURRENCIES = (
    "AED|ARS|AUD|BRL|CAD|CHF|CLP|CNH|CNY|COP|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD|PHP|PLN|RMB|RON"
    "|RUB|SAR|SEK|SGD|THB|TRY|TWD|USD|VND|ZAR|RS|人民币|元|圆"
)
"""Codes and words that may stand before or after an amount; signs such as $ and € besides."""

MONTHS = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"

_WIDE = "０１２３４５６７８９，．（）＋－−–￥＄％：／　\u00a0\u2009\u202f’"
_NARROW = "0123456789,.()+---¥$%:/    '"
"""Full-width and typographic characters, and what they stand for in numbers and dates."""

_SIGN = r"(?:[A-Z]{0,3}\$|[€£¥₹₩₽฿₺₫₪])"
_CURRENCY = rf"(?:(?:{_SIGN}|{CURRENCIES})\.?)?"
_AMOUNT = rf"^([-+(]?)\s*{_CURRENCY}\s*([-+(]?)\s*([\d.,' ]*\d[.,]?)\s*{_CURRENCY}\s*([-)]?)\s*{_CURRENCY}$"
"""A sign or bracket, a currency, digits and separators; each but the digits may be absent or stand behind."""

_EARLIEST, _LATEST = "1000-01-01", "9999-01-01"
"""Between these a date was written with four digits of the year; the engine reads 5/3/24 as the year 5."""

_OFFSET_AT_END = r":\d\d(\.\d+)?\s*([Zz]|UTC|GMT|[+-]\d\d(:?\d\d)?)$"
"""A time that ends with its offset from UTC, such as ``10:00:00Z`` or ``10:00:00+02:00``."""

_OFFSET = r":\d\d(?::\d\d(?:\.\d+)?)?\s*(?:[AP]\.?M\.?)?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$"

_HALF = r"\b([AP])\.?M\b"
_OFFSET_BEHIND = r"(:[\d:.]*\s*(?:[AP]\.?M\.?)?)\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$"

_DAY_TIME = r"(?:[\s,T]+|$)"
_YEAR_FIRST = rf"^(\d{{4}})\s*[-/.]\s*(\d{{1,2}})\s*[-/.]\s*(\d{{1,2}}){_DAY_TIME}"
_YEAR_LAST = rf"^(\d{{1,2}})[-/.](\d{{1,2}})[-/.](\d{{4}}|\d\d){_DAY_TIME}"
_AMBIGUOUS = rf"^(?:(?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|1[0-2])[-/.]\d{{4}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d\d){_DAY_TIME}"
_WEEKDAY = r"^(?:MON|TUE|WED|THU|FRI|SAT|SUN)[A-Z]*[.,]?\s+"
_NAME = r"(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)[A-Z]*\.?"
_DAY_NAME = rf"^(\d{{1,2}})(?:ST|ND|RD|TH)?[\s/.-]*{_NAME}[\s/.,-]*(\d{{4}}|\d\d){_DAY_TIME}(?:AT\s+)?"
_NAME_DAY = rf"^{_NAME}[\s/.-]*(\d{{1,2}})(?:ST|ND|RD|TH)?[\s/.,-]+(\d{{4}}|\d\d){_DAY_TIME}(?:AT\s+)?"
_CLOCK = r"\d (\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d+)?)?)?$"

_SERIAL = r"^(1[5-9]|[2-7]\d)\d{3}(\.\d+)?$"
"""Days since 1899-12-30, as spreadsheets count: from 1941 to 2118."""
_COMPACT = r"^(?:19|20)\d{6}(?:\d{4}(?:\d\d)?)?$"
_EPOCH = r"^\d{10}(?:\d{3})?(?:\.0)?$"
"""Seconds or milliseconds since 1970."""


def text_of(value: ir.Value) -> ir.StringValue:
    """The delivered value as text, without surrounding blanks; null where nothing is left."""
    if value.type().is_floating():
        # Identifiers that a file holds as floating-point numbers are whole numbers with lost zeros.
        whole = value == value.floor()
        text = whole.ifelse(value.try_cast("int64").cast("string"), value.cast("string"))
        return value.isnan().ifelse(ibis.null("string"), text)
    return value.cast("string").strip().nullif("")


def typed(origin: ir.Value, column: Column, mapping: ColumnMapping, part: TableMapping, timezone: str) -> ir.Value:
    """The delivered value in the contract's type, null where it is not of that type.

    Args:
        origin: The value as delivered: text, or a type of the file's own.
        column: The contract's column.
        mapping: Where the column comes from; its `format` is that of its dates.
        part: The part of the mapping, whose `decimal` and `dates` say how text is to be read.
        timezone: Of times that do not say their offset.
    """
    if column.dtype == "string":
        return text_of(origin)
    if column.dtype == "boolean":
        return _yes_or_no(origin)
    if column.dtype in ("date", "timestamp"):
        return _moment(origin, column.dtype, mapping.format, part.dates, timezone)
    return _number(origin, column.dtype, part.decimal)


def ambiguous_date(text: ir.StringValue) -> ir.BooleanValue:
    """Whether a text is a date whose order of day, month and year cannot be told."""
    return _narrow(text).re_search(_AMBIGUOUS)


def _yes_or_no(origin: ir.Value) -> ir.BooleanValue:
    if origin.type().is_boolean():
        return origin
    word = text_of(origin).lower()
    return ibis.cases((word.isin(TRUE_WORDS), True), (word.isin(FALSE_WORDS), False), else_=ibis.null("boolean"))


def _number(origin: ir.Value, dtype: str, decimal: str) -> ir.NumericValue:
    if origin.type().is_numeric():
        return _finite(origin.try_cast(dtype))
    text = text_of(origin)
    plain = _finite(text.try_cast(dtype))
    if decimal == ",":
        plain = text.re_search(r"[.,]").ifelse(ibis.null(dtype), plain)
    # The engine evaluates what follows only where the plain form fails.
    return ibis.coalesce(plain, _once(text, lambda written: _written_number(written, dtype, decimal)))


def _finite(number: ir.NumericValue) -> ir.NumericValue:
    if not number.type().is_floating():
        return number
    return (number.isnan() | number.isinf()).ifelse(ibis.null(number.type()), number)


def _written_number(text: ir.StringValue, dtype: str, decimal: str) -> ir.NumericValue:
    """A number with thousands separators, a currency, full-width digits, or a sign written otherwise."""
    comma, point = (r"\.", ",") if decimal == "," else (",", r"\.")
    groups = "|".join(rf"\d{{1,3}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}" for mark in (comma, " ", "'"))
    sound = rf"^(?:|[-+]|\(\))\|(?:(?:\d+|{groups})(?:{point}\d*)?|{point}\d+)$"

    def read(pieces: ir.StringValue) -> ir.NumericValue:
        sign = pieces.re_search(r"^(?:-|\()").ifelse("-", "")
        digits = pieces.re_replace(rf"^[^|]*\||{comma}|[ ']", "").replace(decimal, ".")
        number = (sign + digits).try_cast(dtype)
        return pieces.re_search(sound).ifelse(number, ibis.null(dtype))

    return _once(_narrow(text).re_replace(_AMOUNT, r"\1\2\4|\3"), read)


def _moment(origin: ir.Value, dtype: str, format: str | None, dates: str | None, timezone: str) -> ir.Value:
    delivered = origin.type()
    if delivered.is_temporal():
        moment = origin.cast("timestamp")
        if dtype == "date":
            return moment.cast("date")
        return moment if getattr(delivered, "timezone", None) else to_utc(moment, timezone)
    text = text_of(origin)
    if format:
        moment = parse_timestamp(text, format)
        if dtype == "date":
            return moment.cast("date")
        return moment if "%z" in format else to_utc(moment, timezone)
    # With four digits of the year: the engine reads 5/3/24 as the year 5, and knows words such as infinity.
    local = text.substr(4, 1).isin(("-", "/")).ifelse(text.try_cast("timestamp"), ibis.null("timestamp"))
    if dtype == "date":
        plain: ir.Value = local.cast("date")
    else:
        # A time of 19 characters with a colon before its seconds says no offset; a pattern would take longer.
        without = (text.length() == 19) & (text.substr(16, 1) == ":")
        offset = ~without & text.re_search(_OFFSET_AT_END)
        plain = offset.ifelse(text.try_cast("timestamp('UTC')").cast("timestamp"), to_utc(local, timezone))
    return ibis.coalesce(plain, _once(_narrow(text), lambda narrow: _written_moment(narrow, dtype, dates, timezone)))


def _four_digit_year(moment: ir.TimestampValue) -> ir.TimestampValue:
    def bounded(read: ir.TimestampValue) -> ir.TimestampValue:
        inside = (read >= ibis.timestamp(_EARLIEST)) & (read < ibis.timestamp(_LATEST))
        return inside.ifelse(read, ibis.null("timestamp"))

    return bounded(moment)


def _narrow(text: ir.StringValue) -> ir.StringValue:
    return text.translate(_WIDE, _NARROW).strip().upper()


def _written_moment(text: ir.StringValue, dtype: str, dates: str | None, timezone: str) -> ir.Value:
    """A moment in any of the forms that are understood, of a text in capitals without full-width digits."""
    counted = _counted(text, dtype, timezone)
    written = _once(
        text.translate("年月日号时時点點分秒", "--  :::::").replace("上午", " AM ").replace("下午", " PM ").strip(),
        lambda calendar: _of_calendar(calendar, dtype, dates, timezone),
    )
    return text.re_search(r"^[\d.]+$").ifelse(ibis.coalesce(counted, written), written)


def _counted(text: ir.StringValue, dtype: str, timezone: str) -> ir.Value:
    """A moment written as one number: a spreadsheet's serial, digits without separators, or time since 1970."""
    milliseconds = (text.try_cast("float64") * 86_400_000).round().cast("int64")
    serial = ibis.timestamp("1899-12-30") + milliseconds.as_interval("ms")
    iso = text.re_replace(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3").re_replace(
        r"^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?$", r"\1-\2-\3 \4:\5:0\6"
    )
    compact = iso.re_replace(r":0(\d\d)$", r":\1").re_replace(r":0$", ":00").try_cast("timestamp")
    # Between 1970 and 2286 ten digits are seconds, thirteen are milliseconds.
    number = text.try_cast("float64").cast("int64")
    since_1970 = ibis.timestamp("1970-01-01") + (number >= 10**11).ifelse(number, number * 1000).as_interval("ms")
    if dtype == "date":
        local, moment = (lambda value: value.cast("date")), local_day(since_1970, timezone)
    else:
        local, moment = (lambda value: to_utc(value, timezone)), since_1970
    return ibis.cases(
        (text.re_search(_SERIAL), local(serial)),
        (text.re_search(_COMPACT), local(compact)),
        (text.re_search(_EPOCH), moment),
        else_=ibis.null(dtype),
    )


def _of_calendar(text: ir.StringValue, dtype: str, dates: str | None, timezone: str) -> ir.Value:
    """A date of any order with a time of 12 or 24 hours and an offset, each but the date optional."""
    zone, half = text.re_extract(_OFFSET, 1), text.re_extract(_HALF, 1)
    day = text.re_replace(_OFFSET_BEHIND, r"\1").re_replace(_HALF + r"\.?\s*", " ").strip()
    day = day.re_replace(_WEEKDAY, "").re_replace(r"\s(\d{1,2}):$", r" \1:00").re_replace(r":$", "")
    twelve = _once(
        _once(day, lambda cleaned: _ordered(cleaned, dates, two_digits=dtype != "date")),
        lambda clock: _once(half, lambda mark: _of_twelve_hours(clock, mark)),
    )
    if dtype == "date":
        # The day is the one that is written, wherever the clock stood.
        return twelve.cast("date")
    return _once(
        twelve,
        lambda local: _once(
            zone, lambda offset: (offset == "").ifelse(to_utc(local, timezone), local - _minutes(offset))
        ),
    )


def _ordered(text: ir.StringValue, dates: str | None, two_digits: bool) -> ir.TimestampValue:
    def named(order: str, pattern: str) -> ir.TimestampValue:
        return _iso(_once(text.re_replace(pattern, order), _numbered), two_digits)

    def numeric(order: str) -> ir.TimestampValue:
        return _iso(text.re_replace(_YEAR_LAST, order), two_digits and dates is not None)

    day_first, month_first = numeric(r"\3-\2-\1 "), numeric(r"\3-\1-\2 ")
    if dates == "dmy":
        either = ibis.coalesce(day_first, month_first)
    elif dates == "mdy":
        either = ibis.coalesce(month_first, day_first)
    else:
        either = _once(day_first, lambda dmy: _once(month_first, lambda mdy: _only_one(dmy, mdy)))
    return ibis.cases(
        (text.re_search(_YEAR_FIRST), _iso(text.re_replace(_YEAR_FIRST, r"\1-\2-\3 "), False)),
        (text.re_search(_YEAR_LAST), either),
        (text.re_search(_DAY_NAME), named(r"\3-\2-\1 ", _DAY_NAME)),
        (text.re_search(_NAME_DAY), named(r"\3-\1-\2 ", _NAME_DAY)),
        else_=ibis.null("timestamp"),
    )


def _only_one(dmy: ir.TimestampValue, mdy: ir.TimestampValue) -> ir.TimestampValue:
    return ibis.cases((mdy.isnull() | (dmy == mdy), dmy), (dmy.isnull(), mdy), else_=ibis.null("timestamp"))


def _numbered(dated: ir.StringValue) -> ir.StringValue:
    """A date with the month's number in place of its name."""
    name = dated.re_extract(r"-([A-Z]{3})-", 1)
    month = (ibis.literal(MONTHS).find(name) / 3).floor().cast("int64") + 1
    return dated.replace(name, month.cast("string"))


def _iso(text: ir.StringValue, two_digits: bool) -> ir.TimestampValue:
    """The time of a text in the order of ISO 8601, whose numbers may lack zeros."""
    if two_digits:
        text = text.re_replace(r"^([0-6]\d)-", r"20\1-").re_replace(r"^([7-9]\d)-", r"19\1-")
    sound = text.re_search(_CLOCK)
    return sound.ifelse(_four_digit_year(text.strip().try_cast("timestamp")), ibis.null("timestamp"))


def _of_twelve_hours(clock: ir.TimestampValue, mark: ir.StringValue) -> ir.TimestampValue:
    """The time of a clock of 12 hours where a mark, A or P, says so; null where such a clock has no such hour."""
    hour = clock.hour()
    return ibis.cases(
        (mark == "", clock),
        ((hour > 12) | (hour == 0), ibis.null("timestamp")),
        ((mark == "P") & (hour < 12), clock + ibis.interval(hours=12)),
        ((mark == "A") & (hour == 12), clock - ibis.interval(hours=12)),
        else_=clock,
    )


def _minutes(offset: ir.StringValue) -> ir.IntervalValue:
    """The minutes of an offset written as Z, UTC, +08, +0800 or +08:00."""
    digits = offset.re_replace(r"\D", "")
    minutes = digits.substr(0, 2).try_cast("int64") * 60 + digits.substr(2, 2).try_cast("int64").fill_null(0)
    return offset.startswith("-").ifelse(-minutes, minutes).fill_null(0).as_interval("m")


def _once(value: ir.Value, then: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """What `then` makes of a value that is computed once, though `then` names it many times.

    Where one stands inside another, the arguments of `then` must differ in name.
    """
    return ibis.array([value]).map(then)[0]
