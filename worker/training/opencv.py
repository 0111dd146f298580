"""OpenCV, imported with its limit on image size set. Import cv2 from here only.

Without the limit a 3 MB PNG of 32,000 x 32,000 pixels takes 5.9 GB and 33 s to decode. OpenCV reads the variable when
it is loaded, so it must be there before the import.
"""

import os

MAX_PIXELS = 100_000_000
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)

import cv2  # noqa: E402 - after the limit

cv2.setNumThreads(1)  # images are the unit of work here: OpenCV's own threads would fight with ours
cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # a broken image is named once, with its reason, where it is refused

__all__ = ["MAX_PIXELS", "cv2"]
