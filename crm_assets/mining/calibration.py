"""From raw scores to probabilities.

Belongs here: calibration curves. Not here: the scores (`classifiers.py`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]


def calibration(by_steps: bool, raw: Floats, outcome: Floats) -> dict[str, Any]:
    """Curve from raw scores to probabilities: steps for a rule, whose score is no log-odds; else a logistic curve."""
    if by_steps:
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=0.0, y_max=1.0, increasing=True).fit(raw, outcome)
        return {
            "kind": "isotonic",
            "raw": [float(value) for value in steps.X_thresholds_],
            "probability": [float(value) for value in steps.y_thresholds_],
        }
    from sklearn.linear_model import LogisticRegression

    curve = LogisticRegression(C=1e6).fit(raw.reshape(-1, 1), outcome)
    return {"kind": "sigmoid", "slope": float(curve.coef_[0, 0]), "intercept": float(curve.intercept_[0])}


def nearer_to(curve: Mapping[str, Any], raw: Floats, outcome: Floats) -> dict[str, Any]:
    """A logistic curve, made for the scores of a model that learnt from older rows, for one that learnt from these too.

    The older model knew of shorter histories, so its scores were further from the level of these rows than those of the
    newer one will be from the level of rows to come; and the newer one has seen these rows, so that it is nearer to their
    level than it will be to theirs. The curve is moved half of the way to where it says of these rows what became of them.

    Args:
        curve: as `calibration` gives it.
        raw: scores of these rows by the newer model.
        outcome: 0 or 1 of each, both of which occur.
    """
    from scipy.optimize import brentq

    if curve["kind"] != "sigmoid":
        return dict(curve)
    share, steep = outcome.mean(), curve["slope"] * raw
    far = float(np.abs(steep).max()) + 40.0
    level = brentq(lambda intercept: float(expit(steep + intercept).mean() - share), -far, far)
    return {**curve, "intercept": (curve["intercept"] + level) / 2}


def calibrated(curve: Mapping[str, Any], raw: Floats) -> Floats:
    """Probabilities from raw scores: a logistic curve (Platt, 1999) or steps joined by lines (isotonic)."""
    if curve["kind"] == "sigmoid":
        return np.asarray(expit(curve["slope"] * raw + curve["intercept"]))
    return np.asarray(np.interp(raw, curve["raw"], curve["probability"]))


def cross_calibrated(by_steps: bool, raw: Floats, outcome: Floats, codes: NDArray[np.intp]) -> Floats:
    """Probabilities of rows, each calibrated on the other half of the customers: else figures flatter."""
    half = np.unique(codes, return_inverse=True)[1] % 2
    chance = np.empty(len(raw))
    for side in (0, 1):
        other = outcome[half != side]
        learn_from = half != side if 0 < other.sum() < len(other) else half >= 0
        curve = calibration(by_steps, raw[learn_from], outcome[learn_from])
        chance[half == side] = calibrated(curve, raw[half == side])
    return chance
