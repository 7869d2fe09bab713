#!/usr/bin/env bash
# Growth on disk: a run that goes on from a grown directory is the run that grew by itself, bit for bit; dry run, proof,
# provenance, refusals.
source "$(dirname "$0")/common.sh"
grow=("$TOOLS/grow_checkpoint" --quiet)
"$TOOLS/train_smol" "${tiny[@]}" --out whole --save-every 1 --keep 100
grown=$(grep -o '"growth":{[^}]*}' whole/log.jsonl | grep -o '"step":[0-9]*' | grep -o '[0-9]*')
before=whole/checkpoints/$(printf 'step-%08d' "$grown")

# The trainer goes on from the directory grown on disk as if it had grown it itself.
"${grow[@]}" "$before" grown --operator lidas --block 2
"$TOOLS/train_smol" "${tiny[@]}" --out rest --resume grown
losses rest/log.jsonl > rest.txt
losses whole/log.jsonl | tail -n "$(wc -l < rest.txt)" | cmp - rest.txt || fail "losses differ after growth on disk"
[[ $(wc -l < rest.txt) -eq $((12 - grown)) ]] || fail "expected $((12 - grown)) steps after the growth, found $(wc -l < rest.txt)"
cmp whole/model.safetensors rest/model.safetensors || fail "final weights differ after growth on disk"
cmp whole/optimizer.safetensors rest/optimizer.safetensors || fail "final moments differ after growth on disk"

# A dry run writes nothing and says what it would do.
"$TOOLS/grow_checkpoint" "$before" nothing --order 0,1,1,0,1 --dry-run > dry.txt
[[ ! -e nothing ]] || fail "expected a dry run to write nothing"
for word in 'order                  0 1 1 0 1' parameters 'forward FLOPs' weights optimizer; do grep -q "$word" dry.txt || fail "expected '$word' in the dry run"; done

# New layers of zero effect, with the proof; a block that moves layers is refused.
"$TOOLS/grow_checkpoint" whole zero --operator lidas --block 2 --zero-new > zero.txt
grep -q 'logits of 16 positions are unchanged, bit for bit' zero.txt || fail "expected the proof, found: $(cat zero.txt)"
refused 'expected an order that keeps every layer in place' "${grow[@]}" whole wrong --order 1,0,2,3,3 --zero-new
[[ ! -e wrong ]] || fail "expected nothing written"

# The report shows the growths and where the layers come from.
"$TOOLS/depth_report" --model zero --prompts <(echo '{"text": "a tower that grows"}') --sweeps none --no-local --quiet --json report.json
twice='"lineage":{"descends_from":[0,1,0,1,0,1],"growth":[{"order":[0,1,0,1],"step":3},{"order":[0,1,2,1,2,3],"step":12,"zero_new":true}],"initial_layers":2,'
twice+='"shared_until":[[3,0,1,0,1,0],[0,3,0,2,0,1],[1,0,3,0,2,0],[0,2,0,3,0,1],[1,0,2,0,3,0],[0,1,0,1,0,3]],"stages":3}'
[[ "$(lineage report.json)" == "$twice" ]] || fail "expected $twice, found $(lineage report.json)"

# Nothing is overwritten; links are not written through.
refused 'grown: expected a new directory, found a directory of that name' "${grow[@]}" whole grown --operator lidas --block 2
[[ -z "$("$TOOLS/grow_checkpoint" whole grown --operator lidas --block 2 2> /dev/null)" ]] || fail "expected a refusal before anything is printed"
ln -s elsewhere link
refused 'link: expected a new directory, found a link of that name' "${grow[@]}" whole link --operator lidas --block 2
[[ ! -e elsewhere ]] || fail "expected nothing written through a link"
refused 'did you mean lidas?' "${grow[@]}" whole x --operator lydas
refused 'expected one of the two, found both' "${grow[@]}" whole x --operator lidas --order 0,1
refused 'expected one of the two, found neither' "${grow[@]}" whole x
refused 'expected a layer index below 4 at slot 1, got 9' "${grow[@]}" whole x --order 0,9
refused 'missing: expected a model directory' "${grow[@]}" missing x --operator lidas
mkdir half; cp -L whole/config.json half
refused 'half: expected model.safetensors or model.safetensors.index.json, found neither' "${grow[@]}" half x --operator lidas
echo '{"weight_map": {"a": "../whole/model.safetensors"}}' > half/model.safetensors.index.json
refused 'expected file names inside the directory' "${grow[@]}" half x --operator lidas
echo '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}' > half/model.safetensors.index.json
refused 'expected the shard model-00001-of-00002.safetensors beside it' "${grow[@]}" half x --operator lidas
[[ ! -e x ]] && ! ls -d .tmp-* 2> /dev/null || fail "expected nothing left behind"
echo "growth on disk: the same run from step $grown on, bit for bit"
