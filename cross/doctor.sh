#!/usr/bin/env bash
# doctor.sh TARGET PROGRAM: runs `pinhole check --json` of a cross-built program on this machine, under qemu-user where it is for ARM: once
# without a camera, which it must call bad, and once with the synthetic picture, which it must encode. Prints what it says of both.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -eq 2 ] || usage "cross/doctor.sh TARGET PROGRAM"
target=$1 program=$2
known_target "$target"
command -v python3 >/dev/null || die "python3 is missing; apt install python3"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# found CAMERA EXIT-CODE OUTCOME: what it says of the camera has the outcome, and all it says is a list of findings.
found() {
  local status=0
  "$REPO/cross/run.sh" "$target" "$program" --camera "$1" --size 320x240 --fps 10 --state "$work/state" check --json > "$work/said" 2> "$work/log" || status=$?
  python3 - "$work/said" "$status" "$2" "$3" <<'P' || { cat "$work/said" "$work/log" >&2; die "check says the wrong thing of the camera $1; what it said is above"; }
import json, sys
said, status, codes, outcome = sys.argv[1:]
findings = json.load(open(said))
assert status in codes.split("|"), "exit code %s" % status
assert all(finding["outcome"] in ("ok", "warning", "bad") and finding["said"] for finding in findings)
assert (status == "0") == all(finding["outcome"] != "bad" for finding in findings), "the exit code is not that of the findings"
# Under an emulator, whose speed it does not call good, a warning is as good as ok.
cameras = [finding for finding in findings if finding["part"].startswith("camera")]
assert cameras and all(finding["outcome"] in outcome.split("|") for finding in cameras), cameras
for finding in findings:
    if finding["part"].startswith(("camera", "encoder")):
        print("%s: %s, %s" % (finding["part"], finding["outcome"], finding["said"]))
P
}
found "$work/no-camera" 1 bad
found synthetic '0|1' 'ok|warning'
