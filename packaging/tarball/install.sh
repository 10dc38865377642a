#!/bin/sh
# Installs, verifies and removes kevmon from its archive. Runs in any POSIX shell.
#
# Nothing has to be undone after an interruption. Each file is written under another name and renamed, and a record of all that is
# installed or about to be is written before the first of them. The next run, or --uninstall, goes on from any point.
set -eu
umask 022
LC_ALL=C
export LC_ALL

prog=${0##*/}
here=$(cd "$(dirname "$0")" && pwd -P)

usage() {
    cat <<END
Usage: $prog [OPTIONS]

  -d, --directory DIR  install into DIR [default: /opt/kevmon; with --user: ~/.local/lib/kevmon]
  -r, --restart        start the service at once, or restart it
  -f, --force          replace a newer version, and files in DIR that somebody has changed
      --user           install for this user, without root
      --uninstall      remove what was installed; state and settings stay
      --purge          with --uninstall: remove state, log and settings as well
      --verify         compare this archive, or what is installed, with its manifest
      --dry-run        say what would be done, and do nothing
  -h, --help           print this

Exit status: 0 done, 1 refused or failed, 2 bad usage.
END
}

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s: %s\n' "$prog" "$*" >&2
    exit 1
}
bad_usage() {
    printf '%s: %s; %s --help shows the options\n' "$prog" "$*" "$prog" >&2
    exit 2
}

dir='' restart='' force='' user='' uninstall='' purge='' verify='' dry=''
while [ $# -gt 0 ]; do
    case $1 in
    -d | --directory)
        [ $# -ge 2 ] || bad_usage "$1 needs a folder"
        dir=$2
        shift
        ;;
    --directory=*) dir=${1#*=} ;;
    -r | --restart) restart=1 ;;
    -f | --force) force=1 ;;
    --user) user=1 ;;
    --uninstall) uninstall=1 ;;
    --purge) purge=1 ;;
    --verify) verify=1 ;;
    --dry-run) dry=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) bad_usage "unknown option $1" ;;
    esac
    shift
done
[ -z "$purge" ] || [ -n "$uninstall" ] || bad_usage "--purge is for --uninstall"

# Installed, this script lies in DIR/share/kevmon, and knows DIR by that.
manifest=$here/manifest.toml
if [ ! -f "$manifest" ] && [ -f "$here/../../manifest.toml" ]; then
    [ -n "$dir" ] || dir=$(cd "$here/../.." && pwd -P)
    manifest=''
fi

if [ -n "$user" ]; then
    [ -n "${HOME:-}" ] || fail "HOME is not set; set it to your home folder"
    : "${dir:=$HOME/.local/lib/kevmon}"
    links=$HOME/.local/bin
    settings=${XDG_CONFIG_HOME:-$HOME/.config}/kevmon
    units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
    states=${XDG_STATE_HOME:-$HOME/.local/state}/kevmon
else
    : "${dir:=/opt/kevmon}"
    links=/usr/local/bin
    settings=/etc/kevmon
    units=/etc/systemd/system
    states=/var/lib/kevmon
fi
case $dir in
/*) ;;
*) dir=$(pwd -P)/$dir ;;
esac
dir=${dir%/}
for path in "$dir" "$links" "$settings" "$units" "$states"; do
    case $path in
    '' | */../* | */.. | */./* | *[!A-Za-z0-9/._+-]*)
        fail "$path: a folder's path has to be plain here: letters A-Z a-z, digits, '.', '_', '+' and '-'"
        ;;
    esac
done
case $dir in
/bin | /etc | /home | /lib | /opt | /root | /usr | /usr/local | /var) fail "$dir: name a folder of kevmon's own, such as $dir/kevmon" ;;
esac
if [ -n "$(find "$dir" -prune ! -user "$(id -u)" 2>/dev/null)" ]; then
    fail "$dir belongs to another user; name a folder of your own, or one that does not exist yet"
fi
record=$dir/.installed

# SHA256 PATH for each file of the manifest $1; $2: of this section alone.
listed() {
    sed -n -e '/^\[/h' -e 'G' -e "/\n\[${2:-.*}\]\$/!d" \
        -e 's/^"\([^"]*\)" = { sha256 = "\([0-9a-f]\{64\}\)", mode = "\([0-7]*\)".*/\2 \1 \3/p' "$1"
}
value() { sed -n "s/^$2 = \"\(.*\)\"\$/\1/p" "$1"; }
sum() {
    text=$(sha256sum <"$1") || return 1
    printf '%s\n' "${text%% *}"
}

# The archive as it was packaged, or its faults by name.
check_archive() {
    [ -f "$manifest" ] || fail "$here/manifest.toml is missing; unpack the whole archive again"
    [ -n "$(listed "$manifest" files)" ] || fail "$manifest names no file; unpack the whole archive again"
    faults=$(
        listed "$manifest" | while read -r expected path _; do
            if [ ! -e "$here/$path" ] && [ ! -L "$here/$path" ]; then
                say "  $path is missing"
            elif [ ! -f "$here/$path" ] || [ -L "$here/$path" ]; then
                say "  $path is no plain file"
            elif [ "$(sum "$here/$path")" != "$expected" ]; then
                say "  $path is changed"
            fi
        done
        names=$(listed "$manifest" | while read -r _ path _; do say "$path"; done)
        (cd "$here" && find . ! -type d) | while read -r path; do
            path=${path#./}
            printf '%s\n' manifest.toml "$names" | grep -qxF -e "$path" || say "  $path is not of this archive"
        done
    )
    [ -z "$faults" ] || fail "this archive is not as it was packaged; nothing was changed:
$faults
unpack it again, from a source that you trust"
}

# Whether anything stands at $1.
exists() { [ -e "$1" ] || [ -L "$1" ]; }

# The record's lines are KIND SHA256 PATH: file, conf(iguration) or link. A path may stand in it twice, with what an interrupted
# run had and what it was to get.
recorded() { [ ! -f "$record" ] || sed -n 's/^\(file\|conf\|link\) //p' "$record"; }
is_recorded() { recorded | grep -qxF -e "$2 $1"; }
# The record of the last installation that came to its end.
completed() {
    if [ -f "$record.old" ]; then cat "$record.old"; elif [ -f "$record" ]; then cat "$record"; fi
}

# What a unit or link that is made here holds.
unit_text() {
    if [ -n "$user" ]; then
        cat <<END
[Unit]
Description=kevmon, for one user
Documentation=https://github.com/kevmon/kevmon

[Service]
Environment=KEVMON_PLUGIN_PATH=$dir/share/kevmon/plugins
ExecStart=$dir/bin/kevmon --config $settings/kevmon.toml
Restart=on-failure

[Install]
WantedBy=default.target
END
    else
        sed -e "s,/usr/bin/kevmon,$dir/bin/kevmon,g" \
            -e "/^\[Service\]/a\\
Environment=KEVMON_PLUGIN_PATH=$dir/share/kevmon/plugins" "$here/lib/systemd/system/$1"
    fi
}

# The plan: KIND MODE SOURCE PATH. A source is a file of the archive, unit_text NAME as @NAME, or the target of a link.
plan() {
    listed "$manifest" files | while read -r _ path mode; do say "file $mode $path $dir/$path"; done
    say "file 0644 manifest.toml $dir/manifest.toml"
    say "link 0777 $dir/bin/kevmon $links/kevmon"
    say "conf 0644 share/kevmon/kevmon.toml $settings/kevmon.toml"
    if [ -n "$user" ]; then
        say "file 0644 @kevmon.service $units/kevmon.service"
        return
    fi
    if [ -d "$units" ] || command -v systemctl >/dev/null 2>&1; then
        for unit in "$here"/lib/systemd/system/*.service; do
            say "file 0644 @${unit##*/} $units/${unit##*/}"
        done
        [ ! -f "$here/lib/tmpfiles.d/kevmon.conf" ] ||
            say "file 0644 lib/tmpfiles.d/kevmon.conf /etc/tmpfiles.d/kevmon.conf"
    fi
    [ ! -d /etc/logrotate.d ] || say "conf 0644 share/kevmon/logrotate /etc/logrotate.d/kevmon"
}
content() {
    case $1 in
    @*) unit_text "${1#@}" ;;
    *) cat "$here/$1" ;;
    esac
}
# The sum of what is planned ($1 kind, $2 source), or of what stands at a path.
planned_sum() {
    if [ "$1" = link ]; then printf '%s' "$2"; else content "$2"; fi | sha256sum | cut -d' ' -f1
}
present_sum() {
    if [ -L "$1" ]; then
        readlink "$1" | tr -d '\n' | sha256sum | cut -d' ' -f1
    elif [ -f "$1" ]; then
        sum "$1"
    else
        say -
    fi
}

# What a path of the plan is to undergo: kept, made, replaced, aside (as .new, next to it) or changed by somebody.
fate() {
    kind=$1 path=$2 wanted=$3 present=$4
    if ! exists "$path"; then
        # Settings that somebody removed stay removed; those that an interrupted run was about to make are made.
        if [ "$kind" = conf ] && completed | cut -d' ' -f3 | grep -qxF -e "$path"; then
            say kept
        else
            say made
        fi
    elif [ "$present" = "$wanted" ]; then
        say kept
    elif is_recorded "$path" "$present"; then
        say replaced
    elif [ "$kind" = conf ]; then
        # The default that came before is the same: there is nothing to tell.
        if completed | grep -qxF -e "conf $wanted $path"; then say kept; else say aside; fi
    else
        say changed
    fi
}

place() {
    kind=$1 mode=$2 source=$3 path=$4
    mkdir -p "${path%/*}"
    rm -f "$path.kevmon-new"
    if [ "$kind" = link ]; then
        ln -s "$source" "$path.kevmon-new"
    else
        content "$source" >"$path.kevmon-new"
        chmod "$mode" "$path.kevmon-new"
    fi
    mv -f "$path.kevmon-new" "$path"
}

@ACCOUNTS@
manager() {
    if [ -n "$user" ]; then
        if [ -n "${XDG_RUNTIME_DIR:-}" ] && [ -d "$XDG_RUNTIME_DIR/systemd" ]; then systemctl --user "$@"; fi
    elif [ -d /run/systemd/system ]; then
        systemctl "$@"
    fi
}

try_program() {
    if ! answer=$("$here/bin/kevmon" --version 2>&1); then
        glibc=$(value "$manifest" glibc)
        needs=$(value "$manifest" target) has=$(uname -m)
        if [ -n "$glibc" ]; then
            needs="glibc $glibc or newer on $needs"
            has="$(getconf GNU_LIBC_VERSION 2>/dev/null || say 'no glibc') on $has"
        fi
        fail "kevmon does not run here; nothing was changed. It needs $needs, and this machine has $has:
  $answer"
    fi
}

refuse_newer() {
    [ -f "$dir/manifest.toml" ] && [ -z "$force" ] || return 0
    old=$(value "$dir/manifest.toml" version)
    new=$(value "$manifest" version)
    [ "$old" != "$new" ] || return 0
    newest=$(printf '%s\n%s\n' "$old" "$new" | sort -V | tail -n 1)
    [ "$newest" = "$new" ] || fail "$dir has kevmon $old, which is newer than $new; nothing was changed. Replace it with --force"
}

install() {
    check_archive
    try_program
    refuse_newer
    steps=$(plan | while read -r kind mode source path; do
        wanted=$(planned_sum "$kind" "$source")
        present=$(present_sum "$path")
        say "$(fate "$kind" "$path" "$wanted" "$present") $kind $mode $source $path $wanted $present"
    done)
    say "kevmon $(value "$manifest" version) into $dir:"
    say "$steps" | while read -r what _ _ _ path _; do
        case $what in
        made) say "  make     $path" ;;
        replaced) say "  replace  $path" ;;
        changed) say "  replace  $path, which somebody has changed" ;;
        aside) say "  keep     $path, which somebody has changed, and write $path.new" ;;
        esac
    done
    recorded | while read -r _ path; do
        say "$steps" | cut -d' ' -f5 | grep -qxF -e "$path" || ! exists "$path" || say "  remove   $path"
    done | sort -u
    if [ -z "$user" ]; then
        say "  accounts of $here/lib/sysusers.d/kevmon.conf"
        say "  enable the service at boot, where systemd runs"
    fi
    [ -z "$restart" ] || say "  start the service, or restart it"
    changed=$(say "$steps" | while read -r what _ _ _ path _; do [ "$what" != changed ] || say "  $path"; done)
    [ -z "$changed" ] || [ -n "$force" ] || fail "files that this script is to replace are not its own, or somebody has changed them; nothing was changed:
$changed
move them away, or replace them with --force"
    [ -z "$dry" ] || exit 0

    mkdir -p "$dir"
    if [ ! -f "$record.old" ]; then
        completed >"$record.new"
        mv -f "$record.new" "$record.old"
    fi
    {
        [ ! -f "$record" ] || cat "$record"
        say "$steps" | while read -r _ kind _ _ path wanted _; do
            say "$kind $wanted $path"
        done
    } | sort -u >"$record.new"
    mv -f "$record.new" "$record"
    say "$steps" | while read -r what kind mode source path _; do
        case $what in
        made | replaced | changed) place "$kind" "$mode" "$source" "$path" ;;
        aside) place "$kind" "$mode" "$source" "$path.new" ;;
        kept) [ "$kind" = link ] || ! exists "$path" || [ "$kind" = conf ] || chmod "$mode" "$path" ;;
        esac
        rm -f "$path.kevmon-new"
    done
    say "$steps" | cut -d' ' -f5 >"$record.paths"
    recorded | while read -r sum path; do
        if ! grep -qxF -e "$path" "$record.paths" && [ "$(present_sum "$path")" = "$sum" ]; then
            rm -f "$path"
            prune "${path%/*}"
        fi
    done
    rm -f "$record.paths"
    if [ -z "$user" ]; then
        make_accounts "$here/lib/sysusers.d/kevmon.conf"
        if [ -f /etc/tmpfiles.d/kevmon.conf ] && command -v systemd-tmpfiles >/dev/null 2>&1; then
            systemd-tmpfiles --create /etc/tmpfiles.d/kevmon.conf || true
        fi
    fi
    say "$steps" | while read -r _ kind _ _ path wanted _; do say "$kind $wanted $path"; done | sort -u >"$record.new"
    mv -f "$record.new" "$record"
    rm -f "$record.old"
    manager daemon-reload
    [ -n "$user" ] || manager enable kevmon.service
    if [ -n "$restart" ]; then
        manager restart kevmon.service
    fi
    done_text
}

done_text() {
    say "installed; settings: $settings/kevmon.toml"
    [ -z "$user" ] || cat <<END
Without privileges kevmon reads /proc and misses short-lived processes. To let it use eBPF, as root:
  setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep $dir/bin/kevmon
As a service of yours:  systemctl --user enable --now kevmon   (at boot: loginctl enable-linger)
From cron, in place of a service:
  * * * * * $dir/bin/kevmon --config $settings/kevmon.toml --plugins-dir $dir/share/kevmon/plugins --run-once --keep --if-not-running
END
}

# Removes folders that are empty, up to one that is not, and none of the system's own.
prune() {
    folder=$1
    while [ "${folder#"$dir"}" != "$folder" ] || [ "$folder" = "$settings" ]; do
        rmdir "$folder" 2>/dev/null || return 0
        folder=${folder%/*}
    done
}

# Whether uninstalling leaves it: settings that are not as any version brought them.
stays() {
    [ "$1" = conf ] && [ -z "$purge" ] && exists "$2" && ! is_recorded "$2" "$(present_sum "$2")"
}

uninstall() {
    if [ ! -f "$record" ] && [ -z "$purge" ]; then
        # An interrupted run may have left the empty folder.
        if [ -n "$dry" ] || ! rmdir "$dir" 2>/dev/null; then
            fail "$dir has no kevmon that this script installed; name its folder with --directory"
        fi
        say "removed"
        exit 0
    fi
    say "remove kevmon from $dir:"
    [ ! -f "$record" ] || cut -d' ' -f1,3 "$record" | sort -u | while read -r kind path; do
        if stays "$kind" "$path"; then
            say "  keep     $path, which somebody has changed"
        elif exists "$path"; then
            say "  remove   $path"
        fi
    done
    [ -z "$purge" ] || say "  remove   $states, $settings and /var/log/kevmon"
    [ -z "$dry" ] || exit 0
    manager disable --now kevmon.service || true
    [ -n "$user" ] || manager stop 'kevmon@*.service' || true
    if [ -d /sys/fs/bpf/kevmon ] && [ -x "$dir/bin/kevmon" ]; then
        "$dir/bin/kevmon" unpin >/dev/null 2>&1 || true
    fi
    kept=''
    if [ -f "$record" ]; then
        # This script is read to its end before it is removed: a shell reads a function whole.
        while read -r kind _ path; do
            rm -f "$path.kevmon-new"
            [ "$kind" != conf ] || rm -f "$path.new"
            stays "$kind" "$path" || rm -f "$path"
            prune "${path%/*}"
        done <"$record"
    fi
    if [ -n "$purge" ]; then
        rm -rf "$states" "$settings"
        [ -n "$user" ] || rm -rf /var/log/kevmon /run/kevmon /sys/fs/bpf/kevmon 2>/dev/null || true
    fi
    rm -f "$record.old" "$record.new" "$record.paths" "$record"
    rmdir "$dir" 2>/dev/null || ! exists "$dir" || kept=1
    manager daemon-reload || true
    if [ -n "$kept" ]; then
        say "removed; $dir holds files that this script did not put there"
    else
        say "removed"
    fi
}

if [ -n "$verify" ]; then
    if [ -n "$manifest" ]; then
        check_archive
        say "this archive is as it was packaged"
        exit 0
    fi
    exec "$dir/bin/kevmon" verify-install --root "$dir"
fi
if [ -z "$user" ] && [ "$(id -u)" != 0 ]; then
    fail "it needs root: run it with sudo, or install for yourself with --user"
fi
if [ -n "$uninstall" ]; then
    uninstall
else
    [ -n "$manifest" ] || fail "$here is an installed kevmon; run the install.sh of the archive that is to be installed"
    install
fi
exit 0
