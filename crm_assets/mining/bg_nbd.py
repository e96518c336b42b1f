"""How often customers will order again, and whether they still are customers: BG/NBD and its modified form.

Belongs here: fitting the order process and what follows from it for each customer. Not here: what an order is worth
(`gamma_gamma.py`), the mart (`customer_value.py`).

While a customer is one, orders come at random with a rate of the customer's own; rates differ as a gamma distribution
(shape r, rate alpha). After each order the customer leaves with a probability of the customer's own; these differ as a
beta distribution (a, b). In BG/NBD nobody leaves after the first order, so whoever ordered once is a customer for ever:
P(alive) is 1. The modified form, MBG/NBD, lets customers leave after the first order too, so P(alive) of one-time buyers
falls with time as everyone's does.

Sources: Fader, Hardie and Lee, "Counting Your Customers" the Easy Way (Marketing Science 24, 2005); Batislam, Denizel and
Filiztekin, Empirical validation and comparison of models for customer base analysis (Int. J. of Research in Marketing 24,
2007), for MBG/NBD.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crm_assets.mining.threads import one_algebra_thread

PARAMETERS = ("r", "alpha", "a", "b")

_SMALLEST, _LARGEST = np.log(1e-4), np.log(1e4)
"""Bounds of the logarithms of the parameters, time counted in the mean age of a customer."""

_STEP = 1e-4
"""Step, in logarithms, of the differences of the exact gradient that give the Hessian."""

_NODES = 64
"""Chances of leaving that stand for their distribution."""

_FADED = 36.0
"""Negative logarithm of what no longer counts."""

_PAIRS_AT_ONCE = 20_000

_DAYS_OF_SLICE = 30.0
"""Future orders are discounted in slices at most this long, each at its middle."""

Floats = NDArray[np.float64]


class TooFewOrdersError(ValueError):
    """There is nothing to learn from; the message says what is missing."""


@dataclass(frozen=True)
class BgNbd:
    """A fitted order process.

    Attributes:
        r: Shape of the gamma distribution of order rates.
        alpha: Its rate, in the unit of time of the data.
        a: First parameter of the beta distribution of leaving after an order.
        b: Its second parameter.
        modified: MBG/NBD: customers may leave after the first order too.
        log_likelihood: Of the data it was fitted to.
        customers: How many it was fitted to.
        standard_errors: Of each parameter, from the Hessian; empty where a parameter lies at its bound.
        at_bounds: Parameters the data do not pin down, such as where nobody leaves or all order alike.
    """

    r: float
    alpha: float
    a: float
    b: float
    modified: bool = False
    log_likelihood: float = float("nan")
    customers: int = 0
    standard_errors: dict[str, float] = field(default_factory=dict)
    at_bounds: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """The model as plain values."""
        return {**asdict(self), "at_bounds": list(self.at_bounds)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "BgNbd":
        """The model that `to_document` wrote."""
        return cls(**{**document, "at_bounds": tuple(document["at_bounds"])})

    def p_alive(self, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Floats:
        """Probability that each customer still is one.

        Args:
            frequency: orders after the first one.
            recency: time from the first order to the last one; 0 where there is one only.
            age: time from the first order to the day seen last.
        """
        from scipy.special import expit

        x, since, until = (np.asarray(values, dtype=np.float64) for values in (frequency, recency, age))
        return np.asarray(expit(-_odds_of_having_left(self, x, since, until)))

    def expected_orders(self, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, horizon: float) -> Floats:
        """Orders expected of each customer within `horizon` after the day seen last; arguments as for `p_alive`."""
        return self.p_alive(frequency, recency, age) * self.orders_if_alive(frequency, age, horizon)

    def orders_if_alive(
        self, frequency: ArrayLike, age: ArrayLike, horizon: float, discount_rate: float = 0.0
    ) -> Floats:
        """Orders expected within `horizon` of whoever still is a customer.

        Args:
            frequency: orders after the first one.
            age: time from the first order to the day seen last.
            horizon: time ahead, in the unit of `age`.
            discount_rate: continuous rate per unit of time at which later orders count less.
        """
        x, until = np.broadcast_arrays(np.asarray(frequency, np.float64), np.asarray(age, np.float64))
        # It depends on two of the three numbers only, so there are few distinct cases.
        pairs, place = np.unique(x + 1j * until, return_inverse=True)
        parts = range(0, len(pairs), _PAIRS_AT_ONCE)
        found = [self._ahead(pairs[start : start + _PAIRS_AT_ONCE], horizon, discount_rate) for start in parts]
        return np.concatenate([*found, np.zeros(0)])[place.reshape(x.shape)]

    def _ahead(self, pairs: NDArray[np.complex128], horizon: float, discount_rate: float) -> Floats:
        """Discounted orders of pairs of frequency and age."""
        frequency, age = pairs.real, pairs.imag
        distinct, of_pair = np.unique(frequency, return_inverse=True)
        chance, weight = _chances_of_leaving(self.a, self.b + distinct + self.modified)
        chance, weight = chance[of_pair], weight[of_pair]
        mean = self.a / (self.a + self.b + frequency + self.modified)
        count = max(1, int(np.ceil(horizon / _DAYS_OF_SLICE))) if discount_rate else 1
        total, before = np.zeros(len(pairs)), np.zeros(len(pairs))
        for start, end in pairwise(np.linspace(0.0, horizon, count + 1)):
            # Who leaves with chance p after each order places (1 - exp(-rate p t)) / p of them on average; the line
            # between its ends has a mean known exactly, which leaves a remainder that fades on both sides.
            shape, scale = self.r + frequency, end / (self.alpha + age)
            never, at_once = shape * scale, -np.expm1(-shape * np.log1p(scale))
            orders = -np.expm1(-shape[:, None] * np.log1p(chance * scale[:, None])) / chance
            line = never[:, None] * (1 - chance) + at_once[:, None] * chance
            reached = never * (1 - mean) + at_once * mean + (weight * (orders - line)).sum(axis=1)
            total += (reached - before) * np.exp(-discount_rate * (start + end) / 2)
            before = reached
        return total


def fit_bg_nbd(
    frequency: ArrayLike,
    recency: ArrayLike,
    age: ArrayLike,
    customers: ArrayLike | None = None,
    *,
    modified: bool = False,
) -> BgNbd:
    """Fit the order process by maximum likelihood.

    Customers alike in all three numbers count as one row, so that millions fit. The gradient is exact; the Hessian is of
    differences of it.

    Args:
        frequency: orders after the first one, orders of one day counted once.
        recency: time from the first order to the last one; 0 where there is one only.
        age: time from the first order to the day seen last.
        customers: how many customers each row stands for; one by default.
        modified: fit MBG/NBD, in which customers may leave after the first order too.

    Raises:
        ValueError: the input is no order history; the message says which rows and what to do.
        TooFewOrdersError: no customer ordered twice, so nothing says how often they order.
    """
    from scipy.optimize import minimize

    rows = _Rows.of(frequency, recency, age, customers)
    unit = rows.mean_age()
    scaled = rows.in_unit(unit)
    bounds = [(_SMALLEST, _LARGEST)] * len(PARAMETERS)

    def loss(logs: Floats) -> tuple[float, Floats]:
        value, gradient = _log_likelihood(scaled, np.exp(logs), modified)
        return -value / scaled.total, -gradient * np.exp(logs) / scaled.total

    # Four numbers are too few for several threads, which would wait for each other and change the last digits.
    with one_algebra_thread():
        options = {"maxiter": 1_000, "ftol": 1e-14, "gtol": 1e-8}
        found = minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    logs = np.asarray(found.x)
    at_bounds = tuple(
        name
        for name, value in zip(PARAMETERS, logs, strict=True)
        if value - _SMALLEST < 1e-3 or _LARGEST - value < 1e-3
    )
    values = np.exp(logs) * np.array([1.0, unit, 1.0, 1.0])
    errors = {} if at_bounds else _standard_errors(loss, logs, values, scaled.total)
    log_likelihood, _ = _log_likelihood(rows, values, modified)
    r, alpha, a, b = map(float, values)
    return BgNbd(
        r,
        alpha,
        a,
        b,
        modified=modified,
        log_likelihood=float(log_likelihood),
        customers=int(rows.total),
        standard_errors=errors,
        at_bounds=at_bounds,
    )


@dataclass(frozen=True)
class _Rows:
    """Order histories, alike ones together; gamma functions are taken once for each distinct frequency."""

    frequency: Floats
    recency: Floats
    age: Floats
    weight: Floats
    distinct: Floats
    place: NDArray[np.intp]
    total: float

    @classmethod
    def of(cls, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, customers: ArrayLike | None) -> "_Rows":
        x, since, until = (np.atleast_1d(np.asarray(values, np.float64)) for values in (frequency, recency, age))
        weight = np.ones(len(x)) if customers is None else np.atleast_1d(np.asarray(customers, np.float64))
        _check(x, since, until, weight)
        distinct, place = np.unique(x, return_inverse=True)
        return cls(x, since, until, weight, distinct, place, float(weight.sum()))

    def mean_age(self) -> float:
        return float((self.age * self.weight).sum() / self.total)

    def in_unit(self, unit: float) -> "_Rows":
        return _Rows(
            self.frequency, self.recency / unit, self.age / unit, self.weight, self.distinct, self.place, self.total
        )


def _check(frequency: Floats, recency: Floats, age: Floats, customers: Floats) -> None:
    """Refuse what is no order history."""
    if len({len(frequency), len(recency), len(age), len(customers)}) > 1:
        raise ValueError("frequency, recency, age and customers must have one value for each row")
    if not len(frequency):
        raise TooFewOrdersError("needs customers with orders: 0 rows")
    broken = {
        "hold null or infinite values; leave these customers out": ~np.isfinite(frequency + recency + age + customers),
        "have a frequency that is no count; count orders after the first one": (frequency < 0) | (frequency % 1 != 0),
        "have a recency outside 0 to age; count both from the first order": (recency < 0) | (recency > age),
        "ordered again at the time of the first order; count orders of one day once": (frequency > 0) & (recency == 0),
        "ordered once but have a recency; it is 0 without a second order": (frequency == 0) & (recency > 0),
        "stand for no customer; leave them out": customers <= 0,
    }
    for problem, rows in broken.items():
        if rows.any():
            raise ValueError(f"{int(rows.sum())} rows, the first at {int(np.argmax(rows))}, {problem}")
    if not (frequency > 0).any():
        raise TooFewOrdersError(f"needs customers who ordered again: 0 of {int(customers.sum())}")


def _log_likelihood(rows: _Rows, parameters: Floats, modified: bool) -> tuple[float, Floats]:
    """The log-likelihood and its gradient in r, alpha, a, b."""
    from scipy.special import digamma, expit, gammaln

    r, alpha, a, b = parameters
    x, weight = rows.frequency, rows.weight
    each = rows.distinct + modified
    # Terms that depend on the frequency only.
    by_frequency = (
        gammaln(r + rows.distinct) - gammaln(r) + r * np.log(alpha)
        + gammaln(b + each) - gammaln(a + b + each) - gammaln(b) + gammaln(a + b)
    )  # fmt: skip
    count = np.bincount(rows.place, weight, len(rows.distinct))
    until, since = np.log(alpha + rows.age), np.log(alpha + rows.recency)
    left = np.log(a) - np.log(np.maximum(b + each - 1, 1e-300))[rows.place] + (r + x) * (until - since)
    left = np.where(x + modified > 0, left, -np.inf)
    value = (by_frequency * count).sum() + (weight * (np.logaddexp(0.0, left) - (r + x) * until)).sum()

    gone = expit(left) * weight
    gone_by_frequency = np.bincount(rows.place, gone, len(rows.distinct))
    psi_all = digamma(a + b + each)
    slope_r = (digamma(r + rows.distinct) - digamma(r) + np.log(alpha)) * count
    slope_alpha = weight * (r / alpha - (r + x) / (alpha + rows.age))
    slope_alpha += gone * (r + x) * (1 / (alpha + rows.age) - 1 / (alpha + rows.recency))
    slope_b = (digamma(b + each) - psi_all - digamma(b) + digamma(a + b)) * count
    may_leave = each > 0
    slope_b[may_leave] -= gone_by_frequency[may_leave] / (b + each[may_leave] - 1)
    gradient = [
        slope_r.sum() + (gone * (until - since) - weight * until).sum(),
        slope_alpha.sum(),
        ((digamma(a + b) - psi_all) * count).sum() + gone.sum() / a,
        slope_b.sum(),
    ]
    return float(value), np.array(gradient)


def _standard_errors(loss: Any, logs: Floats, values: Floats, total: float) -> dict[str, float]:
    """Standard errors of the parameters, from the curvature of the likelihood in their logarithms."""
    steps = np.eye(len(logs)) * _STEP
    slopes = [(loss(logs + step)[1] - loss(logs - step)[1]) / (2 * _STEP) for step in steps]
    hessian = (np.array(slopes) + np.array(slopes).T) / 2 * total
    with one_algebra_thread():
        if np.linalg.eigvalsh(hessian)[0] <= 0:
            return {}
        errors = np.sqrt(np.diag(np.linalg.inv(hessian))) * values
    return {name: float(error) for name, error in zip(PARAMETERS, errors, strict=True)}


def _odds_of_having_left(model: BgNbd, frequency: Floats, recency: Floats, age: Floats) -> Floats:
    """Logarithm of the odds of having left after the last order."""
    chances = frequency + model.modified
    left = np.log(model.a) - np.log(np.where(chances > 0, model.b + chances - 1, 1.0))
    left = left + (model.r + frequency) * (np.log(model.alpha + age) - np.log(model.alpha + recency))
    return np.where(chances > 0, left, -np.inf)


def _chances_of_leaving(a: float, b: Floats) -> tuple[Floats, Floats]:
    """Chances of leaving and weights that stand for beta distributions, for means of what is nought at 0 and 1.

    The trapezoidal rule in the log-odds, which converges exponentially for any horizon and frequency. The closed form of
    the paper, its equation 10, has a hypergeometric function that overflows for frequent customers and a gap at a = 1.

    Args:
        a: first parameter of all distributions.
        b: second parameter of each.

    Returns:
        Two arrays of shape (distributions, nodes).
    """
    from scipy.special import betaln

    width = np.sqrt(2 * _FADED * (1 / (a + 1) + 1 / (b + 1)))
    middle = np.log((a + 1) / (b + 1))
    low, high = middle - width - _FADED / (a + 1), middle + width + _FADED / (b + 1)
    odds = low[:, None] + np.linspace(0.0, 1.0, _NODES) * (high - low)[:, None]
    log_chance, log_stay = -np.logaddexp(0.0, -odds), -np.logaddexp(0.0, odds)
    step = ((high - low) / (_NODES - 1))[:, None]
    density = np.exp(a * log_chance + b[:, None] * log_stay - betaln(a, b)[:, None])
    return np.exp(log_chance), step * density
