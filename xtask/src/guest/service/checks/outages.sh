# kevmon is restarted, killed, stopped and stuck: nothing is lost, nothing is counted twice.
# shellcheck shell=bash

# The plugin's process is killed, and its unit starts it again.
victim_is_replaced() {
    local pid
    pid=$(main_pid victim.service)
    kill -KILL "$pid"
    expect_more 1 1
    within 60 replaced "$pid"
}

replaced() {
    local pid
    pid=$(property MainPID victim.service)
    [ "$pid" != 0 ] && [ "$pid" != "$1" ]
}

restarts_are() {
    [ "$(property NRestarts)" = "$1" ]
}

restart_and_replace() {
    systemctl restart kevmon.service &
    victim_is_replaced
    wait $!
}

check_restart_loses_nothing() {
    local pid
    pid=$(main_pid)
    undisturbed restart_and_replace
    [ "$(main_pid)" != "$pid" ] || fail "not restarted"
    equal unpaired 0 "$(victim .metrics.unpaired_starts)"
    equal "complete, losses" "true {}" "$(status '"\(.complete) \(.lost)"')"
}

kill_and_replace() {
    kill -KILL "$(main_pid)"
    victim_is_replaced
    within 60 restarts_are "$1"
}

check_kill_loses_nothing() {
    local restarts
    restarts=$(property NRestarts)
    undisturbed kill_and_replace $((restarts + 1))
    equal "restarts of the unit" $((restarts + 1)) "$(property NRestarts)"
    equal unpaired 0 "$(victim .metrics.unpaired_starts)"
}

# systemd gives a unit WatchdogSec= (60 s) and, to die by SIGABRT, TimeoutStopSec= (30 s).
check_watchdog_ends_a_stopped_kevmon() {
    local pid restarts began=$SECONDS took
    pid=$(main_pid) restarts=$(property NRestarts)
    kill -STOP "$pid"
    lives 4
    victim_is_replaced
    within 110 restarts_are $((restarts + 1))
    took=$((SECONDS - began))
    within 60 is_active kevmon.service
    journalctl --no-pager UNIT=kevmon.service | grep -q "Failed with result 'watchdog'" || fail "ended, but not by the watchdog"
    counted_exactly
    equal unpaired 0 "$(victim .metrics.unpaired_starts)"
    [ $took -ge 30 ] || fail "ended after $took s, which the watchdog does not"
    note "started again after $took s"
}

check_stop_leaves_nothing_in_the_kernel() {
    [ -n "$(pins)" ] || fail "nothing was pinned while it ran"
    systemctl stop kevmon.service
    equal result success "$(property Result)"
    equal pins "" "$(pins)"
    systemctl start kevmon.service
    # The plugin's process lives on: a member, and no new start.
    counted_exactly
    equal "pid of the member" "$(main_pid victim.service)" "$(victim '.processes[0].pid')"
    [ -n "$(pins)" ] || fail "nothing is pinned"
}

# A frozen kevmon takes no SIGTERM, so that systemd kills it after the time limit: ExecStopPost= has to remove what it left.
check_stop_that_times_out_leaves_nothing() {
    # systemd thaws a unit that it stops, and looks at the unit's own control group for that.
    local held=/sys/fs/cgroup/system.slice/kevmon.service/held
    mkdir -p /run/systemd/system/kevmon.service.d
    printf '[Service]\nTimeoutStopSec=10s\n' >/run/systemd/system/kevmon.service.d/short.conf
    systemctl daemon-reload
    [ -n "$(pins)" ] || fail "nothing was pinned while it ran"
    mkdir "$held"
    main_pid >"$held/cgroup.procs"
    echo 1 >"$held/cgroup.freeze"
    systemctl stop kevmon.service
    rm -r /run/systemd/system/kevmon.service.d
    systemctl daemon-reload
    equal result timeout "$(property Result)"
    equal pins "" "$(pins)"
    systemctl start kevmon.service
    counted_exactly
}

# An exit status 2 is a fault of the configuration, which does not mend itself.
check_faulty_settings_do_not_loop() {
    local restarts
    cp -p /etc/kevmon/kevmon.toml "$FACTS/settings"
    # Later checks go on, whatever becomes of this one.
    trap 'cp -p "$FACTS/settings" /etc/kevmon/kevmon.toml' EXIT
    printf 'schema = 1\nno_such_key = 1\n' >/etc/kevmon/kevmon.toml
    if systemctl restart kevmon.service; then
        fail "started with faulty settings"
    fi
    restarts=$(property NRestarts)
    sleep 5
    equal "state, status, restarts" "failed 2 $restarts" "$(systemctl is-failed kevmon.service) $(property ExecMainStatus) $(property NRestarts)"
    journalctl --no-pager -u kevmon.service -n 20 | grep -q 'no_such_key' || fail "the journal does not name the key"
    cp -p "$FACTS/settings" /etc/kevmon/kevmon.toml
    systemctl start kevmon.service
    counted_exactly
}

check outages::restart_loses_nothing
check outages::kill_loses_nothing
check outages::watchdog_ends_a_stopped_kevmon
check outages::stop_leaves_nothing_in_the_kernel
check outages::stop_that_times_out_leaves_nothing
check outages::faulty_settings_do_not_loop
