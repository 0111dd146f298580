"""Archives that were cut or changed at random: unpacked or refused, never a crash, never a byte outside the folder."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archives import entry, every_form, pax
from worker.training.archives.refusals import Limits
from worker.training.archives.unpack import unpack
from worker.training.errors import RunFailure

FILES = {"rose/1.jpg": b"r" * 700, "rose/郁金香.jpg": b"\0" * 512, "tulip/" + "l" * 90 + ".jpg": b"t" * 1025}
FORMS = dict(every_form(FILES)) | {"pax": pax({b"path": b"rose/1"}) + entry(b"x", b"r" * 700) + bytes(1024)}
LIMITS = Limits(unpacked_bytes=1 << 20)
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where syncing costs nothing: on a busy disk, 300 examples of it take minutes."""


@pytest.mark.timeout(600)
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(FORMS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    st.floats(0, 1) | st.just(1.0),
    st.binary(max_size=30),
)
def test_nothing_escapes(form: str, flips: list[tuple[float, int]], kept: float, more: bytes) -> None:
    archive = bytearray(FORMS[form])
    for place, change in flips:
        archive[int(place * len(archive))] ^= change
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        outer, folder = Path(name), Path(name, "a", "b", "c")
        folder.mkdir(parents=True)
        (folder / "archive").write_bytes(archive[: int(kept * len(archive))] + more)
        try:
            unpack(folder / "archive", folder / "files", LIMITS)
        except RunFailure:
            assert list(folder.iterdir()) == []
        else:
            assert [each.name for each in folder.iterdir()] == ["files"]
            shutil.rmtree(folder / "files")
        assert sorted(str(each.relative_to(outer)) for each in outer.rglob("*")) == ["a", "a/b", "a/b/c"]


def test_whole_ones_are_among_them() -> None:
    """So that the property above is not one of refusals alone."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        for form, archive in FORMS.items():
            (Path(name) / "archive").write_bytes(archive)
            unpack(Path(name) / "archive", Path(name) / form, LIMITS)
        assert len(list(Path(name).iterdir())) == len(FORMS)
