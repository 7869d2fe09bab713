#!/usr/bin/env bash
# The depth tools on two and three processes say what they say on one, intervals included; failures are one sentence.
fixtures="$(cd "$(dirname "${BASH_SOURCE[0]}")/../fixtures" && pwd)"
source "$(dirname "$0")/common.sh"
command -v mpirun > /dev/null || { echo "no mpirun here"; exit 77; }
command -v python3 > /dev/null || { echo "no python3 here"; exit 77; }
near() { python3 "$fixtures/../tools/near_json.py" "$@" > distance || fail "$2 and $3 differ"; }

"$TOOLS/train_smol" "${tiny[@]}" --out model
for i in 1 2 3 4 5; do
  echo "{\"text\": \"$i + $i = $((i + i)), and the rest is text\"$([[ $i -gt 3 ]] && echo ', "answer_from": 8')}"
done > prompts.jsonl
for i in 1 2 3 4; do echo "{\"context\": \"$i + 1 =\", \"options\": [\" 2\", \" 3\", \" 12\"], \"gold\": 1}"; done \
    > choices.jsonl
printf '{"text": "the end of it"}\n{"text": "one word more"}\n' > words.jsonl
for i in 1 2 3; do echo "{\"prompt\": \"$i + 1 =\", \"answer\": \"2\", \"stop\": \"\\\\n\"}"; done > generate.jsonl
printf '{"text": "of three ranks one measures this"}\n' > single.jsonl
report=("$TOOLS/depth_report" --model model --resamples 200 --threads 1)
all=(--lens lens-1 --block 2 --unit mlp --sweep-prompts 3 --integrated-gradients 0,2 --gradient-steps 4)
scores=("$TOOLS/evaluate" --model model --items 5 --shots 0 --exit-layer 2 --lens lens-1 --sweep swap:1 --max-tokens 4
        --task arithmetic,choices=choices.jsonl,lambada=words.jsonl,generate=generate.jsonl --threads 1)
for count in 1 2 3; do
  "$TOOLS/fit_lens" --model model --out lens-$count --steps 4 --tokens-per-step 128 --held-out 5 --threads 1 --quiet \
      --json fit-$count.json --ranks $count
  "${report[@]}" "${all[@]}" --prompts prompts.jsonl --json report-$count.json --html report-$count.html \
      --ranks $count > said-$count.txt
  "${report[@]}" --prompts single.jsonl --sweeps none --quiet --json single-$count.json --ranks $count
  "${scores[@]}" --json tasks-$count.json --ranks $count > table-$count.txt
done
for count in 2 3; do
  # A prompt runs as it does on one rank, and its numbers are gathered without rounding.
  near 0 report-1.json report-$count.json
  near 0 single-1.json single-$count.json
  # Batches of other sizes: a log-likelihood sums the losses of some tokens, each of some hundred roundings of 2^-24.
  near 2e-5 tasks-1.json tasks-$count.json
  # Gradients summed in another order, four steps from zero: some hundred roundings of 2^-24 in a KL of some nats.
  near 2e-5 fit-1.json fit-$count.json
  for told in said table; do
    diff <(sed '/ s:/d' $told-1.txt) <(sed "/ s:/d; s/report-$count/report-1/" $told-$count.txt) > /dev/null ||
      fail "expected one rank's words in $told-$count.txt, found: $(cat $told-$count.txt)"
  done
  diff <(grep -v ' s</td>' report-1.html) <(grep -v ' s</td>' report-$count.html) > /dev/null ||
    fail "expected one page, found another with $count ranks"
done

# A flag that says nothing is refused before anything starts.
for count in 0 x -1 all; do
  sentence="--ranks: expected a number of processes, or all, found \"$count\""
  [[ $count != all ]] || sentence='--ranks all: expected --backend cuda, one rank a GPU, found --backend blas'
  refused "$sentence" "${report[@]}" --prompts single.jsonl --ranks $count
  refused "$sentence" "${scores[@]}" --ranks $count
  refused "$sentence" "$TOOLS/fit_lens" --model model --out never --ranks $count
done
refused '--ranks: expected none beside --activations' "$TOOLS/depth_report" --activations none --ranks 2
refused '--rank-timeout: expected seconds above 0, found 0' "${report[@]}" --prompts single.jsonl --rank-timeout 0
# A rank that stalls ends the others after that time.
"$TOOLS/fit_lens" --model model --out stalled --steps 1000000 --tokens-per-step 128 --threads 1 --quiet --ranks 2 \
    --rank-timeout 3 > problem 2>&1 & launcher=$!
for ((t = 0; t < 100; ++t)); do
  stalled=$(pgrep -P $launcher | tail -n 1) || true
  [[ $(pgrep -P $launcher | wc -l) -ge 2 ]] && break
  sleep 0.1
done
sleep 1
kill -STOP "$stalled"
for ((t = 0; t < 300; ++t)); do kill -0 $launcher 2> /dev/null || break; sleep 0.1; done
if kill -0 $launcher 2> /dev/null; then
  kill -9 $launcher $(pgrep -P $launcher) || true
  fail "expected the others to end after --rank-timeout 3, found them waiting after 30 s"
fi
! wait $launcher 2> /dev/null || fail "expected a failure where a rank stalls"
grep -q 'expected an answer from every rank within 3 s, found none from rank' problem ||
  fail "expected the stalled rank to be named, found: $(cat problem)"
[[ ! -e stalled ]] || fail "expected no lens of a run whose rank had stalled"
# What every rank finds, before measuring or within (logits that are not finite): one sentence, nothing written.
cp -r "$fixtures/plain" hot && chmod -R u+w hot
printf '\xe6\xb1\x61\x7f' | dd of=hot/model.safetensors bs=1 seek=$((8 + 7528 + 96 * 128)) conv=notrunc status=none
for i in 3 96; do echo "{\"tokens\": [1, 2, $i, 4], \"boundaries\": [2]}"; done > hot.jsonl
one_sentence() {
  local sentence=$1 code=0
  shift
  "$@" --ranks 3 > /dev/null 2> problem || code=$?
  [[ $code -eq 1 && $(grep -c 'error: ' problem) -eq 1 ]] && grep 'error: ' problem | grep -qF -- "$sentence" ||
    fail "expected one sentence, '$sentence', and exit code 1, found code $code: $(cat problem)"
}
one_sentence 'NaN or infinity at layer 0 on hot.jsonl line 1' \
    "$TOOLS/depth_report" --model hot --prompts hot.jsonl --threads 1 --json never
one_sentence 'expected one of copy_random' "$TOOLS/evaluate" --model model --task copying --threads 1 --json never
one_sentence '--out: expected a new directory, found lens-1' "$TOOLS/fit_lens" --model model --out lens-1 --threads 1
one_sentence 'nowhere.jsonl: ' "$TOOLS/depth_report" --model model --prompts nowhere.jsonl --threads 1 --json never
[[ ! -e never ]] || fail "expected nothing written by refused runs"
echo "parallel diagnostics: 2 and 3 ranks as 1, intervals included; one sentence where one fails"
