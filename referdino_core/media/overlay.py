# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Overlays of images: masks, boxes and labels of targets."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from referdino_core.errors import ImageError
from referdino_core.media import text_drawing
from referdino_core.media.text_drawing import Colour

if TYPE_CHECKING:
    from referdino_core.target import Target

SMALLEST_READABLE_WIDTH = 480  # pixels; captions in narrower images cover too much of them
LONGEST_ENLARGED_SIDE = 2048  # pixels; the cost grows with the square of the scale

_TINT = 0.35  # opacity of the command's colour within the mask
_LEGEND_OPACITY = 0.72
_DARK: Colour = (18, 18, 22)
_LIGHT: Colour = (244, 244, 245)
_FIRST_COLOURS: tuple[Colour, ...] = (
    (255, 196, 46),
    (64, 196, 255),
    (255, 105, 180),
    (94, 220, 120),
    (255, 128, 66),
    (178, 136, 255),
    (64, 224, 208),
    (214, 230, 80),
)
_GOLDEN_RATIO = 0.618034


@dataclass(frozen=True)
class _Rectangle:
    left: int
    top: int
    right: int
    bottom: int

    def meets(self, other: _Rectangle) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def draw(image: np.ndarray, targets: Sequence[Target]) -> np.ndarray:
    """Draw masks, boxes and labels of targets over a copy of their image.

    A visible target gets a tinted, outlined mask, its box and a label with command, state and
    score; others are listed in the lower left corner. Each command has its own colour, by the order
    of the command ids.

    Args:
        image: (H, W, 3) uint8 RGB.
        targets: as `Session.step` returned them for this image.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the image is invalid, or a mask has another size.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(
            f"An image must be a (height, width, 3) array of uint8, "
            f"not {image.dtype} {image.shape}."
        )
    drawn = image.copy()
    colours = _colours([target.command_id for target in targets])
    placed = [target for target in targets if target.box is not None]
    for target in placed:
        _tint_mask(drawn, target, colours[target.command_id])
    for target in placed:
        _outline(drawn, target, colours[target.command_id])
    absent = [target for target in targets if target.box is None]
    occupied = _draw_legend(drawn, absent, colours)
    for target in placed:
        boxes = [_rectangle(other) for other in placed if other is not target]
        occupied.append(_draw_label(drawn, target, colours[target.command_id], occupied, boxes))
    return drawn


def enlarge(
    image: np.ndarray, targets: Sequence[Target], smallest_width: int = SMALLEST_READABLE_WIDTH
) -> tuple[np.ndarray, tuple[Target, ...]]:
    """Upscale a small image and its targets so that labels are readable; others are unchanged.

    No side becomes longer than `LONGEST_ENLARGED_SIDE`: narrow images are enlarged less.

    Args:
        image: (H, W, 3) uint8.
        targets: masks (H, W) and boxes in pixels of the image.
        smallest_width: minimum width of the result in pixels.

    Returns:
        The image, and the targets in its coordinates.
    """
    height, width = image.shape[:2]
    scale = min(smallest_width / width, LONGEST_ENLARGED_SIDE / max(height, width))
    if scale <= 1:
        return image, tuple(targets)
    size = (round(width * scale), max(1, round(height * scale)))
    if image.size == 3:
        image = np.tile(image, (2, 2, 1))  # OpenCV 4.5 takes no image of one pixel
    enlarged = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return enlarged, tuple(_scaled(target, scale, size) for target in targets)


def _scaled(target: Target, scale: float, size: tuple[int, int]) -> Target:
    box = target.box
    if box is not None:
        box = (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)
    coverage = cv2.resize(target.mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    coverage = cv2.GaussianBlur(coverage, (0, 0), sigmaX=0.6 * scale)
    return replace(target, box=box, mask=coverage > 0.5)


def _colours(command_ids: Sequence[str]) -> dict[str, Colour]:
    return {command_id: _colour(place) for place, command_id in enumerate(sorted(set(command_ids)))}


def _colour(place: int) -> Colour:
    if place < len(_FIRST_COLOURS):
        return _FIRST_COLOURS[place]
    red, green, blue = colorsys.hsv_to_rgb((place * _GOLDEN_RATIO) % 1.0, 0.6, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _tint_mask(drawn: np.ndarray, target: Target, colour: Colour) -> None:
    if target.mask.shape != drawn.shape[:2]:
        raise ImageError(
            f"The mask of {target.command!r} is {target.mask.shape}, its image {drawn.shape[:2]}."
        )
    left, top, width, height = cv2.boundingRect(target.mask.view(np.uint8))
    if width == 0:
        return
    region = drawn[top : top + height, left : left + width]
    inside = target.mask.view(np.uint8)[top : top + height, left : left + width]
    tint = np.full_like(region, colour)
    cv2.copyTo(cv2.addWeighted(region, 1.0 - _TINT, tint, _TINT, 0.0), inside, region)


def _outline(drawn: np.ndarray, target: Target, colour: Colour) -> None:
    line = _line_width(drawn)
    box = _rectangle(target)
    cv2.rectangle(drawn, (box.left, box.top), (box.right - 1, box.bottom - 1), colour, line)
    contours, _ = cv2.findContours(
        target.mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    if line > 1:
        cv2.drawContours(drawn, contours, -1, _DARK, line + 2, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, colour, line, cv2.LINE_AA)


def _line_width(image: np.ndarray) -> int:
    return max(1, round(min(image.shape[:2]) / 220))


def _draw_label(
    drawn: np.ndarray,
    target: Target,
    colour: Colour,
    occupied: Sequence[_Rectangle],
    other_boxes: Sequence[_Rectangle],
) -> _Rectangle:
    """Draw the label of a visible target at a free position; returns its rectangle."""
    letters = text_drawing.text_height(drawn)
    padding = letters // 2
    findings = f"{target.state.value} {target.score:.2f}"
    findings_width = text_drawing.width_of(findings, letters) + 2 * padding
    command_room = max(round(0.6 * drawn.shape[1]) - findings_width, 8 * letters)
    command = text_drawing.shorten(target.command, letters, command_room)
    command_width = text_drawing.width_of(command, letters) + 2 * padding
    size = (command_width + findings_width, 2 * letters)
    near, far = _label_positions(drawn, _rectangle(target), size)
    label = (
        _first_clear(near, [*occupied, *other_boxes])
        or _first_clear(near, occupied)
        or _first_clear(far, occupied)
        or near[0]
    )
    seam = label.left + command_width
    baseline = label.top + round(1.45 * letters)
    _fill(drawn, replace(label, right=seam), colour, 1.0)
    _fill(drawn, replace(label, left=seam), _DARK, 1.0)
    text_drawing.write(drawn, command, label.left + padding, baseline, letters, _DARK)
    text_drawing.write(drawn, findings, seam + padding, baseline, letters, _LIGHT)
    return label


def _rectangle(target: Target) -> _Rectangle:
    assert target.box is not None
    left, top, right, bottom = (round(coordinate) for coordinate in target.box)
    return _Rectangle(left, top, right, bottom)


def _label_positions(
    drawn: np.ndarray, box: _Rectangle, size: tuple[int, int]
) -> tuple[list[_Rectangle], list[_Rectangle]]:
    """Positions for a label of (width, height), best first: at its box, and elsewhere."""
    rows, columns = drawn.shape[:2]
    width, height = size
    margin = _line_width(drawn) // 2 + 1
    rightmost, lowest = max(0, columns - width), max(0, rows - height)
    lefts = [min(max(0, left), rightmost) for left in (box.left, box.right - width)]
    wanted_tops = (box.top - height - margin, box.bottom + margin, box.top + margin)
    tops_at_box = [top for top in wanted_tops if 0 <= top <= lowest] or [lowest]
    near = [
        _Rectangle(left, top, left + width, top + height) for top in tops_at_box for left in lefts
    ]
    tops = sorted(range(0, lowest + 1, height), key=lambda top: abs(top - box.top))
    far = [_Rectangle(lefts[0], top, lefts[0] + width, top + height) for top in tops]
    return near, far


def _first_clear(places: Sequence[_Rectangle], occupied: Sequence[_Rectangle]) -> _Rectangle | None:
    for place in places:
        if not any(place.meets(other) for other in occupied):
            return place
    return None


def _draw_legend(
    drawn: np.ndarray, absent: Sequence[Target], colours: dict[str, Colour]
) -> list[_Rectangle]:
    """List the targets that are not visible, and return the occupied part of the image."""
    if not absent:
        return []
    rows, columns = drawn.shape[:2]
    letters = text_drawing.text_height(drawn)
    row_height = 2 * letters
    widest_state = max(text_drawing.width_of(target.state.value, letters) for target in absent)
    command_room = max(columns - widest_state - 6 * letters, 4 * letters)
    commands = [text_drawing.shorten(target.command, letters, command_room) for target in absent]
    widest_command = max(text_drawing.width_of(command, letters) for command in commands)
    panel = _Rectangle(
        letters // 2,
        rows - letters // 2 - row_height * len(absent) - letters // 2,
        letters // 2 + widest_command + widest_state + 5 * letters,
        rows - letters // 2,
    )
    _fill(drawn, panel, _DARK, _LEGEND_OPACITY)
    for place, (target, command) in enumerate(zip(absent, commands, strict=True)):
        top = panel.top + letters // 4 + place * row_height
        baseline = top + round(1.5 * letters)
        swatch = _Rectangle(
            panel.left + letters // 2,
            baseline - letters,
            panel.left + letters // 2 + letters,
            baseline,
        )
        _fill(drawn, swatch, colours[target.command_id], 1.0)
        text_left = swatch.right + letters // 2
        text_drawing.write(drawn, command, text_left, baseline, letters, _LIGHT)
        state_left = text_left + widest_command + letters
        text_drawing.write(
            drawn, target.state.value, state_left, baseline, letters, colours[target.command_id]
        )
    return [panel]


def _fill(drawn: np.ndarray, rectangle: _Rectangle, colour: Colour, opacity: float) -> None:
    region = drawn[
        max(0, rectangle.top) : rectangle.bottom, max(0, rectangle.left) : rectangle.right
    ]
    region[:] = (1.0 - opacity) * region + opacity * np.array(colour, np.float32)
