if [ "$1" -eq 0 ]; then
    if command -v systemctl >/dev/null 2>&1; then
        systemctl --no-reload disable kevmon.service >/dev/null 2>&1 || :
    fi
    if [ -d /run/systemd/system ]; then
        systemctl stop kevmon.service 'kevmon@*.service' >/dev/null 2>&1 || :
    fi
    if [ -d /sys/fs/bpf/kevmon ]; then
        kevmon unpin >/dev/null 2>&1 || :
    fi
fi
