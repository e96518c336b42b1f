"""Which products go together: in orders, and by what is written of them."""

import numpy as np
import pandas as pd
import pytest

from crm_assets.mining.neighbours import alike, bought_together, words


def offered(*rows):
    """Products on offer of: identifier, name, kind, lines."""
    frame = pd.DataFrame(rows, columns=["product_id", "product_name", "kind", "lines"])
    return frame.assign(category=None, brand=None)


def test_products_of_three_orders_or_more_go_together_by_cosine_drawn_to_zero() -> None:
    baskets = pd.DataFrame(
        [*((f"o{n}", product) for n in range(4) for product in ("tea", "milk")), ("o9", "tea"), ("o9", "pen")],
        columns=["order_id", "product_id"],
    )
    found = bought_together(baskets)
    pairs = {
        (str(found.products[source]), str(found.products[target])): float(weight)
        for source, target, weight in zip(found.source, found.target, found.weight, strict=True)
    }
    # 4 orders hold both, 5 tea and 4 milk.
    expected = 4 / (5 * 4) ** 0.5 * 4 / (4 + 5)
    assert pairs == {("tea", "milk"): pytest.approx(expected), ("milk", "tea"): pytest.approx(expected)}


def test_a_giant_order_says_nothing_of_what_goes_together() -> None:
    giant = [(f"g{n}", f"p{product}") for n in range(5) for product in range(201)]
    assert len(bought_together(pd.DataFrame(giant, columns=["order_id", "product_id"])).source) == 0
    assert len(bought_together(pd.DataFrame([], columns=["order_id", "product_id"])).products) == 0


def test_a_cold_product_is_linked_to_what_it_is_alike_to_in_english_and_chinese() -> None:
    goods = offered(
        ("1", "green tea", None, 50), ("2", "绿茶 茶叶", None, 50), ("3", "soap", None, 50),
        ("8", "jasmine tea", None, 0), ("9", "茉莉 绿茶", None, 0),
    )  # fmt: skip
    found = alike(goods, np.array(["1", "2", "3"]))
    linked = {(str(found.products[a]), str(found.products[b])) for a, b in zip(found.source, found.target, strict=True)}
    assert linked == {("1", "8"), ("2", "9")}
    assert len(alike(goods.assign(product_name=None), np.array(["1"])).source) == 0
    assert words("Jasmine-Tea 100g 绿茶叶") == ["jasmine", "tea", "100g", "绿茶", "茶叶"]
