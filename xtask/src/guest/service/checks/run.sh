# Runs the checks in order. Each is a function; it runs in a shell of its own with errexit, and fails by `fail WHY` or by a
# command that fails. What it prints with `note` is shown on its line.
# shellcheck shell=bash

cd /kevmon || exit 1
readonly OLDER=/kevmon/kevmon_1.0.0-1_amd64.deb NEWER=/kevmon/kevmon_1.0.1-1_amd64.deb
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

main_pid() {
    property MainPID "$@"
}

# A field of /proc/PID/status: process_field PID FIELD
process_field() {
    awk -v field="$2:" '$1 == field { $1 = ""; sub(/^ /, ""); print }' "/proc/$1/status"
}

# What a jq filter says of the running kevmon.
status() {
    kevmon status --json | jq -r "$1"
}

# check GROUP::NAME: runs the function check_NAME.
check() {
    local name=$1 code noted began=$SECONDS
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
    journalctl --no-pager -o short-monotonic -n 30 _SYSTEMD_UNIT=kevmon.service + UNIT=kevmon.service 2>&1
    echo "---"
    echo "test $name ... FAILED: $(tail -n 1 "$FACTS/output") (status $code, $((SECONDS - began)) s)"
}

systemctl is-system-running --wait >"$FACTS/system"
echo "kevmon-guest: booted $(uname -r), $(systemctl --version | head -n 1), $(cat "$FACTS/system")"
for group in install; do
    # shellcheck source=/dev/null
    . "/kevmon/$group.sh"
done
echo "kevmon-guest: checks ended with 0"
systemctl poweroff --force --force
