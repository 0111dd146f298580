"""Pictures for people: PNG files, and a labelled sheet of many images. The same pixels give the same bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from unicodedata import combining, normalize

import numpy as np
import numpy.typing as npt

from app.contract.previews import LEAST_SIDE
from worker.training.opencv import cv2

# H W = height and width, C = channels: 1 luminance or 3 RGB

Image = npt.NDArray[np.uint8]

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
_GAP = 4  # pixels between the images of a row
_BLOCK_GAP = 16  # between two rows, or blocks of them
_LINE = 13  # height of a line of text
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.36  # 96 pixels hold some 15 characters
_SHAPE = 1.5  # width / height that a sheet comes near to
_INK, _PAPER = (0, 0, 0), 255


@dataclass(frozen=True)
class Tile:
    """One image of a sheet, with what stands below it."""

    image_HWC: Image
    lines: tuple[str, ...]
    """ASCII; cut where the image ends."""


def png(image_HWC: Image) -> bytes:
    """An image as a PNG file: gray or RGB, 8 bits."""
    stored = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR) if image_HWC.shape[2] == 3 else image_HWC
    return bytes(cv2.imencode(".png", stored, _PNG)[1])


def caption(name: str, number: int) -> str:
    """A class's name as the font can show it, which has ASCII alone: accents are left out, and a name in another
    script becomes the number of the class."""
    plain = "".join(character for character in normalize("NFKD", name) if not combining(character))
    return plain if plain.isascii() and plain.isprintable() and plain.strip() else f"class {number}"


def sheet(rows: Sequence[Sequence[Tile]]) -> Image:
    """The rows, side by side where that makes the sheet no wider than it should be. All tiles have one size."""
    height, width = (side * _enlarged(rows[0][0].image_HWC) for side in rows[0][0].image_HWC.shape[:2])
    cell = height + _LINE * len(rows[0][0].lines) + 2, max(width, LEAST_SIDE)
    block = cell[0] + _BLOCK_GAP, len(rows[0]) * (cell[1] + _GAP) - _GAP + _BLOCK_GAP
    across = _across(len(rows), block)
    down = -(-len(rows) // across)
    paper_HW3 = np.full((down * block[0] + _BLOCK_GAP, across * block[1] + _BLOCK_GAP, 3), _PAPER, np.uint8)
    for number, row in enumerate(rows):
        top, left = (place * side + _BLOCK_GAP for place, side in zip(divmod(number, across), block, strict=True))
        for column, tile in enumerate(row):
            start = left + column * (cell[1] + _GAP)
            _put(tile, paper_HW3[top : top + cell[0], start : start + cell[1]])
    return paper_HW3


def _enlarged(image_HWC: Image) -> int:
    """How often each pixel is repeated both ways: digits of 8x8 would be too small to see."""
    return max(1, LEAST_SIDE // max(image_HWC.shape[:2]))


def _across(rows: int, block: tuple[int, int]) -> int:
    def oddness(across: int) -> float:
        return abs(log(across * block[1] / (-(-rows // across) * block[0]) / _SHAPE))

    return min(range(1, rows + 1), key=oddness)


def _put(tile: Tile, cell_HW3: Image) -> None:
    """Draw the image at the top of its cell, and its lines below."""
    factor = _enlarged(tile.image_HWC)
    large_HWC = tile.image_HWC.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = large_HWC.shape[:2]
    cell_HW3[:height, :width] = large_HWC
    for number, line in enumerate(tile.lines, start=1):
        strip_HW3 = np.full((_LINE, cell_HW3.shape[1], 3), _PAPER, np.uint8)
        cv2.putText(strip_HW3, _cut(line, strip_HW3.shape[1]), (0, _LINE - 4), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
        cell_HW3[height + 2 + _LINE * (number - 1) : height + 2 + _LINE * number] = strip_HW3


def _cut(line: str, width: int) -> str:
    """As much of a line as fits."""
    if _width(line) <= width:
        return line
    while line and _width(line + "..") > width:
        line = line[:-1]
    return line + ".."


def _width(line: str) -> int:
    return int(cv2.getTextSize(line, _FONT, _SCALE, 1)[0][0])
