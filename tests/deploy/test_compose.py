"""docker-compose.yml without an engine: its structure, its secrets, its order, and that its settings are real ones."""

import re
from pathlib import Path

import pytest

from app.settings import Settings
from tests.deploy.compose import CPU, GIVEN, GPU, ROOT, SECRETS, Missing, interpolated, project, raw, variables
from worker import drain
from worker.settings import WorkerSettings

FILES = ("docker-compose.yml", "docker-compose.cpu.yml", "Dockerfile", ".dockerignore", ".env.example")


@pytest.fixture
def services():
    return project(GIVEN).services


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_parts_are_all_there(services):
    assert set(services) == {"database", "broker", "migrate", "api", "worker"}
    assert set(project(GIVEN, CPU).services) == set(services)


def test_variables_are_read_as_compose_reads_them():
    text = "$$A ${A} ${A:-x} ${B:-y${A:-z}} ${C:?say how}"
    assert interpolated(text, {"C": "c"}) == "$A  x yz c"
    assert interpolated(text, {"A": "a", "B": "", "C": "c"}) == "$A a a ya c"
    with pytest.raises(Missing, match="C: say how"):
        interpolated(text, {})


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_without_a_secret_nothing_starts_and_the_message_says_how_one_is_made(name):
    with pytest.raises(Missing, match=f"^{name}: .*made by openssl rand"):
        project({**GIVEN, name: ""})


def test_every_variable_is_in_the_example_and_the_example_holds_no_value():
    assert set(example()) == variables(raw(CPU))
    assert set(example().values()) == {""}
    assert "/.env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_every_secret_comes_from_the_environment():
    one = project(GIVEN).services
    other = project({name: value.replace("made", "other") for name, value in GIVEN.items()}).services
    checked = 0
    for name, service in one.items():
        for key, value in service.environment.items():
            if re.search("PASSWORD|TOKEN|AUTH", key) or "@" in value:
                assert value != other[name].environment[key], key
                checked += 1
    assert checked == 9
    assert not any(secret in str(service.command) for service in one.values() for secret in GIVEN.values())


@pytest.mark.parametrize("name", ["api", "migrate", "worker"])
@pytest.mark.parametrize("files", [GPU, CPU])
def test_every_setting_is_one_that_the_program_reads(name, files, monkeypatch):
    environment = project({**GIVEN, "TRAINYARD_ALLOWED_HOSTS": "yard.example"}, files).services[name].environment
    kind = WorkerSettings if name == "worker" else Settings
    # Both read the same names: storage and roots are told to the worker with each job, and stand there for its reader.
    known = set(Settings.model_fields) | set(WorkerSettings.model_fields)
    assert {key.removeprefix("TRAINYARD_").lower() for key in environment} <= known
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    settings = kind()
    if name == "api":
        assert settings.allowed_hosts == ("api", "yard.example")
        assert settings.database.startswith("postgresql+psycopg://trainyard:made-")
    if name == "worker":
        assert settings.url == "http://api:8000"
        assert settings.worker_id == "worker-1"


def test_the_worker_token_is_as_long_as_the_service_demands(services):
    assert services["api"].environment["TRAINYARD_WORKER_TOKEN"] == GIVEN["TRAINYARD_WORKER_TOKEN"]
    assert len(GIVEN["TRAINYARD_WORKER_TOKEN"]) >= 32
    assert "32 characters" in (ROOT / ".env.example").read_text("utf-8")


def test_a_gpu_host_holds_no_database_credentials_and_no_way_to_it(services):
    worker = services["worker"]
    assert not {key for key in worker.environment if "DATABASE" in key or "POSTGRES" in key}
    assert not set(worker.networks) & set(services["database"].networks)
    assert raw()["networks"]["data"] == {"internal": True}


def test_every_service_is_started_again_and_says_how_it_is(services):
    for name, service in services.items():
        health = service.healthcheck
        if name == "migrate":
            assert (service.restart, health.disable) == ("on-failure:5", True)
            continue
        assert service.restart == "unless-stopped"
        assert health.test[0] in ("CMD", "CMD-SHELL")
        assert all((health.interval, health.timeout, health.retries, health.start_period))


def test_the_database_is_migrated_once_before_the_api_starts(services):
    assert services["api"].depends_on["migrate"].condition == "service_completed_successfully"
    assert services["migrate"].depends_on["database"].condition == "service_healthy"
    assert services["migrate"].command == ["trainyard", "db", "upgrade"]
    assert services["migrate"].environment == {
        key: services["api"].environment[key] for key in services["migrate"].environment
    }
    for service in services.values():
        for name, dependency in service.depends_on.items():
            waits_for_health = dependency.condition == "service_healthy"
            assert not (waits_for_health and services[name].healthcheck.disable)


def test_every_container_is_held_tight(services):
    for service in services.values():
        assert service.init
        assert service.read_only
        assert service.cap_drop == ["ALL"]
        assert service.security_opt == ["no-new-privileges:true"]
        assert service.user is None or service.user not in ("root", "0")
        assert service.build or service.user, "an image of others runs as root unless told otherwise"
        assert "/tmp" in service.tmpfs
        assert service.logging["options"]["max-size"]


def test_api_and_worker_see_the_same_files_at_the_same_paths(services):
    api, worker = services["api"], services["worker"]
    for path in ("/srv/trainyard/storage", "/srv/trainyard/datasets"):
        assert api.mounted()[path] == worker.mounted()[path]
    settings = Settings(
        storage_url=api.environment["TRAINYARD_STORAGE_URL"],
        dataset_roots=(Path(api.environment["TRAINYARD_DATASET_ROOTS"]),),
    )
    assert {str(settings.storage_dir), *map(str, settings.roots)} <= set(worker.mounted())
    assert set(raw()["volumes"]) == {
        source for service in services.values() for source in service.mounted().values() if "/" not in source
    }
    own = project({**GIVEN, "STORAGE": "/mnt/yard"}).services
    assert own["api"].mounted()["/srv/trainyard/storage"] == own["worker"].mounted()["/srv/trainyard/storage"]


def test_the_broker_keeps_its_queue_and_evicts_nothing(services):
    command = " ".join(services["broker"].command)
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "/data" in services["broker"].mounted()


def test_the_worker_reserves_gpus_unless_the_host_has_none(services):
    devices = services["worker"].deploy["resources"]["reservations"]["devices"]
    assert devices[0]["driver"] == "nvidia"
    assert "gpu" in devices[0]["capabilities"]
    assert services["worker"].shm_size
    assert project(GIVEN, CPU).services["worker"].deploy is None


def test_a_worker_has_the_time_to_save_before_it_is_killed(services):
    drain_s = WorkerSettings(drain_s=services["worker"].environment["TRAINYARD_DRAIN_S"]).drain_s
    assert drain_s == Settings(stop_grace_s=services["api"].environment["TRAINYARD_STOP_GRACE_S"]).stop_grace_s
    assert services["worker"].stop_grace_s >= drain_s + drain.EXTRA_S + drain.EXIT_S + 10


def test_the_api_is_published_on_loopback_unless_told_otherwise(services):
    assert services["api"].ports == ["127.0.0.1:8000:8000"]
    assert [name for name, service in services.items() if service.ports] == ["api"]


def test_images_are_pinned_and_no_file_names_a_registry(services):
    for service in services.values():
        if not service.build:
            assert re.fullmatch(r"[a-z/]+:\d[\w.-]*", service.image), service.image
    for name in FILES:
        text = (ROOT / name).read_text("utf-8")
        assert not re.search(r"\b[a-z0-9-]+\.(io|com|org|net|dev)\b", text), name
