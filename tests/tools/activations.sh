#!/usr/bin/env bash
# depth_report --activations: the numbers of depth_report on the model whose arrays they are, parts that may be left
# out, and bad input.
fixtures="$(cd "$(dirname "${BASH_SOURCE[0]}")/../fixtures" && pwd)"
source "$(dirname "$0")/common.sh"
report=("$TOOLS/depth_report" --quiet --resamples 200)

# compare MODEL.json ARRAYS.json KEY...: every number of ARRAYS.json is that of MODEL.json, which has all its keys:
# to 1e-6, of the lens also to float32's epsilon, since a model's lens compares logits in float32 and arrays in float64.
compare() {
  python3 - "$@" <<'P' || fail "expected the numbers of the model in $2"
import json, sys
def walk(a, b, at):
    if isinstance(b, dict):
        for key in b:
            if at + "/" + key in ("/model/name", "/model/path", "/seconds"): continue
            assert key in a, f"{at}/{key} is not in the model's report"
            walk(a[key], b[key], at + "/" + key)
    elif isinstance(b, list):
        assert len(a) == len(b), at
        for i, pair in enumerate(zip(a, b)): walk(*pair, f"{at}/{i}")
    else:
        rounding = 2**-23 if "/logit_lens/" in at else 1e-12
        assert abs(a - b) <= 1e-6 * max(abs(a), abs(b)) + rounding, f"{at}: model {a}, arrays {b}"
model, arrays = (json.load(open(name)) for name in sys.argv[1:3])
walk(model, arrays, "")
for key in sys.argv[3:]: assert key in arrays, key
P
}

for name in plain grouped; do
  block=4
  [[ $name == grouped ]] && block=3
  model=$fixtures/$name
  "${report[@]}" --model "$model" --prompts "$model/prompts.jsonl" --block $block --no-local --sweeps none \
      --threads 2 --json model.json
  "$TOOLS/../tests/dump_arrays" "$model" "$model/prompts.jsonl" $name
  "${report[@]}" --activations $name --block $block --json arrays.json --html arrays.html
  compare model.json arrays.json contribution angular_distance logit_lens loss
  grep -q 'Top-5 overlap' arrays.html || fail "expected the lens on the page"
done

# The last residual, tokens and lens may be left out; one prompt may be the folder itself.
"$TOOLS/depth_report" --activations plain/0 --resamples 10 --json one.json > one.txt
grep -q '1 prompts, 17 positions' one.txt || fail "expected one prompt: $(cat one.txt)"
rm plain/*/tokens.npy
"${report[@]}" --activations plain --json no_tokens.json
grep -q '"loss"' no_tokens.json && fail "expected no loss without tokens"
compare <("${report[@]}" --activations plain --json -) no_tokens.json logit_lens

bad() { rm -rf bad; cp -r grouped bad; }
bad; rm bad/1/mlp_out.npy
refused 'bad/1/mlp_out.npy: expected an array, found none' "${report[@]}" --activations bad
bad; cp grouped/0/mlp_out.npy bad/1/
refused 'bad/1/mlp_out.npy: expected shape (' "${report[@]}" --activations bad
bad; cp bad/0/attn_out.npy bad/0/resid_pre.npy
"${report[@]}" --activations bad > /dev/null  # L residuals: the last is the sum
bad; cp bad/0/lens_logits.npy bad/0/resid_pre.npy
refused 'bad/0/resid_pre.npy: expected shape (' "${report[@]}" --activations bad
bad; cp bad/0/tokens.npy bad/0/attn_out.npy
refused 'bad/0/attn_out.npy: expected <f2, <f4 or <f8 values, found' "${report[@]}" --activations bad
bad; rm bad/2/tokens.npy
refused 'bad/2/tokens.npy: expected an array, as for the first prompt, found none' "${report[@]}" --activations bad
bad; printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of=bad/0/mlp_out.npy bs=1 seek=200 conv=notrunc 2> /dev/null
refused 'bad/0/mlp_out.npy: expected finite numbers, found NaN or infinity at element' "${report[@]}" --activations bad
bad; cp bad/1/tokens.npy bad/0/tokens.npy
refused 'bad/0/tokens.npy: expected ' "${report[@]}" --activations bad
refused '--activations: expected a folder or a .safetensors file, found none at nowhere' \
    "${report[@]}" --activations nowhere
refused '--model: expected none beside --activations' "${report[@]}" --activations grouped --model grouped
echo "activations: two models from their arrays"
