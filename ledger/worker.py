"""The worker: `celery -A ledger.worker worker` and `celery -A ledger.worker beat`.

Redis carries wake-ups only. Every message may be lost, doubled or late: the tables are the queue, beat starts the next
sweep, and flows lock what they work on. So tasks are acknowledged late, and have no results, delays or chains.
"""

from typing import Any

from celery import Celery
from celery.signals import setup_logging

from ledger import log
from ledger.settings import Settings

VISIBILITY_SECONDS = 300
"""After this long an unacknowledged message is delivered again; tasks end well before."""


def make(settings: Settings) -> Celery:
    """The Celery application of a ledger."""
    app = Celery("tollway", broker=settings.redis_url, include=["ledger.tasks"])
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        result_backend=None,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS, "socket_keepalive": True},
        task_default_queue="ledger",
        task_soft_time_limit=VISIBILITY_SECONDS - 60,
        beat_schedule={
            name: {"task": f"ledger.{name}", "schedule": seconds, "options": {"expires": max(seconds * 5, 5.0)}}
            for name, seconds in (
                ("sweep", settings.sweep_seconds),
                ("reconcile", settings.audit_seconds),
                ("audit", settings.audit_seconds * 20),
            )
        },
    )
    return app


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(loglevel: int = 20, **_: Any) -> None:
    """Celery sends this once, at start; it keeps Celery from configuring its own logging."""
    log.configure(loglevel)


app = make(Settings())  # type: ignore[call-arg]  # from the environment
