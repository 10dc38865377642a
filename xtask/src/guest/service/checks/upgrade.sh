# Another version takes the place of the one that runs.
# shellcheck shell=bash

# becomes FILE VERSION
becomes() {
    local pid
    pid=$(main_pid)
    undisturbed apt-get install -y --allow-downgrades "$1"
    equal version "$2" "$(dpkg-query -W -f '${Version}' kevmon)"
    [ "$(main_pid)" != "$pid" ] || fail "the old program still runs"
    equal "program that runs" /usr/bin/kevmon "$(readlink "/proc/$(main_pid)/exe")"
    equal unpaired 0 "$(victim .metrics.unpaired_starts)"
    kevmon verify-install
}

check_upgrade_loses_nothing() {
    becomes "$NEWER" 1.0.1-1
}

check_downgrade_loses_nothing() {
    becomes "$OLDER" 1.0.0-1
}

# becomes_other FILE: the version in FILE has other programs, which cannot go on from what the old ones left. What happens in
# between is not known, which has to be said; nothing that was counted before may be missing, and nothing may be counted twice.
becomes_other() {
    local before after old new since=$EPOCHSECONDS
    old=$(layouts)
    counted_exactly
    before=$(counted)
    sampled amid_lives apt-get install -y --allow-downgrades "$1"
    new=$(layouts)
    equal "layouts, before and then" "1 1" "$(grep -c . <<<"$old") $(grep -c . <<<"$new")"
    [ "$old" != "$new" ] || fail "the programs have the layout $old before and after"
    journalctl --no-pager -o cat --since "@$since" -u kevmon.service >"$FACTS/said"
    grep -q 'another version of kevmon.*left its programs.*what happened while kevmon was away is not known' "$FACTS/said" ||
        fail "not said: $(paste -s -d '/' "$FACTS/said")"
    after=$(settled)
    within_bounds "$before" "$after" "$(expected)"
    note "counted $after of $(expected)"
    # From here on each one counts.
    echo "$after" | awk -v expected="$(expected)" '{ split(expected, e, " "); print $1 - e[1], $2 - e[2] }' >>"$FACTS/expected"
    lives 3
    counted_exactly
    kevmon verify-install
}

# The folders of bpffs that hold programs of the state.
layouts() {
    find /sys/fs/bpf/kevmon -mindepth 2 -maxdepth 2 -printf '%f\n'
}

# Starts and exits, once they stay as they are.
settled() {
    local last now
    now=$(counted)
    until [ "$now" = "${last-}" ]; do
        last=$now
        sleep 5
        now=$(counted)
    done
    echo "$now"
}

# within_bounds LEAST FOUND MOST, each of them starts and exits
within_bounds() {
    echo "$*" | awk '{ exit !($1 <= $3 && $3 <= $5 && $2 <= $4 && $4 <= $6) }' ||
        fail "starts and exits: $2, where $1 had been counted and $3 had happened"
}

check_upgrade_to_other_programs_says_what_is_not_known() {
    becomes_other "$OTHER"
}

check_downgrade_to_other_programs_says_what_is_not_known() {
    becomes_other "$OLDER"
}

# A service that the administrator has stopped stays so.
check_upgrade_starts_nothing_that_was_disabled() {
    systemctl disable --now kevmon.service
    apt-get install -y "$NEWER"
    equal "after the upgrade" "disabled inactive" "$(systemctl is-enabled kevmon.service || true) $(systemctl is-active kevmon.service || true)"
    apt-get install -y --allow-downgrades "$OLDER"
    systemctl enable --now kevmon.service
    counted_exactly
}

check upgrade::upgrade_loses_nothing
check upgrade::downgrade_loses_nothing
check upgrade::upgrade_to_other_programs_says_what_is_not_known
check upgrade::downgrade_to_other_programs_says_what_is_not_known
check upgrade::upgrade_starts_nothing_that_was_disabled
