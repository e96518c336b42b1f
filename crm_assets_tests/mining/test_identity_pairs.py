"""Files of decisions and labels: what they say, and what is said of bad lines."""

from datetime import date

import pytest

from crm_assets.mining.identity_pairs import IdentityFileError, read_decisions, read_labels

HEADER = "customer_id_a,customer_id_b,decision,decided_on"


def test_decisions_are_read_with_the_day_from_which_they_hold():
    found = read_decisions([HEADER, "b,a,Always,", "c , d,never,2024-03-01", "a,b,always,"], "pairs.csv")
    assert found.always == [(date(1990, 1, 1), "a", "b")]
    assert found.never == [(date(2024, 3, 1), "c", "d")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER, "a,,always,"], "line 2: a customer_id is missing; give both"),
        ([HEADER, "a,a,always,"], "line 2: a is paired with itself; give two records"),
        ([HEADER, "a,b,perhaps,"], "line 2: decision is 'perhaps'; write always or never"),
        ([HEADER, "a,b,always,1/3/24"], "line 2: decided_on is '1/3/24'; write a day as YYYY-MM-DD or nothing"),
        ([HEADER, "a,b,always,", "b,a,never,"], "line 3: b and a are always on line 2; keep one of the two"),
        ([HEADER, "a,b,always,", "b,c,always,", "a,c,never,"], "line 4: a and c are never one person, but"),
        (["a,b,decision"], r"pairs.csv lacks columns \['customer_id_a', 'customer_id_b'\]"),
    ],
)
def test_a_bad_line_is_named_with_what_to_write_instead(lines, message):
    with pytest.raises(IdentityFileError, match=message):
        read_decisions(lines, "pairs.csv")


def test_every_bad_line_is_named_at_once():
    with pytest.raises(IdentityFileError) as error:
        read_decisions([HEADER, "a,,always,", "a,b,,"], "pairs.csv")
    assert "line 2" in str(error.value)
    assert "line 3" in str(error.value)


def test_a_customer_has_one_label():
    assert read_labels(["customer_id,person", "a,p", "b,p"], "truth.csv") == {"a": "p", "b": "p"}
    with pytest.raises(IdentityFileError, match="line 3: a is p and q; keep one of the two"):
        read_labels(["customer_id,person", "a,p", "a,q"], "truth.csv")
