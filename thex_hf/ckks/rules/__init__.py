"""What a CKKS machine allows, checked the same way by every engine of this package.

The rules are those of SEAL (``evaluator.cpp``), made stricter where SEAL would go on
and give a wrong scale. A handle is anything with ``level``, ``degree`` and ``size``.
"""

from thex_hf.ckks.rules.blinding import check_blinding, check_move, check_renewing, check_unblinding
from thex_hf.ckks.rules.keys import (
    check_conjugation,
    check_reach,
    check_relinearisation,
    check_rerandomisation,
    check_rotation,
    check_steps_held,
    reduced_steps,
)
from thex_hf.ckks.rules.operands import (
    check_add,
    check_combine,
    check_degree,
    check_dot,
    check_dump,
    check_level,
    check_mod_switch,
    check_mul,
    check_operands,
    check_plain,
    check_product_level,
    check_received,
    check_same_level,
    check_size,
    checked_vector,
)
from thex_hf.ckks.rules.state import PlaintextState, State, pack_state, unpack_state

__all__ = [
    "PlaintextState",
    "State",
    "check_add",
    "check_blinding",
    "check_combine",
    "check_conjugation",
    "check_degree",
    "check_dot",
    "check_dump",
    "check_level",
    "check_mod_switch",
    "check_move",
    "check_mul",
    "check_operands",
    "check_plain",
    "check_product_level",
    "check_reach",
    "check_received",
    "check_relinearisation",
    "check_renewing",
    "check_rerandomisation",
    "check_rotation",
    "check_same_level",
    "check_size",
    "check_steps_held",
    "check_unblinding",
    "checked_vector",
    "pack_state",
    "reduced_steps",
    "unpack_state",
]
