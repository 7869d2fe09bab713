#!/usr/bin/env bash
# The depth tools as people use them: values of the fixtures through depth_report, good runs on a model just
# trained, bad input.
fixtures="$(cd "$(dirname "${BASH_SOURCE[0]}")/../fixtures" && pwd)"
source "$(dirname "$0")/common.sh"
check="$TOOLS/../tests/check_report" write_lens="$TOOLS/../tests/fixture_lens"
report=("$TOOLS/depth_report" --threads 2 --quiet --resamples 200)

has() { grep -q "\"$1\"" "$2" || fail "expected the key \"$1\" in $2"; }

# The fixtures: three units, the random and the fitted lens.
for name in plain grouped; do
  model=$fixtures/$name block=4
  [[ $name == grouped ]] && block=3
  for unit in layer attention mlp; do
    "${report[@]}" --model "$model" --prompts "$model/prompts.jsonl" --block $block --unit $unit --sweeps 'swap:1' \
        --json report.json
    "$check" "$model/expected.json" report.json $unit
  done
  for lens in random fitted; do
    "$write_lens" $name $lens "${name}_$lens"
    "${report[@]}" --model "$model" --prompts "$model/prompts.jsonl" --lens "${name}_$lens" --block $block \
        --sweeps none --max-rows 64 --json report.json
    "$check" "$model/expected.json" report.json layer $lens
  done
done

# A model grown while it trained: report and page, alone and beside a plain one; a lens; tasks.
"$TOOLS/train_smol" "${tiny[@]}" --out grown
"$TOOLS/train_smol" "${tiny[@]}" --growth none --out plain
for i in 1 2 3; do echo "{\"text\": \"$i + $i = $((i + i)), and the rest is text\", \"answer_from\": 8}"; done \
    > prompts.jsonl
"$TOOLS/fit_lens" --model grown --steps 3 --tokens-per-step 64 --held-out 4 --threads 2 --out lens --torch \
    --json fit.json > fit.txt
for key in kl_first kl_last held_out kl_saved; do has $key fit.json; done
[[ -f lens/config.json && -f lens/params.safetensors && -f lens/params.pt ]] ||
  fail "expected config.json, params.safetensors and params.pt in the lens, found $(ls lens)"
[[ $(grep -cE '^ +[0-3] ' fit.txt) -eq 4 ]] || fail "expected four rows in the lens table, found: $(cat fit.txt)"
"${report[@]}" --model grown --prompts prompts.jsonl --lens lens --block 2 --integrated-gradients 0,2 \
    --gradient-steps 4 --json one.json --html one.html
for key in contribution skip local depth_score logit_lens tuned_lens block_similarity angular_distance sweeps \
    integrated_gradients interval; do
  has $key one.json
done
[[ "$(lineage one.json)" == "$grown_once" ]] || fail "expected $grown_once, found $(lineage one.json)"
"${report[@]}" --model grown --model plain --prompts prompts.jsonl --json two.json --html two.html
for key in compared relative_depth_score late_overlap; do has $key two.json; done
grep -q 'Compared, prompt by prompt' two.html || fail "expected a comparison in two.html"
"${report[@]}" --model grown --prompts prompts.jsonl --lens lens --block 2 --integrated-gradients 0,2 \
    --gradient-steps 4 --json again.json
diff <(sed '/"seconds": {/,/}/d' one.json) <(sed '/"seconds": {/,/}/d' again.json) > /dev/null ||
  fail "expected the same numbers from the same seed"
printf '{"context": "1 + 1 =", "options": [" 2", " 3"], "gold": 0}\n' > choices.jsonl
printf '{"text": "the end of it"}\n' > words.jsonl
printf '{"prompt": "1 + 1 =", "answer": "2", "stop": "\\n"}\n' > generate.jsonl
"$TOOLS/evaluate" --model grown --task arithmetic,choices=choices.jsonl,lambada=words.jsonl,generate=generate.jsonl \
    --items 5 --shots 0 --exit-layer all --lens lens --sweep swap:1 --max-tokens 4 \
  --threads 2 --json tasks.json --html tasks.html > tasks.txt
for key in accuracy standard_error chance seed items early_exit relative sweep perplexity accuracy_normalised \
    confidence difference interval_normalised interval_perplexity; do
  has $key tasks.json
done
means=$(grep -c '"accuracy":' tasks.json) intervals=$(grep -c '"interval":' tasks.json)
[[ $means -gt 20 && $means -eq $intervals ]] ||
  fail "expected an interval beside each of $means accuracies, found $intervals"
"$TOOLS/evaluate" --model grown --task arithmetic,choices=choices.jsonl,lambada=words.jsonl,generate=generate.jsonl \
    --items 5 --shots 0 --exit-layer all --lens lens --sweep swap:1 --max-tokens 4 \
  --threads 2 --quiet --json tasks2.json
cmp tasks.json tasks2.json || fail "expected the same intervals from the same seed"
grep -q '95 % bootstrap' tasks.html || fail "expected tasks.html to name its bands"
[[ $(grep -c 'exit at layer' tasks.txt) -eq 20 ]] || fail "expected 5 early exits of 4 tasks, found: $(cat tasks.txt)"
"$TOOLS/evaluate" --model grown --task choices=choices.jsonl --order 0,1,2,3,2,3 --exit-layer 6 --threads 2 --quiet \
    --json order.json
has order order.json

for page in one two tasks; do
  [[ $(tail -n 1 $page.html) == "</html>" ]] || fail "expected a whole page in $page.html"
  grep -qE '<script|https?://' $page.html && fail "expected no script and nothing from a network in $page.html"
done

# Bad input: one sentence, nothing written.
bad=("$TOOLS/depth_report" --model "$fixtures/plain" --json never.json --html never.html --prompts)
: > empty.jsonl
printf '\n\n' > blank.jsonl
printf '{"tokens": [1]}\n' > short.jsonl
printf '{"tokens": [1, 2, 97, 3]}\n' > ids.jsonl
printf '{"tokens": [1, -2, 3]}\n' > minus.jsonl
printf '{"tokens": [%s 1]}\n' "$(printf '1, %.0s' {1..64})" > long.jsonl
printf '{"tokens": [1, 2, 3, 4], "boundaries": [2]}\n{"tokens": [1, 2, 3, 4], "boundaries": [4]}\n' > edge.jsonl
printf '{"tokens": [1, 2, 3, 4], "boundaries": [2], "answer_from": 4}\n' > answer.jsonl
printf '{"tokens": [1, 2, 3, 4]}\n' > undrawn.jsonl
printf 'tokens\n' > broken.jsonl
printf '{"words": 1}\n' > other.jsonl
refused 'missing.jsonl' "${bad[@]}" missing.jsonl
refused 'empty.jsonl: expected content, found an empty file' "${bad[@]}" empty.jsonl
refused 'blank.jsonl: expected at least one prompt' "${bad[@]}" blank.jsonl
refused 'short.jsonl line 1: expected at least 2 tokens, found 1' "${bad[@]}" short.jsonl
refused 'ids.jsonl line 1: expected token ids below the vocabulary of 97, found 97 at position 2' "${bad[@]}" ids.jsonl
refused 'minus.jsonl line 1' "${bad[@]}" minus.jsonl
refused 'long.jsonl line 1: expected at most 64 tokens' "${bad[@]}" long.jsonl
refused 'edge.jsonl line 2: expected boundaries from 2 to 3 (its last position), found 4' "${bad[@]}" edge.jsonl
refused 'answer.jsonl line 1: expected answer_from from 1 to 3' "${bad[@]}" answer.jsonl
refused 'undrawn.jsonl line 1: expected at least 13 tokens to draw a boundary from' "${bad[@]}" undrawn.jsonl
refused 'broken.jsonl line 1' "${bad[@]}" broken.jsonl
refused 'other.jsonl line 1: expected "tokens" or "text", found neither' "${bad[@]}" other.jsonl
good=("${bad[@]}" "$fixtures/plain/prompts.jsonl")
refused 'prompts.jsonl line 1: expected boundaries from 2 to' \
    "$TOOLS/depth_report" --model grown --prompts prompts.jsonl --boundaries 99 --json never.json
refused 'error: --unit: expected layer|attention|mlp, found "layers"; did you mean layer?' "${good[@]}" --unit layers
refused '--block: expected a block that divides the 8 layers' "${good[@]}" --block 3
refused '--integrated-gradients: expected layers below 8' "${good[@]}" --integrated-gradients 8
refused 'expected a prompt with answer_from' "${good[@]}" --integrated-gradients 1
refused '--sweeps: expected kinds' "${good[@]}" --sweeps swop:1
refused '--sweeps: expected a length that fits 8 layers, found "swap:5"' "${good[@]}" --sweeps 'swap:1;swap:5'
prompts_sum=$(cksum < prompts.jsonl)
refused '--json: expected a file that --prompts does not name, found ./prompts.jsonl' \
    "$TOOLS/depth_report" --model grown --prompts prompts.jsonl --json ./prompts.jsonl
[[ "$(cksum < prompts.jsonl)" == "$prompts_sum" ]] || fail "expected the prompts untouched"
refused 'expected a file that --html does not name, found never.json' "${good[@]}" --html ./never.json
[[ ! -e never.json ]] || fail "expected nothing written by refused reports"
refused '--max-rows: expected a number of at most 18 digits' "${good[@]}" --max-rows 9999999999999999999
refused '--lens: expected --exit-layer, where a lens answers, found none' \
    "$TOOLS/evaluate" --model grown --task choices=choices.jsonl --lens lens
refused 'lens: [tuned_lens] expected a model of width 32, got 24' "$TOOLS/depth_report" --model "$fixtures/grouped" \
    --prompts "$fixtures/grouped/prompts.jsonl" --lens lens --json never.json
refused '--lens: expected one for each of 2 --model, found 1' "${good[@]}" --model grown --lens lens
refused 'expected a file in a folder that exists' \
    "$TOOLS/depth_report" --model grown --prompts prompts.jsonl --json nowhere/never.json
cp -rL plain deeper; cp -r lens damaged; truncate -s 2000 damaged/params.safetensors
"$TOOLS/train_smol" "${tiny[@]}" --layers 6 --out six
refused 'lens: [tuned_lens] expected a model of 4 layers, got 6; a grown model needs its lens refitted' \
    "$TOOLS/depth_report" --model six --prompts prompts.jsonl --lens lens --json never.json
refused 'lens: [tuned_lens] expected the unembedding that the lens was fitted to' \
    "$TOOLS/evaluate" --model plain --task choices=choices.jsonl --exit-layer 1 --lens lens --json never.json
refused 'damaged/params.safetensors: tensor 0.weight: expected data_offsets within' \
    "$TOOLS/depth_report" --model grown --prompts prompts.jsonl --lens damaged --json never.json

# A NaN among the weights: the file and the layer.
cp -r "$fixtures/plain" nan && chmod -R u+w nan
printf '\x00\x00\xc0\x7f' | dd of=nan/model.safetensors bs=1 seek=$((8 + 7528 + 117760 + 400)) conv=notrunc status=none
nan='nan/model.safetensors: expected finite numbers in tensor model.layers.3.mlp.up_proj.weight, '
nan+='found NaN or infinity at element 100'
refused "$nan" "${good[@]}" --model nan
refused "$nan" "$TOOLS/fit_lens" --model nan --out never_lens
refused "$nan" "$TOOLS/evaluate" --model nan --task arithmetic --json never.json

# Finite weights whose logits are not: found at the second prompt, when the first has been measured; nothing is written.
cp -r "$fixtures/plain" hot && chmod -R u+w hot
# 3e38 in the last token's row
printf '\xe6\xb1\x61\x7f' | dd of=hot/model.safetensors bs=1 seek=$((8 + 7528 + 96 * 128)) conv=notrunc status=none
printf '{"tokens": [1, 2, 3, 4], "boundaries": [2]}\n{"tokens": [1, 96, 3, 4], "boundaries": [2]}\n' > hot.jsonl
refused 'expected finite' "$TOOLS/depth_report" --model hot --prompts hot.jsonl --json never.json --html never.html
refused 'hot.jsonl line ' "$TOOLS/depth_report" --model hot --prompts hot.jsonl --json never.json --html never.html
refused '--out: expected a new directory, found lens there already' "$TOOLS/fit_lens" --model grown --out lens
refused 'expected a lens of 6 layers' "$TOOLS/fit_lens" --model six --warm-start lens --out never_lens
"$TOOLS/fit_lens" --model six --warm-start lens --warm-order 0,1,2,3,2,3 --steps 1 --tokens-per-step 64 --threads 2 \
    --quiet --out warm
printf '{"context": "a", "options": ["b", "c"], "gold": 2}\n' > gold.jsonl
refused 'gold.jsonl line 1: expected gold below 2, found 2' \
    "$TOOLS/evaluate" --model grown --task choices=gold.jsonl --json never.json
refused 'expected one of copy_random' "$TOOLS/evaluate" --model grown --task copying --json never.json
refused '--exit-layer: expected at most 4' \
    "$TOOLS/evaluate" --model grown --task choices=choices.jsonl --exit-layer 5 --json never.json
refused 'expected layer indices below 4' \
    "$TOOLS/evaluate" --model grown --task arithmetic --order 0,4 --shots 0 --json never.json
refused 'expected at most 33 tokens with the answer' "$TOOLS/evaluate" --model grown --task copy_words --json never.json
[[ ! -e never.json && ! -e never.html && ! -e never_lens ]] || fail "expected nothing written by refused runs"
echo "depth tools: fixtures agree, pages and JSON are whole, bad input is refused with a sentence"
