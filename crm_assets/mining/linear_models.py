"""Linear models of standardised inputs, kept as plain numbers.

Belongs here: fitting and applying one. Not here: its inputs, or which link it has.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crm_assets.mining.scaling import fit_scale, standardised
from crm_assets.mining.threads import one_thread

Floats = NDArray[np.float64]


def fit_linear(values: Floats, fit: Callable[[Floats], Any]) -> dict[str, Any]:
    """A linear model as plain numbers.

    Args:
        values: shape (rows, inputs), NaN for null.
        fit: gives a fitted model of scikit-learn, with `coef_` and `intercept_`, of standardised values.

    Returns:
        The scale of the inputs, coefficients and intercept.
    """
    scale = fit_scale(values)
    with one_thread():
        model = fit(standardised(scale, values))
    return {
        **scale,
        "coefficients": np.ravel(model.coef_).tolist(),
        "intercept": float(np.ravel(model.intercept_)[0]),
    }


def logistic_chance(estimator: Mapping[str, Any], values: Floats) -> Floats:
    """The probability of a fitted logistic regression, shape (rows,)."""
    from scipy.special import expit

    return np.asarray(expit(linear_predictor(estimator, values)), np.float64)


def linear_predictor(estimator: Mapping[str, Any], values: Floats) -> Floats:
    """The linear predictor of a fitted model, shape (rows,); nulls count as the median of the training rows."""
    scaled = standardised(estimator, values)
    return np.asarray((scaled * np.asarray(estimator["coefficients"])).sum(axis=1) + estimator["intercept"], np.float64)
