"""The worker's log: one line an event, with its name and its facts as JSON. Ids; never objects, secrets or prompts.

Alone, because the gateway has a log of its own and everything else here only logs.
"""

import json
import logging

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
QUIET = ("celery.app.trace", "celery.worker.strategy", "celery.beat")
"""They log every task, and there are several a second."""


class Events(logging.Formatter):
    """Time, level, logger, event, facts."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback if there is one."""
        facts = {name: value for name, value in vars(record).items() if name not in _OWN and name != "data"}
        event = f"{self.formatTime(record)} {record.levelname} {record.name} {record.getMessage()}"
        line = f"{event} {json.dumps(facts, default=str)}" if facts else event
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(level: int = logging.INFO) -> None:
    """Log to standard error, without the loggers that would drown the events."""
    handler = logging.StreamHandler()
    handler.setFormatter(Events())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
