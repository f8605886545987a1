"""The page in a real browser: headless Chromium, real ciphertexts, no network."""

from __future__ import annotations

import itertools
import shutil
import socket
import time

import pytest

pytest.importorskip("gradio", reason="the page needs thex_hf[demo]")
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
PANELS = ("client", "wire", "server", "answer")
PATIENCE = 180_000  # milliseconds; a bound for a hang, not a figure


@pytest.fixture(scope="module")
def served():
    """The bundled model's page on a free port: its address, and its visitors."""
    import thex_hf
    from thex_hf.demo.page import make_page

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = make_page({"the-x": thex_hf.bundled_checkpoint("the-x")})
    app, url, _ = page.launch(server_port=port, prevent_thread_lock=True, quiet=True)
    yield url, page.sessions
    app.get_blocks().close()


@pytest.fixture
def address(served):
    return served[0]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def tab(browser, address):
    """A fresh visitor, and what their page asked of other machines."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.foreign = []
    own = (address, "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(own) or page.foreign.append(r.url))
    page.goto(address)
    page.wait_for_selector("#go")
    yield page
    context.close()


def ask(page, text: str) -> None:
    page.fill("#text textarea", text)
    page.click("#go")


def labels(page) -> list[str]:
    page.wait_for_selector("#answer .thex-verdicts")
    return page.locator("#answer .thex-label").all_inner_texts()


def test_type_run_and_see_the_label(tab):
    assert "nothing yet" in tab.inner_text("#server")
    ask(tab, "A dull, lifeless mess.")
    encrypted, clear, _ = labels(tab)
    assert encrypted.split()[0] == clear.split()[0] == "NEGATIVE"
    assert "lifeless" in tab.inner_text("#client")
    assert "lifeless" not in tab.inner_text("#wire") + tab.inner_text("#server")
    assert "evaluation keys" in tab.inner_text("#wire")
    assert tab.locator("#wire img").get_attribute("src").startswith("data:image/png")
    assert tab.foreign == []


def test_bad_input_is_told_and_the_next_text_works(tab):
    ask(tab, "   ")
    assert "text is empty" in tab.inner_text("[role=alert]")
    ask(tab, "<img src=x onerror=alert(1)> 🙂 fine")
    assert labels(tab)
    assert tab.locator("#client img[src=x]").count() == 0


def test_two_tabs_at_once_do_not_mix(tab, browser, address):
    other = browser.new_context().new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(address)
    other.wait_for_selector("#go")
    ask(tab, "wonderful , moving and funny")
    ask(other, "a boring , stupid mess")
    assert labels(tab)[0].startswith("POSITIVE")
    assert labels(other)[0].startswith("NEGATIVE")
    assert "wonderful" not in other.inner_text("body")
    other.context.close()


def test_who_closes_the_page_is_forgotten(served, browser):
    address, sessions = served
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    ask(page, " ")
    page.wait_for_selector("[role=alert]")
    assert len(sessions) >= 1
    context.close()
    end = time.monotonic() + PATIENCE / 1000
    while len(sessions) and time.monotonic() < end:
        time.sleep(0.2)
    assert len(sessions) == 0  # those of the tests before have closed theirs too


def test_a_protocol_says_what_it_protects_before_anything_runs(tab):
    assert "the model is not" in tab.inner_text("#answer")


def test_going_to_another_protocol_and_back_hides_no_keys(tab):
    ask(tab, "a fine film")
    assert labels(tab)

    def choose(engine: str) -> None:
        tab.click("#engine input")
        tab.get_by_role("option", name=engine).click()

    choose("clear: encrypts nothing")
    tab.wait_for_function("document.querySelector('#server').innerText.includes('nothing yet')")
    choose("seal: encrypts")
    tab.wait_for_function("document.querySelector('#server').innerText.includes('of this text')")
    assert "evaluation keys: the server has them" in tab.inner_text("#client")


def test_an_error_comes_into_view(tab):
    tab.set_viewport_size({"width": 800, "height": 500})
    tab.evaluate("window.scrollTo(0, 0)")
    ask(tab, "word " * 200)
    tab.wait_for_selector("[role=alert]")
    tab.wait_for_function(
        "() => { const box = document.querySelector('[role=alert]').getBoundingClientRect();"
        " return box.top >= 0 && box.bottom <= window.innerHeight; }"
    )


def test_on_a_phone_the_panels_are_below_each_other_and_nothing_spills(browser, address):
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}?__theme=dark")
    page.wait_for_selector("#go")
    ask(page, "a warm , funny film")
    assert labels(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = page.evaluate(  # all at once: the page scrolls while answers come in
        """names => names.map(name => {
            const box = document.querySelector(`#${name} .thex-panel`).getBoundingClientRect();
            return {width: box.width, top: box.top, bottom: box.bottom};
        })""",
        [*PANELS],
    )
    assert all(box["width"] > 280 for box in boxes)
    for above, below in itertools.pairwise(boxes):
        assert above["bottom"] <= below["top"]
    for name in PANELS:
        panel = f"#{name} .thex-panel"
        assert page.eval_on_selector(panel, "e => e.scrollWidth <= e.clientWidth"), name
    page.context.close()
