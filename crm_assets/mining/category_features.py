"""What each customer buys at the end of a day: distinct products and categories, favourite categories.

Belongs here: measures of order lines by product and category. Not here: sums per day (`customer_days.py`), the other
features (`features.py`).

For one day, lines are grouped by product, and these by category. For many, no line is looked at once for each as_of day:
a purchase whose product the customer next buys on a later day counts, as the last one of its product, for a run of as_of
days: only the ends of the runs are counted, and the counts added up along the days. Lines of a category that count for
the same run are summed before the run is spread over its days. Products are numbered first, since long texts are slow to
group by; categories in the order of their names, so that ties break as the names would.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from functools import reduce

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.features import HABIT_DAYS, TOP_CATEGORIES, WINDOWS, windowed
from crm_assets.contracts.layers import VALID_FROM, VALID_TO
from crm_assets.contracts.model import MONEY
from crm_assets.mining.as_of_days import Hold, after, as_of_chunks, as_of_table, calendar, numbered, union
from crm_assets.mining.cleaning import valid_on

_KEY = ["as_of", "customer"]
_ENDS = tuple(sorted({*WINDOWS, HABIT_DAYS}))


def category_features(
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    as_of_days: Sequence[date],
    hold: Hold = lambda table: table,
) -> tuple[ir.Table, ir.Table]:
    """Distinct products and categories per window, favourite categories and their concentration.

    Args:
        transactions: clean order lines; returns and anonymous lines are left out.
        products: product versions; each day counts with the version valid then.
        customers: numbers of customers: customer_id, customer.
        as_of_days: last days seen.
        hold: keeps tables that are used several times.

    Returns:
        Distinct products, and the rest: one row each per as_of day and customer, where there is anything to count.
    """
    bought = transactions.filter(
        transactions.customer_id.notnull(),
        ~transactions.is_return.fill_null(False),
        transactions.day <= max(as_of_days),
    )
    bought = bought.select(
        "customer_id", "product_id", "day", amount=bought.amount.fill_null(ibis.literal(0, type=MONEY))
    )
    categories = hold(numbered([products], "category", "class"))
    several = len(set(as_of_days)) > 1
    counts, spends = (_of_days if several else _of_a_day)(bought, products, categories, customers, as_of_days, hold)
    by_category = union([hold(_by_customer(spend)) for spend in spends])
    for rank in range(1, TOP_CATEGORIES + 1):
        names = categories.select("class", **{f"top_category_{rank}": "category"})
        by_category = by_category.left_join(names, [(f"class_{rank}", "class")])
        by_category = by_category.drop("class", f"class_{rank}")
    return hold(counts), by_category


def _of_a_day(
    bought: ir.Table,
    products: ir.Table,
    categories: ir.Table,
    customers: ir.Table,
    as_of_days: Sequence[date],
    hold: Hold,
) -> tuple[ir.Table, list[ir.Table]]:
    """Distinct products per window, and spend by category, on one day: no more than two groupings."""
    as_of = ibis.literal(as_of_days[0])
    habits = as_of.delta(bought.day, unit="day") < HABIT_DAYS
    spent = bought.amount.sum(where=habits).cast(MONEY)
    pairs = hold(bought.group_by("customer_id", "product_id").aggregate(day=bought.day.max(), amount=spent))
    age = as_of.delta(pairs.day, unit="day")
    counts = pairs.group_by("customer_id").aggregate(
        **{windowed("products", days): pairs.count(where=age < days) for days in WINDOWS}
    )
    filed = valid_on(products, as_of_days[0]).inner_join(categories, "category").select("product_id", "class")
    lately = pairs.filter(age < HABIT_DAYS).inner_join(filed, "product_id")
    spend = lately.group_by("customer_id", "class").aggregate(amount=_sum(lately), day=lately.day.max())
    numbers = customers.cross_join(as_of_table(as_of_days)).drop("number")
    spend = hold(spend.inner_join(numbers, "customer_id").drop("customer_id"))
    return counts.inner_join(numbers, "customer_id").drop("customer_id"), [spend]


def _of_days(
    bought: ir.Table,
    products: ir.Table,
    categories: ir.Table,
    customers: ir.Table,
    as_of_days: Sequence[date],
    hold: Hold,
) -> tuple[ir.Table, list[ir.Table]]:
    """The same on many days; spend for a chunk of them at a time."""
    grid, count = as_of_table(as_of_days), len(set(as_of_days))
    named = hold(bought)
    items = hold(numbered([named], "product_id", "item"))
    lines = named.inner_join(customers, "customer_id").inner_join(items, "product_id")
    lines = hold(lines.select("customer", "item", "day", "amount"))
    versions = products.inner_join(items, "product_id").select("item", "category", VALID_FROM.name, VALID_TO.name)
    dates = union([lines.select("day"), *(versions.select(day=name) for name in (VALID_FROM.name, VALID_TO.name))])
    seen = hold(calendar(dates.filter(dates.day.notnull()).distinct(), grid, _ENDS))
    filed = hold(_filed(versions.inner_join(categories, "category"), seen, count))
    runs = hold(_category_runs(lines, filed, seen))
    purchases = hold(_purchases(lines, seen, count))
    spends = [_spend(runs, grid, start, stop) for start, stop in _ranges(as_of_days)]
    return _product_counts(purchases, seen, customers, grid), spends


def _ranges(as_of_days: Sequence[date]) -> Iterator[tuple[int, int]]:
    """First and after last number of the as_of days of each chunk."""
    start = 0
    for chunk in as_of_chunks(as_of_days):
        yield start, start + len(chunk)
        start += len(chunk)


def _purchases(lines: ir.Table, seen: ir.Table, days: int) -> ir.Table:
    """Purchases that are the last of their product on some as_of day: from the first such day to before `next`."""
    dated = lines.inner_join(seen.select("day", "first"), "day").select("customer", "item", "day", "first")
    history = ibis.window(group_by=["customer", "item"], order_by="day")
    # Of several on a day all but one are followed on the same as_of day, so they are the last one on none.
    following = dated.first.lead().over(history).fill_null(ibis.literal(days, type="int32"))
    runs = dated.select("customer", "day", "first", next=following)
    return runs.filter(runs.first < runs.next)


def _product_counts(purchases: ir.Table, seen: ir.Table, customers: ir.Table, grid: ir.Table) -> ir.Table:
    """Distinct products per window; a product counts by the last day it was bought."""
    begin = purchases.group_by("customer", number=purchases.first).aggregate(changed=purchases.count())
    changes = [begin.select("customer", "number", **{windowed("products", days): begin.changed for days in WINDOWS})]
    dated = purchases.inner_join(seen, "day")
    for window in WINDOWS:
        end = ibis.least(dated["next"], dated[after(window)])
        ended = dated.group_by("customer", number=end).aggregate(changed=-dated.count())
        steps = {windowed("products", days): ended.changed if days == window else _zero() for days in WINDOWS}
        changes.append(ended.select("customer", "number", **steps))
    every = customers.cross_join(grid)
    changes.append(every.select("customer", "number", **{windowed("products", days): _zero() for days in WINDOWS}))
    steps = union(changes)
    names = [windowed("products", days) for days in WINDOWS]
    steps = steps.group_by("customer", "number").aggregate(**{name: steps[name].sum().cast("int64") for name in names})
    so_far = ibis.window(group_by="customer", order_by="number", preceding=None, following=0)
    counts = steps.select(
        "customer", "number", **{name: steps[name].sum().over(so_far).cast("int64") for name in names}
    )
    return counts.inner_join(grid, "number").drop("number")


def _zero() -> ir.IntegerScalar:
    return ibis.literal(0, type="int64")


def _filed(versions: ir.Table, seen: ir.Table, days: int) -> ir.Table:
    """Which category an item was filed in: from as_of day number `filed_first` to before `filed_after`."""
    start = seen.select(filed_from="day", filed_first="first")
    end = seen.select(filed_to="day", filed_after="first")
    dated = versions.inner_join(start, versions[VALID_FROM.name] == start.filed_from)
    dated = dated.left_join(end, dated[VALID_TO.name] == end.filed_to)
    filed_after = dated.filed_after.fill_null(ibis.literal(days, type="int32"))
    return dated.select("item", "class", "filed_first", filed_after=filed_after)


def _category_runs(lines: ir.Table, filed: ir.Table, seen: ir.Table) -> ir.Table:
    """Amount and last day of lines that count for the same category on the same as_of days: from `first` to `after`."""
    dated = lines.inner_join(seen.select("day", "first", end=after(HABIT_DAYS)), "day").inner_join(filed, "item")
    runs = dated.select(
        "customer",
        "class",
        "day",
        "amount",
        first=ibis.greatest(dated.first, dated.filed_first),
        after=ibis.least(dated.end, dated.filed_after),
    )
    runs = runs.filter(runs.first < runs.after)
    return runs.group_by("customer", "class", "first", "after").aggregate(amount=_sum(runs), day=runs.day.max())


def _spend(runs: ir.Table, grid: ir.Table, start: int, stop: int) -> ir.Table:
    """Amount and last day per customer and category over the last `HABIT_DAYS`, on as_of days `start` to before `stop`."""
    reached = runs.filter(runs.first < stop, runs.after > start)
    first, end = ibis.greatest(reached.first, start), ibis.least(reached.after, stop)
    # Runs that differ only beyond these days become one before they are spread over the days.
    reached = reached.group_by("customer", "class", first=first, after=end).aggregate(
        amount=_sum(reached), day=reached.day.max()
    )
    spread = reached.cross_join(grid).filter(lambda row: (row.first <= row.number) & (row.number < row.after))
    return spread.group_by("as_of", "customer", "class").aggregate(amount=_sum(spread), day=spread.day.max())


def _sum(table: ir.Table) -> ir.DecimalScalar:
    """The amounts added up, as money again: sums of wider numbers are several times slower."""
    return table.amount.sum().cast(MONEY)


def _by_customer(spend: ir.Table) -> ir.Table:
    """Distinct categories per window, the favourite ones and their concentration."""
    age = spend.as_of.delta(spend.day, unit="day")
    # The largest amounts of as many disjoint groups of categories as are ranked: no favourite is below the least of them.
    groups = [spend.amount.max(where=spend["class"] % TOP_CATEGORIES == rest) for rest in range(TOP_CATEGORIES)]
    some_empty = ibis.or_(*[largest.isnull() for largest in groups])
    totals = spend.group_by(_KEY).aggregate(
        total=spend.amount.sum(),
        bound=some_empty.ifelse(spend.amount.min(), ibis.least(*groups)),
        **{windowed("categories", days): spend.count(where=age < days) for days in WINDOWS},
    )
    shared = spend.inner_join(totals.select(*_KEY, "total", "bound"), _KEY)
    share = shared.amount.cast("float64") / shared.total.cast("float64").nullif(0.0)
    shared = shared.mutate(share=(shared.total > 0).ifelse(share, ibis.null("float64")))
    # Squares of whole millionths add up exactly; a sum of floats would depend on the order of the threads.
    millionths = (shared.share * 1e6).round().cast("int64")
    concentration = shared.group_by(_KEY).aggregate(
        category_concentration=(millionths * millionths).sum().cast("float64") / 1e12
    )
    parts = [totals.drop("total", "bound"), concentration, _favourites(shared)]
    return reduce(lambda left, right: left.inner_join(right, _KEY), parts)


def _favourites(shared: ir.Table) -> ir.Table:
    candidates = shared.filter(shared.amount >= shared.bound)
    by_spend = ibis.window(group_by=_KEY, order_by=[candidates.amount.desc(), candidates["class"]])
    ranked = candidates.mutate(rank=ibis.row_number().over(by_spend) + 1)
    return ranked.group_by(_KEY).aggregate(
        **{
            column: expression
            for rank in range(1, TOP_CATEGORIES + 1)
            for column, expression in (
                (f"class_{rank}", ranked["class"].max(where=ranked["rank"] == rank)),
                (f"top_category_{rank}_share", ranked.share.max(where=ranked["rank"] == rank)),
            )
        }
    )
