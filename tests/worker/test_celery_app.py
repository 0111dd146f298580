"""The settings of the queue, as Celery sees them, and that importing them does nothing."""

import subprocess
import sys

import pytest

from worker.celery_app import WAKE, app


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", False),
        ("task_reject_on_worker_lost", False),
        ("worker_prefetch_multiplier", 1),
        ("task_ignore_result", True),
        ("result_backend", None),
        ("worker_enable_remote_control", False),
        ("worker_send_task_events", False),
        ("broker_connection_max_retries", None),
        ("broker_channel_error_retry", True),
        ("accept_content", ["json"]),
        ("task_serializer", "json"),
        (
            "broker_transport_options",
            {
                "socket_timeout": 30,
                "socket_connect_timeout": 5,
                "socket_keepalive": True,
                "health_check_interval": 25,
            },
        ),
    ],
)
def test_a_setting_that_experience_asks_for(name, value):
    assert app.conf[name] == value


def test_the_one_task_is_found_by_its_name():
    app.loader.import_default_modules()

    assert [name for name in app.tasks if not name.startswith("celery.")] == [WAKE]


def test_the_celery_process_and_the_supervisor_load_neither_torch_nor_the_training():
    script = (
        "import sys, worker.celery_app, worker.tasks, worker.supervisor\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'timm', 'cv2', 'numpy', 'sqlalchemy')"
        " or name.startswith('worker.training')])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
