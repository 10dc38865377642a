# The package is installed, and the unit runs as it says.
# shellcheck shell=bash

# CAP_PERFMON is 38, CAP_BPF 39 (capabilities(7)).
readonly TWO_CAPABILITIES=000000c000000000 NO_CAPABILITY=0000000000000000

check_package_installs() {
    local files=$FACTS/files-before
    files_of_the_system >"$files"
    apt-get install -y "$OLDER"
    equal "dpkg's state" "install ok installed" "$(dpkg-query -W -f '${Status}' kevmon)"
}

# All files but those that are no package's concern: what runs, logs, and the package manager's own.
files_of_the_system() {
    find / -xdev \( -path /tmp -o -path /kevmon -o -path /var/tmp -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache \
        -o -path /var/log/journal -o -path /var/log/apt -o -path /var/log/dpkg.log \) -prune -o -print | sort
}

check_unit_is_enabled_and_active() {
    equal is-enabled enabled "$(systemctl is-enabled kevmon.service)"
    equal is-active active "$(systemctl is-active kevmon.service)"
    equal NRestarts 0 "$(property NRestarts)"
    note "$(property StatusText)"
}

check_runs_as_its_own_user() {
    local pid uid gid
    pid=$(main_pid)
    equal User kevmon "$(property User)"
    uid=$(id -u kevmon) gid=$(id -g kevmon)
    [ "$uid" != 0 ] || fail "kevmon has the uid 0"
    equal Uid "$uid $uid $uid $uid" "$(process_field "$pid" Uid | tr '\t' ' ')"
    equal Gid "$gid $gid $gid $gid" "$(process_field "$pid" Gid | tr '\t' ' ')"
}

check_could_have_two_capabilities_and_gave_them_up() {
    local pid set thread
    pid=$(main_pid)
    equal CapBnd $TWO_CAPABILITIES "$(process_field "$pid" CapBnd)"
    # Linux 5.19 and newer want them for loading alone; each thread has sets of its own.
    for thread in /proc/"$pid"/task/*; do
        for set in CapPrm CapEff CapInh CapAmb; do
            equal "$thread $set" $NO_CAPABILITY "$(process_field "$pid/task/${thread##*/}" $set)"
        done
    done
}

check_is_confined() {
    local pid
    pid=$(main_pid)
    equal NoNewPrivs 1 "$(process_field "$pid" NoNewPrivs)"
    equal Seccomp 2 "$(process_field "$pid" Seccomp)"
}

check_source_is_ebpf() {
    equal source ebpf "$(status .source)"
}

check_installation_verifies() {
    kevmon verify-install
}

check install::package_installs
check install::unit_is_enabled_and_active
check install::runs_as_its_own_user
check install::could_have_two_capabilities_and_gave_them_up
check install::is_confined
check install::source_is_ebpf
check install::installation_verifies
