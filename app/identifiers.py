"""Ids that sort by time, and tokens that prove a claim."""

import hashlib
import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32 in lower case: no i, l, o, u, so that an id can be read out."""


def new_id(prefix: str) -> str:
    """`prefix` and 26 characters: 48 bits of milliseconds since 1970, then 80 random bits, as in a ULID."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def new_token() -> str:
    """32 random bytes, safe in URLs and headers."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token: its SHA-256, in hex. A copy of the database proves no claim."""
    return hashlib.sha256(token.encode()).hexdigest()
