"""The page: what to type and choose above, three roles side by side, the answer below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio

from thex_hf.bundled import BUNDLED, bundled_checkpoint
from thex_hf.demo.sessions import Servers, Sessions, run
from thex_hf.demo.view import PANELS, ViewState, render
from thex_hf.prepared.plan import PROTOCOL as PREPARED

TITLE = "Classify a text that the server cannot read"
NOTE = (
    "Three roles, with real ciphertexts between them. Here all of them run in the process that "
    "serves this page, to be watched; in use the client runs on your machine "
    "(`thex-hf classify --backend remote`) and the server elsewhere (`thex-hf serve`)."
)
EXAMPLES = (
    "A warm, funny and beautifully acted film.",
    "Two hours of my life that I will never get back, and not one laugh in them.",
)
PROTOCOLS = {
    "client-aided": "client-aided: protects the text",
    "refresh": "refresh: protects text and model",
    "one-shot": "one-shot: both, one request, slow",
    "prepared": "prepared: both, fast once tickets are there",
}
ENGINES = {"seal": "seal: encrypts", "clear": "clear: encrypts nothing"}
SHOW_ANSWER = (
    "() => document.querySelector('#answer').scrollIntoView({block: 'nearest', behavior: 'smooth'})"
)
AT_ONCE = 4
"""Texts on their way; more wait in line."""


@dataclass(eq=False)
class Page:
    """A Gradio page over models and their servers.

    Args:
        servers: of the models.
    """

    servers: Servers
    sessions: Sessions = field(init=False)

    def __post_init__(self) -> None:
        """No visitors yet."""
        self.sessions = Sessions(self.servers)

    def blocks(self) -> Any:
        """The page as ``gradio.Blocks``, for a program that serves it itself."""
        first = ViewState(protocol=self.servers.protocols[0], engine=self.servers.engines[0])
        with gradio.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
            gradio.Markdown(f"# {TITLE}\n{NOTE}")
            with gradio.Row():
                text = gradio.Textbox(
                    label="Text", value=EXAMPLES[0], max_lines=4, scale=4, elem_id="text"
                )
                protocol = _choice("Protocol", self.servers.protocols, PROTOCOLS)
                engine = _choice("Engine", self.servers.engines, ENGINES)
            button = gradio.Button("Classify under encryption", variant="primary", elem_id="go")
            gradio.Examples([[text] for text in EXAMPLES], text)
            shown = dict(zip(PANELS, render(first), strict=True))
            with gradio.Row(equal_height=True):
                panels = [gradio.HTML(shown[name], elem_id=name) for name in PANELS[:3]]
            panels.append(gradio.HTML(shown[PANELS[3]], elem_id=PANELS[3]))
            done = gradio.on(
                [button.click, text.submit],
                self._classify,
                [text, protocol, engine],
                panels,
                concurrency_limit=AT_ONCE,
                show_progress="hidden",
                api_name="classify",
            )
            done.then(None, js=SHOW_ANSWER)
            for choice in (protocol, engine):
                choice.change(self._begin, [protocol, engine], panels, show_progress="hidden")
            blocks.unload(self._leave)
        return blocks

    def launch(self, **options: Any) -> Any:
        """Serve the page; ``options`` of ``gradio.Blocks.launch``."""
        style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
        theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        defaults = {"css": style, "theme": theme, "footer_links": [], "share": False}
        return self.blocks().queue(max_size=64).launch(**{**defaults, **options})

    def _begin(self, protocol: str, engine: str, request: gradio.Request) -> tuple[str, ...]:
        session = self.sessions.of(str(request.session_hash))
        tickets = session.tickets if protocol == PREPARED else {}
        key_bytes = session.key_bytes(protocol, engine)
        return render(ViewState(protocol, engine, key_bytes=key_bytes, tickets=tickets))

    def _classify(
        self, text: str, protocol: str, engine: str, request: gradio.Request
    ) -> Iterator[tuple[str, ...]]:
        session = self.sessions.of(str(request.session_hash))
        for state in run(session, text or "", protocol, engine):
            yield render(state)

    def _leave(self, request: gradio.Request) -> None:
        self.sessions.leave(str(request.session_hash))


def _choice(label: str, names: Sequence[str], words: Mapping[str, str]) -> gradio.Dropdown:
    choices = [(words.get(name, name), name) for name in names]
    return gradio.Dropdown(choices, value=names[0], label=label, elem_id=label.lower(), scale=3)


def make_page(folders: Mapping[str, str | Path] | None = None) -> Page:
    """A page over models by form, ``the-x`` and ``polynomial``; the bundled ones.

    Raises:
        ConversionError, InputError: as :class:`thex_hf.demo.sessions.Servers`.
    """
    chosen = folders or {form: bundled_checkpoint(form) for form in BUNDLED}
    return Page(Servers({form: Path(folder) for form, folder in chosen.items()}))
