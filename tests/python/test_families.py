"""Growth and hooks on decoders of transformers, of every family that the fixtures have, and the Trainer's callback."""
import copy
import json
import pathlib
import tempfile
import unittest

import depthgrow as dg

try:
    import torch
    import transformers
except ImportError:
    raise unittest.SkipTest("PyTorch and transformers are not here")

import depthgrow.torch as dgt
from depthgrow.hooks import depth_report

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
FAMILIES = sorted(folder.name for folder in (FIXTURES / "families").iterdir())
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)


def family(name):
    return transformers.AutoModelForCausalLM.from_pretrained(FIXTURES / "families" / name).double()


def train(model, optimizer, first, steps):
    losses = []
    for step in range(first, first + steps):
        tokens = torch.randint(model.config.vocab_size, (2, 16), generator=torch.Generator().manual_seed(step))
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def by_hand(model, optimizer, sources, make):
    """A model of the grown configuration, made by transformers, with weights and moments put in by name."""
    path = dgt.find_layers(model)
    config = copy.deepcopy(model.config)
    depth = config.num_hidden_layers
    config.num_hidden_layers = len(sources)
    for field in ("layer_types", "no_rope_layers"):
        if isinstance(getattr(config, field, None), list) and len(getattr(config, field)) == depth:
            setattr(config, field, [getattr(config, field)[source] for source in sources])
    grown = type(model)(config).double()

    def old_name(name):
        rest = name[len(path) + 1:].split(".")
        return ".".join([path, str(sources[int(rest[0])]), *rest[1:]]) if name.startswith(path + ".") else name

    weights, parameters = model.state_dict(), dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in grown.state_dict().items():
            tensor.copy_(weights[old_name(name)])
    made = make(grown)
    for name, parameter in grown.named_parameters():
        made.state[parameter] = copy.deepcopy(optimizer.state[parameters[old_name(name)]])
    return grown, made


class Growth(unittest.TestCase):
    def test_ten_steps_equal_growth_by_hand(self):
        make = lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3)
        for name in FAMILIES:
            for order in (dg.midas(4, block=2), dg.lidas(4, block=2)):
                with self.subTest(family=name, order=str(order)):
                    model = family(name)
                    optimizer = make(model)
                    train(model, optimizer, 0, 3)
                    hand, hand_optimizer = by_hand(model, optimizer, list(order), make)
                    dgt.grow(model, optimizer, order)
                    losses, wanted = train(model, optimizer, 3, 10), train(hand, hand_optimizer, 3, 10)
                    for a, b in zip(losses, wanted):
                        self.assertAlmostEqual(a, b, delta=1e-6)
                    self.assertEqual(model.config.to_dict(), hand.config.to_dict())

    def test_recomputed_layers(self):
        make = lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3)
        model = family("mistral")
        optimizer = make(model)
        model.gradient_checkpointing_enable()
        model.train()
        train(model, optimizer, 0, 3)
        hand, hand_optimizer = by_hand(model, optimizer, [0, 1, 1, 2, 3], make)
        dgt.grow(model, optimizer, [0, 1, 1, 2, 3])
        self.assertTrue(all(layer.gradient_checkpointing for layer in model.model.layers))
        losses, wanted = train(model, optimizer, 3, 10), train(hand, hand_optimizer, 3, 10)
        for a, b in zip(losses, wanted):
            self.assertAlmostEqual(a, b, delta=1e-6)

    def test_grown_models_save_load_and_generate(self):
        for name in FAMILIES:
            with self.subTest(family=name), tempfile.TemporaryDirectory() as folder:
                model = family(name)
                dgt.grow(model, None, dg.lidas(4, block=2))
                model.save_pretrained(folder)
                loaded = transformers.AutoModelForCausalLM.from_pretrained(folder).double()
                tokens = torch.tensor([[5, 9, 2, 40, 7]])
                torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits, rtol=1e-5, atol=1e-5)
                hidden = model(tokens, output_hidden_states=True).hidden_states
                self.assertEqual(len(hidden), 7)
                options = dict(max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None)
                torch.testing.assert_close(model.generate(tokens, use_cache=True, **options),
                                           model.generate(tokens, use_cache=False, **options))


class Hooks(unittest.TestCase):
    def test_values_of_a_fixture(self):
        for name in ("plain", "grouped"):
            model = transformers.AutoModelForCausalLM.from_pretrained(FIXTURES / name)
            expected = json.loads((FIXTURES / name / "expected.json").read_text())
            report = depth_report(model, FIXTURES / name / "prompts.jsonl")
            for flavour in ("mean", "max"):
                for score in ("output", "layer"):
                    self.assertAlmostEqual(report["depth_score"][flavour][score],
                                           expected["depth_score"][flavour][score], delta=1e-5)
            for part in ("contribution", "logit_lens"):
                for key, values in report[part].items():
                    torch.testing.assert_close(torch.tensor(values), torch.tensor(expected[part][key]), rtol=1e-5,
                                               atol=1e-6)

    def test_every_family(self):
        for name in FAMILIES:
            with self.subTest(family=name):
                report = depth_report(family(name), [list(range(3, 35)), list(range(40, 8, -1))])
                self.assertEqual(report["logit_lens"]["top5_overlap"][-1], 1)
                future = report["skip_layer"]["future"]
                self.assertEqual(max(map(max, (row[:i + 1] for i, row in enumerate(future["change_max"])))), 0)
                self.assertEqual(future["output_max"][-1], 0)
                self.assertTrue(0 <= report["depth_score"]["mean"]["output"] < 3)


    def test_families_that_the_library_does_not_know(self):
        common = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
                      num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0)
        configs = [transformers.PhiConfig(**common), transformers.Gemma2Config(**common, head_dim=8),
                   transformers.GraniteConfig(**common, residual_multiplier=0.5, logits_scaling=2.0),
                   transformers.CohereConfig(**common, logit_scale=0.1),
                   transformers.MixtralConfig(**common, num_local_experts=4),
                   transformers.OPTConfig(vocab_size=64, hidden_size=32, ffn_dim=64, num_hidden_layers=4,
                                          num_attention_heads=4, word_embed_proj_dim=32, max_position_embeddings=64)]
        for config in configs:
            with self.subTest(config=type(config).__name__):
                model = transformers.AutoModelForCausalLM.from_config(config).float()
                report = depth_report(model, [list(range(3, 35))])
                self.assertEqual(report["logit_lens"]["top5_overlap"][-1], 1)
                optimizer = torch.optim.AdamW(model.parameters())
                train(model, optimizer, 0, 1)
                self.assertEqual(dgt.grow(model, optimizer, dg.lidas(4, block=2)), 6)
                train(model, optimizer, 1, 1)
        bloom = transformers.BloomConfig(vocab_size=64, hidden_size=32, n_layer=4, n_head=4)
        with self.assertRaisesRegex(dg.Error, "expected layers that add the outputs of attention and MLP"):
            depth_report(transformers.AutoModelForCausalLM.from_config(bloom), [list(range(3, 35))])


class Callback(unittest.TestCase):
    def trainer(self, model, plan, folder, **options):
        from depthgrow.hf import GrowthCallback
        rows = [{"input_ids": list(range(i, i + 12)), "labels": list(range(i, i + 12))} for i in range(40)]
        arguments = transformers.TrainingArguments(
            output_dir=folder, max_steps=plan.total_steps, per_device_train_batch_size=2, learning_rate=1e-3,
            report_to=[], logging_steps=1, save_strategy="steps", save_steps=options.pop("save_steps", 100), seed=3,
            use_cpu=True, disable_tqdm=True, log_level="error", **options)
        return transformers.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[GrowthCallback(plan)])

    def test_a_run_by_a_plan(self):
        plan = dg.plan_growth(dg.GrowthOperator("lidas", block=2), 4, 8, plateau_steps=9, total_steps=12)
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.trainer(family("llama_linear").float(), plan, folder, save_steps=7)
            trainer.train()
            self.assertEqual(trainer.model.config.num_hidden_layers, 8)
            held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
            self.assertEqual(held, {id(p) for p in trainer.model.parameters()})
            steps = {float(state["step"]) for state in trainer.optimizer.state.values()}
            self.assertEqual(steps, {12.0})
            losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
            # A run that resumes begins with the model of its checkpoint and goes on as the one that never stopped.
            saved = f"{folder}/checkpoint-7"
            resumed = self.trainer(transformers.AutoModelForCausalLM.from_pretrained(saved), plan, folder)
            resumed.train(resume_from_checkpoint=saved)
            again = [entry["loss"] for entry in resumed.state.log_history if "loss" in entry]
            self.assertEqual(losses, again)

    def test_refuses_another_depth(self):
        plan = dg.plan_growth(dg.GrowthOperator("lidas", block=2), 2, 4, plateau_steps=9, total_steps=12)
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(dg.Error, "a model of 2 layers at step 0 of the plan, got 4"):
                self.trainer(family("llama_linear").float(), plan, folder).train()


if __name__ == "__main__":
    unittest.main()
