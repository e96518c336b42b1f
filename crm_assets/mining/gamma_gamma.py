"""What an order of each customer is worth: the Gamma-Gamma model.

Belongs here: fitting the model of order values and the value expected of each customer's orders. Not here: how many
orders there will be (`bg_nbd.py`), the mart (`customer_value.py`).

Values of a customer's orders vary at random around a mean of the customer's own (gamma, shape p), and these means differ
between customers (gamma, shape q, scale gamma). The value expected of a customer's orders lies between the customer's own
mean and that of all, nearer to the own one the more orders there were. The model takes it that value does not depend on
how often a customer orders; `value_frequency_correlation` says how far that holds.

Source: Fader, Hardie and Lee, RFM and CLV: Using iso-value curves for customer base analysis (Journal of Marketing
Research 42, 2005); Fader and Hardie, The Gamma-Gamma model of monetary value (2013).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crm_assets.mining.bg_nbd import TooFewOrdersError
from crm_assets.mining.threads import one_algebra_thread

PARAMETERS = ("p", "q", "gamma")

STRONG_CORRELATION = 0.3
"""Beyond this, either way, value and frequency hang together and the model's assumption is in doubt."""

_SMALLEST, _LARGEST = np.log(1e-3), np.log(1e4)
_LEAST_Q = np.log(1.05)
"""Below q = 1 the mean value of all customers would be infinite."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GammaGamma:
    """A fitted model of order values.

    Attributes:
        p: Shape of the values of one customer's orders.
        q: Shape of the distribution of customers.
        gamma: Its scale, in the currency of the data.
        log_likelihood: Of the data it was fitted to.
        customers: How many it was fitted to.
        at_bounds: Parameters the data do not pin down, such as where all orders have one value.
    """

    p: float
    q: float
    gamma: float
    log_likelihood: float = float("nan")
    customers: int = 0
    at_bounds: tuple[str, ...] = field(default=())

    def to_document(self) -> dict[str, Any]:
        """The model as plain values."""
        return {**asdict(self), "at_bounds": list(self.at_bounds)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "GammaGamma":
        """The model that `to_document` wrote."""
        return cls(**{**document, "at_bounds": tuple(document["at_bounds"])})

    def expected_value(self, orders: ArrayLike, mean_value: ArrayLike) -> Floats:
        """Value expected of an order of each customer.

        Args:
            orders: how many orders `mean_value` is of; 0 gives the mean of all customers.
            mean_value: mean value of the customer's orders; below zero counts as zero.
        """
        count = np.asarray(orders, np.float64)
        mean = np.maximum(np.where(count > 0, np.asarray(mean_value, np.float64), 0.0), 0.0)
        return np.asarray(self.p * (self.gamma + count * mean) / (self.p * count + self.q - 1))


def fit_gamma_gamma(orders: ArrayLike, mean_value: ArrayLike) -> GammaGamma:
    """Fit the model by maximum likelihood, with its exact gradient.

    Args:
        orders: number of orders of each customer, at least one.
        mean_value: their mean value, above zero.

    Raises:
        ValueError: a count or a value cannot be used; the message says what to do.
        TooFewOrdersError: there are no customers, or none with two orders: nothing says how much one customer's vary.
    """
    from scipy.optimize import minimize

    x = np.atleast_1d(np.asarray(orders, np.float64))
    mean = np.atleast_1d(np.asarray(mean_value, np.float64))
    if x.shape != mean.shape:
        raise ValueError("orders and mean_value must have one value for each customer")
    if not np.isfinite(x + mean).all() or (x < 1).any() or (mean <= 0).any():
        raise ValueError("leave out customers without orders, or whose orders come to zero or less on the whole")
    if not (x > 1).any():
        raise TooFewOrdersError(f"needs customers with two orders of value: 0 of {len(x)}")
    unit = float(mean.mean())
    distinct, place = np.unique(x, return_inverse=True)
    count = np.bincount(place, minlength=len(distinct)).astype(np.float64)
    scaled, log_mean = mean / unit, np.log(mean / unit)

    def loss(logs: Floats) -> tuple[float, Floats]:
        value, gradient = _log_likelihood(x, scaled, log_mean, distinct, place, count, np.exp(logs))
        return -value / len(x), -gradient * np.exp(logs) / len(x)

    bounds = [(_SMALLEST, _LARGEST), (_LEAST_Q, _LARGEST), (_SMALLEST, _LARGEST)]
    # Three numbers are too few for several threads, which would wait for each other and change the last digits.
    with one_algebra_thread():
        options = {"maxiter": 1_000, "ftol": 1e-14, "gtol": 1e-8}
        start = np.log([2.0, 2.0, 1.0])
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    p, q, gamma = map(float, np.exp(np.asarray(found.x)) * np.array([1.0, 1.0, unit]))
    return GammaGamma(
        p,
        q,
        gamma,
        # A density of values in another unit differs by that unit.
        log_likelihood=float(-found.fun * len(x) - len(x) * np.log(unit)),
        customers=len(x),
        at_bounds=tuple(
            name
            for name, value, (low, high) in zip(PARAMETERS, found.x, bounds, strict=True)
            if value - low < 1e-3 or high - value < 1e-3
        ),
    )


def value_frequency_correlation(orders: ArrayLike, mean_value: ArrayLike) -> dict[str, Any]:
    """How far value and frequency hang together, which the model takes not to be so: for the model's card.

    Args:
        orders: number of orders of each customer.
        mean_value: their mean value.

    Returns:
        pearson and spearman (None where either side is constant), and in words whether the assumption holds.
    """
    from scipy.stats import rankdata

    x, mean = np.asarray(orders, np.float64), np.asarray(mean_value, np.float64)
    pearson, spearman = _correlation(x, mean), _correlation(rankdata(x), rankdata(mean))
    strong = any(value is not None and abs(value) > STRONG_CORRELATION for value in (pearson, spearman))
    verdict = "value depends on frequency: read order values with care" if strong else "holds well enough"
    return {"pearson": pearson, "spearman": spearman, "assumption": verdict}


def _correlation(left: Floats, right: Floats) -> float | None:
    left, right = left - left.mean(), right - right.mean()
    spread = float(np.sqrt((left * left).sum() * (right * right).sum()))
    return float((left * right).sum()) / spread if spread > 0 else None


def _log_likelihood(
    x: Floats,
    mean: Floats,
    log_mean: Floats,
    distinct: Floats,
    place: NDArray[np.intp],
    count: Floats,
    parameters: Floats,
) -> tuple[float, Floats]:
    """The log-likelihood and its gradient in p, q, gamma."""
    from scipy.special import digamma, gammaln

    p, q, gamma = parameters
    px = p * distinct
    log_total, log_x = np.log(gamma + x * mean), np.log(distinct)
    by_count = gammaln(px + q) - gammaln(px) - gammaln(q) + q * np.log(gamma) + px * log_x
    value = (by_count * count).sum() + ((p * x - 1) * log_mean - (p * x + q) * log_total).sum()
    slope_p = (distinct * (digamma(px + q) - digamma(px) + log_x) * count).sum() + (x * (log_mean - log_total)).sum()
    slope_q = ((digamma(px + q) - digamma(q) + np.log(gamma)) * count).sum() - log_total.sum()
    slope_gamma = len(x) * q / gamma - ((p * x + q) / (gamma + x * mean)).sum()
    return float(value), np.array([slope_p, slope_q, slope_gamma])
