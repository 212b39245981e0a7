#!/bin/bash
# SPDX-License-Identifier: MIT
# The guest's first process on its root disk: prepares a plain system, runs the job, reports, powers off.
#
# Disks: vda the root, vdb Node and node_modules, vdc a tar archive with the job, whose /run/lab/job is run.
# Ports to the host (virtio-serial, by name): output and errors of the job; files, a tar archive of what
# /run/lab/collect lists; status, the lines "start" and, once the job has ended, "exit N".
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
hostname guest
ip link set lo up
mkdir -p /lab /efuse
mount -o ro,noatime /dev/vdb /lab
tar -xf /dev/vdc -C /
ln -s /lab/node_modules /efuse/node_modules
ln -sf /lab/bin/node /usr/local/bin/node
chmod 666 /dev/fuse
ulimit -n 65536
cd /efuse || exit

if [ -e /run/lab/shell ]; then
	export TERM=vt100
	echo "the job's files are in /efuse and /run/lab; leave with exit, or end QEMU with Ctrl-A x"
	setsid -c bash -i </dev/ttyS0 >/dev/ttyS0 2>&1
	exec busybox poweroff -f
fi

declare -A port
for name in /sys/class/virtio-ports/*/name; do
	port[$(<"$name")]=/dev/$(basename "$(dirname "$name")")
done
echo start >"${port[status]}"
/run/lab/job </dev/null >"${port[output]}" 2>"${port[errors]}"
status=$?
if [ -s /run/lab/collect ]; then
	tar -cf "${port[files]}" --ignore-failed-read -C / -T /run/lab/collect
fi
echo "exit $status" >"${port[status]}"
exec busybox poweroff -f
