#!/usr/bin/env bash
# depth_report --activations: the numbers of depth_report on the model whose arrays they are, parts that may be left
# out, and bad input.
fixtures="$(cd "$(dirname "${BASH_SOURCE[0]}")/../fixtures" && pwd)"
source "$(dirname "$0")/common.sh"
report=("$TOOLS/depth_report" --quiet --resamples 200)

# compare MODEL.json ARRAYS.json KEY...: every number of ARRAYS.json is that of MODEL.json, which has all its keys:
# to 1e-6, of lens and skips also to float32's epsilon: a model's lens compares logits in float32 and arrays in float64,
# and arrays of a run that changes nothing are another run in float32 than the clean one.
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
    elif isinstance(b, str): assert a == b, at
    else:
        rounding = 2**-23 if "/logit_lens/" in at or "/skip/" in at else 1e-12
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
  compare model.json arrays.json contribution angular_distance logit_lens loss skip depth_score relative_depth_score
  for figure in 'Top-5 overlap' 'current, maximum' 'Change of later predictions'; do
    grep -q "$figure" arrays.html || fail "expected '$figure' on the page"
  done
done

# Other formats hold the same numbers, and rows behind a mask do not count.
same() {  # without what names the folder and the time
  local of='import json, sys
report = json.load(open(sys.argv[1]))
del report["model"], report["seconds"]
print(report)'
  [[ "$(python3 -c "$of" "$1")" == "$(python3 -c "$of" "$2")" ]] || fail "expected the numbers of $1 in $2"
}
if /usr/bin/python3 -c 'import numpy' 2> /dev/null; then
  for kind in half rounded safetensors padded; do
    /usr/bin/python3 "$fixtures/../tools/change_arrays.py" $kind grouped grouped-$kind
    "${report[@]}" --activations grouped-$kind --block 3 --json $kind.json
  done
  same rounded.json half.json
  same arrays.json safetensors.json
  same arrays.json padded.json
  # A token in the middle that does not count is neither a row nor the target of the row before it.
  cp -r grouped holed
  /usr/bin/python3 - << 'P' || fail "expected the loss without masked tokens"
import numpy, pathlib
total = count = 0
for prompt in pathlib.Path("holed").iterdir():
    tokens, logits = numpy.load(prompt / "tokens.npy"), numpy.load(prompt / "lens_logits.npy")[-1]
    mask = numpy.ones(len(tokens), dtype=numpy.int64)
    mask[5] = 0
    numpy.save(prompt / "mask.npy", mask)
    losses = numpy.log(numpy.exp(logits[:-1]).sum(-1)) - logits[range(len(tokens) - 1), tokens[1:]]
    counted = (mask[:-1] * mask[1:]).astype(bool)
    total, count = total + losses[counted].sum(), count + counted.sum()
open("loss.txt", "w").write(repr(float(total / count)))
P
  "${report[@]}" --activations holed --json holed.json
  python3 -c 'import json; assert abs(json.load(open("holed.json"))["loss"] - float(open("loss.txt").read())) < 1e-9' ||
    fail "expected the loss $(cat loss.txt) without masked tokens"
  # Two folders are compared prompt by prompt, on one page.
  "${report[@]}" --activations grouped --activations grouped-half --label a --label b --json two.json --html two.html
  grep -q 'difference from a' two.html || fail "expected the comparison on the page"
  python3 -c '
import json; first, second = json.load(open("two.json"))
compared = second["compared"]
for key in "depth_score", "relative_depth_score", "late_overlap", "loss": assert "mean" in compared[key], key
want = second["depth_score"]["mean"]["output"] - first["depth_score"]["mean"]["output"]
assert abs(compared["depth_score"]["mean"] - want) < 1e-12' || fail "expected the differences of two folders"
  refused 'plain: expected the prompts and kinds of arrays of grouped/0, found others' \
      "${report[@]}" --activations grouped/0 --activations plain
fi

# The last residual, tokens and lens may be left out; one prompt may be the folder itself.
"$TOOLS/depth_report" --activations plain/0 --resamples 10 --json one.json > one.txt
grep -q '1 prompts, 17 positions' one.txt || fail "expected one prompt: $(cat one.txt)"
grep -q 'depth score  ' one.txt || fail "expected the depth score: $(cat one.txt)"
rm plain/*/tokens.npy
"${report[@]}" --activations plain --json no_tokens.json
grep -q '"loss"' no_tokens.json && fail "expected no loss without tokens"
compare <("${report[@]}" --activations plain --json -) no_tokens.json logit_lens

bad() { rm -rf bad; cp -r grouped bad; }
bad; rm -r bad/1/current
refused 'bad/1/current/skip_0/attn_out.npy: expected an array, as for the first prompt, found none' \
    "${report[@]}" --activations bad
bad; rm bad/0/current/skip_1/logits.npy
refused 'bad/0/current/skip_1/logits.npy: expected an array, found none' "${report[@]}" --activations bad
bad; cp bad/0/current/skip_1/logits.npy bad/0/current/skip_1/mlp_out.npy
refused 'bad/0/current/skip_1/mlp_out.npy: expected ' "${report[@]}" --activations bad
bad; rm bad/*/lens_logits.npy
refused 'bad/0/lens_logits.npy: expected an array beside skipped runs, found none' "${report[@]}" --activations bad
bad; cp bad/0/tokens.npy bad/0/boundaries.npy
refused 'bad/0/boundaries.npy: expected boundaries from 2 to ' "${report[@]}" --activations bad
bad; cp bad/0/boundaries.npy bad/0/mask.npy
refused 'bad/0/mask.npy: expected ' "${report[@]}" --activations bad
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
for flag in "--model grouped" "--prompts p.jsonl" "--order 0,1" "--lens l" "--unit layer" "--boundaries 8" \
    "--sweeps none" "--sweep-prompts 5" "--no-local" "--integrated-gradients 0" "--gradient-steps 4" \
    "--tokenizer bytes" "--backend blas" "--precision fp32" "--threads 1" "--max-rows 64"; do
  read -ra words <<< "$flag"
  refused "${words[0]}: expected none beside --activations" "${report[@]}" --activations grouped "${words[@]}"
done
echo "activations: two models from their arrays"
