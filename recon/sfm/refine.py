"""The last adjustment: a fuller camera model where the photos can tell it, and a robust loss.

While cameras are being placed, one focal length and one distortion term are all that few photos can hold. With all photos
placed, a camera that took MIN_PHOTOS of them or more gets a second distortion term, and its principal point is freed:
it lies up to 3 % of the photo's side off the centre, and holding it there costs half a degree of rotation and twice to four
times the error of the camera centres (measured on captures with surveyed cameras). Where the scene itself moves or bends, the
residuals say so, and the principal point would follow the motion: then it stays in the centre.

A focal length far from that of EXIF has to earn it. Photos that all look straight at flat ground fit a wide camera flying low
as well as a long one flying high, and the residuals then follow the lens's small faults: where freeing the focal length
gains next to nothing, that of EXIF is kept, and the principal point is left in the centre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from recon.sfm.mapping import MapOptions
from recon.sfm.worker import quiet

if TYPE_CHECKING:
    import pycolmap

MIN_PHOTOS = 8
"""Registered photos of one camera from which its second distortion term and principal point are adjusted."""
RIGID = 1e-3
"""Mean reprojection error over the photo's longer side, below which a scene counts as rigid."""
MAX_DEVIATION, MAX_SHIFT = 0.003, 0.05
"""Standard deviation and offset of a principal point, over the photo's longer side, up to which it is believed.

Lenses put it 0.3 to 3 % off the centre, so that a worse estimate would be no better than the centre.
"""
FOCAL_TOLERANCE = 0.1
"""Relative distance from EXIF's focal length up to which the adjusted one needs no excuse: EXIF is rounded, and focus
shifts it.
"""
FOCAL_GAIN = 0.05
"""Share of the mean reprojection error that a focal length further away has to save. Drone photos of a beach gain 0.025
by one that is 1.28 times EXIF's and wrong; photos whose EXIF is wrong gain 0.5 and more.
"""
MAX_ERROR_PX, MIN_ANGLE_DEG = 4.0, 0.5
"""Observations with a larger reprojection error and points under a narrower angle are dropped at the end."""
ITERATIONS, ITERATIONS_MOVED = 40, 100
"""Of an adjustment near its end, and of one that begins with another focal length."""
TOLERANCE = 1e-5
"""Relative change of the cost at which the adjustment ends. At 1e-4 it stops short on templeRing; 1e-6 changes nothing."""


def refine(
    model: pycolmap.Reconstruction, options: MapOptions, exif_focal: Mapping[int, float] | None = None
) -> pycolmap.Reconstruction:
    """The model adjusted, without observations that its better cameras do not bear out; the one given is changed too.

    `exif_focal`: focal length in working pixels that EXIF tells, by camera id.
    """
    import pycolmap

    rich = _rich_cameras(model)
    for camera_id in rich:
        _as_radial(model.camera(camera_id))
    adjust(model, options)
    held = _with_exif_focal(model, options, exif_focal or {})
    if held is not None:
        model = held
    elif rich and is_rigid(model):
        freed = pycolmap.Reconstruction(model)
        spread = adjust(freed, options, rich)
        kept = [camera_id for camera_id in rich if _believable(freed.camera(camera_id), spread[camera_id])]
        if kept == rich:
            model = freed
        elif kept:
            adjust(model, options, kept)
    observations = pycolmap.ObservationManager(model)
    observations.filter_all_points3D(MAX_ERROR_PX, MIN_ANGLE_DEG)
    observations.filter_observations_with_negative_depth()
    model.update_point_3d_errors()
    return model


def _with_exif_focal(
    model: pycolmap.Reconstruction, options: MapOptions, exif_focal: Mapping[int, float]
) -> pycolmap.Reconstruction | None:
    """The adjusted model with EXIF's focal lengths in the cameras that left them for next to nothing; None: there are none."""
    import pycolmap

    far = {
        camera_id: focal
        for camera_id, focal in exif_focal.items()
        if camera_id in model.cameras and abs(model.camera(camera_id).mean_focal_length() / focal - 1) > FOCAL_TOLERANCE
    }
    if not far:
        return None
    held = pycolmap.Reconstruction(model)
    _stretch(held, float(np.median([focal / model.camera(i).mean_focal_length() for i, focal in far.items()])))
    for camera_id, focal in far.items():
        camera = held.camera(camera_id)
        params = list(camera.params)
        for index in camera.focal_length_idxs():
            params[index] = focal
        camera.params = params
    adjust(held, options, hold="intrinsics")  # first the cameras move to where the other focal length puts them
    adjust(held, options, hold="focal length")
    free_error, held_error = (m.compute_mean_reprojection_error() for m in (model, held))
    return held if free_error > (1 - FOCAL_GAIN) * held_error else None


def _stretch(model: pycolmap.Reconstruction, factor: float) -> None:
    """Scale cameras and points along the mean viewing direction, in place, as `factor` times the focal length asks for.

    For parallel axes the photos then stay as they are; the adjustment would not get so far by itself.
    """
    import pycolmap

    images = [model.image(image_id) for image_id in model.reg_image_ids()]
    axis = np.mean([image.viewing_direction() for image in images], 0)
    axis /= max(float(np.linalg.norm(axis)), 1e-9)
    scale = np.eye(3) + (factor - 1) * np.outer(axis, axis)
    for image in images:
        pose = image.cam_from_world()
        rotation = pose.rotation.matrix()
        center = scale @ image.projection_center()
        assert image.frame is not None  # a registered photo has one
        image.frame.set_cam_from_world(image.camera_id, pycolmap.Rigid3d(pose.rotation, -rotation @ center))
    for point in model.points3D.values():
        point.xyz = scale @ point.xyz


def is_rigid(model: pycolmap.Reconstruction) -> bool:
    """Whether the residuals are small enough to be those of a scene that stood still."""
    longest = np.mean([max(camera.width, camera.height) for camera in model.cameras.values()])
    model.update_point_3d_errors()
    return bool(model.compute_mean_reprojection_error() < RIGID * longest)


def _rich_cameras(model: pycolmap.Reconstruction) -> list[int]:
    photos: dict[int, int] = {}
    for image_id in model.reg_image_ids():
        camera_id = model.image(image_id).camera_id
        photos[camera_id] = photos.get(camera_id, 0) + 1
    return [camera_id for camera_id, count in photos.items() if count >= MIN_PHOTOS]


def _as_radial(camera: pycolmap.Camera) -> None:
    """SIMPLE_RADIAL (f, cx, cy, k) becomes RADIAL (f, cx, cy, k1, k2); RADIAL stays."""
    import pycolmap

    params = list(camera.params)
    if camera.model == pycolmap.CameraModelId.SIMPLE_RADIAL:
        camera.model = pycolmap.CameraModelId.RADIAL
        camera.params = [*params, 0.0]


def _believable(camera: pycolmap.Camera, deviation: float) -> bool:
    """Whether a principal point found by adjustment is known well enough, and lies where lenses put it."""
    longer = max(camera.width, camera.height)
    x, y = camera.principal_point_x - 0.5 * camera.width, camera.principal_point_y - 0.5 * camera.height
    return deviation < MAX_DEVIATION * longer and float(np.hypot(x, y)) < MAX_SHIFT * longer


def adjust(
    model: pycolmap.Reconstruction,
    options: MapOptions,
    free: Sequence[int] = (),
    hold: Literal["nothing", "focal length", "intrinsics"] = "nothing",
) -> dict[int, float]:
    """Robust bundle adjustment in place; the principal points of the cameras `free` are adjusted, and those alone with them.

    Returns the standard deviation of these principal points in pixels (the worse axis), from the inverse of the normal
    equations scaled by the mean residual; inf where they cannot be inverted. `hold`: of all cameras.
    """
    import pycolmap

    settings = pycolmap.BundleAdjustmentOptions()
    settings.print_summary, settings.refine_principal_point = False, bool(free)
    settings.refine_focal_length, settings.refine_extra_params = hold == "nothing", hold != "intrinsics"
    settings.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    solver = settings.ceres.solver_options
    solver.max_num_iterations = ITERATIONS if hold == "nothing" else ITERATIONS_MOVED
    solver.function_tolerance, solver.num_threads = TOLERANCE, options.num_threads
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in model.reg_image_ids():
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    for camera_id in model.cameras:
        if free and camera_id not in free:
            config.set_constant_cam_intrinsics(camera_id)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(settings, config, model)
    with quiet():
        adjuster.solve()
    model.update_point_3d_errors()
    if not free:
        return {}
    with quiet():
        covariance = pycolmap.estimate_ba_covariance(pycolmap.BACovarianceOptions(), model, adjuster)
    residual = model.compute_mean_reprojection_error()
    deviations = {}
    for camera_id in free:
        camera = model.camera(camera_id)
        block = covariance.get_other_params_cov(camera.params) if covariance is not None else None
        index = camera.principal_point_idxs()
        deviations[camera_id] = np.inf if block is None else residual * float(np.sqrt(np.diag(block)[index]).max())
    return deviations
