"""Curves through values at knots that do not overshoot: PCHIP, piecewise cubic and monotone (Fritsch and Butland 1984).

The slopes, those at the ends included, are those of scipy.interpolate.PchipInterpolator. Written out here because loops need
periodic slopes, which scipy does not have, and because the published page repeats it line by line in TypeScript.
"""

from __future__ import annotations

import numpy as np

from recon.geometry import Array


def pchip(knots: Array, values: Array, t: Array) -> Array:
    """[F, D] at times t [F] in knots[0]..knots[-1] of values [K, D] at knots [K], K >= 2."""
    slope = np.zeros_like(values)
    if len(knots) == 2:
        slope[:] = (values[1] - values[0]) / (knots[1] - knots[0])
        return hermite(knots, values, slope, t)
    slope[1:-1] = inner_slopes(knots, values)
    step, secant = np.diff(knots), np.diff(values, axis=0) / np.diff(knots)[:, None]
    slope[0] = _end_slope(step[0], step[1], secant[0], secant[1])
    slope[-1] = _end_slope(step[-1], step[-2], secant[-1], secant[-2])
    return hermite(knots, values, slope, t)


def inner_slopes(knots: Array, values: Array) -> Array:
    """[K - 2, D]: the weighted harmonic mean of the secants before and after each inner knot, 0 where these differ in sign."""
    step = np.diff(knots)
    secant = np.diff(values, axis=0) / step[:, None]
    before, after = secant[:-1], secant[1:]
    w1, w2 = (2 * step[1:] + step[:-1])[:, None], (step[1:] + 2 * step[:-1])[:, None]
    same = before * after > 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = (w1 + w2) / (w1 / before + w2 / after)
    return np.where(same, mean, 0.0)


def _end_slope(step: float, beyond: float, secant: Array, next_secant: Array) -> Array:
    """[D]: three-point slope at an end, cut so that the end piece keeps the shape of its values."""
    slope = ((2 * step + beyond) * secant - step * next_secant) / (step + beyond)
    slope = np.where(np.sign(slope) != np.sign(secant), 0.0, slope)
    steep = (np.sign(secant) != np.sign(next_secant)) & (np.abs(slope) > 3 * np.abs(secant))
    return np.where(steep, 3 * secant, slope)


def hermite(knots: Array, values: Array, slope: Array, t: Array) -> Array:
    """[F, D]: the cubics with these values and slopes [K, D] at knots [K], at t [F] in knots[0]..knots[-1]."""
    i = np.clip(np.searchsorted(knots, t, side="right") - 1, 0, len(knots) - 2)
    step = (knots[i + 1] - knots[i])[:, None]
    u = (t - knots[i])[:, None] / step
    start, end = values[i], values[i + 1]
    pull = step * ((u - 2 * u**2 + u**3) * slope[i] + (u**3 - u**2) * slope[i + 1])
    return start + (3 * u**2 - 2 * u**3) * (end - start) + pull


def same_side(quat: Array) -> Array:
    """Quaternions [K, 4], each with the sign that has a positive dot product with the one before."""
    dots = (quat[1:] * quat[:-1]).sum(1)
    flips = np.cumprod(np.concatenate([[1.0], np.where(dots < 0, -1.0, 1.0)]))
    return quat * flips[:, None]
