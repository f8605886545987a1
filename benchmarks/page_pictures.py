r"""Pictures of the page to try, for the docs.

Idle, running, answered, failed; answered with a ticket; answered on a phone, dark.

pip install 'thex_hf[browser]'    # and Chromium
python benchmarks/page_pictures.py --output docs/images
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from thex_hf.demo.page import make_page

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
LONG = "a film that goes on and on " * 40


def take(page: Page, folder: Path, state: str) -> None:
    """One picture of the whole page."""
    file = folder / f"demo-{state}.png"
    page.screenshot(path=file, full_page=True)
    Image.open(file).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file)


def pictures(page: Page, folder: Path) -> None:
    """Take them, one state after the other."""
    take(page, folder, "idle")
    page.click("#go")
    page.wait_for_selector("#server label small")
    page.wait_for_function("document.querySelector('#server progress').value > 100")
    take(page, folder, "running")
    page.wait_for_selector("#answer .thex-verdicts")
    take(page, folder, "answered")
    page.fill("#text textarea", LONG)
    page.click("#go")
    page.wait_for_selector("[role=alert]")
    take(page, folder, "failed")


def ticket(page: Page, folder: Path) -> None:
    """Under ``prepared``: a batch of tickets while it is made, and the answer."""
    page.click("#protocol input")
    page.get_by_role("option", name="prepared: both").click()
    page.wait_for_function("document.querySelector('#answer').innerText.includes('ticket')")
    page.click("#go")
    page.wait_for_selector("#answer .thex-verdicts")
    take(page, folder, "tickets")


def main() -> None:
    """Serve the page, look at it, stop."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    folder = parser.parse_args().output
    page = make_page()
    app, url, _ = page.launch(server_port=7869, prevent_thread_lock=True, quiet=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1200, "height": 700})
        tab.set_default_timeout(180_000)
        tab.goto(url)
        tab.wait_for_selector("#go")
        pictures(tab, folder)
        tab.reload()
        tab.wait_for_selector("#go")
        ticket(tab, folder)
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        phone.set_default_timeout(180_000)
        phone.goto(f"{url}?__theme=dark")
        phone.wait_for_selector("#go")
        phone.click("#go")
        phone.wait_for_selector("#answer .thex-verdicts")
        take(phone, folder, "phone")
        browser.close()
    app.get_blocks().close()


if __name__ == "__main__":
    main()
