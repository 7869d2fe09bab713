"""Growth of arrays stacked over layers: NumPy in dicts, JAX with an optax state where they are here."""
import collections
import unittest

import depthgrow as dg
import numpy as np
from depthgrow.jax import grow_stacked


class Stacked(unittest.TestCase):
    def setUp(self):
        draws = np.random.default_rng(1)
        self.order = dg.lidas(4, block=2)
        self.tree = {"embedding": draws.normal(size=(7, 3)), "layers": {"w": draws.normal(size=(4, 3, 3)),
                                                                        "b": [draws.normal(size=(4, 3))]}}

    def test_copies(self):
        grown = grow_stacked(self.tree, self.order, where="layers")
        self.assertIs(grown["embedding"], self.tree["embedding"])
        np.testing.assert_array_equal(grown["layers"]["w"], self.tree["layers"]["w"][list(self.order)])
        np.testing.assert_array_equal(grown["layers"]["b"][0], self.tree["layers"]["b"][0][list(self.order)])
        self.assertEqual(self.tree["layers"]["w"].shape, (4, 3, 3))

    def test_states_of_an_optimizer(self):
        Adam = collections.namedtuple("Adam", "count mu nu")
        state = (Adam(np.int32(5), self.tree, self.tree), None)
        for policy, new, old in (("copy", 1, 1), ("zero", 0, 1), ("all", 0, 0)):
            grown = grow_stacked(state, self.order, where="layers", state=policy)
            self.assertEqual(grown[0].count, 5)
            w = self.tree["layers"]["w"]
            np.testing.assert_array_equal(grown[0].mu["layers"]["w"][3], new * w[1])
            np.testing.assert_array_equal(grown[0].mu["layers"]["w"][1], old * w[1])
            np.testing.assert_array_equal(grown[0].nu["embedding"], self.tree["embedding"])

    def test_mixtures_and_axes(self):
        w = self.tree["layers"]["w"]
        how = dg.Growth(self.order, init="average")
        grown = grow_stacked({"mu": w, "nu": w}, how, squares=("nu",))
        np.testing.assert_allclose(grown["mu"][3], (w[2] + w[3]) / 2)
        np.testing.assert_allclose(grown["nu"][3], (w[2] + w[3]) / 4)
        other = np.ascontiguousarray(w.swapaxes(0, 1))
        np.testing.assert_allclose(grow_stacked(other, how, axis=1), grown["mu"].swapaxes(0, 1))

    def test_an_operator_is_asked_at_the_depth(self):
        lidas = dg.GrowthOperator("lidas", block=2)
        grown = grow_stacked(self.tree, lidas, where="layers")
        same = grow_stacked(self.tree, self.order, where="layers")
        np.testing.assert_array_equal(grown["layers"]["w"], same["layers"]["w"])
        other = np.ascontiguousarray(self.tree["layers"]["w"].swapaxes(0, 1))
        self.assertEqual(grow_stacked(other[:, :4], lidas, axis=1).shape, (3, 6, 3))
        rows = grow_stacked({"count": np.int32(5), "w": other}, lidas, axis=-2, where=None)["w"]
        self.assertEqual((other.shape, rows.shape), ((3, 4, 3), (3, 6, 3)))
        with self.assertRaisesRegex(dg.Error, "got 7 at embedding and 4 at layers.*: name the arrays that grow"):
            grow_stacked(self.tree, lidas)
        with self.assertRaisesRegex(dg.Error, "got a growth operator and nothing that says for how many layers"):
            grow_stacked(self.tree, lidas, where="blocks")

    def test_refusals(self):
        with self.assertRaisesRegex(dg.Error, r"of 4 layers along axis 0, got shape \(7, 3\) at embedding"):
            grow_stacked(self.tree, self.order)
        with self.assertRaisesRegex(dg.Error, "expected arrays to grow below blocks, got none"):
            grow_stacked(self.tree, self.order, where="blocks")
        with self.assertRaisesRegex(dg.Error, "expected one of copy, zero, all, got \"none\""):
            grow_stacked(self.tree, self.order, where="layers", state="none")

    def test_jax_trains_on(self):
        try:
            import jax
            import optax
        except ImportError:
            self.skipTest("JAX and optax are not here")
        jnp = jax.numpy
        make = optax.adamw(1e-2)
        x = jnp.asarray(np.random.default_rng(2).normal(size=(5, 3)), jnp.float32)

        def loss(params):
            h, _ = jax.lax.scan(lambda h, layer: (h + jnp.tanh(h @ layer["w"] + layer["b"]), None), x, params["layers"])
            return jnp.mean((h @ params["head"] - 1) ** 2)

        @jax.jit
        def step(params, state):
            value, gradients = jax.value_and_grad(loss)(params)
            updates, state = make.update(gradients, state, params)
            return optax.apply_updates(params, updates), state, value

        params = {"head": jnp.ones((3, 1)), "layers": {"w": jnp.asarray(self.tree["layers"]["w"], jnp.float32),
                                                       "b": jnp.zeros((4, 3))}}
        state = make.init(params)
        for _ in range(3):
            params, state, _ = step(params, state)
        grown, grown_state = (grow_stacked(tree, self.order, where="layers") for tree in (params, state))
        index = jnp.asarray(list(self.order))
        by_hand = jax.tree_util.tree_map(lambda leaf: leaf, {**params, "layers": {
            name: leaf[index] for name, leaf in params["layers"].items()}})
        hand_state = jax.tree_util.tree_map(
            lambda fresh, old: old if fresh.shape == old.shape else old[index], make.init(by_hand), state)
        for _ in range(10):
            grown, grown_state, found = step(grown, grown_state)
            by_hand, hand_state, wanted = step(by_hand, hand_state)
            self.assertEqual(float(found), float(wanted))


if __name__ == "__main__":
    unittest.main()
