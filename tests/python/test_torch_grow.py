"""grow beside the same growth written by hand: losses of ten further steps, groups, states, names, configuration."""
import copy
import io
import unittest

import depthgrow as dg

try:
    import torch
except ImportError:
    raise unittest.SkipTest("PyTorch is not here")

import depthgrow.torch as dgt
from small_decoder import Decoder, grown_by_hand, train

OPTIMIZERS = {
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1),
    "adam_amsgrad": lambda model: torch.optim.Adam(model.parameters(), lr=3e-3, amsgrad=True),
    "sgd_momentum": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
    "rmsprop": lambda model: torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.5),
    "adagrad": lambda model: torch.optim.Adagrad(model.parameters(), lr=1e-2),
}
ORDERS = {"midas": dg.midas(4, block=2), "lidas": dg.lidas(4, block=2), "shrunk": dg.skip(4, 1, 1),
          "turned": dg.LayerOrder([3, 1, 0, 1, 2, 2, 0], 4)}


class Losses(unittest.TestCase):
    def test_ten_steps_equal_growth_by_hand(self):
        for optimizer_name, make in OPTIMIZERS.items():
            for order_name, order in ORDERS.items():
                with self.subTest(optimizer=optimizer_name, order=order_name):
                    model = Decoder()
                    optimizer = make(model)
                    train(model, optimizer, 0, 5)
                    by_hand, hand_optimizer = grown_by_hand(model, optimizer, list(order), make)
                    self.assertEqual(dgt.grow(model, optimizer, order), len(order))
                    losses, expected = train(model, optimizer, 5, 10), train(by_hand, hand_optimizer, 5, 10)
                    for found, wanted in zip(losses, expected):
                        self.assertAlmostEqual(found, wanted, delta=1e-6)

    def test_two_growths(self):
        make = OPTIMIZERS["adamw"]
        model = Decoder()
        optimizer = make(model)
        train(model, optimizer, 0, 3)
        both = dg.compose(dg.lidas(6, block=2), dg.lidas(4, block=2))
        by_hand, hand_optimizer = grown_by_hand(model, optimizer, list(both), make)
        dgt.grow(model, optimizer, dg.lidas(4, block=2))
        dgt.grow(model, optimizer, dg.lidas(6, block=2))
        for found, wanted in zip(train(model, optimizer, 3, 10), train(by_hand, hand_optimizer, 3, 10)):
            self.assertAlmostEqual(found, wanted, delta=1e-6)


    def test_optimizers_of_newer_versions(self):
        for name in ("Muon", "Adafactor", "NAdam"):
            kind = getattr(torch.optim, name, None)
            if kind is None:
                continue
            with self.subTest(optimizer=name):
                def make(model):
                    matrices = [p for p in model.parameters() if p.ndim == 2 or name != "Muon"]
                    return kind(matrices, lr=1e-3)

                model = Decoder()
                optimizer = make(model)
                train(model, optimizer, 0, 3)
                by_hand, hand_optimizer = grown_by_hand(model, optimizer, list(ORDERS["lidas"]), make)
                dgt.grow(model, optimizer, ORDERS["lidas"])
                for found, wanted in zip(train(model, optimizer, 3, 10), train(by_hand, hand_optimizer, 3, 10)):
                    self.assertAlmostEqual(found, wanted, delta=1e-6)

    @unittest.skipIf(torch.__version__.startswith("1."), "this PyTorch keeps no names in groups")
    def test_names_in_groups(self):
        model = Decoder()
        optimizer = torch.optim.AdamW(model.named_parameters())
        if "param_names" not in optimizer.param_groups[0]:
            self.skipTest("this PyTorch keeps no names in groups")
        dgt.grow(model, optimizer, ORDERS["lidas"])
        self.assertEqual(optimizer.param_groups[0]["param_names"], [name for name, _ in model.named_parameters()])


class Objects(unittest.TestCase):
    def setUp(self):
        self.model = Decoder()
        self.optimizer = OPTIMIZERS["adamw"](self.model)
        train(self.model, self.optimizer, 0, 3)
        self.order = dg.lidas(4, block=2)  # 0 1 2 1 2 3

    def grow(self, **options):
        dgt.grow(self.model, self.optimizer, self.order, **options)

    def test_layers_that_stay_are_the_same_objects(self):
        layers, before = self.model.layers, list(self.model.layers)
        self.grow()
        self.assertIs(self.model.layers, layers)
        for slot, source in enumerate(self.order):
            self.assertEqual(layers[slot] is before[source], not self.order.is_new(slot))
            for new, old in zip(layers[slot].parameters(), before[source].parameters()):
                self.assertTrue(torch.equal(new, old))
                self.assertEqual(new is old, not self.order.is_new(slot))
        self.assertAlmostEqual(layers[3].scale.item(), 1.01, places=6)  # the buffer of layer 1

    def test_names_and_configuration(self):
        self.grow()
        self.assertEqual([layer.layer_idx for layer in self.model.layers], list(range(6)))
        self.assertEqual(self.model.config.num_hidden_layers, 6)
        self.assertEqual(self.model.config.layer_types, [f"type {source}" for source in self.order])
        self.assertEqual(list(self.model.state_dict()), list(Decoder(depth=6).state_dict()))

    def test_groups_are_in_the_order_of_a_new_optimizer(self):
        self.grow()
        group, = self.optimizer.param_groups
        for found, wanted in zip(group["params"], self.model.parameters()):
            self.assertIs(found, wanted)
        self.assertEqual(len(group["params"]), len(list(self.model.parameters())))
        saved = io.BytesIO()
        torch.save(self.optimizer.state_dict(), saved)
        saved.seek(0)
        resumed = copy.deepcopy(self.model)
        other = OPTIMIZERS["adamw"](resumed)
        other.load_state_dict(torch.load(saved))
        self.assertEqual(train(resumed, other, 3, 5), train(self.model, self.optimizer, 3, 5))

    def test_groups_of_sources(self):
        model = Decoder()
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW([{"params": others, "weight_decay": 0.0, "lr": 1e-4}, {"params": decayed}])
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        train(model, optimizer, 0, 2)
        dgt.grow(model, optimizer, self.order)
        scheduler.step()
        for group, wanted in zip(optimizer.param_groups, (lambda p: p.ndim <= 1, lambda p: p.ndim > 1)):
            expected = [id(p) for p in model.parameters() if wanted(p)]
            self.assertEqual([id(p) for p in group["params"]], expected)
        self.assertEqual(optimizer.param_groups[0]["lr"], 5e-5)

    def test_two_optimizers(self):
        model = Decoder()
        first = torch.optim.SGD([p for p in model.parameters() if p.ndim > 1], lr=0.1, momentum=0.9)
        second = torch.optim.Adam([p for p in model.parameters() if p.ndim <= 1])
        train(model, first, 0, 1)
        second.step()
        dgt.grow(model, [first, second], self.order)
        count = sum(len(o.param_groups[0]["params"]) for o in (first, second))
        self.assertEqual(count, len(list(model.parameters())))
        self.assertTrue(torch.equal(first.state[model.layers[3].up.weight]["momentum_buffer"],
                                    first.state[model.layers[1].up.weight]["momentum_buffer"]))

    def test_state_policies(self):
        for policy, new_zero, old_zero in (("copy", False, False), ("zero", True, False), ("all", True, True)):
            with self.subTest(policy=policy):
                self.setUp()
                self.grow(state=policy)
                for layer, zero in ((3, new_zero), (1, old_zero)):
                    state = self.optimizer.state[self.model.layers[layer].up.weight]
                    self.assertEqual(state["exp_avg"].abs().sum().item() == 0, zero)
                    self.assertEqual(state["exp_avg_sq"].abs().sum().item() == 0, zero)
                    self.assertEqual(float(state["step"]), 3)
                self.assertGreater(self.optimizer.state[self.model.head.weight]["exp_avg"].abs().sum().item(), 0)
                train(self.model, self.optimizer, 3, 1)

    def test_removed_layers_leave_the_optimizer(self):
        gone = list(self.model.layers[1].parameters())
        dgt.grow(self.model, self.optimizer, dg.skip(4, 1, 1))
        self.assertTrue(all(p not in self.optimizer.state for p in gone))
        self.assertEqual(len(self.optimizer.state), len(list(self.model.parameters())))

    def test_what_the_model_holds_elsewhere_stays_in_the_optimizer(self):
        model = Decoder()
        model.probe = model.layers[1].out
        optimizer = torch.optim.AdamW(model.parameters())
        dgt.grow(model, optimizer, dg.skip(4, 1, 1))
        held = [id(p) for p in optimizer.param_groups[0]["params"]]
        self.assertEqual(held, [id(p) for p in model.parameters()])
        self.assertIn(id(model.probe.weight), held)

    def test_frozen_parameters_and_marks(self):
        for parameter in self.model.layers[1].parameters():
            parameter.requires_grad_(False)
        self.model.layers[2].up.weight.use_muon = True
        self.model.layers[1].eval()
        self.grow()
        self.assertFalse(any(p.requires_grad for p in self.model.layers[3].parameters()))
        self.assertTrue(all(p.requires_grad for p in self.model.layers[4].parameters()))
        self.assertTrue(self.model.layers[4].up.weight.use_muon)
        self.assertFalse(self.model.layers[3].training)

    def test_what_is_shared_stays_shared(self):
        model = Decoder()
        shared = torch.nn.Linear(12, 12).to(torch.float64)
        for layer in model.layers:
            layer.shared, layer.config, layer.out.weight = shared, model.config, model.layers[0].out.weight
            layer.parent = (model,)  # no submodule: a reference that a copy must not follow
            layer.mlp_norm.weight = layer.norm.weight  # tied inside the layer
        optimizer = torch.optim.Adam(model.parameters())
        dgt.grow(model, optimizer, self.order)
        new = model.layers[3]
        self.assertIs(new.shared, shared)
        self.assertIs(new.config, model.config)
        self.assertIs(new.parent[0], model)
        self.assertIs(new.out.weight, model.layers[0].out.weight)
        self.assertIs(new.mlp_norm.weight, new.norm.weight)
        self.assertIsNot(new.norm.weight, model.layers[1].norm.weight)
        params = optimizer.param_groups[0]["params"]
        self.assertEqual([id(p) for p in params], [id(p) for p in model.parameters()])

    def test_hooks_come_along(self):
        calls = []
        self.model.layers[1].register_forward_hook(lambda module, args, out: calls.append(module.layer_idx))
        self.grow()
        train(self.model, self.optimizer, 3, 1)
        self.assertEqual(calls, [1, 3])

    def test_average_and_noise(self):
        before = [layer.up.weight.detach().clone() for layer in self.model.layers]
        moments = [self.optimizer.state[layer.up.weight]["exp_avg_sq"].clone() for layer in self.model.layers]
        self.grow(init="average")
        middle = self.model.layers[3].up.weight
        torch.testing.assert_close(middle.data, (before[2] + before[3]) / 2)
        torch.testing.assert_close(self.optimizer.state[middle]["exp_avg_sq"], (moments[2] + moments[3]) / 4)
        self.setUp()
        self.grow(init="noise:0.01", seed=7)
        change = self.model.layers[3].up.weight - self.model.layers[1].up.weight
        size = change.norm() / self.model.layers[1].up.weight.norm()
        self.assertTrue(0.005 < size < 0.015, size)

    def test_collapse(self):
        before = [layer.down.weight.detach().clone() for layer in self.model.layers]
        dgt.grow(self.model, self.optimizer, dg.collapse(4, 1, 1))
        self.assertEqual(len(self.model.layers), 3)
        torch.testing.assert_close(self.model.layers[1].down.weight.data, before[2])
        train(self.model, self.optimizer, 3, 1)


class Refusals(unittest.TestCase):
    def refuses(self, pattern, model, optimizer, order=(0, 1, 1, 2, 3), **options):
        before = [id(p) for p in model.parameters()]
        groups = [[id(p) for p in g["params"]] for g in optimizer.param_groups] if optimizer else []
        with self.assertRaisesRegex(dg.Error, pattern):
            dgt.grow(model, optimizer, order, **options)
        self.assertEqual(before, [id(p) for p in model.parameters()])
        self.assertEqual(groups, [[id(p) for p in g["params"]] for g in optimizer.param_groups] if optimizer else [])

    def test_refusals(self):
        model = Decoder()
        adam = torch.optim.Adam(model.parameters())
        self.refuses("expected an order for 4 layers, got one for 8", model, adam, dg.lidas(8))
        self.refuses("a layer index below 4 at slot 1, got 4", model, adam, [0, 4])
        self.refuses("at least 0, got -1", model, adam, [0, -1])
        self.refuses("expected a module at decoder.layers, got none", model, adam, layers="decoder.layers")
        self.refuses("expected a ModuleList or Sequential at norm, got LayerNorm", model, adam, layers="norm")
        self.refuses("copy, average or noise:SIGMA, got zero_residual", model, adam, init="zero_residual")
        self.refuses("expected one of copy, zero, all, got", model, adam, state="none")
        self.refuses("expected an optimizer with a state for each parameter, got LBFGS", model,
                     torch.optim.LBFGS(model.parameters()))
        self.refuses("holds parameters of the model, got [0-9]+ parameters of which none is the model's", model,
                     torch.optim.Adam(Decoder().parameters()))
        others = [torch.optim.Adam(Decoder().parameters()) for _ in range(2)]
        with self.assertRaisesRegex(dg.Error, "parameters of which none is the model's"):
            dgt.grow(model, others, [0, 1, 1, 2, 3])
        both = Decoder(), Decoder()
        optimizers = [torch.optim.Adam(one.parameters()) for one in both]  # of two models that are trained together
        self.assertEqual(dgt.grow(both[0], optimizers, [0, 1, 1, 2, 3]), 5)
        self.assertEqual([len(one.param_groups[0]["params"]) for one in optimizers],
                         [len(list(one.parameters())) for one in both])
        self.refuses("expected a depth of at least 16 .one block., got 4", model, adam,
                     dg.GrowthOperator("lidas", block=16))
        self.refuses("a ModuleList of modules of one type", torch.nn.Linear(2, 2), None)
        model.others = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(4))
        self.refuses("expected one longest ModuleList, got layers and others of 4 layers each", model, adam)
        self.assertEqual(dgt.grow(model, adam, [0, 1, 1, 2, 3], layers="layers"), 5)
        self.assertEqual(dgt.find_layers(model), "layers")

    def test_an_operator_is_asked_at_the_depth(self):
        model = Decoder()
        self.assertEqual(dgt.grow(model, None, dg.GrowthOperator("lidas", block=2)), 6)
        plan = dg.plan_growth("lidas", 4, 12, plateau_steps=9, total_steps=12)
        self.assertEqual([len(stage.growth.layers) for stage in plan.stages[1:]], [8, 12])
        with self.assertRaisesRegex(dg.Error, "expected one of midas, .* got \"foo\""):
            dg.plan_growth("foo", 4, 12, plateau_steps=9, total_steps=12)

    def test_states_that_cannot_be_zeroed(self):
        model = Decoder()
        adam = torch.optim.Adam(model.parameters())
        train(model, adam, 0, 1)
        adam.state[model.layers[1].up.weight]["rows"] = torch.ones(3)
        self.refuses("to set to zero, got rows of", model, adam, state="zero")
        dgt.grow(model, adam, [0, 1, 1, 2, 3])

    def test_functions_that_hold_their_module(self):
        model = Decoder()
        layer = model.layers[1]
        forward = layer.forward

        def doubled(h):
            return 2 * forward(h)

        layer.forward = doubled
        self.refuses("a function forward at layers.1 that holds its module", model, None)

    def test_a_configuration_that_refuses(self):
        class Strict(type(Decoder().config)):
            def __setattr__(self, name, value):
                if name == "layer_types" and name in vars(self):
                    raise TypeError("no")
                super().__setattr__(name, value)

        model = Decoder()
        model.config = Strict(4)
        self.refuses("a configuration whose layer_types can be set, got no", model, None)
        self.assertEqual(model.config.num_hidden_layers, 4)
        self.assertEqual([layer.layer_idx for layer in model.layers], [0, 1, 2, 3])


class Dictionaries(unittest.TestCase):
    def test_a_state_dict_grows_as_its_model(self):
        order = dg.lidas(4, block=2)
        model = Decoder()
        grown = dgt.grow_state_dict(model.state_dict(), order)
        dgt.grow(model, None, order)
        self.assertEqual(list(grown), list(model.state_dict()))
        for name, tensor in model.state_dict().items():
            self.assertTrue(torch.equal(grown[name], tensor))
        Decoder(depth=6).load_state_dict(grown)
        self.assertEqual(len({tensor.data_ptr() for tensor in grown.values()}), len(grown))

    def test_an_optimizers_dictionary_grows_as_the_optimizer(self):
        order = dg.lidas(4, block=2)
        for policy in ("copy", "zero", "all"):
            model = Decoder()
            optimizer = OPTIMIZERS["adamw"](model)
            train(model, optimizer, 0, 3)
            names = [name for name, _ in model.named_parameters()]
            by_name = {"state": {name: optimizer.state[p] for name, p in model.named_parameters()},
                       "param_groups": [{**optimizer.param_groups[0], "params": names}]}
            grown = dgt.grow_optimizer_state_dict(by_name, order, state=policy)
            dgt.grow(model, optimizer, order, state=policy)
            self.assertEqual(grown["param_groups"][0]["params"], [name for name, _ in model.named_parameters()])
            self.assertEqual(grown["param_groups"][0]["lr"], 3e-3)
            for name, parameter in model.named_parameters():
                for key, value in optimizer.state[parameter].items():
                    self.assertTrue(torch.equal(torch.as_tensor(grown["state"][name][key]), torch.as_tensor(value)))
            again = dgt.grow_optimizer_state_dict(by_name, dg.GrowthOperator("lidas", block=2), state=policy)
            self.assertEqual(again["param_groups"], grown["param_groups"])
        upper = {"state": {}, "param_groups": [{"params": ["layers.2.w", "layers.3.w"]}]}  # the lower ones are frozen
        self.assertEqual(dgt.grow_optimizer_state_dict(upper, order, prefix="layers")["param_groups"][0]["params"],
                         ["layers.2.w", "layers.4.w", "layers.5.w"])
        with self.assertRaisesRegex(dg.Error, "expected names blocks.0. ... blocks.n., got a dictionary without"):
            dgt.grow_optimizer_state_dict(by_name, order, prefix="blocks")
        with self.assertRaisesRegex(dg.Error, "expected names of parameters, got numbers"):
            dgt.grow_optimizer_state_dict(optimizer.state_dict(), order)

    def test_refusals(self):
        with self.assertRaisesRegex(dg.Error, "expected one prefix with most layers, got a and b of 1 each"):
            dgt.grow_state_dict({"a.0.w": 1, "b.0.w": 2}, [0, 0])
        with self.assertRaisesRegex(dg.Error, "a dictionary without"):
            dgt.grow_state_dict({"a": 1}, [0])
        self.assertEqual(dgt.grow_state_dict({"x": 0, "a.0.w": 1, "b.0.w": 2}, [0, 0], prefix="a"),
                         {"x": 0, "a.0.w": 1, "a.1.w": 1, "b.0.w": 2})


if __name__ == "__main__":
    unittest.main()
