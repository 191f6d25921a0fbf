"""Every error that Foresift raises on purpose.

ForesiftError
├── UsageError            what was asked for makes no sense (exit code 2)
│   ├── MissingPathError  nothing lies where a pool was looked for
│   ├── UnknownNameError  no strategy, score, model of that name
│   ├── BudgetError       a budget outside 1 .. unlabeled samples
│   └── UnknownRecordError  no run, round, job of that id in the workspace
├── DataError             images, manifests, labels
│   ├── EmptyPoolError    nothing to look at
│   ├── LabelError        labels that contradict the classes or each other
│   ├── ShortMemoryError  an image that does not fit the memory that is free now
│   └── QuarantineError   --strict, and a file is broken
├── ModelError            weights, architectures, generations
│   └── NotBetterError    a generation that does not beat the one whose place it would take
├── NonFiniteError        NaN or infinity where a number belongs
├── MissingColumnError    a strategy needs what the predictions lack
├── MissingExtraError     an optional package is not installed
├── StoreError            the workspace on disk
│   ├── DamagedRowsError  stored rows whose bits have changed; they were dropped
│   └── StaleError        somebody else changed the record first; nothing was stored
├── UnreachableError      a host that gives nothing at all; trying again later is safe
├── OracleError           whoever answers with labels can't be reached or understood
├── ContractError         a plug-in broke the contract of its kind
└── ReplayError           a receipt that can't be recomputed, and why
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NEAR = 0.6
"""Least share of equal letters of a name that is suggested: ``marg`` finds ``margin``, an unrelated word nothing."""


class ForesiftError(Exception):
    """Base of all; its text is one line: what was expected, what came, what to do."""


class UsageError(ForesiftError, ValueError):
    """The request itself is wrong."""


class UnknownNameError(UsageError):
    """A name that no registry holds; the text suggests the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=_NEAR)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        shown = names if len(names) <= 30 else [*names[:30], "..."]
        super().__init__(f"unknown {kind} {name!r}{hint} (known: {', '.join(shown)})")


class BudgetError(UsageError):
    """A budget that is negative, zero or larger than what is left to label."""


class UnknownRecordError(UsageError):
    """The workspace holds no record of that id."""


class DataError(ForesiftError):
    """Images, manifests or label files are not as expected."""


class MissingPathError(UsageError, DataError):
    """Nothing lies at the path that was given for a pool."""


class EmptyPoolError(DataError):
    """A pool without a single usable sample."""


class LabelError(DataError):
    """Labels that contradict the classes or each other."""


class ShortMemoryError(DataError):
    """An image does not fit the memory that is free now; no judgement on the file, so never kept as one."""


class QuarantineError(DataError):
    """A broken file under ``--strict``."""


class ModelError(ForesiftError):
    """Weights, architectures or generation folders are not as expected."""


class NotBetterError(ModelError):
    """A generation does not beat the one whose place it would take; the text says by how much."""


class NonFiniteError(ForesiftError, ValueError):
    """NaN or infinity where a finite number belongs; names the sample."""


class MissingColumnError(UsageError):
    """The predictions lack a column that is needed."""


class MissingExtraError(ForesiftError, ImportError):
    """An optional dependency is not installed; names the extra."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part; install it with: pip install 'foresift[{extra}]'")


class StoreError(ForesiftError):
    """The workspace can't be read or written."""


class DamagedRowsError(StoreError):
    """Stored rows no longer fit their checksums; they were dropped, so that they count as missing from now on."""


class StaleError(StoreError):
    """Somebody else changed the record first: nothing was stored; read it again and decide anew."""


class UnreachableError(ForesiftError):
    """A host gives nothing at all: no sample was judged for it, and nothing done is lost."""


class OracleError(ForesiftError):
    """Nobody can be asked, or an answer can't be understood; what was answered is kept, trying again is safe."""


class ContractError(ForesiftError):
    """A plug-in broke the contract of its kind; names the plug-in."""


class ReplayError(ForesiftError):
    """A receipt can't be recomputed; says what is missing or changed."""
