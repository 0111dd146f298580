"""Whether a pad-and-crop fits the images of a job."""

from collections.abc import Iterator

from app.contract.augment import RandomCrop, Resize
from app.contract.data import Builtin
from app.contract.work import RunOrder
from worker.training import data
from worker.training.data import Outline
from worker.training.errors import bad_spec

MOST_IMAGES_MEASURED = 20_000
"""Up to so many images a plan reads all sizes, to see whether a crop fits them."""


def problems(order: RunOrder, outline: Outline) -> Iterator[str]:
    """A pad-and-crop of the images as they are: refused when it fits none of them, a warning when it fits only some.

    For built-in sets, and behind a resize, the contract has checked it.
    """
    sized = [each for each in enumerate(order.spec.augment) if isinstance(each[1], RandomCrop | Resize)]
    if not sized or isinstance(order.spec.dataset, Builtin):
        return
    index, crop = sized[0]
    if not isinstance(crop, RandomCrop) or crop.scale is not None:
        return
    if outline.train_images > MOST_IMAGES_MEASURED:
        yield f"Whether all {outline.train_images} images are as large as the crop was not checked."
        return
    sizes_N2 = data.load(order).train.sizes_N2
    small = int(((sizes_N2 + 2 * crop.padding) < crop.size).any(axis=1).sum())
    if small == len(sizes_N2):
        detail = (
            f"A crop of {crop.size[0]}x{crop.size[1]} does not fit any image, padded by {crop.padding}: "
            "put a resize before it, raise padding, or give scale to make size the output size."
        )
        raise bad_spec(f"/augment/{index}/size", detail, "larger_than_image")
    if small:
        yield f"{small} of {len(sizes_N2)} images are smaller than the crop, and are padded further."
