@ACCOUNTS@
make_accounts /usr/lib/sysusers.d/kevmon.conf || :
if [ -f /usr/lib/tmpfiles.d/kevmon.conf ] && command -v systemd-tmpfiles >/dev/null 2>&1; then
    systemd-tmpfiles --create /usr/lib/tmpfiles.d/kevmon.conf >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
# A first installation follows the distribution's presets.
if [ "$1" -eq 1 ] && command -v systemctl >/dev/null 2>&1; then
    systemctl --no-reload preset kevmon.service >/dev/null 2>&1 || :
fi
