"""The similarity from the model's frame to metres east, north, up, from GPS positions of the photos: robust, with its
uncertainty.

Notation: c camera centres (model frame), g GPS positions (metres in ENU), q = s R (c - mean c). GPS noise is sigma
across (east, north each) and at least twice that in height. Unknowns are the scale's logarithm, a turn (ENU axes,
radians) and a shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from recon.geodesy import enu_from_geodetic
from recon.geometry import Array, Sim3, fit_sim3, rotation_between, rotation_from_quat
from recon.upright import INDEPENDENT, Upright, tukey

MIN_FIXES = 4
"""Positions that differ. Three fix a similarity and leave nothing to check it by."""
MAX_SCALE_ERROR = 0.05
"""Relative standard error of the scale up to which it is called metric."""
MAX_HEADING_ERROR_DEG = 10.0
"""Standard error of north up to which the frame is called east-north-up."""
MAX_TILT_ERROR_DEG = 5.0
"""Standard error of up, from positions and level cameras together, up to which GPS is used."""
GRAVITY_TILT_ERROR_DEG = 3.0
"""Standard error of up from the positions alone up to which up is called gravity."""
HEIGHT_RATIO = 2.0
"""GPS heights are at least this much worse than positions."""
MIN_ROLL = np.radians(2.0)
"""A camera's level axis is not trusted better than this, 1 sigma."""
CUT = 6.0
"""Sigmas from which a fix has no say (Tukey's biweight on a residual of three dimensions)."""
FLOOR = 0.001
"""m, the least sigma: the precision of EXIF positions."""
SAMPLES = 1500
"""Minimal samples of each kind that are tried."""


@dataclass(frozen=True)
class GpsFit:
    """What n photos with both a pose and a fix say."""

    enu_from_sfm: Sim3
    """Into the ENU frame at `origin`."""
    origin: tuple[float, float, float]
    """(latitude deg, longitude deg, height m): the median of the fixes."""
    residual: Array
    """f64[n, 3], camera centre minus GPS position, metres east, north, up; NaN in height where the photo has none."""
    used: NDArray[np.bool_]
    """bool[n], fixes within CUT sigma."""
    sigma: tuple[float, float]
    """Noise of the fixes in metres, across (each axis) and in height."""
    scale_error: float
    """Relative standard error of the scale; 0 where it was given."""
    heading_error_deg: float
    tilt_error_deg: float
    """Standard errors of north and of up, everything counted."""
    gps_tilt_error_deg: float
    """Standard error of up had the cameras' level axes not been asked."""


@dataclass(frozen=True)
class _Problem:
    c: Array
    g: Array
    level: Array
    """f64[m, 3], axes held level; m = 0 where not known."""
    roll: float
    """Radians, 1 sigma, of these."""
    up: Array | None
    """f64[3], model frame."""
    scale: float | None
    """Known, or None."""


def why_not(fit: GpsFit) -> str | None:
    """Why the fit is not good enough to be used, in words; None when it is."""
    n, used = len(fit.used), int(fit.used.sum())
    if used < max(MIN_FIXES, n / 2):
        return f"only {used} of {n} GPS positions agree with the cameras' layout"
    noise = f"the positions scatter by {fit.sigma[0]:.1f} m (1 sigma)"
    if fit.scale_error > MAX_SCALE_ERROR:
        limit = f"({100 * MAX_SCALE_ERROR:.0f} % is the limit)"
        return f"the scale would be uncertain by {100 * fit.scale_error:.0f} % {limit}; {noise}"
    if fit.heading_error_deg > MAX_HEADING_ERROR_DEG:
        return f"north would be uncertain by {fit.heading_error_deg:.0f} degrees; {noise}"
    if fit.tilt_error_deg > MAX_TILT_ERROR_DEG:
        on_a_line = "as the photos stand on a line and were not held level alike"
        return f"up would be uncertain by {fit.tilt_error_deg:.0f} degrees, {on_a_line}; {noise}"
    return None


def usable_fixes(gps: Array) -> NDArray[np.bool_]:
    """bool[N]: rows of (lat, lon, alt) with a finite latitude and longitude in range and not exactly (0, 0), which
    means no fix."""
    lat, lon = gps[:, 0], gps[:, 1]
    with np.errstate(invalid="ignore"):
        return (np.abs(lat) <= 90) & (np.abs(lon) <= 360) & ~((lat == 0) & (lon == 0))


def distinct(fixes: Array) -> int:
    """How many positions [n, 3] differ in latitude or longitude: a phone repeats its last fix while it has no new
    one."""
    return len(np.unique(fixes[:, :2], axis=0))


def fit_gps(centers: Array, fixes: Array, upright: Upright | None, scale: float | None = None) -> GpsFit:
    """The similarity from model frame to ENU by camera centres [n, 3] and fixes [n, 3] (lat, lon, alt; alt may be
    NaN), n >= 4.

    A least median of squares over minimal samples (three fixes; or two and the cameras' up, which also settles photos
    on a line) finds the noise and a start; Gauss-Newton with Tukey's biweight (an MM-estimate: Yohai 1987) finishes.
    Every camera's level axis takes part as a weak measurement of up. Standard errors come from the normal equations,
    widened for errors that run along from one photo to the next, as those of GPS do (autocorrelation of first order).
    `scale`: metres per unit, when it is known from elsewhere.
    """
    around = fixes[0, 1] + (fixes[:, 1] - fixes[0, 1] + 180) % 360 - 180  # 179.9 and -179.9 are neighbours
    fixes = np.column_stack([fixes[:, 0], around, fixes[:, 2]])
    heights = fixes[:, 2][np.isfinite(fixes[:, 2])]
    origin = (*np.median(fixes[:, :2], 0).tolist(), float(np.median(heights)) if len(heights) else 0.0)
    known = np.isfinite(fixes[:, 2])
    height = np.where(known, fixes[:, 2], origin[2])
    g = enu_from_geodetic(np.column_stack([fixes[:, :2], height]), origin)
    g[~known, 2] = np.nan
    axes = upright.level[upright.agree] if upright else np.zeros((0, 3))
    roll = max(MIN_ROLL, np.radians(upright.spread_deg) if upright else 0.0)
    problem = _Problem(centers, g, axes, roll, upright.direction if upright else None, scale)
    starts = _starts(problem)
    scores, starts = _scores(problem, starts)
    freedom = max(1, len(g) - 3)
    sigma = max(
        FLOOR, (1 + 5 / freedom) * float(np.sqrt(scores.min() / 2.37))
    )  # 2.37: median of chi squared, 3 dimensions
    best = min((_refine(problem, s, (sigma, HEIGHT_RATIO * sigma)) for s in starts), key=lambda r: r[0])
    return _with_errors(problem, best[1], best[2], origin)


def _starts(problem: _Problem) -> list[Sim3]:
    """Similarities through minimal samples: all of them, or SAMPLES of each kind drawn with a fixed seed."""
    rng = np.random.default_rng(0)
    n, c, g = len(problem.c), problem.c, np.nan_to_num(problem.g)
    out = []
    for i in _samples(n, 3, rng):
        out.append(_minimal(g[i], c[i], problem.scale))
    if problem.up is not None:
        level = rotation_between(problem.up, np.array([0, 0, 1.0]))
        flat = c @ level.T
        for i, j in _samples(n, 2, rng):
            a, b = complex(*(g[j] - g[i])[:2]), complex(*(flat[j] - flat[i])[:2])
            if abs(b) < 1e-12 or abs(a) < 1e-9:
                continue
            s, turn = problem.scale or abs(a) / abs(b), a / b / abs(a / b)
            r = np.array([[turn.real, -turn.imag, 0], [turn.imag, turn.real, 0], [0, 0, 1]]) @ level
            out.append(Sim3(s, r, (g[i] + g[j]) / 2 - s * r @ (c[i] + c[j]) / 2))
    return [s for s in out if np.isfinite(s.scale) and s.scale > 0]


def _samples(n: int, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of k different indices below n [M, k]."""
    if comb(n, k) <= SAMPLES:
        return np.array(list(combinations(range(n), k)))
    return np.stack([rng.permutation(n)[:k] for _ in range(SAMPLES)])


def _minimal(g: Array, c: Array, scale: float | None) -> Sim3:
    fit = fit_sim3(g, c)
    if scale is None:
        return fit
    return Sim3(scale, fit.rotation, g.mean(0) - scale * fit.rotation @ c.mean(0))


def _scores(problem: _Problem, starts: list[Sim3]) -> tuple[Array, list[Sim3]]:
    """Each start's middle squared residual (sigma 1, heights at HEIGHT_RATIO), and the five best starts of each kind
    mixed."""
    n = len(problem.g)
    rank = min(n - 1, (n + 3) // 2)
    scores = np.array([np.partition(_squared(problem, s, (1.0, HEIGHT_RATIO)), rank)[rank] for s in starts])
    order = np.argsort(scores, kind="stable")
    upright = [i for i in order if problem.up is not None and (starts[i].rotation @ problem.up)[2] > 0.9]
    chosen = dict.fromkeys([*order[:5].tolist(), *upright[:5]])
    return scores, [starts[i] for i in chosen]


def _squared(problem: _Problem, fit: Sim3, sigma: tuple[float, float]) -> Array:
    """Squared residuals [n] in sigmas; a missing height counts nothing."""
    d = np.nan_to_num(fit.apply(problem.c) - problem.g)
    return (d[:, 0] ** 2 + d[:, 1] ** 2) / sigma[0] ** 2 + d[:, 2] ** 2 / sigma[1] ** 2


def _refine(problem: _Problem, fit: Sim3, sigma: tuple[float, float]) -> tuple[float, Sim3, tuple[float, float]]:
    """Cost at the first sigma, fit and sigma after reweighted Gauss-Newton. The sigmas settle in the first rounds,
    then stay."""
    first = sigma
    for i in range(40):
        h, b, middle = _normal_equations(problem, fit, sigma)
        step = np.asarray(np.linalg.solve(h + 1e-9 * np.diag(np.diag(h)) + 1e-12 * np.eye(7), -b), np.float64)
        fit = _moved(fit, step, middle)
        if i in (4, 9, 14):
            sigma = _noise(problem, fit, sigma)
        elif i > 14 and np.abs(step[:4]).max() < 1e-10:
            break
    r2 = np.minimum(_squared(problem, fit, first) / CUT**2, 1)
    cost = float((CUT**2 / 6 * (1 - (1 - r2) ** 3)).sum())
    if len(problem.level):
        rolls = np.minimum((problem.level @ fit.rotation[2] / problem.roll / CUT) ** 2, 1)
        cost += float((CUT**2 / 6 * (1 - (1 - rolls) ** 3)).mean()) * min(len(rolls), INDEPENDENT)
    if problem.up is not None and fit.rotation[2] @ problem.up < -0.3:
        cost += CUT**2  # photos are not held upside down: decides where the positions leave it open
    return cost, fit, sigma


def _normal_equations(
    problem: _Problem, fit: Sim3, sigma: tuple[float, float], widen: float = 1.0
) -> tuple[Array, Array, Array]:
    """H [7, 7] and gradient [7] of half the weighted squares over (log scale, turn, shift), and the point [3] they
    turn about.

    That point is the weighted mean of the centres (model frame). GPS information is divided by `widen`.
    """
    weight = tukey(np.sqrt(_squared(problem, fit, sigma)), CUT)
    middle = weight @ problem.c / weight.sum() if weight.sum() > 0 else problem.c.mean(0)
    q = fit.scale * (problem.c - middle) @ fit.rotation.T
    d = fit.apply(problem.c) - problem.g
    inverse = np.array([1 / sigma[0] ** 2, 1 / sigma[0] ** 2, 1 / sigma[1] ** 2]) / widen
    w = weight[:, None] * np.where(np.isnan(d), 0, inverse)
    jacobian = np.zeros((len(q), 3, 7))
    jacobian[:, :, 0] = q if problem.scale is None else 0
    jacobian[:, :, 1:4] = -_cross(q)
    jacobian[:, :, 4:] = np.eye(3)
    h = np.einsum("nia,ni,nib->ab", jacobian, w, jacobian)
    b = np.einsum("nia,ni,ni->a", jacobian, w, np.nan_to_num(d))
    if len(problem.level):
        axis = problem.level @ fit.rotation.T
        j = np.stack([axis[:, 1], -axis[:, 0]], 1)  # of the axis' height, by the turn about east and north
        share = tukey(axis[:, 2] / problem.roll, CUT) / problem.roll**2 * min(1.0, INDEPENDENT / len(axis))
        h[1:3, 1:3] += (j * share[:, None]).T @ j
        b[1:3] += j.T @ (share * axis[:, 2])
    return h, b, middle


def _moved(fit: Sim3, step: Array, middle: Array) -> Sim3:
    """The fit after a step [7], at most half a radian and a factor of 1.6 at once."""
    angle = float(np.linalg.norm(step[1:4]))
    turn = step[1:4] * min(1.0, 0.5 / max(angle, 1e-300))
    half = float(np.linalg.norm(turn)) / 2
    rotation = rotation_from_quat([np.cos(half), *(turn * np.sinc(half / np.pi) / 2)]) @ fit.rotation
    scale = fit.scale * float(np.exp(np.clip(step[0], -0.5, 0.5)))
    return Sim3(scale, rotation, fit.apply(middle) + step[4:] - scale * rotation @ middle)


def _noise(problem: _Problem, fit: Sim3, sigma: tuple[float, float]) -> tuple[float, float]:
    """The fixes' noise from residuals of those within CUT: weighted root mean squares, freed of the seven unknowns."""
    weight = tukey(np.sqrt(_squared(problem, fit, sigma)), CUT)
    if weight.sum() < 2:
        return sigma
    d = fit.apply(problem.c) - problem.g
    freedom = max(0.25, 1 - 7 / (3 * weight.sum()))
    across = float(np.sqrt(weight @ (d[:, 0] ** 2 + d[:, 1] ** 2) / (2 * weight.sum() * freedom)))
    has = np.isfinite(d[:, 2]) & (np.hypot(d[:, 0], d[:, 1]) < CUT * sigma[0])  # right in position, whatever the height
    up = 1.4826 * float(np.median(np.abs(d[has, 2]))) if has.any() else 0.0
    across = max(FLOOR, across)
    return across, max(HEIGHT_RATIO * across, up)


def _with_errors(
    problem: _Problem, fit: Sim3, sigma: tuple[float, float], origin: tuple[float, float, float]
) -> GpsFit:
    d = fit.apply(problem.c) - problem.g
    used = _squared(problem, fit, sigma) < CUT**2
    widen = _widening(d[used, :2])
    h, _, _ = _normal_equations(problem, fit, sigma, widen)
    alone, _, _ = _normal_equations(replace(problem, level=np.zeros((0, 3))), fit, sigma, widen)
    cov, cov_alone = _covariance(h, problem.scale), _covariance(alone, problem.scale)
    tilt = [float(np.degrees(np.sqrt(np.linalg.eigvalsh(c[1:3, 1:3])[1]))) for c in (cov, cov_alone)]
    return GpsFit(
        fit,
        origin,
        d,
        used,
        sigma,
        float(np.sqrt(cov[0, 0])) if problem.scale is None else 0.0,
        float(np.degrees(np.sqrt(cov[3, 3]))),
        *tilt,
    )


def _covariance(h: Array, scale: float | None) -> Array:
    """Covariance [7, 7]; a weak prior (1 on scale and turn, 1 km on the shift) keeps what is open finite."""
    prior = np.diag([1.0 if scale is None else 1e12, 1, 1, 1, 1e-6, 1e-6, 1e-6])
    return np.asarray(np.linalg.inv(h + prior), np.float64)


def _widening(across: Array) -> float:
    """By how much neighbouring errors [n, 2] that run along make n fixes worth fewer: (1 + r) / (1 - r), r =
    autocorrelation."""
    if len(across) < 6:
        return 1.0
    total = float((across**2).sum())
    r = float((across[1:] * across[:-1]).sum()) / total if total > 0 else 0.0
    r = float(np.clip(r + 1 / len(across), 0, 0.9))  # the estimate is low by about 1/n
    return (1 + r) / (1 - r)


def _cross(v: Array) -> Array:
    """Matrices [n, 3, 3] with _cross(v) @ w = v x w."""
    z = np.zeros(len(v))
    x, y, w = v.T
    return np.stack([np.stack([z, -w, y], -1), np.stack([w, z, -x], -1), np.stack([-y, x, z], -1)], -2)
