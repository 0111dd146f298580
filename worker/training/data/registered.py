"""A registered data set: a folder that the service knows, with the content that it had when it was registered."""

from app.contract.data import Registered
from app.contract.work import RunOrder
from worker.training.data import Listing, Opened
from worker.training.data.folder import ImageFolder
from worker.training.errors import bad_spec
from worker.training.image_folder import bad
from worker.training.notes import Tell


def build(spec: Registered, order: RunOrder) -> "RegisteredFolder":
    """Only the service knows where the folder of an id is."""
    if order.paths.dataset is None:
        raise bad_spec("/dataset/id", "A registered data set needs the service: give its folder in paths.dataset.")
    sha256 = order.paths.dataset_sha256
    return RegisteredFolder(ImageFolder(order.paths.dataset, order, sha256), sha256)


class RegisteredFolder:
    """The folder, refused when its content is another one than was registered."""

    def __init__(self, folder: ImageFolder, sha256: str | None) -> None:
        self._folder = folder
        self._sha256 = sha256

    def list(self) -> Listing:
        """Of the content that is kept, or by name only; that is compared when it is opened."""
        return self._folder.list()

    def open(self, channels: int, tell: Tell) -> Opened:
        """What the worker keeps of this very content needs no file; otherwise every file is read, and hashed."""
        opened = self._folder.open(channels, tell)
        if self._sha256 not in (None, opened.sha256):
            raise bad("The files have changed since the data set was registered: register it again under a new id.")
        return opened
