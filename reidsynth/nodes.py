"""What stands between this process and a Ray cluster: Ray, an address that answers, nodes with equal packages."""

from __future__ import annotations

import importlib
import os
import platform
import socket
import subprocess
import sys
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

REMEDY = "start one with `ray start --head` and give the address that it prints, or leave --address out"

_SECONDS_TO_ANSWER = 10.0

# What is made of pixels depends on these.
_DECIDING = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scipy",
    "pyarrow",
    "torch",
    "torchvision",
    "onnxruntime",
    "rembg",
    "controlnet-aux",
    "diffusers",
    "transformers",
)


class Actor:
    """A worker; it keeps what steps cache in their process, models above all.

    Args:
        deciding: versions of the packages that decide what is made of pixels, where results go.
        node: where results go.
    """

    def __init__(self, deciding: dict[str, str], node: str) -> None:
        self._deciding, self._home = deciding, node

    def ready(self) -> None:
        """Check that this machine makes the same bytes as the one where results go.

        Raises:
            UserError: with other packages it may not.
        """
        here = deciding_versions()
        other = [
            f"{name} {here[name]} and not {self._deciding[name]}" for name in here if here[name] != self._deciding[name]
        ]
        if other:
            raise UserError(
                f"node {platform.node()!r} has {', '.join(other)} as {self._home!r} has: install the same versions on "
                "every node, or results would differ from node to node"
            )
        import cv2

        cv2.setNumThreads(1)

    def run(self, function: Callable[[Any], Any], rows: Any) -> Any:  # noqa: ANN401 - any task and result
        """Run one block."""
        return function(rows)


def import_ray() -> ModuleType:
    """Ray, silent and without telemetry.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray warns about otherwise
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError(
            "--engine ray needs Ray, which is not installed here: please install reidsynth[ray] "
            "(pip install 'reidsynth[ray]')"
        ) from error


@contextmanager
def own_cluster(ray: ModuleType) -> Iterator[None]:
    """While a cluster starts: its processes listen on 127.0.0.1 only, and find the modules that this process finds."""
    # The variable's name tells of other systems; here, too, it gives a cluster of one node the loopback address.
    given = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    before = {name: os.environ.get(name) for name in given}
    constants: Any = importlib.import_module(f"{ray.__name__}._private.ray_constants")  # has read the variable already
    clustered = constants.ENABLE_RAY_CLUSTER
    os.environ.update(given)
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = clustered
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def check_address(address: str) -> None:
    """Fail soon and in one sentence where no cluster is; Ray itself waits long and then ends the process.

    Raises:
        UserError: nothing listens there, or something else than a Ray cluster of this release does.
    """
    if address == "auto":
        return  # Ray looks for a cluster on this machine, and says at once when there is none
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--address {address!r} is no address of a Ray cluster: give host:port, or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, UnicodeError) as error:  # a host name that can't be one is the latter
        raise UserError(f"no Ray cluster answers at {address!r} ({error}): {REMEDY}") from error
    if address.startswith("ray://"):
        return  # that client gives up by itself
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=3 * _SECONDS_TO_ANSWER, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"what listens at {address!r} is no Ray cluster, or one that hangs: {REMEDY}") from error
    if told.returncode:
        raise UserError(f"what listens at {address!r} is no Ray cluster that can be used here: {_reason(told.stderr)}")


def _reason(stderr: str) -> str:
    if "AuthenticationError" in stderr:
        return "it asks for its token: set RAY_AUTH_MODE=token, and let Ray find the token as its documentation says"
    lines = [line.strip() for line in stderr.splitlines() if "mismatch" in line.lower()]
    return lines[-1] if lines else f"its head node does not answer; {REMEDY}"


def deciding_versions() -> dict[str, str]:
    """Versions of what decides the bytes."""
    found = {"python": platform.python_version().rpartition(".")[0], "machine": platform.machine()}
    for name in _DECIDING:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found
