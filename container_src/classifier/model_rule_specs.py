"""The rules on what is trained: names, thresholds and advice. Pure Python.

Names and parameters are those of SageMaker Debugger's built-in rules, and so are the defaults unless a rule's `source`
says otherwise: docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html. The originals compared single
steps; the loss of one batch is noise, so here the rules on losses compare epochs.
"""

from __future__ import annotations

from classifier.rule_spec import Spec, Threshold

_DEBUGGER = "SageMaker Debugger's rule of that name"

SPECS = (
    Spec(
        "LossNotDecreasing", "model",
        "the training loss falls from epoch to epoch, or has levelled off after it fell",
        "Lower learning-rate if the loss rises or jumps, raise it if the loss hardly moves; if it has levelled off "
        "high, set freeze-backbone=false, take a larger model or weights=pretrained.",
        f"{_DEBUGGER}; there it compared steps; added is `learned_percent`, as a loss that has converged need not fall "
        "on, and a rise is measured in the first epoch's loss",
        {
            "num_epochs": Threshold(1, 1, 1000, "epochs between the two losses that are compared"),
            "diff_percent": Threshold(0.1, 0, 100, "percent by which the later must be below the earlier"),
            "increase_threshold_percent": Threshold(
                5, 0, 1000, "percent of the first epoch's loss by which it may be above its lowest two epochs in a row"
            ),
            "learned_percent": Threshold(
                10, 0, 100, "percent of the first epoch's loss after whose fall it may level off"
            ),
        },
    ),
    Spec(
        "Overfit", "model",
        "the validation loss does not rise while the training loss is below it",
        "Train fewer epochs or set early-stopping-patience, turn augment on, raise weight-decay or label-smoothing, or "
        "keep freeze-backbone=true; more photographs help most.",
        f"{_DEBUGGER}; there any gap between the two losses fired, which nearly every run has, and `patience` was 1: "
        "here the validation loss must also have risen by that much of the first epoch's",
        {
            "ratio_threshold": Threshold(
                0.1, 0, 100, "share by which the validation loss may be above the training loss and its own lowest"
            ),
            "patience": Threshold(3, 1, 1000, "epochs in a row that this is so before the first that fires"),
        },
    ),
    Spec(
        "Overtraining", "model",
        "the losses still get better",
        "Train fewer epochs, or set early-stopping-patience: the last epochs cost time and bring nothing.",
        f"{_DEBUGGER}; `delta` is a share of the lowest loss and no difference",
        {
            "patience_train": Threshold(5, 1, 1000, "epochs without a better loss, of training and validation both"),
            "patience_validation": Threshold(10, 1, 1000, "epochs without a better validation loss"),
            "delta": Threshold(0.01, 0, 1, "share by which a loss must be below its lowest to be better"),
        },
    ),
    Spec(
        "VanishingGradient", "model",
        "every layer that is trained has gradients",
        "Raise learning-rate only if the loss is still high; else look for layers that are cut off: dead ReLUs, "
        "weights that are all zero, an image-size so small that nothing is left of a photograph in the last layers.",
        _DEBUGGER,
        {"threshold": Threshold(1e-7, 0, 1, "mean absolute gradient of a layer's weights below which it vanishes")},
    ),
    Spec(
        "ExplodingTensor", "model",
        "losses, gradients, weights and activations are finite",
        "Lower learning-rate, by a factor of ten to begin with; take adamw instead of sgd.",
        _DEBUGGER,
        {"only_nan": Threshold(0, 0, 1, "1 fires at NaN alone, 0 at infinite values as well")},
        severity="error",
    ),
    Spec(
        "PoorWeightInitialization", "model",
        "in the first steps the weights of every layer that is trained differ among themselves, and layers are of "
        "comparable scale",
        "Start from weights=pretrained, or give every layer the usual random weights: units that begin alike stay "
        "alike.",
        f"{_DEBUGGER}; there `threshold` was 10, which every ResNet exceeds: Kaiming's layers of 1 x 1 and 3 x 3 alone "
        "differ by 72; and `distribution_range` was of the gradients",
        {
            "threshold": Threshold(10_000, 1, 1e12, "ratio of the largest to the smallest variance of a layer"),
            "distribution_range": Threshold(
                0.001, 0, 1, "between a layer's smallest and largest weight, below which they are alike"
            ),
            "steps": Threshold(10, 1, 1000, "recorded steps that are judged"),
        },
    ),
    Spec(
        "DeadRelu", "model",
        "most channels of every ReLU are active on some of the photographs",
        "Lower learning-rate: one step that is too large kills a ReLU for good. With weights=none look at the "
        "initialization as well.",
        f"{_DEBUGGER}; activity is the mean of the last 3 recorded steps",
        {
            "threshold_inactivity": Threshold(
                1.0, 0, 100, "percent of its activations above zero below which a channel is dead"
            ),
            "threshold_layer": Threshold(50.0, 0, 100, "percent of a layer's channels that may be dead"),
        },
    ),
    Spec(
        "WeightUpdateRatio", "model",
        "an update is small against the weights that it changes, and not negligible",
        "Lower learning-rate if updates are too large, raise it if they are too small.",
        f"{_DEBUGGER}; of the Euclidean norms of a layer's update and of its weights; biases and normalizations, which "
        "begin at zero or one, do not count",
        {
            "large_threshold": Threshold(10.0, 0, 1e9, "ratio of an update to the weights that is too large"),
            "small_threshold": Threshold(1e-8, 0, 1, "ratio that is too small"),
            "epsilon": Threshold(1e-9, 0, 1, "added to the norm of the weights, which may be zero"),
        },
    ),
    Spec(
        "UnchangedTensor", "model",
        "every layer that is trained changes",
        "Raise learning-rate: its updates are lost in rounding. A layer that is meant to stay as it is needs no "
        "gradients: freeze it.",
        f"{_DEBUGGER}; there `rtol` was 1e-5 and `atol` 1e-8, less than which the last steps of a cosine schedule "
        "change; of reduced tensors the reductions are compared",
        {
            "rtol": Threshold(1e-7, 0, 1, "relative difference up to which two values are the same"),
            "atol": Threshold(0, 0, 1, "absolute difference up to which two values are the same"),
            "num_steps": Threshold(3, 2, 1000, "recorded steps in a row over which nothing changes"),
        },
    ),
    Spec(
        "ClassImbalance", "model",
        "all classes have photographs enough to be learned",
        "Collect more photographs of the rare classes, or leave such classes out; prepare.py tells the counts.",
        f"{_DEBUGGER}; a class is rare with half of the mean or less, and its mistakes count from 5 photographs of it "
        "in valid on, where the others are right twice as often",
        {
            "threshold_imbalance": Threshold(
                10, 1, 1e6, "times as many photographs in the largest class as in the smallest"
            ),
            "threshold_misprediction": Threshold(0.7, 0, 1, "share of a rare class's photographs that may be mistaken"),
        },
    ),
    Spec(
        "Confusion", "model",
        "no two classes are taken for each other for long, once the others are told apart",
        "Look at the photographs of the two classes: wrong labels, duplicates in both, or breeds that differ in what "
        "image-size leaves of them; then raise image-size, or set freeze-backbone=false.",
        f"{_DEBUGGER}; there `min_diag` 0.9 and `max_off_diag` 0.1 held for every cell from the first step on; here a "
        "pair is judged for `patience` epochs, in both directions at once",
        {
            "min_diag": Threshold(0.5, 0, 1, "share of the other classes' photographs that must be right first"),
            "max_off_diag": Threshold(0.3, 0, 1, "share of two classes' photographs that may be called the other one"),
            "samples": Threshold(5, 1, 1e6, "photographs in valid that a class must have to be judged"),
            "patience": Threshold(5, 1, 1000, "epochs in a row that this is so before the first that fires"),
        },
    ),
)  # fmt: skip
