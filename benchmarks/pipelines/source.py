"""Photographs as a contender finds them: an array in memory, or JPEG files in a folder for each class."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

# N = images, H W = height and width

Image = npt.NDArray[np.uint8]


class Photographs:
    """Read by number; numbers go round. RGB, H x W x 3."""

    def __init__(self, path: str) -> None:
        """`path`: a .npy file of N x H x W x 3, or a folder of folders of .jpg files."""
        is_array = path.endswith(".npy")
        self._images_NHWC = np.load(path) if is_array else None
        self._files = [] if is_array else sorted(str(each) for each in Path(path).glob("*/*.jpg"))

    def __len__(self) -> int:
        return len(self._files) if self._images_NHWC is None else len(self._images_NHWC)

    def read(self, index: int) -> Image:
        """From memory, or decoded anew."""
        if self._images_NHWC is not None:
            return self._images_NHWC[index % len(self)]
        return cv2.cvtColor(cv2.imread(self._files[index % len(self)]), cv2.COLOR_BGR2RGB)
