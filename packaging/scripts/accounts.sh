# Makes the accounts and groups of a sysusers.d file, with systemd-sysusers where it is installed.
make_accounts() {
    accounts_file=$1
    [ -f "$accounts_file" ] || return 0
    if command -v systemd-sysusers >/dev/null 2>&1; then
        systemd-sysusers "$accounts_file"
        return
    fi
    while read -r kind name other _; do
        case $kind in
        g*)
            getent group "$name" >/dev/null || groupadd --system "$name"
            ;;
        u*)
            getent passwd "$name" >/dev/null && continue
            if getent group "$name" >/dev/null; then
                useradd --system --gid "$name" --no-create-home --home-dir / --shell /usr/sbin/nologin "$name"
            else
                useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin "$name"
            fi
            ;;
        m*)
            usermod --append --groups "$other" "$name"
            ;;
        esac
    done <"$accounts_file"
}
