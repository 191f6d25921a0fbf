"""A trial on real digits: registered strategies select, a linear classifier learns."""

from __future__ import annotations

import json

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier

import foresift
from foresift.cycle.pshea import Pshea
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Id, Outcome, Trial, run

POOL, BUDGET, START, TEST = 800, 30, 40, 500
STRATEGIES = ("entropy", "k-center", "margin", "random")


class DigitsLearner:
    """Ids are row numbers; the first ``START`` rows trained the initial model."""

    def __init__(self) -> None:
        images = load_digits()
        rows = np.random.default_rng(0).permutation(len(images.data))
        self.x, self.y = images.data[rows] / 16.0, images.target[rows]

    def accuracy(self, rows: np.ndarray) -> tuple[float, RidgeClassifier]:
        model = RidgeClassifier().fit(self.x[rows], self.y[rows])
        return float(model.score(self.x[-TEST:], self.y[-TEST:])), model

    def __call__(self, strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        have = np.array([*range(START), *labels], dtype=np.int64)
        _, model = self.accuracy(have)
        x = self.x[:POOL]
        logits = model.decision_function(x)
        predictions = foresift.Predictions.from_arrays(range(POOL), logits=logits, embeddings=x)
        picked = foresift.select(predictions, strategy, budget=budget, labeled=have.tolist(), seed=len(labels))
        bought = tuple(int(i) for i in picked.sample_ids)
        return Outcome(self.accuracy(np.array([*have, *bought]))[0], bought)


def test_a_trial_on_digits_has_an_exact_ledger_and_resumes_to_the_same_answer() -> None:
    learner = DigitsLearner()
    stop = StopRules(max_labels=330, patience=9)
    agent = Pshea(strategies=STRATEGIES, budget=BUDGET, stop=stop, charge="per_strategy", control="")
    accuracy, _ = learner.accuracy(np.arange(START))
    before = agent.start(accuracy=accuracy, labels=START, evaluation_size=TEST)
    first = agent.advance(before, learner)
    trial = run(agent, first, learner)
    assert trial == run(agent, Trial.from_dict(json.loads(json.dumps(first.to_dict()))), DigitsLearner())
    assert len(trial.turns) == 4 + 3 + 2 + 1 + 1
    assert trial.ledgers["per_strategy"] == 330
    assert trial.ledgers["unique"] < 330  # strategies want some of the same digits
    assert (len(trial.alive), trial.stopped) == (1, "budget")
    assert trial.best[-1] > accuracy
    assert agent.answer(trial).strategy in STRATEGIES
