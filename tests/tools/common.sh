# Shared by the tool tests: $TOOLS is the folder of the built tools, $1 of each script; a fresh work folder,
# small helpers.
set -euo pipefail
TOOLS=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
tiny=(--preset tiny --layers 4 --block 2 --steps 12 --batch 2 --context 32 --growth lidas --eval-every 6
      --eval-windows 2 --tasks arithmetic --threads 2 --quiet)

fail() { echo "FAILED: $*" >&2; exit 1; }

# refused SENTENCE COMMAND...: the command must exit with 1 and say one line containing SENTENCE.
refused() {
  local sentence=$1 code=0 said
  shift
  said=$("$@" 2>&1 > /dev/null) || code=$?
  [[ $code -eq 1 ]] || fail "expected exit code 1, found $code, for: $*: $said"
  [[ "$said" == "error: "* ]] || fail "expected one line 'error: …', found: $said"
  [[ $(wc -l <<< "$said") -eq 1 ]] || fail "expected one line, found: $said"
  grep -qF -- "$sentence" <<< "$said" || fail "expected '$sentence' in: $said"
}

# lineage REPORT: where the layers come from as a depth_report's JSON has it, without blanks.
lineage() { tr -d ' \n' < "$1" | grep -o '"lineage":{.*"stages":[0-9]*}'; }
# What it is for the tiny run.
grown_once='"lineage":{"descends_from":[0,1,0,1],"growth":[{"order":[0,1,0,1],"step":3}],"initial_layers":2,'
grown_once+='"shared_until":[[2,0,1,0],[0,2,0,1],[1,0,2,0],[0,1,0,2]],"stages":2}'

# losses LOG: step and loss of every training line, without timings.
losses() { grep '"gradient_norm"' "$1" | sed -E 's/"seconds":[^,}]*//; s/"tokens_per_second":[^,}]*//'; }
