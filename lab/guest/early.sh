#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# The guest's first process, in the initramfs: finds the root disk and hands over to start.sh.
busybox=/bin/busybox
$busybox mkdir -p /dev /root
$busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do
	[ -e "$module" ] && $busybox insmod "$module"
done
$busybox mount -t ext4 -o noatime /dev/vda /root || exec $busybox reboot -f
$busybox mount -t tmpfs -o mode=755 tmpfs /root/run
$busybox mkdir /root/run/lab
$busybox cp /start.sh /root/run/lab/start
exec $busybox switch_root /root /run/lab/start
