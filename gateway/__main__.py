"""`python -m gateway --host --port`: one gateway process, configured by GATEWAY_... and LEDGER_... variables."""

import argparse
import resource

import uvicorn

from gateway.app import create_app
from gateway.server import OPTIONS
from ledger import log

MOST_FILES = 65_536


def allow_files() -> None:
    """Allow this process as many open files as the system does, up to `MOST_FILES`. Each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def main() -> None:
    """Serve until the process is stopped, then drain."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--log-level", default="info")
    options = parser.parse_args()
    allow_files()
    log.configure(options.log_level.upper())
    uvicorn.run(
        create_app(),
        host=options.host,
        port=options.port,
        log_config=None,
        timeout_graceful_shutdown=30,
        **OPTIONS,
    )


if __name__ == "__main__":
    main()
