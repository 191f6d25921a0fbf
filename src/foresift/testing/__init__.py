"""Conformance suites for authors of plug-ins: the laws that every strategy, score and store obeys.

One call checks all laws::

    from foresift.testing import check_strategy
    check_strategy(MyStrategy(keep=500))

and one test for each law tells at a glance which are broken::

    @pytest.mark.parametrize("law", STRATEGY_LAWS)
    def test_my_strategy(law):
        check_strategy(MyStrategy(keep=500), laws=[law])
"""

from foresift.testing.examples import BrokenLawError, MakePredictions, make_predictions
from foresift.testing.records import RECORD_LAWS, check_records
from foresift.testing.records_case import MakeStore, StoreCase
from foresift.testing.scores import SCORE_LAWS, check_score
from foresift.testing.strategies import STRATEGY_LAWS, check_strategy

__all__ = [
    "RECORD_LAWS",
    "SCORE_LAWS",
    "STRATEGY_LAWS",
    "BrokenLawError",
    "MakePredictions",
    "MakeStore",
    "StoreCase",
    "check_records",
    "check_score",
    "check_strategy",
    "make_predictions",
]
