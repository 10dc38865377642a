# Configuration is taken while the unit runs, and a supervised process that crashes is counted.
# shellcheck shell=bash

write_plugin() {
    mkdir -p "/etc/kevmon/plugins/$1"
    printf 'schema = 1\n[service]\nprocess_name = "^%s$"\n[monitoring]\ninterval = 1\n' "$1" >"/etc/kevmon/plugins/$1/plugin.toml"
}

check_reload_takes_a_plugin() {
    local pid invocation monitor
    pid=$(main_pid) invocation=$(property InvocationID)
    write_plugin victim
    busctl --json=short monitor org.freedesktop.systemd1 \
        --match "type='signal',path='/org/freedesktop/systemd1/unit/kevmon_2eservice'" >"$FACTS/signals" 2>/dev/null &
    monitor=$!
    sleep 2
    systemctl reload kevmon.service
    equal state active "$(systemctl is-active kevmon.service)"
    victim .label | grep -qx victim || fail "the plugin is not there after the reload"
    sleep 1
    kill $monitor
    equal "pid and invocation" "$pid $invocation" "$(main_pid) $(property InvocationID)"
    grep -q '"ActiveState":{"type":"s","data":"reloading"}' "$FACTS/signals" || fail "systemd was never told of the reload"
}

check_reload_with_a_fault_goes_on() {
    local pid code=0
    pid=$(main_pid)
    mkdir -p /etc/kevmon/plugins/faulty
    echo 'schema = 1
[service]
process_nam = "x"' >/etc/kevmon/plugins/faulty/plugin.toml
    systemctl reload kevmon.service
    equal state active "$(systemctl is-active kevmon.service)"
    equal "status of \`kevmon reload\`" 2 "$(kevmon reload >"$FACTS/faults" 2>&1 || echo $?)"
    grep -q process_nam "$FACTS/faults" || fail "the fault is not named: $(cat "$FACTS/faults")"
    rm -r /etc/kevmon/plugins/faulty
    kevmon reload || code=$?
    equal "status of \`kevmon reload\` without faults" 0 $code
    equal pid "$pid" "$(main_pid)"
    # The status is that of the last collection.
    within 10 no_plugin_is_faulty
}

no_plugin_is_faulty() {
    [ "$(status '.faulty_plugins | tostring')" = '[]' ]
}

check_crash_loop_is_counted() {
    mkfifo /run/victim.fifo
    cat >/etc/systemd/system/victim.service <<'END'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/kevmon/victim
Restart=always
RestartSec=200ms
LimitCORE=0
END
    systemctl daemon-reload
    systemctl start victim.service
    within 60 grep -qx 6 /run/victim.starts
    expect_more 6 5
    counted_exactly
    equal "restarts of the unit" 5 "$(property NRestarts victim.service)"
    equal restarts 5 "$(victim .metrics.restarts)"
    equal "restarts and downtimes" "5 5 0" "$(victim '"\(.metrics.respawns) \(.downtime.count) \(.metrics.unpaired_starts)"')"
    equal reasons "exit 7 2,signal 6 1,signal 9 1,signal 11 1" \
        "$(victim '[.exits_by_reason[] | "\(.reason) \(.code // .signal) \(.count)"] | sort | join(",")' | sort_reasons)"
    equal crash_loop true "$(victim .crash_loop)"
    equal "complete, members" "true 1" "$(victim '"\(.complete) \(.processes | length)"')"
    equal "pid of the member" "$(main_pid victim.service)" "$(victim '.processes[0].pid')"
    equal records '{}' "$(status '.lost | tostring')"
}

# By number, as jq sorts texts.
sort_reasons() {
    tr , '\n' | sort -k1,1 -k2,2n | paste -s -d ,
}

# The doctor, with all that the unit allows and forbids.
check_doctor_under_the_units_rights() {
    sed -e 's|^ExecStart=.*|ExecStart=/usr/bin/kevmon doctor --json|' -e 's|^Type=.*|Type=oneshot|' \
        -e '/^\(NotifyAccess\|ExecReload\|ExecStopPost\|Restart.*\|WatchdogSec\|RuntimeDirectory.*\)=/d' \
        -e "s|^\[Install\]|[Service]\nSuccessExitStatus=1\nStandardOutput=file:$FACTS/doctor.json\n[Install]|" \
        /usr/lib/systemd/system/kevmon.service >/run/systemd/system/doctor.service
    systemctl daemon-reload
    systemctl start doctor.service
    rm /run/systemd/system/doctor.service
    systemctl daemon-reload
    [ "$(jq length "$FACTS/doctor.json")" -gt 15 ] || fail "few checks: $(cat "$FACTS/doctor.json")"
    # There is no receiver, and nothing else is amiss.
    equal faults "" "$(jq -r '.[] | select(.result == "fault" and (.check | startswith("receiver") | not)) | "\(.check): \(.found)"' "$FACTS/doctor.json")"
    note "warnings: $(jq -r '.[] | select(.result == "warning") | .check' "$FACTS/doctor.json" | paste -s -d ',')"
}

check_documented_doctor() {
    local code=0
    systemd-run -q -p User=kevmon -p AmbientCapabilities="CAP_BPF CAP_PERFMON" -P kevmon doctor >"$FACTS/doctor" 2>&1 || code=$?
    equal status 1 $code
    equal faults "" "$(grep '^✗' "$FACTS/doctor" | grep -v '^✗ receiver')"
    grep -q '^✓ CAP_BPF' "$FACTS/doctor" || fail "no CAP_BPF: $(cat "$FACTS/doctor")"
}

check watched::reload_takes_a_plugin
check watched::reload_with_a_fault_goes_on
check watched::crash_loop_is_counted
check watched::doctor_under_the_units_rights
check watched::documented_doctor
