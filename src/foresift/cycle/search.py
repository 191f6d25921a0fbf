"""The search for a training distribution: which sizes, which samples, who trains on what; no training here.

A search looks for a part of a labeled set on which models learn as well as on all of it. All three schemes rank
samples by what an ensemble says of them:

- ``pretrain``: an ensemble learns from everything, then goes on learning from its best-ranked part;
- ``compress``: an ensemble learns from everything, others learn from its best-ranked part from scratch;
- ``build-up``: an ensemble learns from a random part, ranks the rest, takes the best of it, learns from that
  larger part from scratch, and so on.

Source: Chitta et al. 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.errors import LabelError, UnknownNameError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How a subset comes about, as three answers."""

    name: str
    grows: bool
    """Whether each stage's ensemble ranks what is to be added to it; else one that knows everything ranks all."""
    continues: bool
    """Whether a stage's models go on from the weights of those that knew everything."""

    @property
    def needs(self) -> tuple[str, ...]:
        """``truth`` where labels are read of samples that may then be left out."""
        return () if self.grows else ("truth",)


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="build-up", grows=True, continues=False),
        Scheme(name="compress", grows=False, continues=False),
        Scheme(name="pretrain", grows=False, continues=True),
    )
}


def scheme_of(name: str) -> Scheme:
    """The scheme of a name.

    Raises:
        UnknownNameError: none of that name.
    """
    if name not in SCHEMES:
        raise UnknownNameError("scheme", name, SCHEMES)
    return SCHEMES[name]


def check_legal(needs: Sequence[str], *, what: str, unlabeled: int, of: int) -> None:
    """Refuse what reads the truth of samples where some have none.

    Args:
        needs: of a scheme or a score; ``truth`` = labels of the samples that are chosen from.
        what: the scheme or score, as a message calls it.
        unlabeled: samples without a label, out of ``of``.
    Raises:
        LabelError: names what would be legal instead.
    """
    if "truth" in needs and unlabeled:
        raise LabelError(
            f"{what} reads the label of every sample, and {unlabeled:,} of {of:,} have none: label them, or let "
            "build-up with mutual-information, variation-ratios or predictive-entropy buy labels round by round: "
            "foresift select POOL --model ENSEMBLE --strategy mutual-information"
        )


def counts_of(sizes: Sequence[float], n: int) -> tuple[int, ...]:
    """Numbers of samples, smallest first.

    Args:
        sizes: shares of n within (0, 1], or whole numbers above 1; in ascending order.
        n: samples that could be taken.
    Raises:
        UsageError: none, a size outside 1 .. n, or no ascending order.
    """
    if not sizes:
        raise UsageError("sizes: expected at least one, such as [0.125, 0.25, 0.5]")
    counts = tuple(_count(size, n) for size in sizes)
    if any(later <= earlier for earlier, later in pairwise(counts)):
        raise UsageError(f"sizes must grow from stage to stage, got {', '.join(map(str, sizes))} (of {n:,} samples)")
    return counts


def doubled(first: float, last: float) -> tuple[float, ...]:
    """The growth of the source: from one size to another, twice as large each time; the last size closes it.

    Raises:
        UsageError: the last size is below the first.
    """
    if not 0 < first <= last:
        raise UsageError(f"growth must lead from a size above 0 to one at least as large, got {first} to {last}")
    sizes = [first]
    while sizes[-1] * 2 < last:
        sizes.append(sizes[-1] * 2)
    return (*sizes, last) if last > sizes[-1] else tuple(sizes)


def start_count(first: int, asked: float | None, n: int) -> int:
    """Samples of the random start of ``build-up``: as asked, else half of the first size.

    The source does not say how large the start is; its first size differs from random already.

    Raises:
        UsageError: not below the first size.
    """
    count = max(1, first // 2) if asked is None else _count(asked, n)
    if count >= first:
        raise UsageError(f"start must be below the first size, {first}, got {count}; leave it out for half of that")
    return count


def check_outliers(outliers: float, *, n: int, sizes: Sequence[int]) -> int:
    """Samples of the largest scores that are passed over in each stage.

    Args:
        outliers: q, a share of n within [0, 1).
        sizes: of the stages, the largest last; what a stage holds already can't be passed over.
    Raises:
        UsageError: out of range, or so many that a stage can't be filled.
    """
    if not 0 <= outliers < 1:
        raise UsageError(f"outliers must be a share within [0, 1), got {outliers}")
    passed = round(outliers * n)
    if passed and sizes[-1] + passed > n:
        raise UsageError(
            f"outliers {outliers:g} pass over {passed} of {n} samples and leave {n - passed}, fewer than the last "
            f"size {sizes[-1]}; lower one of them"
        )
    return passed


def random_rows(n: int, count: int, *, seed: int) -> Rows:
    """(count,) distinct ascending rows of n, by chance; more of them for the same seed contain fewer."""
    return np.sort(np.random.default_rng([seed, n]).permutation(n)[:count])


def _count(size: float, n: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size <= n or (size > 1 and size % 1):
        raise UsageError(f"a size is a share within (0, 1] or a whole number up to {n:,}, the samples; got {size}")
    count = int(size) if size > 1 else round(size * n)
    if not 1 <= count <= n:
        raise UsageError(f"size {size} is {count} of {n:,} samples; a stage needs at least one")
    return count
