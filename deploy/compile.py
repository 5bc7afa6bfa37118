"""Import every module of ours that an image can import, so that Python writes what it compiles: in a running container
nothing can be written. Packages' modules that none of ours imports stay source, which is smaller. Alone because only
the Dockerfile runs it.
"""

import importlib
import pkgutil
from importlib.util import find_spec
from types import ModuleType

import contracts
import gateway
import ledger
import roles


def compile_modules(package: ModuleType) -> None:
    """Import all modules of a package but programs, migrations and the worker, which do something when imported."""
    for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda name: None):
        if not one.name.endswith(("__main__", ".worker")) and ".versions." not in one.name and ".env" not in one.name:
            try:
                importlib.import_module(one.name)
            except ModuleNotFoundError as error:
                if not error.name or find_spec(error.name.partition(".")[0]):
                    raise  # not the library of another part


if __name__ == "__main__":
    for package in (contracts, gateway, ledger, roles):
        compile_modules(package)
    if find_spec("numba"):
        importlib.import_module("ledger.core.kernels.warm").warm()
