"""The U-Net of the published projects in Keras on TensorFlow, timed round by round; see `training.benchmarks.peer`.

It runs under a Python that has ``tensorflow`` and ``scipy`` (which `ImageDataGenerator` needs), and imports nothing of
this project. Its one argument is JSON: ``task`` ("train" or "predict"), ``data`` (an ``.npz`` with ``images``
``(N, Y, X, C)`` and ``masks`` ``(N, Y, X, 1)``, uint8 0..255), ``features``, ``dropout``, ``batch``, ``precision``,
``threads`` (0: Keras' own choice); to train, ``learning_rate`` and ``augment`` (``rotation`` and ``shear`` in degrees,
``shift`` and ``zoom`` as fractions, ``flip``) as well.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import numpy as np


class Rounds:
    """Rounds as they are asked for, line by line, and their rates as answers.

    Parameters
    ----------
    asked, answers : text file
        Requests, and where the answers go.
    facts : dict
        Told in every answer.
    """

    def __init__(self, asked: TextIO, answers: TextIO, facts: dict[str, Any]) -> None:
        self._asked, self._answers, self._facts = asked, answers, facts
        self._started = self._wanted = 0.0
        self._done = 0

    def wait(self) -> bool:
        """Wait for the next request and start the clock; False where none will come."""
        line = self._asked.readline()
        if not line:
            return False
        self._wanted, self._done = float(json.loads(line)["seconds"]), 0
        self._started = time.perf_counter()
        return True

    def count(self, slices: int) -> bool:
        """Note what is done; where the round is over, answer and wait. False where nothing more is asked for."""
        self._done += slices
        elapsed = time.perf_counter() - self._started
        if elapsed < self._wanted:
            return True
        print(json.dumps({"slices_per_second": self._done / elapsed, **self._facts}), file=self._answers, flush=True)
        return self.wait()


def build(config: dict[str, Any], *, size: tuple[int, int], channels: int) -> Any:
    """The network: convolution, ReLU and batch normalisation twice a level, transposed convolutions, a sigmoid."""
    from keras import Input, Model, layers

    def block(x: Any, width: int) -> Any:
        for _ in range(2):
            # No bias, so that there are as many weights as in the network it is compared with.
            x = layers.Conv2D(width, 3, padding="same", activation="relu", use_bias=False)(x)
            x = layers.BatchNormalization()(x)
        return x

    features, skips = config["features"], []
    first = x = Input((*size, channels))
    for level, width in enumerate(features):
        if level:
            x = layers.MaxPooling2D()(x)
        x = block(x, width)
        if level >= len(features) - 2 and config["dropout"]:
            x = layers.SpatialDropout2D(config["dropout"])(x)
        skips.append(x)
    for width, skip in zip(features[-2::-1], skips[-2::-1], strict=True):
        x = layers.Conv2DTranspose(width, 2, strides=2)(x)
        x = block(layers.Concatenate()([x, skip]), width)
    # In float32 whatever the precision: the loss needs it.
    return Model(first, layers.Conv2D(1, 1, activation="sigmoid", dtype="float32")(x))


def bce_dice(y: Any, p: Any) -> Any:
    """Cross-entropy plus soft Dice over the whole batch."""
    from keras import losses, ops

    overlap, total = ops.sum(y * p), ops.sum(y) + ops.sum(p)
    return ops.mean(losses.binary_crossentropy(y, p)) + 1 - (2 * overlap + 1) / (total + 1)


def batches(images: Any, masks: Any, config: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Augmented batches without end, images and masks by two generators with one seed, as Keras' manual has it."""
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    ranges = config["augment"]
    options = {
        "rotation_range": ranges["rotation"],
        "width_shift_range": ranges["shift"],
        "height_shift_range": ranges["shift"],
        "shear_range": ranges["shear"],
        "zoom_range": ranges["zoom"],
        "horizontal_flip": ranges["flip"] > 0,
        "fill_mode": "nearest",
        "rescale": 1 / 255,
    }
    flows = [ImageDataGenerator(**options).flow(each, batch_size=config["batch"], seed=0) for each in (images, masks)]
    for image, mask in zip(*flows, strict=True):
        yield image, (mask > 0.5).astype(np.float32)


def train(model: Any, images: Any, masks: Any, config: dict[str, Any], rounds: Rounds) -> None:
    """`fit` without end, held between the rounds."""
    import keras

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.model.stop_training = not rounds.wait()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if not rounds.count(config["batch"]):
                # Keras heeds `stop_training` at the end of an epoch alone, and this one has none. There is nothing to
                # put away, and TensorFlow's threads would be waited for.
                os._exit(0)

    model.compile(optimizer=keras.optimizers.Adam(config["learning_rate"]), loss=bce_dice)
    model.fit(batches(images, masks, config), steps_per_epoch=10**9, epochs=1, verbose=0, callbacks=[Clock()])


def predict(model: Any, images: Any, config: dict[str, Any], rounds: Rounds) -> None:
    """One batch predicted again and again."""
    batch = images[: config["batch"]].astype(np.float32) / 255
    going = rounds.wait()
    while going:
        model.predict_on_batch(batch)
        going = rounds.count(len(batch))


def main(text: str) -> None:
    """Serve rounds until the input ends."""
    config = json.loads(text)
    asked, answers = sys.stdin, sys.stdout
    # Whatever the libraries print is no answer.
    sys.stdout = sys.stderr
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    if config["threads"]:
        tf.config.threading.set_intra_op_parallelism_threads(config["threads"])
    for gpu in tf.config.list_physical_devices("GPU"):
        # Or it takes all of the memory, which others need beside it.
        tf.config.experimental.set_memory_growth(gpu, True)
    if config["precision"] == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    with np.load(config["data"]) as data:
        images, masks = data["images"], data["masks"]
    model = build(config, size=images.shape[1:3], channels=images.shape[-1])
    weights = sum(int(np.prod(each.shape)) for each in model.trainable_weights)
    facts = {"parameters": weights, "framework": f"Keras {keras.__version__} on TensorFlow {tf.__version__}"}
    rounds = Rounds(asked, answers, facts)
    tasks: dict[str, Callable[[], None]] = {
        "train": lambda: train(model, images, masks, config, rounds),
        "predict": lambda: predict(model, images, config, rounds),
    }
    tasks[config["task"]]()


if __name__ == "__main__":
    main(sys.argv[1])
