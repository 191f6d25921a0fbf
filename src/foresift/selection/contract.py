"""What every strategy is held to: one seeded generator a query, k distinct rows, finite scores."""

from __future__ import annotations

import numpy as np

from foresift.core.arrays import Ids, Rows, Values
from foresift.core.digests import digest_ids
from foresift.core.errors import ContractError, NonFiniteError, UsageError
from foresift.core.queries import Picks, Query


def generator(seed: int, name: str, *, labeled: Ids) -> np.random.Generator:
    """The random generator of one query, seeded by the user's seed, the strategy's name and what is labeled.

    The labeled ids stand for the round: with the seed alone, a second round would draw the same
    numbers again for the neighbours of what the first one took.
    """
    words = [checked_seed(seed), int.from_bytes(name.encode(), "little"), int(digest_ids(labeled), 16)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def checked_seed(seed: int) -> int:
    """``seed`` as a plain integer; raises ``UsageError`` unless it is 0 or more."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed must be a whole number, 0 or more, got {seed!r}")
    return int(seed)


def check_finite(values: Values, query: Query, *, name: str) -> Values:
    """``values`` themselves, (n,) one for each candidate.

    Raises:
        NonFiniteError: one is NaN or infinite; names the sample.
    """
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise NonFiniteError(f"{name} of sample {str(query.ids[row])!r} is {values[row]}, not a finite number")
    return values


def check_picks(picks: Picks, query: Query, *, name: str) -> None:
    """Hold what a strategy returned to the contract.

    Raises:
        ContractError: not exactly ``query.budget`` distinct rows, or scores of another shape.
        NonFiniteError: a score is NaN or infinite; names the sample.
    """
    rows, k = picks.rows, query.budget
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iu" or rows.shape != (k,):
        shape = getattr(rows, "shape", type(rows).__name__)
        raise ContractError(f"strategy {name!r} must pick {k} row indices, got {shape}")
    if rows.min() < 0 or rows.max() >= len(query):
        raise ContractError(f"strategy {name!r} picked a row outside 0 .. {len(query) - 1}")
    if len(np.unique(rows)) != k:
        raise ContractError(f"strategy {name!r} picked a sample twice")
    if picks.scores is not None:
        _check_scores(picks.scores, rows, query, name=name)


def _check_scores(scores: Values, rows: Rows, query: Query, *, name: str) -> None:
    if scores.shape != rows.shape:
        raise ContractError(f"strategy {name!r} picked {len(rows)} rows with scores of shape {scores.shape}")
    finite = np.isfinite(scores)
    if not finite.all():
        sample = query.ids[rows[np.argmin(finite)]]
        raise NonFiniteError(f"{name} of sample {str(sample)!r} is not a finite number")
