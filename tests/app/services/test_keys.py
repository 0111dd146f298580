"""API keys: what is kept of them, whom they admit, and how they end."""

import pytest
from sqlalchemy import select

from app.contract.keys import Scope
from app.errors import NotFound, OutOfScope, Unauthorized
from app.services import keys
from app.store.key_tables import api_keys

BOTH = frozenset(Scope)


@pytest.fixture
def make(database):
    """Makes a key."""

    def create(name="someone", scopes=BOTH, days=None):
        with database.write() as session:
            return keys.create(session, name, scopes, days)

    return create


@pytest.fixture
def door(database):
    return keys.Door(database)


def listed(database):
    with database.read() as session:
        return {key.id: key for key in keys.list_keys(session)}


def revoke(database, key_id):
    with database.write() as session:
        return keys.revoke(session, key_id)


def test_a_key_admits_and_is_known_by_its_id(make, door):
    made = make()
    assert door.admit(made.key, Scope.WRITE) == made.id
    assert made.state == "live"


def test_keys_are_random_and_recognised(make):
    first, second = make().key, make().key
    assert first != second
    assert first.startswith(keys.PREFIX)
    assert len(first) >= len(keys.PREFIX) + 43


def test_the_database_holds_no_key(database, make):
    made = make()
    with database.read() as session:
        row = session.execute(select(api_keys)).one()
    assert made.key not in str(row)
    assert made.key.removeprefix(keys.PREFIX) not in str(row)
    assert len(row.key_hash) == 64


@pytest.mark.parametrize("change", [
    lambda key: key[:-1], lambda key: key + "x", lambda key: key.upper(), lambda key: "", lambda key: "Ü" + key,
    lambda key: key.removeprefix(keys.PREFIX), lambda key: key + "\x00",
])  # fmt: skip
def test_nothing_but_the_very_key_admits(make, door, change):
    key = make().key
    with pytest.raises(Unauthorized):
        door.admit(change(key), Scope.READ)


def test_what_is_stored_admits_nobody(database, make, door):
    make()
    with database.read() as session:
        row = session.execute(select(api_keys)).one()
    for text in (row.key_hash, row.id):
        with pytest.raises(Unauthorized):
            door.admit(text, Scope.READ)


@pytest.mark.parametrize("scope", Scope)
def test_a_key_is_good_for_its_scopes_alone(make, door, scope):
    made = make(scopes=frozenset({scope}))
    (other,) = BOTH - {scope}
    door.admit(made.key, scope)
    with pytest.raises(OutOfScope):
        door.admit(made.key, other)


def test_a_revoked_key_admits_nobody_from_then_on_whichever_replica_is_asked(database, make, door):
    made, other = make(), make()
    replica = keys.Door(database)
    for each in (door, replica):
        each.admit(made.key, Scope.READ)
    first = revoke(database, made.id)
    for each in (door, replica):
        with pytest.raises(Unauthorized):
            each.admit(made.key, Scope.READ)
    assert revoke(database, made.id).revoked_at == first.revoked_at
    assert listed(database)[made.id].state == "revoked"
    door.admit(other.key, Scope.READ)


def test_a_key_expires_by_the_databases_clock(database, make, door, pass_time):
    made = make(days=2)
    pass_time(86_400)
    door.admit(made.key, Scope.READ)
    pass_time(86_401)
    with pytest.raises(Unauthorized):
        door.admit(made.key, Scope.READ)
    assert listed(database)[made.id].state == "expired"


def test_only_live_keys_guard_a_service(database, make, pass_time):
    def guarded():
        with database.read() as session:
            return keys.is_any_live(session)

    assert not guarded()
    made = make(days=1)
    assert guarded()
    pass_time(86_401)
    assert not guarded()
    made = make()
    assert guarded()
    revoke(database, made.id)
    assert not guarded()


def test_an_unknown_key_cannot_be_revoked(database):
    with pytest.raises(NotFound):
        revoke(database, "key_none")


def test_use_is_noted_once_a_minute_and_not_with_every_request(database, make, pass_time, statements_of):
    made = make()
    assert listed(database)[made.id].last_used_at is None
    with statements_of(database) as statements:
        for _ in range(20):
            keys.Door(database).admit(made.key, Scope.READ)
    assert len([each for each in statements if each.startswith("UPDATE")]) == 1
    first = listed(database)[made.id].last_used_at
    assert first is not None
    pass_time(61)
    keys.Door(database).admit(made.key, Scope.READ)
    assert listed(database)[made.id].last_used_at >= first


def test_use_is_tried_to_be_noted_once_a_minute_by_each_process(database, make, door, statements_of, pass_time):
    made = make()
    with statements_of(database) as statements:
        for _ in range(3):
            door.admit(made.key, Scope.READ)
            pass_time(120)
    assert len([each for each in statements if each.startswith("UPDATE api_keys SET last_used_at=")]) == 1


def test_a_key_admits_while_its_use_cannot_be_noted(database, make, door, monkeypatch):
    made = make()

    def away():
        from app.errors import ServiceUnavailable

        raise ServiceUnavailable

    monkeypatch.setattr(database, "write", away)
    assert door.admit(made.key, Scope.READ) == made.id
