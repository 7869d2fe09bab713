#!/usr/bin/env bash
# What strangers ran into: outputs that are no plain file, names of all kinds, ends that generation_config.json names,
# parameters of a completion, log-probabilities' offsets, faults of the model, slow and leaving clients.
fixtures="$(cd "$(dirname "$0")/../fixtures" && pwd)"
here="$(cd "$(dirname "$0")" && pwd)"
source "$here/common.sh"
pid=
trap 'kill $pid $(jobs -p) 2> /dev/null || true; rm -rf "$work"' EXIT  # no server outlives a failure
source "$here/serving.sh"
grow=("$TOOLS/grow_checkpoint" "$fixtures/plain")
plan=("${grow[@]}" --dry-run --operator doubling --quiet)

# Outputs go into what is no regular file, and through links.
"${plan[@]}" --json plain.json
ln -s /dev/null null; mkfifo fifo; ln -s /proc/self/fd/1 stdout; ln -s target.json link; echo old > target.json
"${plan[@]}" --json null
[[ -L null && -c /dev/null ]] || fail "expected /dev/null to stay a device, and the link a link"
timeout 20 cat fifo > read.json & reader=$!
timeout 20 "${plan[@]}" --json fifo; wait $reader
[[ -p fifo ]] && cmp read.json plain.json || fail "expected the FIFO to carry the numbers and to stay"
"${plan[@]}" --json stdout > printed.json; [[ -L stdout ]] && cmp printed.json plain.json ||
  fail "expected a link to stdout to print"
{ echo first; "${plan[@]}" --json /dev/stdout; echo last; } > printed.txt
[[ "$(head -n 1 printed.txt) $(tail -n 1 printed.txt)" == "first last" ]] && sed '1d;$d' printed.txt | cmp - \
  plain.json ||
  fail "expected the numbers between what else was printed"
"${plan[@]}" --json link; [[ -L link ]] && cmp target.json plain.json ||
  fail "expected the link's target to be replaced"
ln -s nowhere.json dangling; mkdir folder
refused '--json: dangling: expected a file, found a link that leads nowhere' "${plan[@]}" --json dangling
refused '--json: folder: expected a file, found a directory' "${plan[@]}" --json folder
refused 'which ends as the name of a directory' "${plan[@]}" --json new/
refused 'stdout: expected to write all of it, found: No space left on device' bash -c '"$@" > /dev/full' - \
  "${grow[@]}" --dry-run --operator doubling

# Names of directories.
"${grow[@]}" grown1/ --operator doubling --quiet; "${grow[@]}" grown2/. --operator doubling --quiet
[[ -f grown1/config.json && -f grown2/config.json ]] || fail "expected directories named with a slash or a dot"
before=$(ls -A)
for name in .. ./ new/.. /; do refused 'expected the name of a directory to write' "${grow[@]}" "$name" \
  --operator doubling; done
long=$(printf 'n%.0s' {1..300})
refused 'expected names of at most 250 bytes, found one of 300' "${grow[@]}" "$long" --operator doubling
refused 'expected names of at most 250 bytes, found one of 300' "${plan[@]}" --json "$long"
refused 'expected names of at most 250 bytes, found one of 300' "$TOOLS/train_smol" "${tiny[@]}" --out "$long"
refused 'expected a path of at most' "${grow[@]}" "$(printf 'nnnnnnnnn/%.0s' {1..500})" --operator doubling
refused 'expected a directory before "..", found none named absent' "${grow[@]}" absent/../a --operator doubling
refused 'expected a directory before "..", found none named absent' "$TOOLS/train_smol" "${tiny[@]}" --out absent/../a
endless=$(printf 'n%.0s' {1..5000})
refused 'nnnn...nnnn' "$TOOLS/grow_checkpoint" "$endless" a --operator doubling
refused 'nnnn...nnnn' "$TOOLS/train_smol" "${tiny[@]}" --init "$endless" --out a
[[ "$(ls -A)" == "$before" ]] || fail "expected nothing left by refused names, found $(ls -A)"

"$TOOLS/train_smol" "${tiny[@]}" --out model
fit=("$TOOLS/fit_lens" --model model --steps 1 --tokens-per-step 64 --context 32 --held-out 1 --threads 1 --quiet)
tokens=("$TOOLS/train_tokenizer" --data model/config.json --vocab 300 --quiet)
echo '{"text": "some words and some words"}' > words.jsonl; tokens[2]=words.jsonl
for name in .. . ./ model/.. /; do
  refused 'expected the name of a directory to write' "$TOOLS/train_smol" "${tiny[@]}" --out "$name"
  refused 'expected the name of a directory to write' "$TOOLS/depth_study" "${tiny[@]:0:${#tiny[@]}-1}" --growth none \
    --out "$name"
  refused 'expected the name of a directory to write' "${tokens[@]}" --out "$name"
done
mkdir folder.json; refused 'folder.json: expected a file, found a directory' "${tokens[@]}" --out folder.json
"${tokens[@]}" --out tokens1/; "${tokens[@]}" --out tokens2.json/
[[ -f tokens1/tokenizer.json && -f tokens2.json/tokenizer.json ]] ||
  fail "expected directories of tokenizers named with a slash"
"${fit[@]}" --out lens1/; [[ -f lens1/params.safetensors ]] || fail "expected a lens directory named with a slash"
refused 'expected the name of a directory to write' "${fit[@]}" --out ..

# Ends of config.json and generation_config.json together, a number or a list. A bias makes a token certain.
cp -rL model ends; sed -i 's/"eos_token_id": *[^,}]*/"eos_token_id": 98/' ends/config.json
grep -q '"eos_token_id": 98' ends/config.json || fail "expected an eos_token_id in $(cat ends/config.json)"
only() { echo "{\"prompt\": \"xy\", \"max_tokens\": 4, \"temperature\": 0, \"logit_bias\": {\"$1\": 100}${2:-}}"; }
for also in 97 '[97, 100]'; do
  echo "{\"eos_token_id\": $also}" > ends/generation_config.json
  model=ends start
  for id in 97 98; do ask POST /v1/completions "$(only $id)"; expect 200 '"finish_reason":"stop"'
  expect 200 '"completion_tokens":1,'; done
  ask POST /v1/completions "$(only 99)"; expect 200 '"text":"cccc"'; expect 200 '"finish_reason":"length"'
  ask POST /v1/completions "$(only 97 ', "ignore_eos": true')"; expect 200 '"text":"aaaa"'
  ask POST /v1/completions "$(only 97 ', "min_tokens": 2')"
  expect 200 '"completion_tokens":3,'; [[ "$body" != *'"text":"a'* ]] ||
    fail "expected no end before min_tokens: $body"
  kill -TERM $pid; wait $pid
done
echo '{"eos_token_id": "x"}' > ends/generation_config.json
refused 'generation_config.json: expected eos_token_id to be a token id or a list of them' timeout 30 "$TOOLS/serve" \
  --model ends --port 0

# Parameters act, or are refused by name; neutral ones are accepted.
start
ask POST /v1/completions "$(only 97)"; expect 200 '"text":"aaaa"'; expect 200 '"created":1'
ask GET /v1/models; expect 200 '"created":1'
biased='"prompt": "xy", "max_tokens": 4, "temperature": 0, "logit_bias": {"97": 50, "98": 49.5, "99": 49}'
with() { ask POST /v1/completions "{$biased, $1}"; }
with '"top_p": 1'; expect 200 '"text":"aaaa"'
with '"presence_penalty": 2'; expect 200 '"text":"ab'
with '"frequency_penalty": 2'; expect 200 '"text":"ab'
with '"repetition_penalty": 10'; expect 200 '"text":"abc'
with '"stop_token_ids": [97]'; expect 200 '"finish_reason":"stop"'; expect 200 '"text":""'
with '"n": 3'; [[ $(grep -o '"text":"aaaa"' <<< "$body" | wc -l) -eq 3 ]] || fail "expected three choices: $body"
expect 200 '"completion_tokens":12,"prompt_tokens":2,'
drawn() { ask POST /v1/completions "{\"prompt\": \"xy\", \"max_tokens\": 20, \"temperature\": 2$1}"
expect 200 '"text"'; text=$(said); }
drawn ''; first=$text; drawn ''; second=$text; drawn ', "seed": null'; third=$text
[[ "$first" != "$second" && "$second" != "$third" ]] || fail "expected a fresh seed for each request without one"
drawn ', "seed": 5'; first=$text; drawn ', "seed": 5'; [[ "$text" == "$first" ]] ||
  fail "expected one text from one seed"
drawn ', "seed": 6'; [[ "$text" != "$first" ]] || fail "expected another text from another seed"
drawn ', "seed": 5, "n": 2'; [[ $(sort -u <<< "$text" | wc -l) -eq 2 ]] ||
  fail "expected two choices with draws of their own: $text"
for likeliest in '"top_k": 1' '"min_p": 1' '"top_p": 0.000001'; do
  ask POST /v1/completions '{"prompt": "xy", "max_tokens": 20, "temperature": 0}'; greedy=$(said)
  drawn ", $likeliest"; [[ "$text" == "$greedy" ]] ||
    fail "expected $likeliest to leave the likeliest token: $text, $greedy"
done
for neutral in '"suffix": null' '"suffix": ""' '"logit_bias": {}' '"top_k": -1' '"top_k": 0' '"best_of": 1' \
  '"stream": false' '"min_p": 0' \
  '"frequency_penalty": 0' '"stop_token_ids": []' '"user": "u"' '"guided_json": null' '"n": null' '"stop": null' \
    '"length_penalty": 1.0'; do
  ask POST /v1/completions "{\"prompt\": \"a\", \"max_tokens\": 1, $neutral}"; expect 200 '"text"'
done
not() { ask POST /v1/completions "{\"prompt\": \"a\", \"max_tokens\": 4, $1}"; expect 400 "$2"; }
not '"suffix": "x"' 'expected suffix'
not '"best_of": 2' 'expected best_of 1 (as n; nothing else is supported), found 2'
not '"use_beam_search": true' 'expected use_beam_search false'
not '"guided_json": {"a": 1}' 'expected fields that are supported, found \"guided_json\"'
not '"logit_bias": {"256": 1}' 'expected logit_bias to hold token ids from 0 to 255, found 256'
not '"logit_bias": {"97": 101}' 'expected logit_bias to hold numbers from -100 to 100'
not '"logit_bias": [97]' 'expected logit_bias to be an object'
not '"frequency_penalty": 3' 'expected frequency_penalty from -2 to 2'
not '"repetition_penalty": 0' 'expected repetition_penalty to be above 0'
not '"min_p": 2' 'expected min_p from 0 to 1'
not '"min_tokens": 5' 'expected min_tokens of at most max_tokens (4), found 5'
not '"n": 1000' 'expected at most 256 choices'
not '"stop_token_ids": [300]' 'expected stop_token_ids to hold token ids from 0 to 255'
not '"seed": -1' 'expected seed'

# Offsets are characters of the text, also where tokens split one.
ask POST /v1/completions '{"prompt": "a\u00e9\u20ac\ud83d\ude00b", "echo": true, "logprobs": 1, "max_tokens": 0}'
expect 200 '"text_offset":[0,1,1,2,2,2,3,3,3,3,4]'
ask POST /v1/completions '{"prompt": [97, 226, 130, 98, 255, 128, 99], "echo": true, "logprobs": 1, "max_tokens": 0}'
expect 200 '"text_offset":[0,1,1,2,3,4,5]'  # as it is sent: a, one U+FFFD, b, two U+FFFD, c

# stop is one rule: a scored token ends a text as a generated one does.
ask POST /v1/completions '{"prompt": [97, 98], "echo": true, "temperature": 0, "max_tokens": 1, "logprobs": 0}'
next=$(grep -o '"tokens":\[[^]]*' <<< "$body"); next=${next##*,}
for tokens in 1 2; do
  ask POST /v1/completions \
    "{\"prompt\": [97, 98], \"echo\": true, \"temperature\": 0, \"max_tokens\": $tokens, \"stop\": $next}"
  expect 200 '"text":"ab"'; expect 200 '"finish_reason":"stop"'; expect 200 '"completion_tokens":1,'
done

# A body of any content type up to the limit, and the types that are none of ours.
wide="{\"prompt\": \"a\", \"max_tokens\": 1, \"user\": \"$(head -c 9000 /dev/zero | tr '\0' a)\"}"
for type in application/json application/x-www-form-urlencoded text/plain; do
  ask POST /v1/completions "$wide" "Content-Type: $type"; expect 200 '"text"'
done
ask POST /v1/completions "$wide" 'Content-Type: multipart/form-data; boundary=x'; expect 415 'found a multipart form'
ask POST /v2 "$wide" 'Content-Type: application/x-www-form-urlencoded'; expect 404 'expected a known path, found /v2'

# 200 clients at once: an answer for each.
for ((i = 0; i < 200; ++i)); do
  (ask POST /v1/completions '{"prompt": "abc", "max_tokens": 0, "echo": true}'; echo "$status" > "client.$i") \
    2> /dev/null &
  clients[i]=$!
done
wait "${clients[@]}" || true
answered=$(cat client.* | grep -c '^\(200\|503\)$' || true); rm -f client.*
[[ $answered -eq 200 ]] || fail "expected 200 or 503 for each of 200 clients, found $answered answers"
kill -TERM $pid; wait $pid

# A client that leaves frees the model within a token; nobody's tokens hold up the stop.
start --max-prompts 40000
many="{\"prompt\": [$(printf '"a",%.0s' {1..29999})\"a\"], \"max_tokens\": 30, \"temperature\": 0}"
leave() {  # leave: asks for a lot, and goes once it is being answered
  exec 4<> "/dev/tcp/127.0.0.1/$port"
  printf 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' "${#many}" "$many" >&4
  for ((t = 0; t < 200; ++t)); do ask GET /health; [[ "$body" == *'"running":1'* ]] && break; sleep 0.02; done
  expect 200 '"running":1'
  exec 4>&-
}
now() { date +%s%3N; }
leave; since=$(now)
ask POST /v1/completions '{"prompt": "a", "max_tokens": 1}'; expect 200 '"text"'
took=$(($(now) - since)); [[ $took -lt 2000 ]] ||
  fail "expected the model to be free at once after a client left, found $took ms"
leave; since=$(now)
kill -TERM $pid; wait $pid
took=$(($(now) - since)); [[ $took -lt 3000 ]] || fail "expected a stop within 2 s with nobody waiting, found $took ms"

# Requests that trickle hold up nobody, and end after their time; more of them than there are places cost the slowest.
start --request-seconds 2
for ((i = 0; i < 600; ++i)); do
  exec {slow[i]}<> "/dev/tcp/127.0.0.1/$port"
  printf 'POST /v1/completions HTTP/1.1\r\nHost' >&"${slow[i]}"
done
since=$(now); ask GET /health; expect 200 '"status":"ok"'
took=$(($(now) - since)); [[ $took -lt 1500 ]] ||
  fail "expected an answer beside 600 trickling requests, found $took ms"
for ((i = 0; i < 600; ++i)); do exec {slow[i]}>&-; done
exec 5<> "/dev/tcp/127.0.0.1/$port"; since=$(now)
(trap '' PIPE; printf 'POST /v1/completions HTTP/1.1\r\nHost' >&5; for ((i = 0; i < 60; ++i)); do sleep 0.1; \
  printf a >&5; done) 2> /dev/null & slowest=$!
timeout 20 cat <&5 > /dev/null || true
took=$(($(now) - since)); [[ $took -ge 1500 && $took -lt 4500 ]] ||
  fail "expected a trickling request to end after 2 s, found $took ms"
exec 5>&-; kill $slowest 2> /dev/null || true
exec 5<> "/dev/tcp/127.0.0.1/$port"; printf 'POST /v1' >&5; since=$(now)
kill -TERM $pid; wait $pid
took=$(($(now) - since)); [[ $took -lt 3000 ]] ||
  fail "expected a stop within 2 s beside a request that never comes, found $took ms"
exec 5>&-

# Logits that are no numbers are the server's fault, in every way to ask.
cp -rL model broken
size=$(od -An -tu8 -N8 broken/model.safetensors | tr -d ' ')
header=$(head -c $((8 + size)) broken/model.safetensors | tail -c "$size")
offset_of() { grep -o "\"$1\":{[^}]*}" <<< "$header" | grep -o '"data_offsets":\[[0-9]*' | grep -o '[0-9]*$'; }
place=$(offset_of model.embed_tokens.weight)
grep -q '"lm_head.weight"' <<< "$header" && place=$(offset_of lm_head.weight)
generated=('"max_tokens": 4, "temperature": 1' '"max_tokens": 4, "temperature": 0' \
  '"max_tokens": 4, "n": 2, "top_k": 1' '"max_tokens": 1, "logit_bias": {"0": -100}')
scored=('"max_tokens": 1, "temperature": 0, "echo": true' '"max_tokens": 0, "echo": true, "logprobs": 1' \
  '"max_tokens": 3, "echo": true, "logprobs": 1')
broken() {  # broken NUMBER ASKED...: one number of token 0's row
  printf "$1" | dd of=broken/model.safetensors bs=1 seek=$((8 + size + place)) conv=notrunc status=none
  shift
  model=broken start
  for asked in "$@"; do
    ask POST /v1/completions "{\"prompt\": \"xy\", $asked}"; expect 500 'expected finite lo'; expect 500 server_error
  done
  ask POST /v1/completions '{"prompt": "xy", "top_p": 2}'; expect 400 invalid_request_error
  kill -TERM $pid; wait $pid
}
broken '\x00\x00\xc0\x7f' "${generated[@]}" "${scored[@]}"  # NaN
broken '\x00\x00\x80\x7f' "${generated[@]}" "${scored[@]}"  # infinity, of either sign in a logit
echo "strangers: devices, names, ends, parameters, offsets, stops, bodies, crowds, leavers, tricklers, faults"
