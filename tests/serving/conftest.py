"""One service for this folder: the clear engine in real workers, three owners with tokens."""

import pytest
from served import load, running, spec_of

from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.client.http import HttpTransport
from thex_hf.serving.http.settings import BearerTokens, Settings
from thex_hf.serving.keys.repository import Limits

TOKENS = {name: f"{name}'s token, long enough" for name in ("ann", "bob", "eve")}


@pytest.fixture(scope="session")
def model():
    return load()


@pytest.fixture(scope="session")
def half():
    import thex_hf

    return ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.touch(mode=0o600)
    lines = ["# owners", ""] + [
        f"{name} {token.replace(' ', '_')}" for name, token in TOKENS.items()
    ]
    path.write_text("\n".join(lines))
    return BearerTokens.read(path)


@pytest.fixture(scope="session")
def service(model, tokens, tmp_path_factory):
    limits = Limits(owner=3_000_000, file=2_000_000)
    spec = spec_of(model, tmp_path_factory.mktemp("keys"), limits=limits)
    settings = Settings(piece_bytes=200_000, idle_seconds=1.0, body_seconds=3.0, bodies=6)
    with running(spec, settings=settings, workers=2, tokens=tokens) as found:
        yield found


@pytest.fixture
def transport(service):
    def make(owner="ann", **options):
        token = TOKENS.get(owner, owner).replace(" ", "_") if owner else None
        options = {"piece": 50_000, "patience": 30.0, **options}
        return HttpTransport(service.url, token=token, **options)

    return make


@pytest.fixture
def client(half, transport):
    def make(owner="ann", **options):
        client = ThexClient(half, transport(owner), backend="clear", **options)
        client.client.pause = 0.05
        return client

    return make
