"""`python -m gateway --host --port`: one gateway process, configured by GATEWAY_... and LEDGER_... variables."""

import argparse
import json
import logging
import sys

import uvicorn

from gateway.app import create_app
from gateway.asgi import Protocol


class JsonLines(logging.Formatter):
    """One JSON object a line: the event, its facts, and the error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        row = {"event": record.getMessage(), "level": record.levelname, "at": int(record.created * 1000)}
        row |= getattr(record, "facts", {})
        if record.exc_info:
            row["error"] = repr(record.exc_info[1])
        return json.dumps(row, default=str)


def main() -> None:
    """Serve until the process is stopped, then drain."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--log-level", default="info")
    options = parser.parse_args()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("tollway").setLevel(options.log_level.upper())
    uvicorn.run(
        create_app(),
        host=options.host,
        port=options.port,
        loop="uvloop",
        http=Protocol,
        ws="websockets-sansio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=30,
    )


if __name__ == "__main__":
    main()
