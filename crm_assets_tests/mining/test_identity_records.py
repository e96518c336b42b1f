"""Personal fields in one way of writing."""

from datetime import date

import pandas as pd
import pytest

from crm_assets.mining.identity_records import normal_email, normal_name, normal_phone, normal_records, region_of


def parts(text):
    name = normal_name(text)
    return name and (name["given"], name["family"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann Lee", ("ann", "lee")),
        ("  DR. ANN   LEE ", ("ann", "lee")),
        ("Lee, Ann", ("ann", "lee")),
        ("José Müller", ("jose", "muller")),
        ("Łukasz Sørensen", ("lukasz", "sorensen")),
        ("Ｚｈａｎｇ　Ｗｅｉ", ("zhang", "wei")),
        ("Pat O’Brien", ("pat", "obrien")),
        ("Madonna", (None, "madonna")),
        ("张伟", ("伟", "张")),
        ("张 伟 先生", ("伟", "张")),
        ("欧阳娜娜", ("娜娜", "欧阳")),
        ("Customer 12", None),
        ("n/a", None),
        ("未知", None),
    ],
)
def test_names_lose_what_does_not_tell_people_apart(text, expected):
    assert parts(text) == expected


def test_the_order_of_given_and_family_name_does_not_matter_for_the_name_key():
    assert normal_name("Zhang Wei")["name_key"] == normal_name("Wei ZHANG")["name_key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann.Lee@X.com", "ann.lee@x.com"),
        ("ann.lee+shop@gmail.com", "annlee@gmail.com"),
        ("annlee@googlemail.com", "annlee@gmail.com"),
        ("ａｎｎ＠x.com", "ann@x.com"),
        ("no address", None),
    ],
)
def test_email_addresses(text, expected):
    assert normal_email(text) == expected


@pytest.mark.parametrize(
    ("text", "region", "expected"),
    [
        ("138 1234 5678", "CN", "+8613812345678"),
        ("+86 138-1234-5678", None, "+8613812345678"),
        ("0086 13812345678", "CN", "+8613812345678"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("１３８１２３４５６７８", "CN", "+8613812345678"),
        ("13812345678", None, "13812345678"),
        ("12", "CN", None),
    ],
)
def test_phone_numbers(text, region, expected):
    assert normal_phone(text, region) == expected


def test_the_country_of_a_record_says_how_to_read_its_number():
    assert [region_of(text) for text in ("China", "中国", "cn", "UK", "Atlantis", None)] == [
        "CN", "CN", "CN", "GB", None, None,
    ]  # fmt: skip
    records = pd.DataFrame({"phone": ["13812345678", "2079460958"], "country": [None, "United Kingdom"]})
    assert normal_records(records, "CN")["phone"].tolist() == ["+8613812345678", "+442079460958"]


def test_records_keep_their_order_and_absent_values_are_none():
    records = pd.DataFrame(
        {"full_name": ["Ann Lee", None], "birth_date": [date(1990, 1, 2), None], "postcode": ["SW1A 1AA", None]},
        index=[7, 3],
    )
    normal = normal_records(records)
    assert normal.index.tolist() == [7, 3]
    assert normal.loc[7, ["full", "birth_date", "postcode", "district", "email"]].tolist() == [
        "ann lee", "1990-01-02", "sw1a1aa", "sw1a", None,
    ]  # fmt: skip
    assert normal.loc[3].isna().all()
