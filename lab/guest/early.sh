#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# The guest's first process, in the initramfs: finds the root disk, prepares a plain system there and hands over to
# start.sh. All by busybox: starting a dynamically linked program costs an emulated guest a tenth of a second.
/bin/busybox mkdir -p /dev /root /tmp
/bin/busybox --install -s /bin
PATH=/bin
mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do
	[ -e "$module" ] && insmod "$module"
done
mount -t ext4 -o noatime /dev/vda /root || reboot -f
cd /root
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lab lab efuse
cp /start.sh run/lab/start
mount -o move /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
mkdir -p dev/pts dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t bpf bpf sys/fs/bpf
mount -t tracefs tracefs sys/kernel/tracing
mount -t debugfs debugfs sys/kernel/debug
mount -t cgroup2 cgroup2 sys/fs/cgroup
ln -s /proc/self/fd dev/fd
hostname guest
ifconfig lo 127.0.0.1 up
mount -t ext4 -o ro,noatime dev/vdb lab
tar -xf dev/vdc
ln -s /lab/node_modules efuse/node_modules
ln -s /lab/bin/node usr/local/bin/node
chmod 666 dev/fuse
exec switch_root /root /run/lab/start
