#!/bin/busybox sh
# The guest's first process: unpacks Debian's root into memory, adds what is tested, and becomes systemd.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mkdir /debian
mount -t tmpfs -o size=80%,mode=0755 tmpfs /debian
tar -xf /root.tar -C /debian
rm /root.tar
cp -a /overlay/. /debian/
wants=/debian/etc/systemd/system/multi-user.target.wants
mkdir -p $wants
ln -s ../service-checks.service $wants/service-checks.service
# The serial line is for the checks alone.
ln -sf /dev/null /debian/etc/systemd/system/serial-getty@ttyS0.service
# What the kernel says would stand in the midst of a check's line.
dmesg -n 1
umount /proc /dev
exec switch_root /debian /sbin/init
