import os

import psutil
import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
settings.register_profile("untimed", deadline=None)  # a loaded machine fails no test
settings.load_profile("untimed")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run tests of over ten seconds")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def nothing_left():
    """The test leaves no child process, be it an ended one, and no file descriptor behind."""
    children, files = _children(), _files()
    yield
    assert _children() <= children
    assert _files() == files


def _children():
    return {child.pid for child in psutil.Process().children()}


def _files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
