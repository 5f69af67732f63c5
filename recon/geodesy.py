"""WGS84 latitude, longitude and height <-> earth-centred (ECEF) <-> local east-north-up (ENU) coordinates. Pure numpy.

Geodetic triples are (latitude deg, longitude deg, height m above the ellipsoid). The altitude that a photo carries may
be above sea level instead; the two differ by up to 100 m, but hardly at all from one photo of a capture to the next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from recon.geometry import Array, Sim3

SEMI_MAJOR = 6378137.0
"""m, WGS84."""
FLATTENING = 1 / 298.257223563
"""WGS84."""
ECCENTRICITY2 = FLATTENING * (2 - FLATTENING)
"""Squared first eccentricity."""


def ecef_from_geodetic(geodetic: ArrayLike) -> Array:
    """Earth-centred coordinates [..., 3] in metres of (latitude deg, longitude deg, height m) [..., 3]; exact."""
    g = np.asarray(geodetic, np.float64)
    lat, lon, height = np.radians(g[..., 0]), np.radians(g[..., 1]), g[..., 2]
    n = SEMI_MAJOR / np.sqrt(1 - ECCENTRICITY2 * np.sin(lat) ** 2)  # radius of curvature in the prime vertical
    across = (n + height) * np.cos(lat)
    return np.stack([across * np.cos(lon), across * np.sin(lon), ((1 - ECCENTRICITY2) * n + height) * np.sin(lat)], -1)


def geodetic_from_ecef(ecef: ArrayLike) -> Array:
    """(latitude deg, longitude deg, height m) [..., 3] of earth-centred coordinates [..., 3] in metres.

    Bowring's formula in the reduced latitude, applied three times, which is exact to the last digits from 100 km
    below the ellipsoid to the height of satellites (Bowring, The accuracy of geodetic latitude and height equations,
    Survey Review 1985).
    """
    x, y, z = np.moveaxis(np.asarray(ecef, np.float64), -1, 0)
    across = np.hypot(x, y)
    semi_minor = SEMI_MAJOR * (1 - FLATTENING)
    second = ECCENTRICITY2 / (1 - ECCENTRICITY2)
    reduced = np.arctan2(z, (1 - FLATTENING) * across)
    lat = reduced
    for _ in range(3):
        lat = np.arctan2(
            z + second * semi_minor * np.sin(reduced) ** 3, across - ECCENTRICITY2 * SEMI_MAJOR * np.cos(reduced) ** 3
        )
        reduced = np.arctan2((1 - FLATTENING) * np.sin(lat), np.cos(lat))
    sin = np.sin(lat)
    height = across * np.cos(lat) + z * sin - SEMI_MAJOR * np.sqrt(1 - ECCENTRICITY2 * sin**2)
    return np.stack([np.degrees(lat), np.degrees(np.arctan2(y, x)), height], -1)


def enu_from_ecef(origin: ArrayLike) -> Sim3:
    """The rigid transform into east, north, up at `origin` (latitude deg, longitude deg, height m)."""
    lat, lon = np.radians(np.asarray(origin, np.float64)[:2])
    sin_lat, cos_lat, sin_lon, cos_lon = np.sin(lat), np.cos(lat), np.sin(lon), np.cos(lon)
    rotation = np.array(
        [
            [-sin_lon, cos_lon, 0],
            [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
        ]
    )
    return Sim3(1.0, rotation, -rotation @ ecef_from_geodetic(origin))


def enu_from_geodetic(geodetic: ArrayLike, origin: ArrayLike) -> Array:
    """East, north, up [..., 3] in metres, from `origin`, of geodetic positions [..., 3]."""
    return enu_from_ecef(origin).apply(ecef_from_geodetic(geodetic))


def geodetic_from_enu(enu: ArrayLike, origin: ArrayLike) -> Array:
    """Geodetic positions [..., 3] of points [..., 3] in metres east, north, up of `origin`."""
    return geodetic_from_ecef(enu_from_ecef(origin).inverse().apply(enu))
