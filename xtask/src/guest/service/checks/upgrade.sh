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
check upgrade::upgrade_starts_nothing_that_was_disabled
