"""What a photo's EXIF says: orientation, focal length in pixels, exposure, GPS, time, and which camera took it.

Source: CIPA DC-008 / JEITA CP-3451 (Exif 3.0). Tags that are absent or make no sense give NaN or None, never a guess.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
MAKE, MODEL, ORIENTATION = 0x010F, 0x0110, 0x0112
EXPOSURE_TIME, F_NUMBER, ISO = 0x829A, 0x829D, 0x8827
TIME_TAKEN, OFFSET_TAKEN, SUBSECOND_TAKEN = 0x9003, 0x9011, 0x9291
FOCAL_MM, FOCAL_35MM, PIXEL_WIDTH, PIXEL_HEIGHT = 0x920A, 0xA405, 0xA002, 0xA003
FOCAL_PLANE_X, FOCAL_PLANE_UNIT, SERIAL, LENS_MODEL = 0xA20E, 0xA210, 0xA431, 0xA434
MM_PER_FOCAL_PLANE_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)

UNREADABLE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, OverflowError, ZeroDivisionError, OSError,
    struct.error,
)  # fmt: skip
"""What Pillow raises on EXIF that is damaged."""


@dataclass(frozen=True)
class Exif:
    """One photo's EXIF, as far as a reconstruction has use for it."""

    orientation: int = 1
    """1..8; how the stored pixels are turned (1: upright)."""
    camera: tuple[str, ...] = ()
    """Maker, model, serial number, lens, focal lengths: equal for photos of one camera; () when nothing is known."""
    focal_px: float = math.nan
    """Focal length in pixels of the stored photo, NaN when not known."""
    exposure: float = math.nan
    """log2(exposure time in s * ISO / f-number^2), NaN when not known."""
    gps: tuple[float, float, float] | None = None
    """Latitude deg, longitude deg, altitude m (NaN when not given), WGS84."""
    time: float = math.nan
    """Seconds since 1970 of the camera's clock (UTC when it wrote its offset), NaN when not known."""
    damaged: bool = False
    """EXIF is there, but cannot be read."""


def read_exif(image: Any) -> Exif:
    """From an opened Pillow image; its pixels are not touched."""
    try:
        top = image.getexif()
        if not top:
            return Exif()
        photo, gps = top.get_ifd(EXIF_IFD), top.get_ifd(GPS_IFD)
        return Exif(
            orientation=_orientation(top),
            camera=_camera(top, photo),
            focal_px=focal_pixels(photo, image.size),
            exposure=_exposure(photo),
            gps=_gps(gps),
            time=_time(photo),
        )
    except UNREADABLE:
        return Exif(damaged=True)


def _number(value: Any) -> float:
    """A finite number or NaN; of several the first (ISO comes as a list at times)."""
    try:
        number = float(value[0] if isinstance(value, (tuple, list)) else value)
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.split("\0")[0].strip()


def _orientation(top: Any) -> int:
    value = _number(top.get(ORIENTATION, 1))
    return int(value) if value in range(1, 9) else 1


def _camera(top: Any, photo: Any) -> tuple[str, ...]:
    words = [_text(top.get(MAKE)), _text(top.get(MODEL)), _text(photo.get(SERIAL)), _text(photo.get(LENS_MODEL))]
    lengths = [_number(photo.get(tag)) for tag in (FOCAL_MM, FOCAL_35MM)]
    if not any(words) and all(math.isnan(length) for length in lengths):
        return ()
    return (*words, *(f"{length:.2f}" for length in lengths))


def focal_pixels(photo: Any, size: tuple[int, int]) -> float:
    """Focal length in pixels of a stored photo of `size` from its EXIF tags, NaN when not known.

    From the pixel pitch on the sensor where the camera tells it, otherwise from the 35 mm equivalent, which is defined over
    the diagonal (CIPA DCG-001). A photo wider than 3:2 is taken for a crop in height: it keeps its sensor's diagonal.
    """
    long_side, short_side = max(size), min(size)
    diagonal = math.hypot(long_side, max(short_side, long_side / 1.5))
    equivalent = _number(photo.get(FOCAL_35MM))
    from_equivalent = equivalent / FULL_FRAME_DIAGONAL * diagonal if 5 <= equivalent <= 2000 else math.nan
    pitch = _number(photo.get(FOCAL_PLANE_X)) / MM_PER_FOCAL_PLANE_UNIT.get(_unit(photo), 25.4)  # pixels per mm
    full = max(_number(photo.get(PIXEL_WIDTH)), _number(photo.get(PIXEL_HEIGHT)))  # the pitch counts the pixels taken
    if not (pitch > 0 and full > 0 and 2 <= full / pitch <= 80):  # a sensor's width in mm
        return from_equivalent
    from_pitch = _number(photo.get(FOCAL_MM)) * pitch * long_side / full
    if math.isnan(from_pitch) or from_pitch <= 0:
        return from_equivalent
    disagree = abs(math.log(from_pitch / from_equivalent)) > 0.2 if from_equivalent > 0 else False
    return from_equivalent if disagree else from_pitch


def _unit(photo: Any) -> int:
    unit = _number(photo.get(FOCAL_PLANE_UNIT))
    return 2 if math.isnan(unit) else int(unit)


def _exposure(photo: Any) -> float:
    seconds, stop, iso = (_number(photo.get(tag)) for tag in (EXPOSURE_TIME, F_NUMBER, ISO))
    return math.log2(seconds * iso / stop**2) if seconds > 0 and stop > 0 and iso > 0 else math.nan


def _gps(gps: Any) -> tuple[float, float, float] | None:
    """None without a full fix: degrees need their hemisphere, and (0, 0) is what receivers write before they have one."""
    latitude, longitude = _degrees(gps.get(2), gps.get(1), "NS"), _degrees(gps.get(4), gps.get(3), "EW")
    if not (abs(latitude) <= 90 and abs(longitude) <= 180) or latitude == longitude == 0:
        return None
    below = gps.get(5) in (1, b"\x01")
    altitude = _number(gps.get(6))
    return latitude, longitude, -altitude if below else altitude


def _degrees(parts: Any, hemisphere: Any, signs: str) -> float:
    letter = _text(hemisphere).upper()[:1]
    if not isinstance(parts, (tuple, list)) or not parts or letter not in tuple(signs):
        return math.nan
    value = sum(_number(part) / 60**i for i, part in enumerate(parts[:3]))
    return value if letter == signs[0] else -value


def _time(photo: Any) -> float:
    text = _text(photo.get(TIME_TAKEN))
    try:
        taken = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return math.nan
    digits = _text(photo.get(SUBSECOND_TAKEN))
    fraction = float(f"0.{digits}") if digits.isdecimal() and digits.isascii() else 0.0
    return taken.timestamp() + fraction - _offset(_text(photo.get(OFFSET_TAKEN))).total_seconds()


def _offset(text: str) -> timedelta:
    """The camera's clock minus UTC, of "+02:00"; zero when it is not given."""
    if len(text) != 6 or text[0] not in "+-" or not (text[1:3] + text[4:]).isdecimal():
        return timedelta()
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:]))
    return -offset if text[0] == "-" else offset
