"""The likelihood of gmvae.py's model with what its default leaves out: the importance-weighted bound in the last
epochs, a step size that falls.

    python report/gmvae_likelihood.py --change weighted_share=0.2 -- --epochs 30 --out FOLDER

The command line is that of gmvae_run.py, with the settings below to change; files and metrics are those of gmvae.py.
The weighted bound of S samples of h,

    E log 1/S sum_s w_s,    w_s = p(x, h_s) / q(h_s | x),

lies between the bound and log p(x) (Burda et al. 2015, theorem 1), and its gradient is `zs.iwae`'s. z is summed out of
p(x, h) as in gmvae.py.
"""

from dataclasses import dataclass

import gmvae_run
import numpy as np

import gmvae
import utils
from utils import setting

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip


@dataclass(frozen=True)
class Settings(gmvae.Settings):
    """Everything that decides the result."""

    weighted_share: float = setting(0.0)  # of the epochs of steps 2 and 3: the last ones have the weighted bound
    weighted_samples: int = setting(10)  # of h, in that bound
    falling: bool = setting(False)  # the step size, to 0 along a cosine


class MixtureVAE(gmvae.MixtureVAE):
    """The model with the weighted bound.

    Attributes:
        samples: of h in the bound.
    """

    samples = 1

    def bound(self, x: tf.Tensor, q_z: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """The weighted bound, nats per image `[B]`, and log p(z | h) of the first sample h, `[B, K]`."""
        h = self.infer(x, q_z, n_samples=self.samples)["h"]
        bound = zs.iwae(self.log_joint, {"x": x}, {"h": h}, axis=0)
        return bound, tf.transpose(self.log_p_z(h)[:, 0])


class Training(gmvae_run.Training):
    """gmvae.py's steps with another end, from other first weights than the same seed has there.

    Raises:
        InputError: the weighted bound is asked for of a factorised posterior, with which it has no part here.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, settings: Settings) -> None:
        if settings.weighted_share and settings.factorised:
            change = f"--change weighted_share={settings.weighted_share:g}"
            raise utils.InputError(f"{change}: it is of the default alone; leave out --pure and --labels-per-class")
        super().__init__(images, labels, settings)
        self.model = MixtureVAE(settings)
        config = self.optimizer.get_config()
        if settings.falling:
            steps = self.model_epochs * (self.n // settings.batch_size)
            config["learning_rate"] = tf.keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
        self.optimizer = tf.keras.optimizers.Adam.from_config(config)
        self.optimizer.build(self.model.learned)
        self.checkpoint.model, self.checkpoint.optimizer = self.model, self.optimizer
        self.first_weighted = self.n_epochs - round(settings.weighted_share * self.model_epochs)

    def epoch_data(self, epoch: int, q_z: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Before the first epoch of the weighted bound, compiles it."""
        if epoch >= self.first_weighted and self.model.samples != self.settings.weighted_samples:
            self.model.samples = self.settings.weighted_samples
            self.epoch = tf.function(self.epoch.python_function, jit_compile=True)
            self.compile(epoch)
        return super().epoch_data(epoch, q_z)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    gmvae_run.main(argv, __doc__, Settings, Training)


if __name__ == "__main__":
    utils.run_main(main)
