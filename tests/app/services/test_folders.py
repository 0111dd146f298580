"""Data folders: only those that lie under a root and can be trained on."""

import pytest

from app.errors import InvalidSpec
from app.services.folders import checked_folder
from app.settings import Settings


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "root").mkdir()
    return Settings(home=tmp_path, dataset_roots=(tmp_path / "root", tmp_path / "absent"))


@pytest.fixture
def make(settings):
    def folder(name, *files):
        path = settings.roots[0] / name
        path.mkdir(parents=True)
        for each in files:
            (path / each).parent.mkdir(parents=True, exist_ok=True)
            (path / each).touch()
        return path

    return folder


def refused(settings, path):
    with pytest.raises(InvalidSpec) as caught:
        checked_folder(settings, str(path), "/dataset/path")
    (problem,) = caught.value.errors
    assert problem.pointer == "/dataset/path"
    return problem.code


@pytest.mark.parametrize(
    "files", [("cats/1.png", "dogs/1.png"), ("train/cats/1.png", "train/dogs/1.png", "val/cats/2.png")]
)
def test_a_folder_with_two_classes_is_accepted_relative_and_absolute(settings, make, files):
    path = make("pets", *files)
    assert checked_folder(settings, "pets", "/p") == path.resolve()
    assert checked_folder(settings, str(path), "/p") == path.resolve()


@pytest.mark.parametrize(("files", "code"), [
    ((), "empty"), (("a.png", "b.png"), "empty"), (("cats/1.png",), "one_class"),
    (("cats/1.png", ".hidden/1.png"), "one_class"), (("cats/1.png", "dogs/.keep"), "one_class"),
    (("train/cats/1.png", "dogs/1.png"), "one_class"),
])  # fmt: skip
def test_a_folder_without_two_classes_is_refused(settings, make, files, code):
    make("pets", *files)
    assert refused(settings, "pets") == code


@pytest.mark.parametrize("path", ["none", "pets/../none", "a" * 900, "\udce4"])
def test_a_missing_folder_is_refused(settings, path):
    assert refused(settings, path) in ("missing", "bad_path")


def test_a_file_is_no_folder(settings):
    (settings.roots[0] / "file").touch()
    assert refused(settings, "file") == "missing"


@pytest.mark.parametrize("path", ["/", "/etc", "..", "../../etc", "/nonexistent/x"])
def test_what_lies_outside_the_roots_is_refused_whether_it_is_there_or_not(settings, path):
    assert refused(settings, path) == "outside_roots"


def test_a_link_out_of_the_roots_is_refused(settings, make, tmp_path):
    outside = tmp_path / "outside"
    for name in ("cats", "dogs"):
        (outside / name).mkdir(parents=True)
        (outside / name / "1.png").touch()
    (settings.roots[0] / "link").symlink_to(outside)
    assert refused(settings, "link") == "outside_roots"
    inside = make("pets", "cats/1.png")
    (inside / "dogs").symlink_to(outside / "dogs")
    assert refused(settings, "pets") == "outside_roots"


def test_a_root_that_is_a_link_itself_is_followed(settings, make, tmp_path):
    path = make("pets", "cats/1.png", "dogs/1.png")
    (tmp_path / "alias").symlink_to(settings.roots[0])
    by_alias = settings.model_copy(update={"dataset_roots": (tmp_path / "alias",)})
    assert checked_folder(by_alias, "pets", "/p") == path.resolve()


def test_a_nul_character_is_refused(settings):
    assert refused(settings, "pets\x00") == "bad_path"
