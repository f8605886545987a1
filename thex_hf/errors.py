"""Every exception that a user of ``thex_hf`` can meet.

Each message says what was expected, what came, and what to do next. All of them
derive from :class:`ThexError`, and from the nearest built-in exception so that
ordinary ``except ValueError`` code keeps working.
"""

from __future__ import annotations

from typing import Self


class ThexError(Exception):
    """Base class of all errors raised by this package."""

    row: int | None = None
    """Which of several texts or rows it is about, from 1; None: the only one, or none."""


class TextError(ThexError, ValueError):
    """One text cannot be served; others can. What ``on_error="skip"`` skips."""

    def at(self, row: int, place: str | None = None) -> Self:
        """The same error, with the place of its text among several, from 1.

        Args:
            row: its number.
            place: what to call it in the message, ``text ROW`` if None.
        """
        error = type(self)(f"{place or f'text {row}'}: {self}")
        error.row = row
        return error


class ConversionError(ThexError, ValueError):
    """A model, configuration or data file cannot be converted to THE-X form."""


class PlanError(ThexError, ValueError):
    """The encrypted circuit does not fit: too few levels, slots or modulus bits."""


class SecurityError(ThexError, ValueError):
    """Encryption parameters fall below 128-bit security and were refused."""


class OptionError(ThexError, ValueError):
    """An option is unknown, misspelt or has a value that is not on offer."""


class InputError(TextError):
    """The text to classify cannot be used (empty, too long, wrong type)."""


class RangeError(TextError, ArithmeticError):
    """Values ran away: an answer lies outside of what the model's calibration allows."""


class WrapError(PlanError, RangeError):
    """A value does not fit the modulus at its level: it would come back as another number."""


class DataError(ConversionError, InputError):
    """A row of labelled texts cannot be used: its text, its label or its fields."""


class BackendUnavailable(ThexError, ImportError):
    """A backend is unknown, or the library behind it is missing or broken."""


class KeyMismatch(ThexError, ValueError):
    """A message or key file belongs to other keys than those in use."""


class PlanMismatch(ThexError, ValueError):
    """A message or key file belongs to another plan than the one in use."""


class WireError(ThexError, ValueError):
    """Bytes from the other side are truncated, malformed or not allowed."""


class DivergenceError(ConversionError):
    """Training ran away, or ended at chance; what it left is of no use."""


class KeyStoreError(ThexError, OSError):
    """Keys cannot be read from, or written to, a directory; or one to be pushed holds keys."""


class OutputError(ThexError, OSError):
    """Answers cannot be written to a file, or what is in it belongs to something else."""


class ChildError(ThexError, RuntimeError):
    """A child process did not start, died, or raised what is not an error of this package."""


class BusyError(ThexError, RuntimeError):
    """A server has as many runs in progress as it allows; try again later."""


class ExpiredError(ThexError, LookupError):
    """A server does not know the run that a message belongs to, or has given it up."""


class QuotaError(ThexError, OSError):
    """A server has no room for more keys of a client."""


class TicketError(ThexError, LookupError):
    """A ticket of the prepared protocol is spent, or its server does not know it."""


class AccessError(ThexError, PermissionError):
    """A server asks for a token, or does not know the one that came."""


class SlowError(ThexError, TimeoutError):
    """The other side took too long."""


class TooLargeError(ThexError, ValueError):
    """More bytes than a server takes at once."""


class ConnectionLost(ThexError, ConnectionError):
    """A server cannot be reached, or does not speak as one of ours."""
