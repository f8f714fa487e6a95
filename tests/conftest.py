"""What holds for every test: one thread, since tests are tiny and may share a machine, and no waiting for the disk."""

from __future__ import annotations

import os
import sys

import pytest

# Libraries read these when they are first imported; threads that wait by spinning would take the processor from those
# that work. Processes that tests start inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True)
def _one_thread():
    """A run sets the threads of its process, and a preset of the demo world wants two: one again for every test."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk():
    """Files are there for whoever reads them; what a power cut would leave of them is nothing that a test can see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
