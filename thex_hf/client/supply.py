"""A client's tickets of all plans: prepared when there are none, or ahead of need."""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass, field
from pathlib import Path

from thex_hf.client.keys import Keys
from thex_hf.client.plans import Plans
from thex_hf.client.preparation import Prepared, prepare_batch
from thex_hf.client.ticket_folder import FolderStock
from thex_hf.client.tickets import MemoryStock, TicketStock, none_left
from thex_hf.client.transport import InMemory, Transport
from thex_hf.errors import PlanError, QuotaError, TextError, TicketError
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.protocol.prepared_client import Ticket

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class TicketSupply:
    """Stocks of tickets, one for each plan and key pair. Any thread may use it.

    One batch is prepared at a time. Ahead of need that is done in a thread, which forks nothing:
    children of a process whose other threads compute may inherit locks that nobody opens.

    Args:
        server: that prepares its half.
        plans: the server's.
        folder: of the keys, where tickets are kept too; in memory if None.
        processes: that prepare a batch, where the server is in this process; None: as many as
            there are usable cores.
        refill: a batch is prepared ahead of need when fewer tickets are left; None: only when none
            is left; 0: not at all, so that no text waits for a preparation.
        most_batches: that the server keeps under one key pair; None: any number.
        lifetime: seconds for which the server keeps a batch.
    """

    server: Transport
    plans: Plans
    folder: Path | None = None
    processes: int | None = None
    refill: int | None = None
    most_batches: int | None = None
    lifetime: float = math.inf
    _stocks: dict[str, TicketStock] = field(init=False, default_factory=dict, repr=False)
    _table: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)
    _preparing: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)
    _thread: threading.Thread | None = field(init=False, default=None, repr=False)

    def stock(self, plan: PreparedPlan, key_id: str) -> TicketStock:
        """The tickets of a plan under a key pair."""
        with self._table:
            name = f"tickets.{plan.id[:8]}.{key_id[:8]}"
            if name not in self._stocks:
                self._stocks[name] = self._open(name, plan, key_id)
            return self._stocks[name]

    def _open(self, name: str, plan: PreparedPlan, key_id: str) -> TicketStock:
        if self.folder is None:
            return MemoryStock(plan, self.lifetime)
        for folder in self.folder.glob("tickets.*"):  # secrets of no use, of other plans too
            FolderStock(folder, plan, key_id, self.lifetime).sweep()
        return FolderStock(self.folder / name, plan, key_id, self.lifetime)

    def prepare(self, plan: PreparedPlan, keys: Keys, processes: int | None = None) -> Prepared:
        """Prepare a batch.

        Raises:
            QuotaError: the server keeps no more, and would drop one that has tickets left.
            ThexError: as :func:`.preparation.prepare_batch`.
        """
        with self._preparing:
            return self._batch(plan, keys, self.server, processes or self.processes)

    def serving(self, own: PreparedPlan, key_id: str) -> PreparedPlan:
        """The plan whose tickets a text gets: where its own has none, the next longer with some."""
        if self.stock(own, key_id).left() or not self._others(own, key_id):
            return own
        for size in self.plans.sizes:
            if size > own.tokens:
                try:
                    longer = self.plans.single(size)
                except (PlanError, TextError):  # the model takes no such text
                    break
                if (
                    isinstance(longer, PreparedPlan)
                    and longer.key_set == own.key_set
                    and self.stock(longer, key_id).left()
                ):
                    return longer
        return own

    def take(self, own: PreparedPlan, keys: Keys) -> tuple[PreparedPlan, Ticket, float]:
        """A ticket, its plan, and the seconds that this call spent on preparing.

        Args:
            own: of the text's bucket. A longer one serves where it has tickets and this has none.
            keys: the key pair.

        Raises:
            TicketError: there is none, and none may be prepared now.
            ThexError: as :meth:`prepare`.
        """
        seconds = 0.0
        while True:
            plan = self.serving(own, keys.key_id)
            stock = self.stock(plan, keys.key_id)
            if plan is own and not stock.left():
                seconds += self._prepare_now(own, keys)
            try:
                ticket = stock.take()
            except TicketError:
                if plan is own:
                    raise
                continue  # another thread had the last one
            if self.refill and self.stock(own, keys.key_id).left() < self.refill:
                self._prepare_ahead(own, keys, self.refill)
            return plan, ticket, seconds

    def _prepare_now(self, plan: PreparedPlan, keys: Keys) -> float:
        """Prepare a batch while a text waits; the seconds."""
        if self.refill == 0:
            raise none_left()
        with self._preparing:
            if self.stock(plan, keys.key_id).left():
                return 0.0  # a thread has been at it
            logger.warning(
                "no ticket is left for texts of up to %d tokens: preparing %d",
                plan.tokens,
                plan.batch.tickets,
            )
            return self._batch(plan, keys, self.server, self.processes).seconds

    def _others(self, plan: PreparedPlan, key_id: str) -> bool:
        """Whether the key pair has a stock of another plan, perhaps an empty one."""
        own = f"tickets.{plan.id[:8]}.{key_id[:8]}"
        with self._table:
            names = {name for name in self._stocks if name.endswith(key_id[:8])}
        if self.folder is not None:
            names |= {path.name for path in self.folder.glob(f"tickets.*.{key_id[:8]}")}
        return bool(names - {own})

    def out_of_tickets(self, plan: PreparedPlan, key_id: str) -> bool:
        """Whether no text of a plan can be served before somebody prepares tickets."""
        return self.refill == 0 and not self.stock(self.serving(plan, key_id), key_id).left()

    def wait(self) -> None:
        """Wait for what is being prepared ahead of need."""
        with self._table:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _prepare_ahead(self, plan: PreparedPlan, keys: Keys, wanted: int) -> None:
        stock = self.stock(plan, keys.key_id)

        def work() -> None:
            try:
                server = self.server.beside() if isinstance(self.server, InMemory) else self.server
                while stock.left() < wanted:
                    with self._preparing:
                        if stock.left() < wanted:
                            self._batch(plan, keys, server, 1)
            except Exception:  # nobody waits for it: the next text without a ticket will raise
                logger.exception("tickets could not be prepared ahead of need")

        with self._table:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=work, name="tickets", daemon=True)
                self._thread.start()

    def _batch(
        self, plan: PreparedPlan, keys: Keys, server: Transport, processes: int | None
    ) -> Prepared:
        stock = self.stock(plan, keys.key_id)
        self._check_room(plan, keys.key_id)
        return prepare_batch(plan, keys, server, stock, processes)

    def _check_room(self, plan: PreparedPlan, key_id: str) -> None:
        """Refuse a batch for which the server would drop another. Raises QuotaError."""
        stocks: list[TicketStock]
        if self.folder is None:
            with self._table:
                stocks = [one for name, one in self._stocks.items() if name.endswith(key_id[:8])]
        else:  # other plans have the same keys
            folders = self.folder.glob(f"tickets.*.{key_id[:8]}")
            stocks = [FolderStock(folder, plan, key_id) for folder in folders]
        kept = sum(stock.batches() for stock in stocks)
        if self.most_batches is not None and kept >= self.most_batches:
            left = sum(stock.left() for stock in stocks)
            raise QuotaError(
                f"the server keeps {self.most_batches} batches of tickets for one key pair and "
                f"would drop one of your {kept} for another: their {left} tickets are still good. "
                f"What to do: use them first, prepare under another directory of keys, or have the "
                f"server keep more (thex-hf serve --ticket-batches-per-keys)"
            )
