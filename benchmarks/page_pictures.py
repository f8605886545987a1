r"""Pictures of the page to try, for the docs: idle, running, answered, failed.

pip install 'thex_hf[browser]'    # and Chromium
python benchmarks/page_pictures.py --output docs/images
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import thex_hf
from thex_hf.demo.page import make_page

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
LONG = "a film that goes on and on " * 40


def pictures(page: Page, folder: Path) -> None:
    """Take them, one state after the other."""

    def take(state: str) -> None:
        file = folder / f"demo-{state}.png"
        page.screenshot(path=file, full_page=True)
        Image.open(file).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file)

    take("idle")
    page.click("#go")
    page.wait_for_selector("#server label small")
    page.wait_for_function("document.querySelector('#server progress').value > 200")
    take("running")
    page.wait_for_selector("#answer .thex-verdicts")
    take("answered")
    page.fill("#text textarea", LONG)
    page.click("#go")
    page.wait_for_selector("[role=alert]")
    take("failed")


def main() -> None:
    """Serve the page, look at it, stop."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    folder = parser.parse_args().output
    page = make_page({"the-x": thex_hf.bundled_checkpoint("the-x")})
    app, url, _ = page.launch(server_port=7869, prevent_thread_lock=True, quiet=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1200, "height": 700})
        tab.set_default_timeout(180_000)
        tab.goto(url)
        tab.wait_for_selector("#go")
        pictures(tab, folder)
        browser.close()
    app.get_blocks().close()


if __name__ == "__main__":
    main()
