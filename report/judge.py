"""Trains the classifier that judges samples: `python report/judge.py` writes data/judge.

It learns binary images, from all labels, apart from every model: the network of `gmvae.Classifier` with one head, on
distorted copies of the training images that are binarised anew at every use. Its share of errors on the binary test
images, which nothing was chosen by, stands in data/judge/judge.json beside the checksum of the data.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tqdm import tqdm

import gmvae
import utils

import tensorflow as tf  # isort: skip

EPOCHS = 20
BATCH_SIZE = 250
LEARNING_RATE = 2e-3


def train(images: utils.Images) -> gmvae.Classifier:
    """The judge, trained."""
    settings = gmvae.JUDGE_SETTINGS
    tf.keras.utils.set_random_seed(settings.seed)
    judge = gmvae.Classifier(settings)
    n_batches = len(images.train) // BATCH_SIZE
    optimizer = utils.cosine_adam(judge.learned, LEARNING_RATE, EPOCHS * n_batches)
    none = tf.zeros([0, gmvae.PIXELS], tf.uint8), tf.zeros([0], tf.int32)

    @tf.function
    def step(x: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = judge.loss(x, labels, *none)
        optimizer.apply(tape.gradient(loss, judge.learned), judge.learned)

    for epoch in tqdm(range(EPOCHS), unit="epoch", disable=None):
        rng = np.random.default_rng([settings.seed, epoch])
        order = rng.permutation(len(images.train))[: n_batches * BATCH_SIZE].reshape(n_batches, BATCH_SIZE)
        for batch in order:
            distorted = gmvae.bend(gmvae.distort(images.train[batch], settings, rng).numpy(), settings, rng)
            x = 255 * gmvae.binarise(distorted, rng).astype(np.uint8)
            step(tf.constant(x), tf.constant(images.train_labels[batch].astype(np.int32)))
    return judge


def main() -> None:
    """Trains the judge and writes it."""
    images = utils.read_images(gmvae.Settings.data)
    judge = train(images)
    x = (255 * gmvae.fixed_binary(images.test)).astype(np.uint8)
    error = float(np.mean(judge(x).argmax(axis=-1) != images.test_labels))
    gmvae.JUDGE.mkdir(parents=True, exist_ok=True)
    utils.write_checkpoint(tf.train.Checkpoint(classifier=judge), gmvae.JUDGE / "weights")
    record = {"data_sha256": utils.checksum(*images), "test_error": error, "epochs": EPOCHS}
    utils.write_json(gmvae.JUDGE / "judge.json", record)
    print(f"{100 * error:.2f} % of the binary test images are misjudged")


if __name__ == "__main__":
    main()
