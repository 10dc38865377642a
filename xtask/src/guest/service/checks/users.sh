# What users of the host can do: a member of the group `kevmon`, and one who is not.
# shellcheck shell=bash

as() {
    local user=$1
    shift
    runuser -u "$user" -- "$@"
}

# refused WHAT COMMAND...
refused() {
    local what=$1
    shift
    if "$@" >"$FACTS/refused" 2>&1; then
        fail "$what: not refused: $(tail -n 3 "$FACTS/refused")"
    fi
}

check_users_are_made() {
    useradd --no-create-home --groups kevmon member
    useradd --no-create-home stranger
}

# A secret of the service, as docs/service.md has it.
check_secret_is_the_services_alone() {
    mkdir -p /etc/systemd/system/kevmon.service.d
    mkdir -m 0700 /etc/kevmon/secrets
    (umask 077 && printf 'opensesame-4711' >/etc/kevmon/secrets/token)
    printf '[Service]\nLoadCredential=token:/etc/kevmon/secrets/token\n' >/etc/systemd/system/kevmon.service.d/token.conf
    cp -p /etc/kevmon/kevmon.toml "$FACTS/kevmon.toml"
    printf 'schema = 1\n[export]\nheaders = { authorization = { credential = "token" } }\n' >/etc/kevmon/kevmon.toml
    systemctl daemon-reload
    systemctl restart kevmon.service
    equal state active "$(systemctl is-active kevmon.service)"
    as kevmon test -r /run/credentials/kevmon.service/token || fail "kevmon cannot read its credential"
    for user in member stranger; do
        refused "$user reads the credential" as $user cat /run/credentials/kevmon.service/token
        refused "$user reads the secret" as $user cat /etc/kevmon/secrets/token
    done
    if journalctl -u kevmon | grep -q opensesame || kevmon status --json | grep -q opensesame; then
        fail "the secret is in the journal or in the status"
    fi
    # kevmon@NAME has no such credential.
    cp -p "$FACTS/kevmon.toml" /etc/kevmon/kevmon.toml
    rm -r /etc/systemd/system/kevmon.service.d
    systemctl daemon-reload
    systemctl restart kevmon.service
}

check_member_reads_status() {
    equal source ebpf "$(as member kevmon status --json | jq -r .source)"
    as member kevmon status | grep -q victim || fail "no plugin"
}

check_stranger_reads_no_status() {
    local code=0
    as stranger kevmon status >"$FACTS/refused" 2>&1 || code=$?
    equal "exit status" 4 $code
    ! grep -q victim "$FACTS/refused" || fail "shown: $(cat "$FACTS/refused")"
}

check_nobody_else_reads_state_and_spool() {
    local user file
    find /var/lib/kevmon /var/log/kevmon -type f >"$FACTS/files"
    equal "state and spool" "metadata.db metadata.db.spool" "$(grep -o 'metadata.db\(.spool\)\?$' "$FACTS/files" | sort | paste -s -d ' ')"
    for user in stranger kevmon-collector; do
        refused "$user lists the state" as $user ls /var/lib/kevmon
        refused "$user lists the logs" as $user ls /var/log/kevmon
    done
    for user in member stranger kevmon-collector; do
        while read -r file; do
            refused "$user reads $file" as $user cat "$file"
            refused "$user writes $file" as $user sh -c "echo >>$file"
        done <"$FACTS/files"
        refused "$user writes into the state" as $user touch /var/lib/kevmon/x
        refused "$user writes where the socket is" as $user touch /run/kevmon/x
        refused "$user writes settings" as $user touch /etc/kevmon/x /etc/kevmon/plugins/x
        refused "$user lists the pins" as $user ls /sys/fs/bpf/kevmon
    done
}

check_nobody_else_commands() {
    local user pid
    pid=$(main_pid)
    for user in member stranger kevmon-collector; do
        refused "$user: systemctl stop" as $user systemctl --no-ask-password stop kevmon.service
        refused "$user: systemctl reload" as $user systemctl --no-ask-password reload kevmon.service
        refused "$user: kevmon --stop" as $user kevmon --stop
        refused "$user: kevmon --restart" as $user kevmon --restart
        refused "$user: kevmon reload" as $user kevmon reload
        refused "$user: kevmon unpin" as $user kevmon unpin --metadata-db-path /var/lib/kevmon/metadata.db
        refused "$user: kill" as $user sh -c "kill -TERM $pid"
        refused "$user: ptrace" as $user cat "/proc/$pid/environ"
    done
    equal "pid and state" "$pid active" "$(main_pid) $(systemctl is-active kevmon.service)"
}

check_root_commands() {
    local pid
    pid=$(main_pid)
    undisturbed kevmon --restart
    [ "$(main_pid)" != "$pid" ] || fail "not restarted"
}

check users::users_are_made
check users::secret_is_the_services_alone
check users::member_reads_status
check users::stranger_reads_no_status
check users::nobody_else_reads_state_and_spool
check users::nobody_else_commands
check users::root_commands
