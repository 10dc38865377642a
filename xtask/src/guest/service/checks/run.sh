# Runs the checks in order. Each is a function; it runs in a shell of its own with errexit, and fails by `fail WHY` or by a
# command that fails. What it prints with `note` is shown on its line.
# shellcheck shell=bash

cd /kevmon || exit 1
# shellcheck disable=SC2034 # for the groups
readonly OLDER=/kevmon/kevmon_1.0.0-1_amd64.deb NEWER=/kevmon/kevmon_1.0.1-1_amd64.deb
# shellcheck disable=SC2034 # a version with other eBPF programs
readonly OTHER=/kevmon/kevmon_1.1.0-1_amd64.deb
# Facts that later checks need.
readonly FACTS=/run/checks
mkdir -p "$FACTS"

fail() {
    echo "$*" >&2
    exit 1
}

note() {
    echo "$*" >>"$FACTS/note"
}

# equal WHAT EXPECTED FOUND
equal() {
    [ "$2" = "$3" ] || fail "$1: expected \`$2\`, found \`$3\`"
}

# Waits until a command succeeds: within SECONDS COMMAND...
within() {
    local seconds=$1 end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "not within $seconds s: $*"
        sleep 0.5
    done
}

property() {
    systemctl show --value -p "$1" "${2:-kevmon.service}"
}

# Fails where the unit does not run: a 0 would be the checks' own group for kill(1).
main_pid() {
    local pid
    pid=$(property MainPID "$@")
    [ "$pid" != 0 ] || fail "${1:-kevmon.service} does not run"
    echo "$pid"
}

# A field of /proc/PID/status: process_field PID FIELD
process_field() {
    awk -v field="$2:" '$1 == field { $1 = ""; sub(/^ /, ""); print }' "/proc/$1/status"
}

# What a jq filter says of the running kevmon.
status() {
    kevmon status --json | jq -r "$1"
}

# What a jq filter says of the plugin `victim` of the running kevmon, or of the instance $2.
victim() {
    kevmon status --json ${2:+--instance "$2"} | jq -r ".plugins[] | select(.plugin == \"victim\") | $1"
}

# lives COUNT: so many processes of the plugin's start and end, and are to be counted.
lives() {
    local left
    for ((left = $1; left > 0; left--)); do
        /kevmon/victim life
    done
    expect_more "$1" "$1"
}

# expect_more STARTS EXITS: what happens to the plugin's processes, beyond what has happened before. Several shells may say so.
expect_more() {
    echo "$1 $2" >>"$FACTS/expected"
}

expected() {
    awk '{ starts += $1; exits += $2 } END { print starts, exits }' "$FACTS/expected"
}

# The plugin's starts and exits are those that happened: none is missing, and none comes a second time.
counted_exactly() {
    within 60 is_counted "$@"
    sleep 4
    equal "starts and exits" "$(expected)" "$(counted "$@")"
}

counted() {
    victim '"\(.metrics.starts) \(.metrics.exits)"' "$@"
}

is_counted() {
    [ "$(counted "$@")" = "$(expected)" ]
}

is_active() {
    [ "$(systemctl is-active "$1")" = active ]
}

# Notes the plugin's counters for as long as kevmon answers and $FACTS/sampling is there.
sample_counters() {
    while [ -e "$FACTS/sampling" ]; do
        victim '.metrics | [.starts, .exits, .restarts, .cpu_time_ns, .voluntary_ctx_switches] | map(. // "-") | @tsv' || true
        sleep 0.3
    done
}

# sampled COMMAND...: the plugin's counters are read while the command runs, and none falls.
sampled() {
    : >"$FACTS/sampling"
    sample_counters >"$FACTS/samples" 2>/dev/null &
    local sampler=$!
    "$@"
    rm -f "$FACTS/sampling"
    wait $sampler || true
    [ "$(grep -c . "$FACTS/samples")" -ge 3 ] || fail "counters were read less than three times"
    awk '{ for (i = 1; i <= NF; i++) if ($i != "-") { if ($i + 0 < last[i]) { print "counter " i " fell from " last[i] " to " $i; exit 1 } last[i] = $i + 0 } }' \
        "$FACTS/samples" || fail "a counter fell: $(paste -s -d '/' "$FACTS/samples")"
}

# amid_lives COMMAND...: the command runs while processes live.
amid_lives() {
    local ended=$FACTS/lives-ended
    rm -f "$ended"
    (
        lives 8
        sleep 1
        lives 8
        : >"$ended"
    ) &
    "$@"
    within 120 test -e "$ended"
    within 120 is_active "${UNIT:-kevmon.service}"
}

# undisturbed COMMAND...: the command runs while processes live and their counters are read; none is lost, none falls.
undisturbed() {
    sampled amid_lives_counted "$@"
}

amid_lives_counted() {
    amid_lives "$@"
    counted_exactly
}

# Names in the kernel that keep kevmon's side of it.
pins() {
    [ ! -d /sys/fs/bpf/kevmon ] || find /sys/fs/bpf/kevmon -mindepth 1
}

# check GROUP::NAME: runs the function check_NAME.
check() {
    local name=$1 code noted began=$SECONDS since=$EPOCHSECONDS
    : >"$FACTS/note"
    (
        set -euo pipefail
        "check_${name##*::}"
    ) >"$FACTS/output" 2>&1 </dev/null
    code=$?
    if [ $code = 0 ]; then
        noted=$(paste -s -d ';' "$FACTS/note")
        echo "test $name ... ok: ${noted:+$noted, }$((SECONDS - began)) s"
        return
    fi
    echo "--- $name: what it printed, the unit and its journal"
    cat "$FACTS/output"
    systemctl status --no-pager --lines=0 kevmon.service 2>&1
    journalctl --no-pager -o short-monotonic --since "@$since" _SYSTEMD_UNIT=kevmon.service + UNIT=kevmon.service 2>&1
    echo "---"
    echo "test $name ... FAILED: $(tail -n 1 "$FACTS/output") (status $code, $((SECONDS - began)) s)"
}

systemctl is-system-running --wait >"$FACTS/system"
echo "kevmon-guest: booted $(uname -r), $(systemctl --version | head -n 1), $(cat "$FACTS/system")"
read -r -a groups </kevmon/groups
for group in "${groups[@]}"; do
    # shellcheck source=/dev/null
    . "/kevmon/$group.sh"
done
# The end of the unit is the end of the guest.
echo "kevmon-guest: checks ended with 0"
