"""Metrics on arrays: values beside NumPy's, formats, views without copies, refusals."""
import unittest

import numpy as np
from depthgrow import Error, metrics


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Metrics(unittest.TestCase):
    def setUp(self):
        draws = np.random.default_rng(1)
        self.x, self.y, self.z = (draws.normal(size=(6, 11)) for _ in range(3))

    def test_values(self):
        x, y = self.x, self.y
        p, q = softmax(x), softmax(y)
        norms = np.linalg.norm(x, axis=1)
        close = np.testing.assert_allclose
        close(metrics.l2_norm(x), norms, rtol=1e-13)
        close(metrics.l2_distance(x, y), np.linalg.norm(x - y, axis=1), rtol=1e-13)
        close(metrics.dot_product(x, y), (x * y).sum(axis=1), rtol=1e-12)
        cosines = (x * y).sum(axis=1) / norms / np.linalg.norm(y, axis=1)
        close(metrics.cosine(x, y), cosines, rtol=1e-12)
        close(metrics.block_influence(x, y), 1 - cosines, rtol=1e-12)
        close(metrics.angular_distance(x, y), np.arccos(cosines) / np.pi, rtol=1e-12)
        close(metrics.norm_ratio(y, x), np.linalg.norm(y, axis=1) / norms, rtol=1e-13)
        close(metrics.relative_change(y, x), np.linalg.norm(y - x, axis=1) / norms, rtol=1e-13)
        close(metrics.log_sum_exp(x), np.log(np.exp(x).sum(axis=1)), rtol=1e-13)
        close(metrics.log_softmax(x), np.log(p), rtol=1e-12)
        close(metrics.kl_divergence(x, y), (p * (np.log(p) - np.log(q))).sum(axis=1), rtol=1e-11)
        close(metrics.kl_from_log(np.log(p), np.log(q)), metrics.kl_divergence(x, y), rtol=1e-11)
        close(metrics.softmax_distance(x, y), np.linalg.norm(p - q, axis=1), rtol=1e-12)
        close(metrics.cross_entropy(x, [0, 1, 2, 3, 4, 5]), -np.log(p[range(6), range(6)]), rtol=1e-12)
        np.testing.assert_array_equal(metrics.top_k(x, 3), np.argsort(-x, axis=1)[:, :3])
        np.testing.assert_array_equal(metrics.argmax(x), x.argmax(axis=1))
        overlap = [len(set(a) & set(b)) / 4 for a, b in zip(metrics.top_k(x, 4), metrics.top_k(y, 4))]
        close(metrics.top_k_overlap(x, y, k=4), overlap)
        close(metrics.agreement(x, y), x.argmax(axis=1) == y.argmax(axis=1))
        self.assertEqual(metrics.set_overlap([1, 2, 3, 4], [4, 3, 9, 8]), 0.5)

    def test_runs_give_numbers(self):
        self.assertIsInstance(metrics.l2_norm(self.x[0]), float)
        self.assertEqual(metrics.argmax(np.array([0.0, 2.0, 2.0])), 1)
        self.assertEqual(metrics.cross_entropy(np.zeros(4), 2), np.log(4.0))

    def test_contribution(self):
        h, a, m = self.x, self.y, self.z
        mean = metrics.contribution(h, a, m)
        norm = lambda v: np.linalg.norm(v, axis=1)
        cosine = lambda v, w: (v * w).sum(axis=1) / norm(v) / norm(w)
        expected = {"attention_ratio": norm(a) / norm(h), "mlp_ratio": norm(m) / norm(h + a),
                    "layer_ratio": norm(a + m) / norm(h), "attention_cosine": cosine(a, h),
                    "mlp_cosine": cosine(m, h + a), "layer_cosine": cosine(a + m, h),
                    "block_influence": 1 - cosine(h, h + a + m), "residual_norm": norm(h)}
        for name, values in expected.items():
            self.assertAlmostEqual(getattr(mean, name), values.mean(), places=12, msg=name)
        self.assertEqual(mean.tokens, 6)

    def test_depth_scores(self):
        self.assertAlmostEqual(metrics.output_depth_score([1.0, 1.0, 2.0]), 1.25)
        change = np.abs(self.x[:5, :5])
        effects = [change[l, l + 1:].sum() / max(4 - l, 1) for l in range(5)]
        np.testing.assert_allclose(metrics.layer_effects(change), effects, rtol=1e-13)
        self.assertAlmostEqual(metrics.layer_depth_score(change), np.dot(range(5), effects) / np.sum(effects))
        self.assertEqual(metrics.relative_depth(3.0, 7), 0.5)
        effect = metrics.future_output_effect(self.x, self.y, 2)
        self.assertAlmostEqual(effect, metrics.softmax_distance(self.x, self.y)[2:].max())
        with self.assertRaisesRegex(Error, "a finite sum above 0, got 0"):
            metrics.output_depth_score(np.zeros(3))

    def test_similarity_and_statistics(self):
        layers = [[self.x, self.y], [self.y, self.z]]
        flat = [np.concatenate([w.ravel() for w in layer]) for layer in layers]
        cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
        np.testing.assert_allclose(metrics.block_similarity(layers, 1), [[1, cosine], [cosine, 1]], rtol=1e-12)
        mean = metrics.bootstrap_mean(self.x[0], seed=3)
        self.assertAlmostEqual(mean.mean, self.x[0].mean())
        self.assertTrue(mean.low < mean.mean < mean.high)
        both = metrics.paired_difference(self.x[0], self.y[0], seed=3)
        self.assertAlmostEqual(both.mean, (self.x[0] - self.y[0]).mean())
        values = metrics.RunningStatistics()
        for value in self.x[0]:
            values.add(value)
        self.assertAlmostEqual(values.variance, self.x[0].var(ddof=1))
        self.assertAlmostEqual(metrics.binomial_standard_error(25, 100), (0.25 * 0.75 / 100) ** 0.5)

    def test_views_are_read_in_place(self):
        rows = self.x[::2, 3:9]
        np.testing.assert_allclose(metrics.l2_norm(rows), np.linalg.norm(rows, axis=1), rtol=1e-13)
        with self.assertRaisesRegex(Error, "whose last axis is contiguous, got one with strides"):
            metrics.l2_norm(self.x.T)

    def test_number_formats(self):
        for name in ("float16", "float32", "float64"):
            rounded = self.x.astype(name)
            np.testing.assert_allclose(metrics.l2_norm(rounded), np.linalg.norm(rounded.astype("float64"), axis=1))
        with self.assertRaisesRegex(Error, "one number format, got F32 and F64"):
            metrics.cosine(self.x.astype("float32"), self.y)
        with self.assertRaisesRegex(Error, "got another format"):
            metrics.l2_norm(np.arange(4))
        with self.assertRaisesRegex(Error, "expected an array .NumPy, DLPack., got list"):
            metrics.l2_norm([1.0, 2.0])

    def test_torch_tensors(self):
        try:
            import torch
        except ImportError:
            self.skipTest("PyTorch is not here")
        for name in ("float64", "float32", "bfloat16", "float16"):
            tensor = torch.tensor(self.x).to(getattr(torch, name)).requires_grad_()
            expected = tensor.detach().double().norm(dim=1).numpy()
            np.testing.assert_allclose(metrics.l2_norm(tensor), expected, rtol=1e-12)


if __name__ == "__main__":
    unittest.main()
