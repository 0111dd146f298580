"""API keys: who may speak to the service, and for what."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel


class Scope(StrEnum):
    """What a key is good for."""

    READ = "read"  # GET and HEAD
    WRITE = "write"  # every other method


class ApiKey(BaseModel):
    """A key as it can be shown: never the key itself, which only its owner has."""

    id: str
    name: str
    scopes: list[Scope]
    state: Literal["live", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKey(ApiKey):
    """A key that was just made. This is the one time that `key` is shown."""

    key: str
