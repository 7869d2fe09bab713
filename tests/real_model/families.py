"""Ten tiny decoders of other families: values from the transformers library, and a check that what we write opens
in it.

    python families.py make OUT [--seed N] [--wide]    OUT/families/NAME/{config.json, model.safetensors, expected.*}
    python families.py compare RUN_MODEL DIR...        logits of transformers beside ours (ninja run_model)

Needs torch, transformers, safetensors. By itself transformers takes RoPE tables, norms and softmax in float32 whatever
the model's type; here float32 is renamed before its modules run, so that every number is a double and 1e-9 can be asked
for.
Set DEPTHGROW_FAMILIES=OUT to run test_numerics "*every family*" on them.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

NARROW = torch.float32


def all_in_double():
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double


def configurations(wide):
    """name, configuration, names of the two modules whose outputs are added to the residual."""
    width, ffn, layers, heads, kv, vocab = (48, 80, 5, 6, 3, 260) if wide else (32, 64, 4, 4, 2, 64)
    head = width // heads
    shape = dict(
        hidden_size=width,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=vocab,
        max_position_embeddings=64,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    grouped = dict(shape, num_key_value_heads=kv)
    plain, after = ("self_attn", "mlp"), ("post_attention_layernorm", "post_feedforward_layernorm")
    llama3 = dict(
        rope_type="llama3",
        rope_theta=5e5,
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=16,
    )
    yarn = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=16)
    linear = dict(rope_type="linear", rope_theta=1e4, factor=3.0)
    types = [("sliding_attention", "full_attention")[l % 2] for l in range(layers)]
    t = transformers
    yield "llama3_scaled", t.LlamaConfig(**grouped, rope_parameters=llama3, tie_word_embeddings=False), plain
    yield "llama_yarn", t.LlamaConfig(**grouped, rope_parameters=yarn, tie_word_embeddings=False), plain
    yield "llama_linear", t.LlamaConfig(**grouped, rope_parameters=linear, tie_word_embeddings=True), plain
    yield (
        "llama_wide_heads",
        t.LlamaConfig(**grouped, head_dim=2 * head, tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
        plain,
    )
    yield "mistral", t.MistralConfig(**grouped, sliding_window=8, tie_word_embeddings=False), plain
    yield "qwen2", t.Qwen2Config(**grouped, tie_word_embeddings=True), plain
    yield "qwen3", t.Qwen3Config(**grouped, head_dim=2 * head, tie_word_embeddings=True), plain
    yield "olmo2", t.Olmo2Config(**grouped, tie_word_embeddings=False), after
    yield (
        "smollm3",
        t.SmolLM3Config(**dict(grouped, pad_token_id=None), no_rope_layer_interval=2, tie_word_embeddings=True),
        plain,
    )
    yield (
        "gemma3",
        t.Gemma3TextConfig(
            **grouped,
            pad_token_id=0,
            head_dim=head,
            query_pre_attn_scalar=head,
            sliding_window=8,
            layer_types=types,
            tie_word_embeddings=True,
        ),
        after,
    )
    yield (
        "gpt2",
        t.GPT2Config(
            vocab_size=vocab,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            n_positions=64,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=1,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
        ),
        ("attn", "mlp"),
    )
    yield (
        "gpt_neox",
        t.GPTNeoXConfig(
            **shape,
            rotary_pct=0.25 if head % 8 == 0 else 1.0,
            use_parallel_residual=True,
            tie_word_embeddings=False,
            hidden_dropout=0.0,
            attention_dropout=0.0,
        ),
        ("attention", "mlp"),
    )


def tensor_of(output):
    return output[0] if isinstance(output, tuple) else output


def make(out, seed, wide):
    all_in_double()
    for name, config, parts in configurations(wide):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
        embedding = model.get_input_embeddings()
        with torch.no_grad():
            if embedding.padding_idx is not None:  # a row that begins as zeros and learns nothing, whatever the text
                embedding.weight[embedding.padding_idx].normal_(0, 0.2)
                embedding.padding_idx = None
            for (
                parameter
            ) in model.parameters():  # gains and biases away from their defaults; exact in float32, as files hold them
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
                parameter.copy_(parameter.to(NARROW).double())
        base = model.base_model
        stack = "layers" if hasattr(base, "layers") else "h"
        layers = getattr(base, stack)
        vocab, depth = config.vocab_size, len(layers)
        tokens, longer = torch.randint(vocab, (2, 12)), torch.randint(vocab, (1, 40))
        values, hooks = {"tokens": tokens, "long": longer}, []

        def keep(key):
            return lambda module, arguments, output: values.__setitem__(key, tensor_of(output))

        for l, layer in enumerate(layers):
            hooks.append(
                layer.register_forward_pre_hook(
                    lambda module, arguments, named, l=l: values.__setitem__(
                        f"resid/{l}", arguments[0] if arguments else named["hidden_states"]
                    ),
                    with_kwargs=True,
                )
            )
            for kind, part in zip(("attn", "mlp"), parts):
                hooks.append(getattr(layer, part).register_forward_hook(keep(f"{kind}/{l}")))
        hooks.append(layers[-1].register_forward_hook(keep("resid/last")))
        values["logits"] = model(input_ids=tokens, use_cache=False).logits
        for hook in hooks:
            hook.remove()
        loss = torch.nn.functional.cross_entropy(values["logits"][:, :-1].reshape(-1, vocab), tokens[:, 1:].reshape(-1))
        loss.backward()
        for key, parameter in model.named_parameters():
            values["d/" + key] = parameter.grad.clone()
        order = [0, 2, 1, 2] + list(range(3, depth))
        with torch.no_grad():
            values["long_logits"] = model(input_ids=longer, use_cache=False).logits
            for l, layer in enumerate(layers):

                def skip(module, arguments, named, output):
                    kept = tensor_of(output).clone()
                    kept[:, 1:] = (arguments[0] if arguments else named["hidden_states"])[:, 1:]
                    return (kept,) + output[1:] if isinstance(output, tuple) else kept

                hook = layer.register_forward_hook(skip, with_kwargs=True)
                values[f"skip/{l}"] = model(input_ids=tokens, use_cache=False).logits
                hook.remove()
            held = {
                key: getattr(base.config, key)
                for key in ("num_hidden_layers", "n_layer", "layer_types")
                if getattr(base.config, key, None) is not None
            }
            for key, value in held.items():
                setattr(base.config, key, [value[i] for i in order] if isinstance(value, list) else len(order))
            setattr(base, stack, torch.nn.ModuleList([layers[i] for i in order]))
            values["order_logits"] = model(input_ids=tokens, use_cache=False).logits
            setattr(base, stack, layers)
            for key, value in held.items():
                setattr(base.config, key, value)
        folder = out / "families" / name
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {key: value.detach().clone().contiguous() for key, value in values.items()}, folder / "expected.safetensors"
        )
        (folder / "expected.json").write_text(
            json.dumps({"family": name, "model_type": config.model_type, "loss": loss.item(), "order": order}, indent=1)
        )
        model.to(NARROW).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        print(f"{name:18s} loss {loss.item():.6f}")


def compare(run_model, folders):
    worst = 0
    for folder in folders:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32
        ).eval()
        torch.manual_seed(1)
        tokens = torch.randint(min(model.config.vocab_size, 60), (2, 30))
        with tempfile.TemporaryDirectory() as scratch:
            prompts, ours = pathlib.Path(scratch, "prompts.jsonl"), pathlib.Path(scratch, "ours.safetensors")
            prompts.write_text("".join(json.dumps({"tokens": row.tolist()}) + "\n" for row in tokens))
            subprocess.run([run_model, folder, prompts, ours, "4"], check=True, stdout=subprocess.DEVNULL)
            got = load_file(ours)
        with torch.no_grad():
            want = model(input_ids=tokens, use_cache=False).logits
        difference = max((got[f"logits.{p}"] - want[p]).abs().max().item() for p in range(2))
        worst = max(worst, difference)
        print(
            f"{difference:10.2e}  {model.config.model_type:12s} {len([k for k in model.state_dict()]):4d} tensors "
            f" {folder}"
        )
    print(f"largest difference of a logit: {worst:.2e}")
    return worst > 1e-4


if __name__ == "__main__":
    if len(sys.argv) >= 3 and sys.argv[1] == "make":
        make(
            pathlib.Path(sys.argv[2]),
            int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 0,
            "--wide" in sys.argv,
        )
    elif len(sys.argv) >= 4 and sys.argv[1] == "compare":
        sys.exit(compare(sys.argv[2], sys.argv[3:]))
    else:
        sys.exit(__doc__)
