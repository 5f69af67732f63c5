"""Splats merged into fewer: clusters in space and colour, and the one splat that stands for each.

A cluster of splats with weights m_i, means x_i and covariances C_i becomes a splat with the mean and covariance of their mixture,
x = sum m_i x_i / m and C = sum m_i (C_i + b (x_i - x)(x_i - x)^T) / m, b = BETWEEN, and its weighted mean colour.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from recon.geometry import Array, quat_from_rotation
from render.splats import SH_C0, Splats

COLOUR_WEIGHT = 0.05
"""Angle, in radians, as seen from the nearest viewpoint, that a difference in colour of 1 counts as much as."""
LEAST_WEIGHT = 0.1
"""What a splat that no view has seen counts in its cluster, relative to a seen one of its size and opacity."""
BETWEEN = 1.3
"""Factor on the part of a covariance that comes from where the members stand: what filled an area evenly leaves gaps at the
corners as one Gaussian. Costs 0.15 dB on the sample scene.
"""
SPLIT_SHARE = 0.4
"""Share of the clusters, the worst, that are split in a round."""


def fewer(splats: Splats, importance: Array, count: int, viewpoints: Array) -> Splats:
    """At most `count` splats that show the scene [N]: each splat has its part in one of them.

    importance: f64[N], what each contributes to the views. viewpoints: f64[V, 3], where the scene is looked at from, world: a
    cluster may be the larger the farther it is from them. A scene of no more splats than `count` keeps them.
    """
    cut = splats.detach().to("cpu")
    if len(cut) <= count:
        return cut
    size = cut.opacity.numpy() * _area(cut.log_scale.numpy())
    seen = importance / max(float(importance.sum()), 1e-30)
    weight = seen + LEAST_WEIGHT * size / max(float(size.sum()), 1e-30) + 1e-30
    colour = SH_C0 * cut.sh[:, 0].numpy().astype(np.float64)
    label = clusters(cut.mean.numpy().astype(np.float64), colour, weight, count, viewpoints)
    return merged(cut, weight, label)


def clusters(mean: Array, colour: Array, weight: Array, count: int, viewpoints: Array) -> NDArray[np.int64]:
    """Cluster i64[N], 0 .. at most `count` - 1, of points [N, 3] with colours [N, 3] and weights [N].

    Starting from one, those of the largest spread are split at their mean, across the axis of space or colour where they are
    widest. Spread: weighted squares of angles as seen from the nearest viewpoint, and of colour differences.
    """
    space = weight / nearest(mean, viewpoints) ** 2
    features = [*((column, space) for column in mean.T), *((COLOUR_WEIGHT * column, weight) for column in colour.T)]
    label, known = np.zeros(len(mean), np.int64), 1
    while known < count:
        centre, spread = _moments(features, label, known)
        cost = spread.sum(1)
        wanted = min(count - known, max(1, int(np.ceil(SPLIT_SHARE * known))))
        worst = np.argsort(-cost, kind="stable")[:wanted]
        worst = worst[cost[worst] > 0]
        if len(worst) == 0:
            break
        axis, fresh = spread.argmax(1), np.full(known, -1)
        fresh[worst] = known + np.arange(len(worst))
        beyond = np.zeros(len(label), bool)
        for k, (column, _) in enumerate(features):
            beyond |= (axis[label] == k) & (column > centre[label, k])
        label = np.where(beyond & (fresh[label] >= 0), fresh[label], label)
        known += len(worst)
    return np.unique(label, return_inverse=True)[1].astype(np.int64)


def nearest(mean: Array, viewpoints: Array) -> Array:
    """f64[N], distance to the nearest viewpoint; at least a twentieth of the median of these."""
    from scipy.spatial import KDTree

    distance = np.asarray(KDTree(viewpoints).query(mean)[0], np.float64)
    return np.maximum(distance, max(0.05 * float(np.median(distance)), 1e-9))


def _moments(features: list[tuple[Array, Array]], label: NDArray[np.int64], known: int) -> tuple[Array, Array]:
    """Weighted mean [K, F] of each cluster, and weighted sum of squared differences from it [K, F]; features: values, weights."""
    centre, spread = np.empty((2, known, len(features)))
    for k, (column, weight) in enumerate(features):
        centre[:, k] = np.bincount(label, weight * column, known) / np.maximum(
            np.bincount(label, weight, known), 1e-300
        )
        spread[:, k] = np.bincount(label, weight * (column - centre[label, k]) ** 2, known)
    return centre, spread


def merged(splats: Splats, weight: Array, label: NDArray[np.int64]) -> Splats:
    """One splat for each cluster 0 .. M - 1; weight f64[N] > 0.

    Its opacity keeps the clusters' sum of opacity times area (of the two longer axes), as far as an opacity can.
    """
    count = int(label.max(initial=-1)) + 1
    share = weight / np.bincount(label, weight, count)[label]
    mean = splats.mean.numpy().astype(np.float64)
    centre = _summed(mean * share[:, None], label, count)
    axes = splats.rotation.numpy().astype(np.float64) * splats.scale.numpy().astype(np.float64)[:, None]
    off = mean - centre[label]
    covariance = axes @ axes.transpose(0, 2, 1) + BETWEEN * off[:, :, None] * off[:, None]
    covariance = _summed(covariance.reshape(-1, 9) * share[:, None], label, count).reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(covariance)
    vectors[:, :, 0] *= np.sign(np.linalg.det(vectors))[:, None]
    log_scale = 0.5 * np.log(np.maximum(values, 1e-20))
    mass = np.bincount(label, splats.opacity.numpy() * _area(splats.log_scale.numpy()), count)
    opacity = np.clip(mass / np.maximum(_area(log_scale), 1e-30), 1 / 255, 0.995)
    columns = {
        "mean": centre,
        "log_scale": log_scale,
        "quat": quat_from_rotation(vectors),
        "opacity_logit": np.log(opacity / (1 - opacity)),
        "sh": _summed(splats.sh.numpy().reshape(len(splats), -1) * share[:, None], label, count).reshape(count, -1, 3),
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(c, np.float32)) for name, c in columns.items()}
    return replace(splats, **tensors, extra={})


def _summed(values: Array, label: NDArray[np.int64], count: int) -> Array:
    """Sums [M, F] of values [N, F] by cluster."""
    return np.stack([np.bincount(label, column, count).astype(np.float64) for column in values.T], 1)


def _area(log_scale: NDArray) -> Array:
    """[N], product of the two longer standard deviations."""
    ordered = np.sort(np.asarray(log_scale, np.float64), axis=1)
    return np.exp(ordered[:, 1] + ordered[:, 2])
