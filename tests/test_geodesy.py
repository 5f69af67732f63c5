"""WGS84 <-> ECEF <-> ENU against PROJ."""

import numpy as np
import pytest

from recon.geodesy import (
    ecef_from_geodetic,
    enu_from_ecef,
    enu_from_geodetic,
    geodetic_from_ecef,
    geodetic_from_enu,
)


def positions() -> np.ndarray:
    rng = np.random.default_rng(0)
    n = 2000
    random = np.stack([rng.uniform(-90, 90, n), rng.uniform(-180, 180, n), rng.uniform(-5000, 40000, n)], 1)
    special = [[90, 0, 10], [-90, 20, 5], [0, 180, 0], [0, 0, -100], [47, -180, 400], [1e-9, 1e-9, 0]]
    return np.concatenate([np.array(special, float), random])


def test_ecef_agrees_with_proj_to_a_micrometre():
    pyproj = pytest.importorskip("pyproj")
    lat, lon, height = positions().T
    expected = np.stack(pyproj.Transformer.from_crs(4979, 4978, always_xy=True).transform(lon, lat, height), 1)
    np.testing.assert_allclose(ecef_from_geodetic(positions()), expected, atol=1e-6)
    back = geodetic_from_ecef(expected)
    np.testing.assert_allclose(back[:, 2], height, atol=1e-6)
    np.testing.assert_allclose(
        ecef_from_geodetic(back), expected, atol=1e-6
    )  # metres, which degrees are not at the poles


def test_enu_agrees_with_proj_topocentric():
    pyproj = pytest.importorskip("pyproj")
    rng = np.random.default_rng(1)
    for origin in ([46.84, -91.99, 198.0], [-33.9, 151.2, 20.0], [89.0, 10.0, 0.0]):
        pipeline = (
            "+proj=pipeline +step +proj=cart +ellps=WGS84 "
            f"+step +proj=topocentric +ellps=WGS84 +lat_0={origin[0]} +lon_0={origin[1]} +h_0={origin[2]}"
        )
        there = np.array(origin) + rng.uniform(-1, 1, (200, 3)) * [0.02, 0.02, 300]
        expected = pyproj.Transformer.from_pipeline(pipeline).transform(there[:, 1], there[:, 0], there[:, 2])
        enu = enu_from_geodetic(there, origin)
        np.testing.assert_allclose(enu, np.stack(expected, 1), atol=1e-3)
        np.testing.assert_allclose(geodetic_from_enu(enu, origin), there, rtol=0, atol=1e-9 * 9)


def test_enu_axes_are_east_north_up():
    lat, lon = 47.0, 8.0
    step = 1e-5
    east, north, up = (
        enu_from_geodetic([lat + a * step, lon + b * step, c], (lat, lon, 0.0)) for a, b, c in np.eye(3)[[1, 0, 2]]
    )
    assert east[0] > 0.5 and abs(east[1]) < 1e-4 and abs(east[2]) < 1e-4
    assert north[1] > 1.0 and abs(north[0]) < 1e-4
    np.testing.assert_allclose(up, [0, 0, 1], atol=1e-9)
    transform = enu_from_ecef((lat, lon, 0.0))
    np.testing.assert_allclose(transform.rotation @ transform.rotation.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(transform.rotation) == pytest.approx(1)
