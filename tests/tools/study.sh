#!/usr/bin/env bash
# depth_study: a study that is killed or runs out of its budget ends as an unbroken one does, bit for bit; shards
# merge to the whole; cells are never run twice; what is wrong in a file is said in a sentence.
source "$(dirname "$0")/common.sh"
product=$("$TOOLS/train_smol" --help | grep -e '--product ' | grep -oE 'auto\|[a-z]+' | cut -d '|' -f 2)
study=("$TOOLS/depth_study" study.json --threads 2 --product "$product")  # not the fastest one, which may change
cat > study.json <<'END'
{
  "study": "Tiny",
  "parameters": {"steps": "40", "text": null},
  "flags": ["--preset tiny --layers 4 --block 2 --batch 2 --context 32 --eval-windows 2 --steps {steps}",
            "--mix built-in:0.5,{text}:0.5 --tasks arithmetic --answer-loss"],
  "variants": [
    {"name": "plain"},
    {"name": "lidas", "flags": "--growth lidas"},
    {"name": "late", "flags": "--initial-layers 1 --growth-plan late.txt", "seeds": [1]}
  ],
  "baseline": "plain",
  "seeds": [1, 2],
  "checkpoints": [0.25, 1],
  "measure": ["lens", "tuned_lens", "depth_score", "contribution", "swap", "primitives", "early_exit"],
  "options": {"prompts": 2, "lens_steps": 2, "lens_tokens": 64, "items": 4}
}
END
echo "24 0 0 0 0  # one late expansion" > late.txt
for i in {1..60}; do echo "Line $i of some prose that nobody has to read, with a few words in each."; done > prose.txt

# A study's numbers without what a clock or a folder decides.
numbers() {
  python3 - "$1" << 'END'
import json, sys
def cut(value):
    if isinstance(value, dict):
        return {k: cut(v) for k, v in value.items()
                if k not in ("seconds", "measure_seconds", "save_seconds", "last_save_seconds", "tokens_per_second",
                             "folder", "command")}
    return [cut(v) for v in value if not (isinstance(v, dict) and v.get("quantity") == "seconds")] \
        if isinstance(value, list) else value
print(json.dumps(cut(json.load(open(sys.argv[1]))), indent=1))
END
}

# What it would do writes nothing; what it does is one table, one page, one JSON and a small file for each cell.
"${study[@]}" --set text=prose.txt --out whole --list > list.txt
grep -qE '^lidas, seed 2 +40 +2\.56 k .* not begun$' list.txt || fail "expected a cell in the list: $(cat list.txt)"
grep -q '^5 cells' list.txt || fail "expected five cells: $(cat list.txt)"
[[ ! -e whole ]] || fail "expected --list to write nothing"
"${study[@]}" --set text=prose.txt --out whole > whole.txt
grep -qE '^held-out loss \(nats per token\) +[0-9.]+ ±[0-9.]+ +[0-9.]+ ±[0-9.]+ +[0-9.]+$' whole.txt ||
  fail "expected means with intervals: $(cat whole.txt)"
grep -qE '^  minus plain +[-+][0-9.]+ ±[0-9.]+' whole.txt || fail "expected paired differences: $(cat whole.txt)"
[[ -s whole/report.html && $(ls whole/cells | wc -l) -eq 5 ]] || fail "expected a page and five cells"
for key in '"loss/prose.txt"' '"answers/arithmetic"' '"difference"' '"by_seed"' '"device"' '"depth_score/prose.txt"' \
    '"tuned_lens_overlap/built-in"' '"swap 2/prose.txt"' '"attention/built-in"' '"task/arithmetic"' \
    '"swap 2/built-in answers"'; do
  grep -qF "$key" whole/results.json || fail "expected $key in results.json"
done
for key in 'prose.txt answers' 'attention/built-in answers'; do  # every token of prose counts; answers: sweeps alone
  ! grep -qF "$key" whole/results.json || fail "expected no $key in results.json"
done
for key in '"early_exit":[' '"output_mean":[' '"kl_final_lens":[' '"attention_ratio":['; do  # layer by layer
  grep -qF "$key" whole/cells/lidas-seed-1.json || fail "expected $key in the cell of lidas"
done
[[ $(grep -c '"checkpoint"' whole/results.json) -eq 2 ]] || fail "expected two checkpoints in results.json"
numbers whole/results.json > whole.json

# The page's plots as files that stand alone; another baseline.
"${study[@]}" --set text=prose.txt --out whole --table --figures figures --baseline lidas > lidas.txt
grep -qE '^  minus lidas +' lidas.txt || fail "expected differences from lidas: $(cat lidas.txt)"
python3 - << 'END' || fail "expected figures that are whole SVG files"
import glob, xml.etree.ElementTree as xml
names = glob.glob("figures/*.svg")
assert len(names) > 20 and "figures/loss-added-by-swap-2-built-in-answers.svg" in names, names
for name in names:
    root = xml.parse(name).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and "--series-1:" in root[0].text, name
END
refused '--baseline: expected one of the variants plain, lidas, late, found early' \
  "${study[@]}" --set text=prose.txt --out whole --table --baseline early
"${study[@]}" --set text=prose.txt --out whole --table --quiet
numbers whole/results.json | cmp whole.json - || fail "expected the file's baseline again"

# The same table from the cells alone, without the study's file and data.
mkdir alone && cp -r whole/cells alone/
"$TOOLS/depth_study" --cells alone > alone.txt
"$TOOLS/depth_study" --cells alone --out answers/again > again.txt  # folders that are not there yet are made
cmp alone/results.json answers/again/results.json
grep -qE '^  minus plain +[-+][0-9.]+ ±[0-9.]+' alone.txt || fail "expected differences from plain: $(cat alone.txt)"
[[ -s alone/report.html ]] || fail "expected a page beside the cells"
python3 - << 'END' || fail "expected the study's numbers from its cells"
import json
def table(name):
    return [[moment["checkpoint"], sorted((json.dumps(row, sort_keys=True) for row in moment["table"]))]
            for moment in json.load(open(name + "/results.json"))["moments"]]
assert table("alone") == table("whole")
END
refused '--cells runs: expected a folder of a study, with cells in it, found none' "$TOOLS/depth_study" --cells runs
refused "--cells: expected no study's file" "$TOOLS/depth_study" study.json --cells alone
sed 's/"moments":\[10,40\]/"moments":[20,40]/' alone/cells/late-seed-1.json > late.json
cmp -s late.json alone/cells/late-seed-1.json && fail "expected the cell to be changed here"
cp late.json alone/cells/late-seed-1.json
refused 'lidas-seed-1.json: expected measurements at the shares of the run that late-seed-1.json has, found others' \
  "$TOOLS/depth_study" --cells alone

# Windows shorter than an exercise: some have no answer, and are no prompts of the sweeps on answers.
cat > short.json << 'END'
{
  "study": "Short windows",
  "flags": ["--preset tiny --layers 4 --block 2 --batch 16 --context 64 --eval-windows 2 --steps 40 --answer-loss",
            "--tasks arithmetic,assign_code_1"],
  "variants": [{"name": "plain"}],
  "measure": ["swap"],
  "options": {"prompts": 8}
}
END
"$TOOLS/depth_study" short.json --out short --quiet
grep -qF '"swap 2/built-in answers"' short/results.json || fail "expected sweeps on answers of short windows"

# Cells that are done are never run again.
touch -d '2020-01-01' whole/cells/*
"${study[@]}" --set text=prose.txt --out whole > again.txt
[[ $(grep -c 'done before' again.txt) -eq 5 && -z $(find whole/cells -newer late.txt -name '*.json') ]] ||
  fail "expected five cells done before: $(cat again.txt)"

# kill -9 at random moments, then budgets: the same numbers.
for i in {1..4}; do
  "${study[@]}" --set text=prose.txt --out part --quiet & pid=$!
  sleep "0.$((RANDOM % 500 + 200))"
  kill -9 $pid 2> /dev/null || true
  wait $pid 2> /dev/null || true
done
"${study[@]}" --set text=prose.txt --out part --budget 0.01 > budget.txt
grep -qE '^stopped; [0-4] of 5 cells are done, the same command goes on$' budget.txt ||
  fail "expected a budget to stop the study: $(cat budget.txt)"
"${study[@]}" --set text=prose.txt --out part --quiet
numbers part/results.json | cmp whole.json - || fail "a killed study gave other numbers"

# SIGTERM saves, and exits with 0.
"${study[@]}" --set text=prose.txt steps=4000 --out stopped --quiet & pid=$!
until [[ -s stopped/runs/plain/seed-1/log.jsonl ]]; do sleep 0.02; done
kill -TERM $pid
wait $pid || fail "expected exit code 0 after SIGTERM, found $?"
[[ -f stopped/runs/plain/seed-1/latest/trainer_state.json ]] || fail "expected a checkpoint after SIGTERM"

# Shards, of machines with their data elsewhere, merge to the whole.
mkdir elsewhere; cp prose.txt elsewhere
for i in 1 2; do "${study[@]}" --set text=elsewhere/prose.txt --out shard$i --shard $i/2 --quiet; done
[[ $(ls shard1/cells shard2/cells | grep -c json) -eq 5 ]] || fail "expected five cells in two shards"
"${study[@]}" --set text=prose.txt --out merged --merge shard1 shard2 > merged.txt
grep -q '^5 cells came from 2 folders$' merged.txt || fail "expected five cells to come: $(cat merged.txt)"
numbers merged/results.json | cmp whole.json - || fail "merged shards gave other numbers"
sed -i -E 's/"validation_loss":[0-9.]+/"validation_loss":1.5/g' shard1/cells/plain-seed-1.json
refused "expected the results of whole/cells/plain-seed-1.json for the cell plain, seed 1, found others" \
  "${study[@]}" --set text=prose.txt --out whole --merge shard1
refused 'shard3: expected a folder of a study' "${study[@]}" --set text=prose.txt --out whole --merge shard3

# A cell that the file describes otherwise now is refused, and put aside only when asked to.
now=("${study[@]}" --set text=prose.txt steps=30 --out whole --quiet)
refused 'whole/cells/plain-seed-1.json: expected the cell plain, seed 1 as the study describes it now' "${now[@]}"
refused 'found "40" where the study has "30" for flags/--steps' "${now[@]}"
numbers whole/results.json | cmp whole.json - || fail "expected nothing overwritten by a refusal"
"${now[@]}" --put-aside
[[ -f whole/aside/plain-seed-1-1/cell.json && -d whole/aside/plain-seed-1-1/run ]] || fail "expected a cell put aside"
grep -q '"steps":30' whole/cells/plain-seed-1.json || fail "expected the cell to be run anew"

# Errors name the file, what was expected and what was found.
wrong() {
  sed "$2" study.json > wrong.json
  refused "$1" "$TOOLS/depth_study" wrong.json --set text=prose.txt --out no
}
wrong 'wrong.json: expected the keys study, parameters,' 's/"baseline"/"basline"/'
wrong 'found basline; did you mean baseline?' 's/"baseline"/"basline"/'
wrong 'wrong.json: expected variants of different names, found two named plain' 's/"name": "lidas"/"name": "plain"/'
wrong 'wrong.json: expected baseline to be one of the variants plain, lidas, late, found no' \
  's/"baseline": "plain"/"baseline": "no"/'
wrong 'wrong.json: variant plain: expected checkpoints within the run of 40 steps, found 50' 's/0\.25, 1/10, 50/'
wrong 'wrong.json: variant lidas: unknown flag --grwth; did you mean --growth?' 's/--growth lidas/--grwth lidas/'
wrong 'wrong.json: variant lidas: --growth: expected' 's/--growth lidas/--growth lida/'
wrong 'found --time-limit, which the study gives' 's/--growth lidas/--time-limit 5/'
wrong 'expected "seeds", found --seed among the flags' 's/--growth lidas/--seed 4/'
wrong 'wrong.json: expected measure to name some of lens,' 's/"depth_score"/"deph_score"/'
wrong 'wrong.json: options: expected the keys prompts, sweep_prompts,' 's/"items"/"itms"/'
wrong 'wrong.json: expected a parameter of wrong.json, found stps; did you mean steps?' 's/{steps}/{stps}/'
refused '--set: expected a parameter of study.json, found txt; did you mean text?' "${study[@]}" --set txt=prose.txt
refused 'study.json: expected --set text=VALUE for the parameter text' "${study[@]}"
refused '--shard: expected i/n with i from 1 to n' "${study[@]}" --set text=prose.txt --shard 3/2 --list
[[ ! -e no ]] || fail "expected refused studies to write nothing"
echo "study: killed, stopped by a budget, sharded and merged: the same numbers"
