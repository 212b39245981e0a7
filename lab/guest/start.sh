#!/usr/bin/busybox sh
# SPDX-License-Identifier: MIT
# The guest's first process on its root disk: runs the job, reports, powers off.
#
# Disks: vda the root, vdb Node and node_modules, vdc a tar archive with the job, whose /run/lab/job is run.
# Ports to the host (virtio-serial, by name): output and errors of the job; files, a tar archive of what
# /run/lab/collect lists; status, the lines "start" and, once the job has ended, "exit N".
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb
ulimit -n 65536
cd /efuse || exit

if [ -e /run/lab/shell ]; then
	export TERM=vt100
	echo "The job's files are in /efuse and /run/lab. Leave with exit, or end QEMU with Ctrl-A x."
	setsid -c bash -i </dev/ttyS0 >/dev/ttyS0 2>&1
	exec busybox poweroff -f
fi

for device in /sys/class/virtio-ports/*; do
	read -r name <"$device/name"
	eval "$name=/dev/${device##*/}"
done
echo start >"$status"
/run/lab/job </dev/null >"$output" 2>"$errors"
ended=$?
if [ -s /run/lab/collect ]; then
	/usr/bin/tar -cf "$files" --ignore-failed-read -C / -T /run/lab/collect
fi
if [ -e /sys/kernel/debug/kmemleak ]; then
	# What is not found twice is no leak, only on its way (Documentation/dev-tools/kmemleak.rst).
	for round in 1 2; do
		echo scan >/sys/kernel/debug/kmemleak
		sleep 5
	done
	cat /sys/kernel/debug/kmemleak >/dev/ttyS0
fi
echo "exit $ended" >"$status"
exec busybox poweroff -f
