"""How a spec names layers of its network."""

from typing import Annotated

from pydantic import Field

from app.contract.spec import ModulePattern

Patterns = Annotated[
    tuple[ModulePattern, ...],
    Field(max_length=100, description="Module names of the network; `*` and `?` match as in a shell."),
]
