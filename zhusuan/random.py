"""The random state behind every sample.

TensorFlow's stateful random operations ignore the seed once XLA compiles them. All samples of this package are
therefore drawn from one `tf.random.Generator`, which obeys its seed eagerly, in a `tf.function` and under XLA alike,
and which `tf.train.Checkpoint` can save and restore. (One seed repeats its draws in each of the three, but the draws
under XLA are others than eagerly.)

    zs.set_seed(0)                                          # restart the current generator
    zs.set_generator(tf.random.Generator.from_seed(0))      # or bring your own
    tf.train.Checkpoint(random=zs.get_generator(), ...)     # a resumed run goes on with the same draws
"""

from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

_generator: tf.random.Generator | None = None


def get_generator() -> tf.random.Generator:
    """The generator that every `sample` draws from; made on first use, seeded by the operating system."""
    global _generator
    if _generator is None:
        # Its state is a variable. A tf.function that is being traced allows variables on its first call only, and
        # would own them; tf.init_scope is not enough to leave it, a new thread is.
        with ThreadPoolExecutor(1) as thread:
            _generator = thread.submit(tf.random.Generator.from_non_deterministic_state, alg="philox").result()
    return _generator


def set_generator(generator: tf.random.Generator) -> None:
    """Draw from `generator` from now on. A `tf.function` that was traced before keeps the generator of its tracing."""
    if not isinstance(generator, tf.random.Generator):
        raise TypeError(f"set_generator: wanted a tf.random.Generator, got {type(generator).__name__}")
    global _generator
    _generator = generator


def set_seed(seed: int) -> None:
    """Restart the current generator from `seed`; functions traced before this call obey it as well."""
    get_generator().reset_from_seed(seed)
