# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Where a masked object is in front of the camera: position and extent from mask and depth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from referdino_core.following.geometry import Intrinsics
from referdino_core.following.masks import eroded, grown, touches_border
from referdino_core.following.ranges import Ranged, quantity

_MILLIMETRES_AS_METRES = 100.0
"""Metres; indoor depths beyond this are millimetres that are declared as metres."""

_WHOLE = 0.8
"""Fraction of the expected radius below which a part of the object is hidden."""
_RIM = 0.1
"""Metres by which a body's rim, which erosion takes away, may be farther than the rest of it."""


_SURROUNDINGS = 2
"""Pixels around a mask in which something before the object shows."""
_BEFORE = 0.08
"""Metres by which that is nearer than the object, beyond the noise of depth."""
_CUT_SHARE = 0.08
"""Fraction of the surroundings above which it cuts the object off."""


@dataclass(frozen=True)
class MeasurementSettings(Ranged):
    """Criteria of a measured depth.

    Attributes:
        erosion: pixels that a mask loses at its rim, where depth mixes object and background.
        min_pixels: masked pixels with a valid depth, at least.
        min_share: fraction of the masked pixels with a valid depth, at least.
        near, far: valid depths.
        layer_share: fraction of the valid pixels that make a layer of depth the object's; of
            several such layers the nearest is taken.
        previous_gate: depth by which a layer may differ from the expected one to be preferred.
        depth_noise: standard deviation of a depth, as a factor of its square.
    """

    erosion: int = quantity(1, 0, 10, "pixels")
    min_pixels: int = quantity(20, 1, 10000, "pixels")
    min_share: float = quantity(0.1, 0.0, 1.0)
    near: float = quantity(0.1, 0.0, 10.0, "m")
    far: float = quantity(12.0, 0.5, 100.0, "m")
    layer_share: float = quantity(0.25, 0.01, 1.0)
    previous_gate: float = quantity(0.5, 0.01, 10.0, "m")
    depth_noise: float = quantity(0.004, 0.0, 0.1, "1/m")


class Measured(str, Enum):
    """What was measured. position: direction and depth. bearing: direction alone, for want of
    depth. nothing: the mask is empty.
    """

    POSITION = "position"
    BEARING = "bearing"
    NOTHING = "nothing"


@dataclass(frozen=True, eq=False)
class Measurement:
    """A target in front of the camera, in the optical frame (x right, y down, z forward).

    Attributes:
        kind: what was measured; the other attributes are None where they were not.
        ray: (3,) direction at depth 1 through the middle of the mask.
        surface: (3,) metres, the point of the object that faces the camera.
        centre: (3,) metres, of a body as deep as it is wide or high, whichever is less.
        radius: metres from the surface to the centre.
        size: (3,) width, height and depth in metres.
        covariance: (3, 3) of the centre.
        truncated: whether the image's border, or something before it, cuts the object off: what is
            left of it has another middle and a smaller extent.
        mask_pixels, valid_pixels: size of the eroded mask, and how much of it has a valid depth.
        reason: why no position, with numbers; "" where there is one.
    """

    kind: Measured
    ray: np.ndarray | None = None
    surface: np.ndarray | None = None
    centre: np.ndarray | None = None
    radius: float | None = None
    size: np.ndarray | None = None
    covariance: np.ndarray | None = None
    truncated: bool = False
    mask_pixels: int = 0
    valid_pixels: int = 0
    reason: str = ""


def measure(
    mask: np.ndarray,
    depth: np.ndarray | None,
    intrinsics: Intrinsics,
    settings: MeasurementSettings | None = None,
    *,
    expected_depth: float | None = None,
    expected_radius: float | None = None,
    no_depth_reason: str = "No depth image belongs to this image.",
) -> Measurement:
    """Position and extent of a masked object; never raises for what a camera may deliver.

    The mask is eroded, its valid depths are split into layers, and the nearest layer that holds a
    fair share of them is the object: what shines through a ring or between legs is farther, and
    mixed pixels are few. A layer at the expected depth goes first.

    Args:
        mask: (H, W) bool, in the image that the intrinsics are of.
        depth: (H, W) metres, NaN where invalid, aligned to that image; one of another size but the
            same aspect ratio is sampled at the nearest pixels. None for want of one.
        intrinsics: of the image.
        expected_depth: where the object's surface was before, metres along the optical axis.
        expected_radius: metres; taken where only a part of the object is seen.
        no_depth_reason: what to say where depth is None.
    """
    settings = settings or MeasurementSettings()
    if not mask.any():
        return Measurement(Measured.NOTHING, reason="The mask is empty: the target is not seen.")
    intrinsics = intrinsics.scaled(mask.shape[1], mask.shape[0])
    rows, columns = np.nonzero(mask)
    ray = intrinsics.rays(np.array([rows.mean()]), np.array([columns.mean()]))[0]
    truncated = touches_border(rows, columns, mask.shape)
    core = eroded(mask, settings.erosion, settings.min_pixels)
    core_pixels = int(core.sum())

    def bearing_only(reason: str, valid: int = 0) -> Measurement:
        return Measurement(
            Measured.BEARING,
            ray=ray,
            truncated=truncated,
            mask_pixels=core_pixels,
            valid_pixels=valid,
            reason=reason,
        )

    if depth is None:
        return bearing_only(no_depth_reason)
    if depth.shape != mask.shape:
        aligned = resampled(depth, mask.shape)
        if aligned is None:
            return bearing_only(_misaligned(depth.shape, mask.shape))
        depth = aligned
    finite = depth[core & np.isfinite(depth)]
    valid = finite[(finite >= settings.near) & (finite <= settings.far)]
    if len(valid) < max(settings.min_pixels, settings.min_share * core_pixels):
        return bearing_only(_too_few(core_pixels, finite, len(valid), settings), len(valid))
    low, high = _object_layer(valid, settings, expected_depth)
    truncated |= _is_cut_off(mask, depth, low, settings)
    within = mask & (depth >= low) & (depth <= high + _RIM)
    return _position(within, depth, ray, truncated, intrinsics, settings, expected_radius)


def _position(
    within: np.ndarray,
    depth: np.ndarray,
    ray: np.ndarray,
    truncated: bool,
    intrinsics: Intrinsics,
    settings: MeasurementSettings,
    expected_radius: float | None,
) -> Measurement:
    """The measurement of the pixels that are the object's, (H, W) bool."""
    values = depth[within]
    near = float(np.percentile(values, 5))
    rows, columns = np.nonzero(within)
    ray = intrinsics.rays(np.array([rows.mean()]), np.array([columns.mean()]))[0]
    width = _half_extent(columns, intrinsics.fx, near)
    height = _half_extent(rows, intrinsics.fy, near)
    radius = visible = min(width, height)
    if expected_radius is not None:
        truncated = truncated or visible < _WHOLE * expected_radius
        radius = max(visible, expected_radius) if truncated else visible
    centre = ray * (near + radius)
    along = near**2 * settings.depth_noise
    pixel = (near + radius) / intrinsics.fx
    deviations = np.array([1.5 * pixel, 1.5 * pixel, np.hypot(along, 0.02 + 0.2 * radius)])
    if truncated:
        deviations[:2] += max(0.5 * radius, radius - visible)
    axis = ray / np.linalg.norm(ray)
    across = np.eye(3) - np.outer(axis, axis)
    covariance = deviations[0] ** 2 * across + deviations[2] ** 2 * np.outer(axis, axis)
    return Measurement(
        Measured.POSITION,
        ray=ray,
        surface=ray * near,
        centre=centre,
        radius=radius,
        size=2 * np.array([width, height, radius]),
        covariance=covariance,
        truncated=truncated,
        mask_pixels=int(within.sum()),
        valid_pixels=len(values),
    )


def _half_extent(places: np.ndarray, focal: float, near: float) -> float:
    """Half the extent in metres of a body whose surface is at depth `near`.

    A body of radius r at near + r spans 2 f r / (near + r) pixels.
    """
    first, last = np.percentile(places, [1, 99])
    slope = (last - first + 1) / 2 / focal
    return float(slope * near / max(1.0 - slope, 0.2))


def _object_layer(
    valid: np.ndarray, settings: MeasurementSettings, expected: float | None
) -> tuple[float, float]:
    """Nearest and farthest depth of the layer that is the object."""
    width = max(0.03, 0.02 * float(np.median(valid)))
    first = float(valid.min())
    bins = ((valid - first) / width).astype(np.int64)
    counts = np.bincount(bins)
    occupied = np.flatnonzero(counts > max(1.0, 0.01 * len(valid)))
    if not len(occupied):
        return first, float(valid.max())
    runs = np.split(occupied, np.flatnonzero(np.diff(occupied) > 1) + 1)
    masses = np.array([counts[run].sum() for run in runs])
    large = [
        run
        for run, mass in zip(runs, masses, strict=True)
        if mass >= settings.layer_share * len(valid)
    ] or [runs[int(masses.argmax())]]
    layers = [(first + run[0] * width, first + (run[-1] + 1) * width) for run in large]
    if expected is not None:
        expectable = [
            layer
            for layer in layers
            if layer[0] - settings.previous_gate <= expected <= layer[1] + settings.previous_gate
        ]
        layers = expectable or layers
    return layers[0]


def _is_cut_off(
    mask: np.ndarray, depth: np.ndarray, near: float, settings: MeasurementSettings
) -> bool:
    """Whether a fair share of the mask's surroundings is nearer than the object: it is before it.

    Args:
        near: metres, of the object's nearest pixels.
    """
    around = grown(mask, _SURROUNDINGS) & ~mask
    before = around & (depth < near - _BEFORE - 3 * settings.depth_noise * near**2)
    return bool(before.sum() > _CUT_SHARE * around.sum())


def resampled(depth: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Depth at the nearest pixels of an image of another size.

    Args:
        depth: (H, W). shape: (H, W) of the image.

    Returns:
        The depth in the image's shape, or None where the aspect ratios differ by over 1 %.
    """
    (height, width), (rows, columns) = depth.shape, shape
    if (height, width) == (rows, columns):
        return depth
    if abs(height * columns - width * rows) > 0.01 * width * rows:
        return None
    row = ((np.arange(rows) + 0.5) * height / rows).astype(np.int64)
    column = ((np.arange(columns) + 0.5) * width / columns).astype(np.int64)
    return depth[row[:, None], column[None]]


def _misaligned(depth: tuple[int, ...], image: tuple[int, ...]) -> str:
    return (
        f"Depth is {depth[1]}x{depth[0]}, the image {image[1]}x{image[0]}: another aspect ratio, "
        "so it is not aligned to colour. Subscribe to the aligned depth, such as "
        "aligned_depth_to_color/image_raw."
    )


def _too_few(mask: int, finite: np.ndarray, valid: int, settings: MeasurementSettings) -> str:
    if len(finite) >= settings.min_pixels and np.median(finite) > _MILLIMETRES_AS_METRES:
        return (
            f"Depths of {np.median(finite):.0f} m: these are millimetres that are declared as "
            "metres (32FC1). Let the camera publish 16UC1."
        )
    wanted = max(settings.min_pixels, int(settings.min_share * mask))
    told = f"{valid} of {mask} masked pixels have a valid depth; {wanted} are needed."
    if len(finite) > valid:
        told += (
            f" {len(finite) - valid} are outside of {settings.near:g} to {settings.far:g} m "
            f"(median {np.median(finite):.3f} m)."
        )
    return told
