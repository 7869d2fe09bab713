"""Growth of models inside wrappers: torch.compile, DistributedDataParallel, DataParallel, sharded parameters."""
import os
import tempfile
import unittest

import depthgrow as dg

try:
    import torch
except ImportError:
    raise unittest.SkipTest("PyTorch is not here")

import depthgrow.torch as dgt
from small_decoder import Decoder, grown_by_hand, train

ORDER = dg.lidas(4, block=2)
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def make(model):
    return torch.optim.AdamW(model.parameters(), lr=3e-3)


class Wrapped(unittest.TestCase):
    def setUp(self):
        self.model = Decoder()
        self.optimizer = make(self.model)

    def trains_on_as_by_hand(self, grow, model=None):
        """Three steps, growth, ten steps of `model` beside those of growth by hand."""
        model = self.model if model is None else model
        train(model, self.optimizer, 0, 3)
        hand, hand_optimizer = grown_by_hand(self.model, self.optimizer, list(ORDER), make)
        model = grow() or model
        for found, wanted in zip(train(model, self.optimizer, 3, 10), train(hand, hand_optimizer, 3, 10)):
            self.assertAlmostEqual(found, wanted, delta=1e-6)

    @unittest.skipUnless(hasattr(torch, "compile"), "this PyTorch does not compile")
    def test_compiled_models(self):
        compiled = torch.compile(self.model, backend="eager")
        self.trains_on_as_by_hand(lambda: dgt.grow(compiled, self.optimizer, ORDER) and None, compiled)
        self.assertEqual(len(self.model.layers), 6)

    @unittest.skipUnless(hasattr(torch, "compile"), "this PyTorch does not compile")
    def test_compiled_layers(self):
        for i, layer in enumerate(self.model.layers):
            self.model.layers[i] = torch.compile(layer, backend="eager")
        train(self.model, self.optimizer, 0, 3)
        dgt.grow(self.model, self.optimizer, ORDER)
        new, source = self.model.layers[3], self.model.layers[1]
        self.assertIs(type(new), type(source))
        h = torch.randn(1, 5, 12, dtype=torch.float64)
        torch.testing.assert_close(new(h), source(h))
        with torch.no_grad():
            new._orig_mod.down.bias.add_(1)
        self.assertGreater((new(h) - source(h)).abs().max().item(), 0.1)

    @unittest.skipUnless(hasattr(getattr(torch, "amp", None), "GradScaler"), "this PyTorch scales on CUDA only")
    def test_scaled_gradients(self):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** 4)
        tokens = torch.arange(20).reshape(2, 10) % 17

        def step(model, optimizer):
            scaler.scale(model(tokens).square().mean()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

        step(self.model, self.optimizer)
        hand, hand_optimizer = grown_by_hand(self.model, self.optimizer, list(ORDER), make)
        dgt.grow(self.model, self.optimizer, ORDER)
        for model, optimizer in ((self.model, self.optimizer), (hand, hand_optimizer)):
            step(model, optimizer)
        for found, wanted in zip(self.model.parameters(), hand.parameters()):
            torch.testing.assert_close(found, wanted)

    def test_data_parallel(self):
        wrapped = torch.nn.DataParallel(self.model)
        self.trains_on_as_by_hand(lambda: dgt.grow(wrapped, self.optimizer, ORDER) and None, wrapped)

    def test_distributed_data_parallel(self):
        if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
            self.skipTest("this PyTorch has no gloo")
        with tempfile.TemporaryDirectory() as folder:
            torch.distributed.init_process_group("gloo", init_method=f"file://{os.path.join(folder, 'store')}", rank=0,
                                                 world_size=1)
            try:
                wrap = torch.nn.parallel.DistributedDataParallel
                wrapped = wrap(self.model)
                with self.assertRaisesRegex(dg.Error, "grow model.module, then rewrap"):
                    dgt.grow(wrapped, self.optimizer, ORDER)

                def grow():
                    dgt.grow(wrapped.module, self.optimizer, ORDER)
                    return wrap(wrapped.module)

                self.trains_on_as_by_hand(grow, wrapped)
            finally:
                torch.distributed.destroy_process_group()

    def test_sharded_parameters(self):
        class FlatParameter(torch.nn.Parameter):
            pass

        self.model.layers[1].up.weight = FlatParameter(self.model.layers[1].up.weight.data)
        with self.assertRaisesRegex(dg.Error, "expected whole parameters, got a sharded one .FlatParameter. at "
                                              "layers.1.up.weight"):
            dgt.grow(self.model, None, ORDER)


if __name__ == "__main__":
    unittest.main()
