#!/bin/bash
# SPDX-License-Identifier: MIT
# run-tests.sh COMMAND...: in a guest, loads efuse.ko, runs the commands one after another, unloads it. Command N's output
# goes to /tmp/results/N.tap and its exit status to N.status. Fails if anything does.
results=/tmp/results
mkdir -p "$results"
insmod "/lib/modules/$(uname -r)/updates/efuse.ko" || exit 1
# The guest's own disk has noatime, which ordinary ones have not, and tests ask for times of access.
mount -o remount,relatime / || exit 1
failed=0
number=0
for command in "$@"; do
	started=$SECONDS
	bash -c "$command" 2>&1 | tee "$results/$number.tap"
	status=${PIPESTATUS[0]}
	echo "$status" >"$results/$number.status"
	echo "$((SECONDS - started)) s, status $status: $command"
	[ "$status" = 0 ] || failed=1
	number=$((number + 1))
done
# Programs are freed some time after they were detached, and hold the module until then.
for _ in {1..100}; do
	[ "$(cat /sys/module/efuse/refcnt)" = 0 ] && break
	sleep 0.1
done
if ! rmmod efuse; then
	grep efuse /proc/mounts
	failed=1
fi
# What the kernel said of it, which is no complaint: of copies that failed, for instance.
[ $failed = 0 ] || dmesg | grep -v smpboot | tail -n 30
exit $failed
