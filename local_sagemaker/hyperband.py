"""What Hyperband may spend on a trial, from a request: values of the objective, which a trial prints once an epoch."""

from __future__ import annotations

from typing import Any

from local_sagemaker import errors

# From which of the static hyperparameters AWS reads the most, when the request does not give it.
EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
MOST = 20_000


def resource(config: dict[str, Any], static: dict[str, str]) -> tuple[int, int] | None:
    """MinResource and MaxResource; None for another strategy. Raises ApiError where they are missing or contradict."""
    given = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig")
    if config["Strategy"] != "Hyperband":
        if given is not None:
            raise errors.validation("HyperbandStrategyConfig can only be given with the Strategy Hyperband.")
        return None
    given = given or {}
    most = given.get("MaxResource") or _inferred(static)
    if most is None:
        raise errors.validation(
            "MaxResource parameter is not provided and could not be inferred from provided static hyperparameters of "
            f"TrainingJobDefinition. (It is read from {', '.join(EPOCHS)}.)"
        )
    least = given.get("MinResource", 1)
    if not least <= most <= MOST:
        raise errors.validation(
            f"MinResource {least} and MaxResource {most} must be in this order, and MaxResource at most {MOST}."
        )
    return least, most


def _inferred(static: dict[str, str]) -> int | None:
    found = [static[key] for key in EPOCHS if static.get(key, "").isdigit() and int(static[key]) > 0]
    return int(found[0]) if found else None
