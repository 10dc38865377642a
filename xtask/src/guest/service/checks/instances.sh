# One plugin alone as a service: `kevmon@NAME`, and the unit that `kevmon plugin unit` writes.
# shellcheck shell=bash

check_template_runs_one_plugin() {
    systemctl start kevmon@victim.service
    equal "both units" "inactive active" "$(systemctl is-active kevmon.service || true) $(systemctl is-active kevmon@victim.service)"
    equal plugins '["victim"]' "$(kevmon status --json --instance victim | jq -c '[.plugins[].plugin]')"
    equal source ebpf "$(kevmon status --json --instance victim | jq -r .source)"
    lives 3
    counted_exactly victim
    equal CapBnd $TWO_CAPABILITIES "$(process_field "$(main_pid kevmon@victim.service)" CapBnd)"
}

check_template_is_killed_and_loses_nothing() {
    kill -KILL "$(main_pid kevmon@victim.service)"
    lives 3
    sleep 4
    within 60 is_active kevmon@victim.service
    counted_exactly victim
}

check_two_instances_run_side_by_side() {
    systemctl start kevmon@m8refsvr.service
    equal states "active active" "$(systemctl is-active kevmon@victim.service kevmon@m8refsvr.service | paste -s -d ' ')"
    equal instances 2 "$(kevmon status --json | jq -s length)"
    lives 3
    systemctl stop kevmon@m8refsvr.service
    counted_exactly victim
}

check_plugin_unit_has_the_plugins_name() {
    local unit=instana-m8refsvr-monitor.service
    kevmon plugin unit m8refsvr --output /etc/systemd/system
    systemctl daemon-reload
    systemctl enable --now $unit
    equal states "enabled active" "$(systemctl is-enabled $unit) $(systemctl is-active $unit)"
    equal user kevmon "$(property User $unit)"
    equal plugins '["m8refsvr"]' "$(kevmon status --json --instance m8refsvr | jq -c '[.plugins[].plugin]')"
    systemctl disable --now $unit
    rm /etc/systemd/system/$unit
    systemctl daemon-reload
}

check_all_plugins_go_on() {
    systemctl start kevmon.service
    equal "both units" "active inactive" "$(systemctl is-active kevmon.service) $(systemctl is-active kevmon@victim.service || true)"
    counted_exactly
}

check instances::template_runs_one_plugin
check instances::template_is_killed_and_loses_nothing
check instances::two_instances_run_side_by_side
check instances::plugin_unit_has_the_plugins_name
check instances::all_plugins_go_on
