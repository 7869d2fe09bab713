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
[[ $(wc -l < rest.txt) -eq $((12 - grown)) ]] ||
  fail "expected $((12 - grown)) steps after the growth, found $(wc -l < rest.txt)"
cmp whole/model.safetensors rest/model.safetensors || fail "final weights differ after growth on disk"
cmp whole/optimizer.safetensors rest/optimizer.safetensors || fail "final moments differ after growth on disk"

# A dry run writes nothing and says what it would do.
"$TOOLS/grow_checkpoint" "$before" nothing --order 0,1,1,0,1 --dry-run > dry.txt
[[ ! -e nothing ]] || fail "expected a dry run to write nothing"
for word in 'order                  0 1 1 0 1' parameters 'forward FLOPs' weights optimizer; do
  grep -q "$word" dry.txt || fail "expected '$word' in the dry run"
done

# New layers of zero effect, with the proof; a block that moves layers is refused.
"$TOOLS/grow_checkpoint" whole zero --operator lidas --block 2 --zero-new > zero.txt
grep -q 'logits of 16 positions are unchanged, bit for bit' zero.txt ||
  fail "expected the proof, found: $(cat zero.txt)"
refused 'expected an order that keeps every layer in place' "${grow[@]}" whole wrong --order 1,0,2,3,3 --zero-new
[[ ! -e wrong ]] || fail "expected nothing written"

# The report shows the growths and where the layers come from.
"$TOOLS/depth_report" --model zero --prompts <(echo '{"text": "a tower that grows"}') --sweeps none --no-local --quiet \
    --json report.json
twice='"lineage":{"descends_from":[0,1,0,1,0,1],"growth":[{"order":[0,1,0,1],"step":3},'
twice+='{"order":[0,1,2,1,2,3],"step":12,"zero_new":true}],"initial_layers":2,'
twice+='"shared_until":[[3,0,1,0,1,0],[0,3,0,2,0,1],[1,0,3,0,2,0],'
twice+='[0,2,0,3,0,1],[1,0,2,0,3,0],[0,1,0,1,0,3]],"stages":3}'
[[ "$(lineage report.json)" == "$twice" ]] || fail "expected $twice, found $(lineage report.json)"

# Nothing is overwritten; links are not written through.
refused 'grown: expected a new directory, found a directory of that name' \
    "${grow[@]}" whole grown --operator lidas --block 2
[[ -z "$("$TOOLS/grow_checkpoint" whole grown --operator lidas --block 2 2> /dev/null)" ]] ||
  fail "expected a refusal before anything is printed"
ln -s elsewhere link
refused 'link: expected a new directory, found a link of that name' "${grow[@]}" whole link --operator lidas --block 2
[[ ! -e elsewhere ]] || fail "expected nothing written through a link"
refused 'did you mean lidas?' "${grow[@]}" whole x --operator lydas
refused 'expected one of the two, found both' "${grow[@]}" whole x --operator lidas --order 0,1
refused 'expected one of the two, found neither' "${grow[@]}" whole x
refused 'expected a layer index below 4 at slot 1, got 9' "${grow[@]}" whole x --order 0,9
refused 'missing: expected a model directory' "${grow[@]}" missing x --operator lidas
mkdir half; cp -L whole/config.json half
refused 'half: expected model.safetensors or model.safetensors.index.json, found neither' \
    "${grow[@]}" half x --operator lidas
echo '{"weight_map": {"a": "../whole/model.safetensors"}}' > half/model.safetensors.index.json
refused 'expected file names inside the directory' "${grow[@]}" half x --operator lidas
echo '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}' > half/model.safetensors.index.json
refused 'expected the shard model-00001-of-00002.safetensors beside it' "${grow[@]}" half x --operator lidas
[[ ! -e x ]] && ! ls -d .tmp-* 2> /dev/null || fail "expected nothing left behind"

# Other beginnings, sums of layers and collapse: the record and the lineage tell them.
"${grow[@]}" whole mean --operator interleave --init average
grep -q '"init": "average"' mean/growth.json ||
  fail "expected the beginning in growth.json, found: $(cat mean/growth.json)"
"${grow[@]}" whole noisy --operator interleave --init noise:0.01 --init-seed 7
grep -q '"init": "noise:0.01"' noisy/growth.json && grep -q '"seed": 7' noisy/growth.json ||
  fail "expected sigma and seed in growth.json, found: $(cat noisy/growth.json)"
"${grow[@]}" whole drawn --operator interleave --init random --optimizer-state all
"${grow[@]}" whole again --operator interleave --init noise:0.01 --init-seed 7
cmp noisy/model.safetensors again/model.safetensors || fail "expected the same noise from the same seed"
"$TOOLS/grow_checkpoint" whole shallow --operator collapse --start 1 --length 2 > shallow.txt
grep -q 'order                  0 -1+2+3' shallow.txt || fail "expected the sum of layers, found: $(cat shallow.txt)"
"$TOOLS/depth_report" --model shallow --prompts <(echo '{"text": "a tower that shrinks"}') --sweeps none --no-local \
    --quiet --json report.json
grep -q '"mixture"' report.json || fail "expected the mixture in the report"
"${grow[@]}" whole summed --order 0,1,0.5*1+0.5*2,2,3
refused 'expected one of copy, zero_residual, average, random, noise:SIGMA, got "fancy"' \
    "${grow[@]}" whole x --operator interleave --init fancy
refused 'expected one of the two, found both' "${grow[@]}" whole x --operator interleave --init average --zero-new
refused '[collapse] expected a layer 3 with 1 layers after it in a depth of 4, got fewer' \
    "${grow[@]}" whole x --operator collapse --start 3

# A family whose graph the library does not know: layers, config.json and what is said of the rest.
cp -rL whole foreign
rm foreign/trainer_state.json foreign/manifest.json
sed -i 's/"model_type": "llama"/"model_type": "somebody"/
        s/"num_hidden_layers": 4/"num_hidden_layers": 4, "layer_types": ["a", "b", "a", "b"]/' \
    foreign/config.json
echo '{"global_step": 3, "log_history": []}' > foreign/trainer_state.json
touch foreign/optimizer.pt; echo x > foreign/modeling_somebody.py
"$TOOLS/grow_checkpoint" foreign grown_foreign --operator lidas --block 2 > foreign.txt
for said in 'expected model_type llama, mistral' \
    'found somebody; grown by its tensors alone, layers are model.layers.N' \
    'unknown, as is the graph of model_type somebody' \
    'modeling_somebody.py is of no kind that growth knows; copied as it is' \
    "trainer_state.json (another trainer's)" 'optimizer.pt (weights of another format'; do
  grep -qF "$said" foreign.txt || fail "expected '$said', found: $(cat foreign.txt)"
done
[[ "$(tr -d ' \n' < grown_foreign/config.json)" == \
    *'"layer_types":["a","b","a","b","a","b"]'*'"num_hidden_layers":6'* ]] ||
  fail "expected grown fields, found: $(cat grown_foreign/config.json)"
[[ -e grown_foreign/modeling_somebody.py && ! -e grown_foreign/trainer_state.json &&
    ! -e grown_foreign/optimizer.pt ]] || fail "expected the kept and left out files, found: $(ls grown_foreign)"
refused 'the library does not know which tensors of model_type somebody write to the residual stream' \
    "${grow[@]}" foreign x --operator lidas --block 2 --zero-new
refused 'the library does not know how model_type somebody is initialised' \
    "${grow[@]}" foreign x --operator lidas --block 2 --init random
refused 'expected layers of one kind in a sum, found layer_types' \
    "${grow[@]}" foreign x --operator lidas --block 2 --init average
"$TOOLS/grow_checkpoint" foreign nothing --operator lidas --block 2 --json dry.json --dry-run > /dev/null
grep -q '"not_understood"' dry.json || fail "expected the notes in the JSON"
[[ ! -e x && ! -e nothing ]] || fail "expected nothing written"
echo "growth on disk: the same run from step $grown on, bit for bit"
