"""What people read of a data set that is being imported."""

import pytest

from app.cli.datasets import progress_text


@pytest.mark.parametrize(
    ("stage", "files", "text"),
    [
        ("receiving", (0, 0, 3_000_000, 0), "3.0 MB received"),
        ("unpacking", (1_200, 0, 1_000_000, 3_000_000), "1,200 files unpacked, 1.0 MB of 3.0 MB"),
        ("checking", (1_200, 3_670, 0, 0), "1,200 of 3,670 files checked"),
    ],
)
def test_how_far_an_import_is_depends_on_its_stage(stage, files, text):
    names = ("files_seen", "files", "archive_bytes_seen", "archive_bytes")
    assert progress_text({"stage": stage} | dict(zip(names, files, strict=True))) == text
