"""The similarity from GPS against known truth: noise, outliers, lines, heaps, missing heights; and its stated errors."""

from dataclasses import replace

import numpy as np
import pytest

from recon.geodesy import enu_from_geodetic, geodetic_from_enu
from recon.geometry import Sim3, fit_sim3
from recon.georeference import GpsFit, distinct, fit_gps, usable_fixes, why_not
from recon.upright import up_from_cameras
from tests.posed import PLACE, Posed, gps_of, posed, ring, street, tilt_deg


def fitted(place: Posed, fixes: np.ndarray, *, level: bool = True, scale: float | None = None) -> tuple[GpsFit, Sim3]:
    """The fit, and what it makes of the truth: enu_from_truth, which should be the identity up to the shift of the origin."""
    fit = fit_gps(place.model.cameras.centers, fixes, up_from_cameras(place.model.cameras) if level else None, scale)
    return fit, fit.enu_from_sfm @ place.model_from_truth


def heading_deg(transform: Sim3) -> float:
    return float(np.degrees(np.arctan2(transform.rotation[1, 0], transform.rotation[0, 0])))


def test_noise_of_three_metres_and_outliers_of_sixty():
    z, plain_error = [], []
    for seed in range(12):
        place = ring(30, radius=40.0, seed=seed)
        fixes, wrong = gps_of(place.truth, (3.0, 6.0), outliers=6, seed=seed)
        fit, got = fitted(place, fixes)
        assert why_not(fit) is None
        assert set(np.flatnonzero(~fit.used)) == wrong
        assert 1.8 < fit.sigma[0] < 4.5
        assert abs(heading_deg(got)) < 3.5 * fit.heading_error_deg < 10
        assert tilt_deg(got.rotation) < 3.5 * fit.tilt_error_deg < 7
        z.append((got.scale - 1) / fit.scale_error)
        enu = enu_from_geodetic(fixes, fit.origin)
        plain_error.append(abs(fit_sim3(enu, place.truth.cameras.centers).scale - 1) / fit.scale_error)
    assert np.abs(z).max() < 3.5
    assert 0.4 < np.sqrt(np.mean(np.square(z))) < 1.8
    assert np.median(plain_error) > 3 * np.median(np.abs(z))  # the outliers do harm where nothing is done about them


def test_half_of_the_fixes_wrong_is_refused_or_right():
    for seed in range(4):
        place = ring(40, radius=40.0, seed=seed)
        fixes, wrong = gps_of(place.truth, (2.0, 4.0), outliers=17, seed=seed)
        fit, got = fitted(place, fixes)
        assert set(np.flatnonzero(~fit.used)) == wrong
        assert abs(got.scale - 1) < 4 * fit.scale_error


def test_exact_fixes_give_the_exact_transform():
    place = ring(12, roll_deg=0.0)
    fixes, _ = gps_of(place.truth, (0.0, 0.0))
    fit, got = fitted(place, fixes)
    assert got.scale == pytest.approx(1, abs=1e-5)
    assert tilt_deg(got.rotation) < 0.01
    np.testing.assert_allclose(fit.residual, 0, atol=1e-3)


def test_photos_on_a_line_take_roll_from_the_cameras():
    for seed in range(5):
        place = street(24, seed=seed)
        fixes, _ = gps_of(place.truth, (2.0, 4.0), seed=seed)
        fit, got = fitted(place, fixes)
        assert why_not(fit) is None
        assert fit.gps_tilt_error_deg > 20  # the positions alone leave it open
        assert tilt_deg(got.rotation) < 3.5 * fit.tilt_error_deg < 15
        assert abs(got.scale - 1) < 3.5 * fit.scale_error


def test_a_line_without_the_cameras_is_refused():
    place = street(24)
    fixes, _ = gps_of(place.truth, (2.0, 4.0))
    fit, _ = fitted(place, fixes, level=False)
    assert "up would be uncertain" in (why_not(fit) or "")


@pytest.mark.parametrize("radius", [0.5, 4.0])
def test_photos_at_one_place_are_refused_with_the_reason(radius: float):
    for seed in range(5):
        place = ring(30, radius=radius, seed=seed)
        fixes, _ = gps_of(place.truth, (3.0, 6.0), seed=seed)
        fit, _ = fitted(place, fixes)
        assert "the scale would be uncertain by" in (why_not(fit) or "")


def test_fixes_that_have_nothing_to_do_with_the_photos_are_refused():
    place = ring(20, radius=30.0)
    rng = np.random.default_rng(0)
    fixes = geodetic_from_enu(rng.normal(size=(20, 3)) * [30, 30, 5], PLACE)
    fit, _ = fitted(place, fixes)
    assert why_not(fit) is not None


def test_errors_that_run_along_widen_what_is_said():
    place = ring(40, radius=40.0)
    rng = np.random.default_rng(3)
    error = rng.normal(size=(40, 3)) * [3, 3, 6]
    for i in range(1, 40):
        error[i] = 0.8 * error[i - 1] + 0.6 * error[i]
    centers = place.truth.cameras.centers
    along, _ = fitted(place, geodetic_from_enu(centers + error, PLACE))
    mixed, _ = fitted(place, geodetic_from_enu(centers + rng.permutation(error), PLACE))
    assert along.scale_error / along.sigma[0] > 1.3 * mixed.scale_error / mixed.sigma[0]


def test_the_date_line_is_no_wall():
    place = (-17.0, 180.0, 50.0)
    rng = np.random.default_rng(0)
    centers = rng.normal(0, [10, 10, 2], (12, 3))
    centers[:, 0] = np.abs(centers[:, 0]) * np.repeat([-1, 1], 6)  # half of them on each side
    fit = fit_gps(centers, geodetic_from_enu(centers, place), None)
    assert abs(abs(fit.origin[1]) - 180) < 0.001
    np.testing.assert_allclose(fit.enu_from_sfm.rotation, np.eye(3), atol=1e-4)


def test_heights_may_be_missing():
    place = ring(24, radius=40.0)
    fixes, _ = gps_of(place.truth, (1.0, 2.0))
    some = fixes.copy()
    some[::3, 2] = np.nan
    fit, got = fitted(place, some)
    assert why_not(fit) is None and np.isnan(fit.residual[::3, 2]).all()
    assert tilt_deg(got.rotation) < 3
    none = fixes.copy()
    none[:, 2] = np.nan
    fit, got = fitted(place, none)
    assert why_not(fit) is None and fit.origin[2] == 0.0
    assert abs(got.scale - 1) < 3.5 * fit.scale_error
    assert tilt_deg(got.rotation) < 3.5 * fit.tilt_error_deg < 12


def test_wild_heights_do_not_tilt_the_place():
    place = ring(30, radius=40.0)
    fixes, _ = gps_of(place.truth, (2.0, 25.0))
    fit, got = fitted(place, fixes)
    assert why_not(fit) is None
    assert tilt_deg(got.rotation) < 4
    assert fit.sigma[1] > 10


def test_a_given_scale_is_kept():
    place = ring(24, radius=40.0)
    fixes, _ = gps_of(place.truth, (3.0, 6.0))
    scale = 1.1 / place.model_from_truth.scale
    fit, got = fitted(place, fixes, scale=scale)
    assert fit.enu_from_sfm.scale == pytest.approx(scale, rel=1e-12)
    assert fit.scale_error == 0
    assert abs(heading_deg(got)) < 5


def test_upside_down_is_not_an_answer_for_a_line():
    """On a line, level axes fit as well upside down; that photos are not held so decides."""
    for seed in range(8):
        place = street(12, roll_deg=0.5, seed=seed, sway=0.3)
        fixes, _ = gps_of(place.truth, (2.0, 10.0), seed=seed)
        _, got = fitted(place, fixes)
        assert got.rotation[2, 2] > 0.9


def test_straight_down_from_a_drone():
    """Photos that look straight down say little about up by how they were held; the positions say it."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(5) * 12.0, np.arange(4) * 12.0)
    centers = np.stack([x.ravel(), y.ravel(), np.full(20, 45.0)], 1) + rng.normal(size=(20, 3))
    down = np.tile(np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]), (20, 1, 1))
    down[:, :3, 3] = -np.einsum("nij,nj->ni", down[:, :3, :3], centers)
    place = posed(down, rng.uniform(-5, 60, (500, 3)) * [1, 1, 0.05])
    fixes, _ = gps_of(place.truth, (0.5, 1.0))
    fit, got = fitted(place, fixes)
    assert why_not(fit) is None
    assert tilt_deg(got.rotation) < 3.5 * fit.tilt_error_deg < 8
    assert abs(got.scale - 1) < 3.5 * fit.scale_error


def test_usable_and_distinct_fixes():
    gps = np.array([[47, 8, 400], [np.nan] * 3, [0, 0, 0], [91, 8, 0], [47, 8, 410], [47.0001, 8, np.nan]], float)
    assert usable_fixes(gps).tolist() == [True, False, False, False, True, True]
    assert distinct(gps[usable_fixes(gps)]) == 2


def test_the_same_input_gives_the_same_bits():
    place = ring(40, radius=40.0)
    fixes, _ = gps_of(place.truth, (3.0, 6.0), outliers=5)
    a, b = fitted(place, fixes)[0], fitted(place, fixes)[0]
    assert a.enu_from_sfm.matrix().tobytes() == b.enu_from_sfm.matrix().tobytes()
    assert replace(a, enu_from_sfm=Sim3(), residual=np.zeros(1), used=np.zeros(1, bool)).sigma == b.sigma
