"""Values, shapes and gradients recorded from ZhuSuan 0.3.0 (see the file's `source`)."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import zhusuan as zs

GOLDEN = json.loads(Path(__file__).with_name("zhusuan-0.3.json").read_text())
LOG_PROBS = [c for c in GOLDEN["cases"] if c["what"] == "log_prob" and hasattr(zs.distributions, c["distribution"])]
OBJECTIVES = [c for c in GOLDEN["cases"] if c["what"] == "objective"]


def array(golden):
    return np.array(golden["values"], golden["dtype"]).reshape(golden["shape"])


def check(got, golden, what):
    assert got.shape == tuple(golden["shape"]), what
    np.testing.assert_allclose(got, array(golden), rtol=1e-5, atol=1e-5, err_msg=what)


def id_of(case):
    if case["what"] == "log_prob":
        return f"{case['distribution']}-group{case['group_ndims']}-{len(case['given']['shape'])}d"
    return "-".join([case["estimator"], case["latent"], f"axis{case['axis']}", *case.get("options", {})])


def discrete_model(inputs):
    """log_joint: sum_k z_k*log_softmax(p_logits)_k - 0.5*x^2."""
    q = zs.distributions.OnehotCategorical(inputs["q_logits"])

    def log_joint(values):
        z = tf.cast(values["z"], tf.float32)
        return tf.reduce_sum(z * tf.nn.log_softmax(inputs["p_logits"]), -1) - 0.5 * values["x"] ** 2

    return log_joint, {"z": (inputs["z"], q.log_prob(inputs["z"]))}


def gaussian_model(inputs):
    """log_joint: -0.5*|h|^2 - (x - w.h)^2."""
    h = inputs["mean"] + tf.exp(inputs["logstd"]) * inputs["eps"]
    q = zs.distributions.Normal(inputs["mean"], logstd=inputs["logstd"], group_ndims=1)

    def log_joint(values):
        h, x = values["h"], values["x"]
        return -0.5 * tf.reduce_sum(h**2, -1) - (x - tf.reduce_sum(inputs["w"] * h, -1)) ** 2

    return log_joint, {"h": (h, q.log_prob(h))}


MODELS = {
    "sum_k z_k*log_softmax(p_logits)_k - 0.5*x^2": discrete_model,
    "-0.5*|h|^2 - (x - w.h)^2": gaussian_model,
}


def test_the_file_is_covered():
    assert {c["distribution"] for c in LOG_PROBS} == {"Normal", "Bernoulli", "Categorical", "OnehotCategorical"}
    assert {c["estimator"] for c in OBJECTIVES} == {"sgvb", "nvil", "iwae", "vimco", "rws", "is_loglikelihood"}


@pytest.mark.parametrize("case", LOG_PROBS, ids=id_of)
def test_log_prob(case, mode):
    make = getattr(zs.distributions, case["distribution"])

    def log_prob(given, **params):
        return make(**params, group_ndims=case["group_ndims"]).log_prob(given)

    got = mode(log_prob)(
        tf.constant(array(case["given"])), **{name: tf.constant(array(v)) for name, v in case["params"].items()}
    )
    check(got, case["expect"]["log_prob"], "log_prob")


@pytest.mark.parametrize("case", OBJECTIVES, ids=id_of)
def test_objective(case, mode):
    wanted = [name.removeprefix("grad_") for name in case["expect"] if name.startswith("grad_")]

    def evaluate(inputs):
        with tf.GradientTape() as tape:
            tape.watch([inputs[name] for name in wanted])
            log_joint, latent = MODELS[case["log_joint"]](inputs)
            options = {"baseline": inputs["baseline"]} if case.get("options", {}).get("use_baseline") else {}
            got = getattr(zs, case["estimator"])(log_joint, {"x": inputs["x"]}, latent, axis=case["axis"], **options)
            cost, bound = got if isinstance(got, tuple) else (-got, got)
            mean_cost = tf.reduce_mean(cost)
        grads = tape.gradient(mean_cost, {name: inputs[name] for name in wanted}, unconnected_gradients="zero")
        return {"cost": cost, "lower_bound": bound, **{f"grad_{name}": grad for name, grad in grads.items()}}

    got = mode(evaluate)({name: tf.constant(array(value)) for name, value in case["inputs"].items()})
    assert got.keys() == case["expect"].keys()
    for what, golden in case["expect"].items():
        check(got[what], golden, what)
