"""The demo shows what the README promises."""

import json
import re

from app.cli.demo import CHECKOUT, SPEC
from app.contract.job import JobSpec


def test_the_demos_spec_stands_in_the_readme_as_it_is_in_its_file() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```$", (CHECKOUT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert json.loads(SPEC.read_bytes()) in [json.loads(block) for block in blocks]


def test_the_demos_spec_is_the_full_example_of_the_contract() -> None:
    assert JobSpec.model_validate_json(SPEC.read_bytes()) == JobSpec.model_validate(JobSpec.examples[-1])
