import pytest

from thex_hf.concrete import environment


@pytest.fixture(scope="session")
def concrete_python():
    """The interpreter of Concrete's environment; these tests need the real one."""
    state = environment.state()
    if not state.works:
        pytest.skip(f"no Concrete here: {state.why_not}")
    return environment.python()
