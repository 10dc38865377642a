#!/bin/busybox sh
# The guest's first process: a small system in memory, the tests, and off.
/bin/busybox --install -s /bin
export PATH=/bin:/kevmon RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# Not over a working tree that is below it.
[ -n "$(ls -A /tmp 2>/dev/null)" ] || mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
ln -sf /proc/self/fd /dev/fd
ifconfig lo 127.0.0.1 up
hostname guest
# Bytes written count on a disk alone, and a file in memory may be one.
insmod /loop.ko
truncate -s 400M /dev/shm/disk
losetup /dev/loop0 /dev/shm/disk
mke2fs /dev/loop0 >/dev/null 2>&1
mount -t ext2 /dev/loop0 /var/tmp || mount -t ext4 /dev/loop0 /var/tmp
chmod 1777 /var/tmp
# What the kernel says of an OOM kill would stand in the midst of a test's line.
dmesg -n 1
echo "kevmon-guest: booted $(uname -r)"
cd /tmp
KEVMON_BIN=/kevmon/kevmon KEVMON_TEST_PATIENCE=8 KEVMON_TEST_FEATURES=/tmp/features
export KEVMON_BIN KEVMON_TEST_PATIENCE KEVMON_TEST_FEATURES
for program in parallel serial; do
    /kevmon/$program --test-threads=1 $(cat /kevmon/arguments)
    echo "kevmon-guest: $program ended with $?"
done
cat /tmp/features
poweroff -f
