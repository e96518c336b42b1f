"""Personal fields of customer records in one way of writing, so that they can be compared.

Belongs here: normal forms of names, e-mail addresses, phone numbers, dates and places. Not here: comparing two records
(`identity_model.py`).

Names in Latin script lose case, accents, punctuation and titles; names in Chinese characters are split into family and
given name. The order of the parts of a name is kept beside a form that does not depend on it.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PERSONAL_FIELDS = ("full_name", "email", "phone", "birth_date", "address", "postcode")
"""Columns of `customers` of which at least one must have values for records to be compared at all."""

SUPPORTING_FIELDS = ("gender", "occupation", "city", "region", "country")
"""Columns that say something about a person, but never enough alone."""

COMPARED = (
    *("name_key", "full", "given", "family", "initial", "tokens", "script", "email", "mailbox", "phone", "phone_end"),
    *("birth_date", "address", "postcode", "district", "city", "region", "gender", "occupation"),
)
"""What `normal_records` gives for each record."""

_TITLES = frozenset(
    re.findall(
        r"\w+",
        "mr mrs ms miss mx dr prof professor rev sir madam lady lord dame jr sr ii iii iv esq phd md the of and baron "
        "baroness baronet earl count countess duke duchess viscount marquess herr frau mme mlle sig sra srta",
    )
)
_CHINESE_TITLES = ("先生", "女士", "小姐", "太太", "经理", "总经理", "老师", "医生")
_DOUBLE_FAMILIES = frozenset(
    re.findall(
        r"\w+",
        "欧阳 司马 上官 诸葛 夏侯 东方 皇甫 尉迟 公孙 慕容 令狐 宇文 长孙 端木 轩辕 司徒 司空 南宫 独孤 "
        "歐陽 司馬 諸葛 東方 尉遲 公孫 長孫 軒轅 南宮 獨孤",
    )
)
_ORDINAL = re.compile(r"\d+(st|nd|rd|th)")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})
_PLACEHOLDERS = frozenset({"", "-", "n/a", "na", "none", "null", "unknown", "未知", "无", "暂无"})

_REGIONS = {
    "US": "united states,united states of america,usa,美国",
    "GB": "united kingdom,great britain,england,scotland,wales,uk,英国",
    "CN": "china,prc,people's republic of china,中国",
    "HK": "hong kong,香港",
    "TW": "taiwan,台湾",
    "MO": "macau,macao,澳门",
    "SG": "singapore,新加坡",
    "JP": "japan,日本",
    "KR": "south korea,korea,韩国",
    "IN": "india,印度",
    "DE": "germany,deutschland,德国",
    "FR": "france,法国",
    "IT": "italy,italia,意大利",
    "ES": "spain,españa,西班牙",
    "PT": "portugal,葡萄牙",
    "NL": "netherlands,the netherlands,荷兰",
    "BE": "belgium,比利时",
    "CH": "switzerland,瑞士",
    "AT": "austria,österreich,奥地利",
    "SE": "sweden,瑞典",
    "NO": "norway,挪威",
    "DK": "denmark,丹麦",
    "FI": "finland,芬兰",
    "IE": "ireland,爱尔兰",
    "PL": "poland,波兰",
    "CA": "canada,加拿大",
    "AU": "australia,澳大利亚",
    "NZ": "new zealand,新西兰",
    "BR": "brazil,brasil,巴西",
    "MX": "mexico,méxico,墨西哥",
    "RU": "russia,russian federation,俄罗斯",
    "TR": "turkey,türkiye,土耳其",
    "AE": "united arab emirates,阿联酋",
    "SA": "saudi arabia,沙特阿拉伯",
    "ZA": "south africa,南非",
    "MY": "malaysia,马来西亚",
    "TH": "thailand,泰国",
    "VN": "vietnam,越南",
    "ID": "indonesia,印度尼西亚",
    "PH": "philippines,菲律宾",
}


def normal_records(records: "pd.DataFrame", phone_region: str | None = None) -> "pd.DataFrame":
    """The personal fields of records in one way of writing.

    Args:
        records: `PERSONAL_FIELDS` and `SUPPORTING_FIELDS` as the clean table of customers has them, one row per
            version of a record; columns may be missing.
        phone_region: Region (ISO 3166 alpha-2) of phone numbers without country code, where the record's own country
            is not known.

    Returns:
        The columns of `COMPARED`, in the order and with the index of `records`; absent values are None.
    """
    import pandas as pd

    def column(name: str) -> list[Any]:
        values = records[name] if name in records else pd.Series(None, index=records.index, dtype=object)
        return values.astype(object).where(values.notna(), None).tolist()

    def mapped(name: str, how: Callable[[Any], Any]) -> list[Any]:
        known = cache(how)
        return [None if value is None else known(value) for value in column(name)]

    names = [found or EMPTY_NAME for found in mapped("full_name", normal_name)]
    number = cache(normal_phone)
    regions = [region_of(country) or phone_region for country in column("country")]
    phones = [number(text, region) if text else None for text, region in zip(column("phone"), regions, strict=True)]
    emails = mapped("email", normal_email)
    postcodes = mapped("postcode", _normal_postcode)
    columns = {
        **{part: [name[part] for name in names] for part in EMPTY_NAME},
        "email": emails,
        "mailbox": [email and email.split("@")[0] for email in emails],
        "phone": phones,
        "phone_end": [phone and phone[-8:] for phone in phones],
        "birth_date": mapped("birth_date", lambda day: str(day)[:10]),
        "address": mapped("address", _normal_text),
        "postcode": postcodes,
        "district": [code and (code[:-3] if len(code) > 4 else code[:3]) for code in postcodes],
        **{name: mapped(name, _normal_text) for name in ("city", "region", "gender", "occupation")},
    }
    return pd.DataFrame({name: pd.Series(columns[name], records.index, dtype=object) for name in COMPARED})


EMPTY_NAME: Mapping[str, Any] = dict.fromkeys(("name_key", "full", "given", "family", "initial", "tokens", "script"))


def normal_name(text: str) -> Mapping[str, Any] | None:
    """The parts of a name; None for what is no person's name, such as a label with a number."""
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    if text in _PLACEHOLDERS:
        return None
    if _HAN.search(text):
        return _chinese_name(text)
    plain = without_accents(text)
    if plain.count(",") == 1:
        first, _, rest = plain.partition(",")
        parts = _words(rest)
        if len(_words(first)) == 1 and 1 <= len(parts) <= 2:
            plain = f"{' '.join(parts)} {first}"
    words = _words(plain)
    if not words or any(word.isdigit() for word in words):
        return None
    return _parts(words[0] if len(words) > 1 else None, words[-1], words, "letters")


def _chinese_name(text: str) -> Mapping[str, Any] | None:
    characters = "".join(_HAN.findall(text))
    for title in _CHINESE_TITLES:
        if characters.endswith(title) and len(characters) > len(title):
            characters = characters.removesuffix(title)
    width = 2 if characters[:2] in _DOUBLE_FAMILIES and len(characters) > 2 else 1
    family, given = characters[:width], characters[width:]
    return _parts(given or None, family, [family, given] if given else [family], "han")


def _parts(given: str | None, family: str, words: list[str], script: str) -> Mapping[str, Any]:
    tokens = sorted(set(words))
    return {
        "name_key": " ".join(tokens) if len(tokens) > 1 else None,
        "full": f"{given} {family}" if given else None,
        "given": given,
        "family": family,
        "initial": given[0] if given else None,
        "tokens": tokens,
        "script": script,
    }


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", re.sub(r"['’`´]", "", text))
    return [word for word in words if word not in _TITLES and not _ORDINAL.fullmatch(word)] or words


def without_accents(text: str) -> str:
    """Latin letters without their accents; other scripts as they are."""
    spread = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    return unicodedata.normalize("NFC", "".join(letter for letter in spread if not unicodedata.combining(letter)))


def normal_email(text: str) -> str | None:
    """An e-mail address without case, sub-address and the dots Gmail does not see; None when it is none."""
    mailbox, at, domain = unicodedata.normalize("NFKC", text).casefold().replace(" ", "").rpartition("@")
    mailbox = mailbox.partition("+")[0]
    if domain in ("gmail.com", "googlemail.com"):
        mailbox, domain = mailbox.replace(".", ""), "gmail.com"
    return f"{mailbox}@{domain}" if at and mailbox and "." in domain else None


def normal_phone(text: str, region: str | None) -> str | None:
    """A phone number in E.164; its digits where it cannot be read as one, None for fewer than seven.

    Args:
        text: As the source has it.
        region: Region (ISO 3166 alpha-2) of a number without country code.
    """
    import phonenumbers

    text = unicodedata.normalize("NFKC", text)
    try:
        number = phonenumbers.parse(text, region)
        if phonenumbers.is_possible_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    except phonenumbers.NumberParseException:
        pass
    digits = "".join(letter for letter in text if letter.isdigit())
    return digits if len(digits) >= 7 else None


@cache
def region_of(country: str | None) -> str | None:
    """The ISO 3166 alpha-2 code of a country, given as that code or by its name in English or Chinese."""
    if not country:
        return None
    name = unicodedata.normalize("NFKC", country).strip()
    if len(name) == 2 and name.isascii() and name.isalpha():
        return {"UK": "GB"}.get(name.upper(), name.upper())
    return next((code for code, names in _REGIONS.items() if name.casefold() in names.split(",")), None)


def _normal_text(value: str) -> str | None:
    text = without_accents(unicodedata.normalize("NFKC", str(value)).casefold())
    text = " ".join(re.findall(r"\w+", text))
    return None if text in _PLACEHOLDERS else text


def _normal_postcode(value: str) -> str | None:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", str(value)).casefold()) or None
