"""The Celery application of the worker: `celery -A worker.celery_app worker --pool solo`.

Celery only brings nudges. A message holds nothing, a lost one is replaced by the worker's own asking every 15 s, and a
doubled one asks twice; so every setting here is for a queue that never gets stuck, none for one that loses nothing.
"""

from typing import Any

from celery import Celery

from worker.settings import WorkerSettings

QUEUE = "trainyard"
WAKE = "trainyard.wake"


def configuration() -> dict[str, Any]:
    """Read when Celery first needs it, never on import."""
    return {
        "broker_url": WorkerSettings().broker,
        "imports": ("worker.tasks",),
        "task_default_queue": QUEUE,
        "worker_pool": "solo",
        # Messages are JSON and hold no spec.
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_serializer": "json",
        # Early acknowledgement: late ones run several times (celery#5935) or in kill loops (celery#3053).
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # No result backend: nobody asks for results, and their keys only grow (celery#7801).
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "result_backend": None,
        # Remote control loses commands and leaks keys (celery#8888, kombu#294); a stop goes through the database.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        # A silently dead connection is noticed and made again (celery#8030, celery#10205), without end.
        "broker_transport_options": {
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "worker_cancel_long_running_tasks_on_connection_loss": True,  # there are none; False warns at each loss
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


app = Celery("trainyard", set_as_current=False)
app.add_defaults(configuration)
