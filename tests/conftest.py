import os

import psutil
import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# without deadlines: a loaded machine fails no test; see example_counts for the numbers
settings.register_profile("slow", deadline=None, max_examples=100)
settings.register_profile("default", deadline=None, max_examples=25)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run tests that take long")
    parser.addoption(
        "--only-slow",
        action="store_true",
        help="run tests that take long, and properties with all their examples, and no other",
    )


def pytest_configure(config):
    slow = config.getoption("--slow") or config.getoption("--only-slow")
    settings.load_profile("slow" if slow else "default")


@pytest.hookimpl(trylast=True)  # properties are marked by then
def pytest_collection_modifyitems(config, items):
    if config.getoption("--only-slow"):
        slow = {item for item in items if {"slow", "hypothesis"} & set(item.keywords)}
        config.hook.pytest_deselected(items=[item for item in items if item not in slow])
        items[:] = [item for item in items if item in slow]
    elif not config.getoption("--slow"):
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
    assert _files() <= files  # fewer: what an earlier test held was let go meanwhile


def _children():
    return {child.pid for child in psutil.Process().children()}


def _files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
