"""torchvision's transforms v2 in a DataLoader with 2 workers, in their best order: crop first, float last.

python -m benchmarks.pipelines.with_torchvision SOURCE normalized|uint8

`normalized` is the form of its documentation; `uint8` leaves normalising to the process that takes the batches.
Images are uint8 tensors in channels-last memory, for which its resize has a fast path.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.pipelines import DEGREES, MEAN, SCALE, SIZE, STD
from benchmarks.pipelines.batch import normalized
from benchmarks.pipelines.child import serve
from benchmarks.pipelines.loading import batches
from benchmarks.pipelines.source import Image, Photographs


def _declared() -> list[torch.library.Library]:
    """The wheel is built for CUDA: beside a CPU torch its library does not load, and two operators that its import
    refers to, and no transform needs, must be declared."""
    spec = find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("torchvision is missing: sh scripts/peers.sh augment")
    try:
        torch.ops.load_library(Path(spec.submodule_search_locations[0]) / "_C.so")
    except (OSError, RuntimeError):
        fragment = torch.library.Library("torchvision", "FRAGMENT")
        fragment.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        fragment.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return [fragment]
    return []


_fragments = _declared()  # kept: torch forgets operators with the object that declared them

from torchvision.transforms import InterpolationMode, v2  # noqa: E402 - after the declaration


def main() -> None:
    """Bilinear like the others; without antialiasing, which the others' resize does not have either."""
    source, form = sys.argv[1:]
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)] if form == "normalized" else []
    composed = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=SCALE, antialias=False),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomRotation(DEGREES, InterpolationMode.BILINEAR),
            *last,
        ]
    )

    def transform(image_HWC: Image) -> torch.Tensor:
        made: torch.Tensor = composed(torch.from_numpy(image_HWC).permute(2, 0, 1))
        return made

    serve(batches(Photographs(source), transform, None if form == "normalized" else normalized))


if __name__ == "__main__":
    main()
