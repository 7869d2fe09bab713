#!/usr/bin/env bash
# The completions endpoint over plain sockets: scores, completions, clear refusals, bounds, streams, company,
# and what SIGTERM ends.
here="$(cd "$(dirname "$0")" && pwd)"
source "$here/common.sh"
pid=
trap 'kill $pid $(jobs -p) 2> /dev/null || true; rm -rf "$work"' EXIT  # no server outlives a failure
"$TOOLS/train_smol" "${tiny[@]}" --out model
source "$here/serving.sh"
start
ask GET /health; expect 200 '"status":"ok"'
ask GET /v1/models; expect 200 '"id":"model"'
ask GET /tokenizer_info; expect 200 '"eos_token"'
ask POST /tokenize '{"prompt": "abc", "add_special_tokens": false}'; expect 200 '"tokens":[97,98,99]'
ask POST /detokenize '{"tokens": [97, 98, 99]}'; expect 200 '"prompt":"abc"'
score='{"prompt": [[97, 98, 99], [65, 66]], "echo": true, "logprobs": 1, "max_tokens": 1,
  "temperature": 0, "seed": 12, "model": "m"}'
ask POST /v1/completions "$score"; expect 200 '"token_logprobs":[null,-'; first=$body
[[ $(grep -o '"index"' <<< "$body" | wc -l) -eq 2 ]] || fail "expected two choices: $body"
[[ $(grep -o '"token_logprobs":[^]]*' <<< "$body" | head -n 1 | tr -cd , | wc -c) -eq 3 ]] ||
  fail "expected four entries for three tokens: $body"
ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5, "temperature": 0}'; expect 200 '"completion_tokens":5'
ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5, "temperature": 0.8, "seed": 3}'
expect 200 '"finish_reason":"length"'; drawn=$(said)
ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5, "temperature": 0.8, "seed": 3}'
[[ "$(said)" == "$drawn" ]] ||
  fail "expected the same draw from the same seed"
stops=$(printf '"%s",' {a..z} {0..9} ' ' + - = '*' '\n' '>'); stops=${stops%,}
ask POST /v1/completions "{\"prompt\": \"abc\", \"max_tokens\": 5, \"temperature\": 0, \"stop\": [$stops]}"
expect 200 '"finish_reason":"stop"'

# Refusals are 4xx with one sentence.
ask POST /v1/completions '{"prompt": "abc"'; expect 400 'request: expected valid JSON'
ask POST /v1/completions '{"max_tokens": 1}'; expect 400 'expected a prompt, found none'
ask POST /v1/completions '{"prompt": [1, 256]}'; expect 400 'expected prompt to hold token ids from 0 to 255, found 256'
ask POST /v1/completions "{\"prompt\": \"$(head -c 40 /dev/zero | tr '\0' a)\"}"
expect 400 'expected prompt 0 of at most 32 tokens'
ask POST /v1/completions '{"prompt": "a", "logprobs": 5}'; expect 400 'expected logprobs of at most 1'
ask POST /v1/completions '{"prompt": "a", "stream_options": {"include_usage": true}}'
expect 400 'expected stream_options beside'
ask POST /v1/completions '{"prompt": "a", "stream": true, "stream_options": {"every": 2}}'; expect 400 'found \"every\"'
ask POST /v1/chat/completions '{"messages": []}'
expect 400 'found /v1/chat/completions (chat templates are not supported)'
ask POST /v1/completions '{"prompt": "a", "temperature": -1}'; expect 400 'expected temperature of at least 0'
ask POST /v1/completions '{"prompt": ""}'; expect 400 'expected prompt 0 of at least 1 token'
ask GET /v2; expect 404 'expected a known path, found /v2'
kill -TERM $pid; wait $pid || fail "expected exit code 0 after SIGTERM"
grep -q 'every request that was taken in has been answered or refused' serve.log || fail "expected a clean stop"

# Bounds; another order and an early exit change the scores, a layer order that is the stored one does not.
start --max-request 200 --max-prompts 1
ask POST /v1/completions "{\"prompt\": \"a\", \"x\": \"$(head -c 300 /dev/zero | tr '\0' a)\"}"
expect 413 'expected a body of at most 200 bytes'
ask POST /v1/completions '{"prompt": ["a", "b"]}'; expect 400 'expected at most 1 prompts, found 2'
kill -TERM $pid; wait $pid
for flags in "--order 0,1,2,3" "--order 0,2,1,3" "--order 0,1,2,1,2,3" "--exit-layer 2"; do
  start $flags
  ask POST /v1/completions "$score"; expect 200 token_logprobs
  if [[ "$flags" == "--order 0,1,2,3" ]]; then [[ "${body%%\"created\"*}" == "${first%%\"created\"*}" ]] ||
    fail "expected the same answer from the stored order"
  else [[ "${body%%\"created\"*}" != "${first%%\"created\"*}" ]] || fail "expected another answer from $flags"; fi
  kill -TERM $pid; wait $pid || fail "expected exit code 0 after SIGTERM"
done

# A stream's parts together are the answer in one, whatever a stop text holds back; its last words are [DONE].
parts() { grep '{' <<< "$answer" | grep -o "\"$1\":$2" | cut -d: -f2- | tr -d '\r'; }  # parts FIELD PATTERN
words='"\([^"\\]\|\\.\)*"'  # a string of JSON
joined() { parts text "$words" | sed 's/^"//; s/"$//' | tr -d '\n'; }
start
for asked in '"temperature": 0.9, "seed": 5' '"temperature": 0.9, "seed": 5, "echo": true, "logprobs": 1' \
  '"temperature": 1.5, "seed": 8, "stop": ["e", "th", " t", "q"]' \
    '"temperature": 0, "min_tokens": 10, "stop": ["e", "t", " "]'; do
  ask POST /v1/completions "{\"prompt\": \"ab\", \"max_tokens\": 25, $asked}"
  expect 200 '"text"'; plain=$body; wanted=$(answer=$plain; joined)
  ask POST /v1/completions \
    "{\"prompt\": \"ab\", \"max_tokens\": 25, $asked, \"stream\": true, \"stream_options\": {\"include_usage\": true}}"
  expect 200 ''; grep -q '^data: \[DONE\]' <<< "$answer" || fail "expected the end of a stream: $answer"
  [[ "$(joined)" == "$wanted" ]] || fail "expected '$wanted' from the parts of a stream, found '$(joined)'"
  [[ "$(parts finish_reason '"[a-z]*"')" == "$(grep -o '"finish_reason":"[a-z]*"' <<< "$plain" | cut -d: -f2)" ]] ||
    fail "expected one finish_reason: $answer"
  [[ "$(parts usage '{[^}]*}')" == "$(grep -o '"usage":{[^}]*}' <<< "$plain" | cut -d: -f2-)" ]] ||
    fail "expected the usage of $plain: $answer"
  for list in token_logprobs text_offset; do
    [[ "$(parts $list '\[[^]]*\]' | tr -d '[]\n' | tr -d ,)" == \
      "$(grep -o "\"$list\":\[[^]]*" <<< "$plain" | cut -d'[' -f2 | tr -d ,)" ]] ||
      fail "expected the $list of $plain: $answer"
  done
  [[ $(grep -c '^data: {' <<< "$answer") -gt 2 ]] || fail "expected several parts: $answer"
done
biased='"prompt": "ab", "max_tokens": 4, "temperature": 0, "logit_bias": {"97": 100}'  # aaaa
ask POST /v1/completions "{$biased, \"stop\": \"a\"}"; expect 200 '"text":""'; expect 200 '"completion_tokens":1,'
ask POST /v1/completions "{$biased, \"min_tokens\": 2, \"stop\": \"a\"}"; expect 200 '"text":"a"'
expect 200 '"completion_tokens":2,'
ask POST /v1/completions '{"prompt": ["a", "b"], "max_tokens": 3, "n": 2, "stream": true}'
[[ "$(parts index '[0-9]' | sort -u | tr -d '\n')" == 0123 ]] || fail "expected parts of four choices: $answer"
ask POST /v1/completions '{"prompt": "a", "max_tokens": 100, "stream": true, "top_p": 7}'
expect 400 'expected top_p of at most 1'
kill -TERM $pid; wait $pid

# Texts that take long: others go on beside them, token by token, with the answers that they have alone.
"$TOOLS/train_smol" "${tiny[@]}" --steps 1 --batch 1 --context 4096 --eval-windows 1 --growth none --layers 12 \
  --out slow
slow="{\"prompt\": [$(printf '"a",%.0s' {1..15})\"a\"], \"max_tokens\": 4000, \"ignore_eos\": true}"
now() { date +%s%3N; }
until_health() {  # until_health TEXT: waits until /health says so
  for ((t = 0; t < 200; ++t)); do ask GET /health; [[ "$body" == *"$1"* ]] && return; sleep 0.02; done
  fail "expected $1 in $body"
}
model=slow start
choices() { echo "${body%%\"created\"*}"; }
long=$(head -c 300 /dev/zero | tr '\0' x)  # more than one piece of a prompt
for asked in '"prompt": "abc", "max_tokens": 20, "seed": 3' "\"prompt\": \"$long\", \"max_tokens\": 20, \"seed\": 4" \
  "\"prompt\": \"$long\", \"echo\": true, \"logprobs\": 1, \"max_tokens\": 0"; do
  ask POST /v1/completions "{$asked}"; expect 200 '"text"'; alone+=("$(choices)")
done
(ask POST /v1/completions "$slow"; echo "$status $body" > long.txt) & background=$!
until_health '"running":1'
since=$(now)
for i in 0 1 2; do
  case $i in
    0) asked='"prompt": "abc", "max_tokens": 20, "seed": 3' ;;
    1) asked="\"prompt\": \"$long\", \"max_tokens\": 20, \"seed\": 4" ;;
    2) asked="\"prompt\": \"$long\", \"echo\": true, \"logprobs\": 1, \"max_tokens\": 0" ;;
  esac
  ask POST /v1/completions "{$asked}" ; expect 200 '"text"'; [[ "$(choices)" == "${alone[i]}" ]] ||
    fail "expected beside a long text the answer ${alone[i]}, found $body"
done
took=$(($(now) - since)); [[ $took -lt 3000 && ! -e long.txt ]] ||
  fail "expected three answers beside a long text, found $took ms, $(cat long.txt)"

# The stop: nobody waits longer than two seconds, and everybody has an answer.
since=$(now); kill -TERM $pid; wait $pid || fail "expected exit code 0 after SIGTERM"
took=$(($(now) - since)); [[ $took -lt 3500 ]] || fail "expected a stop within 2 s beside a long text, found $took ms"
wait $background; grep -q '^503 .*found that it is stopping' long.txt ||
  fail "expected the long text to be refused, found $(cat long.txt)"

# As many wait as may; what was taken in and takes less than two seconds is answered after SIGTERM.
model=slow start --queue 1 --parallel 1
(ask POST /v1/completions '{"prompt": "a", "max_tokens": 1200, "ignore_eos": true}'; echo "$status" > long.txt) & \
  background=$!
until_health '"running":1'
(ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5, "stream": true}'
  echo "$status $(grep -c '^data: \[DONE\]' <<< "$answer")" > waits.txt) & waits=$!
until_health '"waiting":1'
ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5}'
expect 503 'expected at most 1 waiting requests, found as many'
kill -TERM $pid; wait $pid || fail "expected exit code 0 after SIGTERM"
wait $background $waits
[[ "$(cat long.txt) $(cat waits.txt)" == "200 200 1" ]] ||
  fail "expected the requests taken in to be answered, found $(cat long.txt) $(cat waits.txt)"

# A client that closed only its sending half is answered; one that closed all is gone within a token or two.
model=slow start
client() {  # client whole|half REQUEST: prints what is read after the close
  python3 - "$port" "$@" << 'END'
import socket, sys, time
port, kind, body = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with socket.create_connection(("127.0.0.1", port)) as one:
    one.sendall(f"POST /v1/completions HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    if kind == "half":
        one.shutdown(socket.SHUT_WR)
        print(b"".join(iter(lambda: one.recv(65536), b"")).decode())
    else:
        time.sleep(1)
END
}
for asked in '"prompt": "abc", "max_tokens": 20, "seed": 3' '"prompt": "ab", "max_tokens": 9, "stream": true'; do
  answer=$(client half "{$asked}"); head -n 1 <<< "$answer" | grep -q '^HTTP/1\.[01] 200 OK' ||
    fail "expected an answer for a client that closed its sending half, found $answer"
done
grep -q '^data: \[DONE\]' <<< "$answer" || fail "expected the whole stream, found $answer"
client whole "$slow" & whole=$!
until_health '"running":1'
wait $whole
until_health '"running":0'

# Hundreds of prompts in a request go on beside others, and these do not wait for all of them.
(ask POST /v1/completions "{\"prompt\": [$(printf "\"$long\",%.0s" {1..239})\"$long\"], \"echo\": true,
  \"logprobs\": 1, \"max_tokens\": 0}"; echo "$status $body" > many.txt) & many=$!
until_health '"running":1'
since=$(now)
for i in 0 2; do
  asked='"prompt": "abc", "max_tokens": 20, "seed": 3'
  [[ $i == 0 ]] || asked="\"prompt\": \"$long\", \"echo\": true, \"logprobs\": 1, \"max_tokens\": 0"
  ask POST /v1/completions "{$asked}"; expect 200 '"text"'; [[ "$(choices)" == "${alone[i]}" ]] ||
    fail "expected beside many prompts the answer ${alone[i]}, found $body"
done
took=$(($(now) - since)); [[ ! -e many.txt ]] || fail "expected answers before those of 240 prompts, after $took ms"
wait $many; grep -q '^200 ' many.txt && [[ $(grep -o '"index"' many.txt | wc -l) -eq 240 ]] ||
  fail "expected 240 answers, found $(head -c 300 many.txt)"
kill -TERM $pid; wait $pid

# Refused at the start; one that is not would serve for ever.
if ! grep -q avx512_bf16 /proc/cpuinfo; then
  refused '--precision bf16: expected --backend cuda, or' timeout 30 "$TOOLS/serve" --model model --precision bf16
fi
refused 'expected layers below 4, found 7' timeout 30 "$TOOLS/serve" --model model --order 0,7
refused 'expected at most 4 (the layers run), found 9' timeout 30 "$TOOLS/serve" --model model --exit-layer 9
refused '--parallel: expected 1 to 32, found 33' timeout 30 "$TOOLS/serve" --model model --parallel 33
echo "serve: scores, completions, refusals, bounds, streams, company, closed halves, stops"
