"""How much of the objective's variance each hyperparameter explains: fANOVA over the trials that have ended.

Hutter, Hoos, Leyton-Brown: An Efficient Approach for Assessing Hyperparameter Importance, ICML 2014; as in Optuna.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrate.follow import Trial
from orchestrate.scales import is_wide

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# With fewer the forest has nothing to split.
FEWEST = 4


def of(trials: Sequence[Trial]) -> dict[str, float]:
    """Hyperparameter -> share, the largest first; empty where there are too few trials or all are alike."""
    scored = [t for t in trials if t.objective is not None]
    names = sorted(set.intersection(*(set(t.hyperparameters) for t in scored))) if scored else []
    varied = [name for name in names if len({t.hyperparameters[name] for t in scored}) > 1]
    if len(scored) < FEWEST or not varied or len({t.objective for t in scored}) == 1:
        return {}
    import optuna
    from optuna.trial import create_trial

    logging.getLogger("optuna").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spaces = {name: _space([t.hyperparameters[name] for t in scored]) for name in varied}
    study = optuna.create_study()
    for trial in scored:
        given = {name: _value(trial.hyperparameters[name], spaces[name]) for name in varied}
        study.add_trial(create_trial(params=given, distributions=spaces, value=trial.objective))
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    return {name: float(share) for name, share in found.items()}


def _space(values: Sequence[str]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(min(numbers), max(numbers), log=is_wide(numbers))


def _value(text: str, space: BaseDistribution) -> float | str:
    from optuna.distributions import CategoricalDistribution

    return text if isinstance(space, CategoricalDistribution) else float(text)
