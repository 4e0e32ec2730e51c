"""Settings of every test and of what it starts: no network, one thread unless `COMICSEQ_TEST_THREADS` says how many."""

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
threads = os.environ["OMP_NUM_THREADS"] = os.environ.get("COMICSEQ_TEST_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as shells start what runs in the background; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(int(threads))

# How long an example takes, or is made, says nothing where other processes wait for the same processor.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: no process has one of them left when the others have nothing to do any more."""
    dear = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in dear)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Every test starts with the same random state, whatever ran before it."""
    torch.manual_seed(0)
