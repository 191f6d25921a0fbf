"""From names of classes to the codes that strategies read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foresift.app.pools import LabeledPart
from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.core.samples import UNLABELED, Pool
from foresift.strategies import Strategy

Codes = npt.NDArray[np.int64]


def label_codes(
    strategy: Strategy, labeled: LabeledPart, classes: Sequence[str], predictions: Predictions
) -> Codes | None:
    """(m,) codes of the labeled samples; None where the strategy reads none, or can do without and some are missing.

    Args:
        classes: the model's, in the order of its logits; empty where none are known.
    Raises:
        UsageError: labels are needed, and one is missing or no class of the model.
    """
    if "labels" not in (*strategy.needs, *strategy.uses):
        return None
    names = labeled.names
    if not (names == "").any():
        order = list(classes) or _order_of(names, predictions)
        if not (unknown := sorted(set(names.tolist()) - set(order))):
            index = {name: code for code, name in enumerate(order)}
            return np.array([index[name] for name in names.tolist()], dtype=np.int64)
        why = f"{unknown[:3]} are no classes of the model ({', '.join(order[:10])})"
    else:
        why = f"{int((names == '').sum())} of {len(names)} labeled samples have none, or contradicting ones"
    if "labels" in strategy.needs:
        raise UsageError(
            f"strategy {strategy.name} reads the labels of labeled samples, but {why};"
            " give a --labeled file whose label column is filled in with these classes"
        )
    return None


def truth_codes(strategy: Strategy, pool: Pool, predictions: Predictions, classes: Sequence[str]) -> Codes | None:
    """(n,) codes of the samples themselves in the order of the predictions, for strategies that need the truth.

    Raises:
        UsageError: a label is no class of the model.
    """
    if "truth" not in strategy.needs or not classes:
        return None
    unknown = sorted(set(pool.classes) - set(classes))
    recode = np.array([*(_code(name, classes) for name in pool.classes), UNLABELED], dtype=np.int64)
    codes = recode[pool.codes[pool.rows_of(predictions.sample_ids)]]
    if unknown and (codes == _FOREIGN).any():
        raise UsageError(
            f"labels {unknown[:3]} are no classes of the model ({', '.join(classes[:10])}); "
            "use a model with the same classes"
        )
    return codes


_FOREIGN = -2
"""Instead of the code of a class that the model does not know."""


def _code(name: str, classes: Sequence[str]) -> int:
    return classes.index(name) if name in classes else _FOREIGN


def _order_of(names: npt.NDArray[np.str_], predictions: Predictions) -> list[str]:
    """Classes where no model names them: whole numbers are codes themselves, names go in order.

    Raises:
        UsageError: names that can't be told to belong to one column of the logits each.
    """
    found = sorted(set(names.tolist()))
    width = predictions.column("logits").shape[1] if "logits" in predictions.columns else None
    if all(name.isdecimal() for name in found):
        return [str(code) for code in range(width if width is not None else max(map(int, found), default=0) + 1)]
    if width is not None and found and len(found) != width:
        raise UsageError(
            f"the labels name {len(found)} classes and the logits have {width} columns;"
            " give column numbers, 0 for the first, as labels"
        )
    return found
