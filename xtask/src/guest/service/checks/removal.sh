# What the unit exposes, what it said, and what the package leaves.
# shellcheck shell=bash

# docs/security.md says what is left, and why.
check_exposure_is_what_the_documents_say() {
    systemd-analyze security --no-pager --threshold=16 kevmon.service >"$FACTS/security" || fail "$(tail -n 1 "$FACTS/security")"
    note "$(tail -n 1 "$FACTS/security")"
    mkdir -p /run/systemd/system/kevmon.service.d
    cp /usr/share/kevmon/systemd/kevmon.service.d/hidden-proc.conf.example /run/systemd/system/kevmon.service.d/hidden-proc.conf
    systemctl daemon-reload
    systemd-analyze security --no-pager --threshold=14 kevmon.service >"$FACTS/security" || fail "with the drop-in: $(tail -n 1 "$FACTS/security")"
    note "with hidden-proc: $(tail -n 1 "$FACTS/security")"
    rm -r /run/systemd/system/kevmon.service.d
    systemctl daemon-reload
}

# What the checks have done to kevmon makes it say some things, and so does a guest that is ten times slower than a host with its
# plugin that is collected each second; nothing else is amiss.
check_journal_has_no_other_trouble() {
    journalctl --no-pager -o cat _SYSTEMD_UNIT=kevmon.service + _SYSTEMD_UNIT=kevmon@victim.service | grep -E ' (WARN|ERROR) ' |
        sed -E 's/^[^ ]+ +//' | sort | uniq -c | sort -rn >"$FACTS/trouble" || true
    cat "$FACTS/trouble"
    grep -v -f - "$FACTS/trouble" <<'END' >"$FACTS/unexpected" || true
no connection to localhost, port 4317
requests wait in /var/lib/kevmon/
faulty/plugin.toml
kevmon.toml:2: no_such_key
kevmon was killed after the collection of
ticks came too late
changed settings that take effect when kevmon is restarted
CREDENTIALS_DIRECTORY is not set
END
    equal "unexpected lines" "" "$(paste -s -d '/' "$FACTS/unexpected")"
}

check_remove_keeps_the_state() {
    local pid
    pid=$(main_pid)
    apt-get remove -y kevmon
    [ ! -d "/proc/$pid" ] || fail "kevmon still runs"
    equal pins "" "$(pins)"
    equal "files of the unit" "" "$(find /usr/lib/systemd /lib/systemd -name 'kevmon*')"
    equal "state of the unit" inactive "$(systemctl is-active kevmon.service || true)"
    [ ! -e /usr/bin/kevmon ] || fail "the program is there"
    [ ! -e /run/kevmon ] || fail "/run/kevmon is there"
    [ -s /var/lib/kevmon/metadata.db ] || fail "the state is gone"
    [ -e /etc/kevmon/kevmon.toml ] || fail "the settings are gone"
    [ -e /etc/kevmon/plugins/victim/plugin.toml ] || fail "the plugin is gone"
}

check_installed_again_it_goes_on() {
    apt-get install -y "$OLDER"
    equal "state of the unit" "enabled active" "$(systemctl is-enabled kevmon.service) $(systemctl is-active kevmon.service)"
    counted_exactly
}

check_purge_leaves_nothing() {
    rm /etc/systemd/system/victim.service
    apt-get purge -y kevmon
    for path in /var/lib/kevmon /etc/kevmon /var/log/kevmon /run/kevmon /sys/fs/bpf/kevmon; do
        [ ! -e $path ] || fail "$path is there: $(find $path | head -n 5 | paste -s -d ' ')"
    done
    pgrep -x kevmon && fail "kevmon runs"
    files_of_the_system >"$FACTS/files-after"
    # Copies of the account files, of the accounts that stay.
    equal "files left" "" "$(comm -13 "$FACTS/files-before" "$FACTS/files-after" | grep -v -x '/etc/\(passwd\|group\|shadow\|gshadow\|subuid\|subgid\)-\?' | paste -s -d ' ')"
    equal "files gone" "" "$(comm -23 "$FACTS/files-before" "$FACTS/files-after" | paste -s -d ' ')"
    getent passwd kevmon kevmon-collector >/dev/null || fail "the accounts are gone"
}

check removal::exposure_is_what_the_documents_say
check removal::journal_has_no_other_trouble
check removal::remove_keeps_the_state
check removal::installed_again_it_goes_on
check removal::purge_leaves_nothing
