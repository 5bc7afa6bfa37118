"""The log of worker and gateway: one line an event. Ids; never objects, secrets or prompts.

Alone, because everything else here only logs.
"""

import json
import logging

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "data", "color_message"}
QUIET = ("celery.app.trace", "celery.worker.strategy", "celery.beat", "numba")
"""They log every task, and there are several a second; or every instruction that is compiled."""
OPEN = ("uvicorn.error", "urllib3", "web3")
"""Below INFO they log what the process sends and receives: frames of tunnels with prompts and answers, heads with keys,
URLs of RPC endpoints and collectors, which may have a key in their path.
"""


class JsonLines(logging.Formatter):
    """One JSON object a line: the event, its facts (what `extra` names), and the error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        row = {"event": record.getMessage(), "level": record.levelname, "at": int(record.created * 1000)}
        row |= {"logger": record.name} | {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            row |= {"error": repr(record.exc_info[1]), "traceback": self.formatException(record.exc_info)}
        return json.dumps(row, default=str)


def configure(level: int | str) -> None:
    """Log to standard error, without the loggers that would drown the events or tell what callers said."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in OPEN:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger().level))
