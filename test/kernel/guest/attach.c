// SPDX-License-Identifier: MIT
/*
 * Attaches programs to every efuse mount of the machine as soon as it is there: `attach always`, or for as many
 * milliseconds at a time as it is told: `attach 10`. `attach 10 4` does so by four processes, each of which has a part of the
 * hooks: where a detachment takes 40 ms, as in emulation, there still is one every 10. For attached.ts, which has loaded the
 * programs: descriptor 3 is their struct_ops map, from 4 on come the programs, in the order of struct efuse_ops.
 *
 * A connection wants a token of its own in the struct_ops, which can't be changed once it is made. So each attachment
 * is a new map of the same programs: that takes a millisecond, where loading takes hundreds.
 *
 * Ends when stdin does, and says how many connections and attachments there were, and for how many milliseconds.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../../../kernel/src/efuse_uapi.h"

#define HOOKS 18
#define SHAPE 3
#define PROGRAMS 4
#define SCAN_MS 2000

/* struct bpf_struct_ops_efuse_ops: a common part, then from the next cache line on struct efuse_ops. */
union value {
	struct {
		char common[64];
		__u64 programs[HOOKS];
		__u64 token;
		char name[EFUSE_NAME_LEN];
	};
	char size[256];
};

struct connection {
	int control;
	int link; /* -1: detached */
};

static struct connection connections[256];
static int count;
static struct bpf_map_info shape;
static int object_types, module_types;
static long found, attachments;
/* This process's part of the hooks: those whose number has this remainder. */
static int parts = 1, part;

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int types_of(__u32 id)
{
	union bpf_attr attr = {.btf_id = id};
	int fd = bpf(BPF_BTF_GET_FD_BY_ID, &attr);

	if (fd < 0)
		fail("attach: types");
	return fd;
}

/* Those of our hooks that nobody has. */
static int free_hooks(int fd, bool is_free[HOOKS])
{
	struct efuse_info info;
	int n = 0;

	if (ioctl(fd, EFUSE_IOC_INFO, &info))
		return -1;
	if (info.nr_hooks != HOOKS) {
		fprintf(stderr, "attach: the module has %u hooks, the programs are for %d\n", info.nr_hooks, HOOKS);
		exit(1);
	}
	for (int i = 0; i < HOOKS; i++)
		n += is_free[i] = i % parts == part && !info.holders[i][0];
	return n;
}

/* A link with programs in those hooks, or -1. */
static int attach(int control, const bool is_free[HOOKS])
{
	union value value = {.name = "always_pass"};
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_STRUCT_OPS,
		.key_size = shape.key_size,
		.value_size = shape.value_size,
		.max_entries = 1,
		.map_flags = shape.map_flags,
		.btf_fd = object_types,
		.btf_vmlinux_value_type_id = shape.btf_vmlinux_value_type_id,
		.value_type_btf_obj_fd = module_types,
	};
	__u32 zero = 0;
	int map, link, error;

	if (ioctl(control, EFUSE_IOC_TOKEN, &value.token))
		return -1;
	for (int i = 0; i < HOOKS; i++)
		value.programs[i] = is_free[i] ? PROGRAMS + i : 0;
	map = bpf(BPF_MAP_CREATE, &attr);
	if (map < 0)
		fail("attach: make a struct_ops map");
	attr = (union bpf_attr){.map_fd = map, .key = (__u64)&zero, .value = (__u64)&value};
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
		fail("attach: fill a struct_ops map");
	attr = (union bpf_attr){.link_create = {.map_fd = map, .attach_type = BPF_STRUCT_OPS}};
	link = bpf(BPF_LINK_CREATE, &attr);
	error = errno;
	close(map);
	/* The connection may end at any time, and somebody else may have been faster. */
	errno = error;
	if (link < 0 && error != ENOTCONN && error != EACCES && error != EBUSY)
		fail("attach: link");
	return link;
}

/* Attaches to it; whatever stands against that, it is not known any more, unless it is found again. */
static void on(int index)
{
	struct connection *connection = &connections[index];
	bool is_free[HOOKS];

	if (free_hooks(connection->control, is_free) > 0)
		connection->link = attach(connection->control, is_free);
	if (connection->link >= 0) {
		attachments++;
		return;
	}
	close(connection->control);
	*connection = connections[--count];
}

static void off(struct connection *connection)
{
	close(connection->link);
	connection->link = -1;
}

/* A descriptor of the device: it is of a new connection when hooks are free, as those known have their programs now. */
static void consider(int pid, int number)
{
	int process = syscall(SYS_pidfd_open, pid, 0);
	int device = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, number, 0);
	bool is_free[HOOKS];

	/* A device that is not mounted yet refuses. */
	if (device >= 0 && count < (int)(sizeof(connections) / sizeof(*connections)) && free_hooks(device, is_free) > 0) {
		int control = ioctl(device, EFUSE_IOC_CONTROL);
		int before = count;

		/* Not kept open for longer: the server's end must end the connection. */
		close(device);
		device = -1;
		if (control >= 0) {
			connections[count] = (struct connection){.control = control, .link = -1};
			on(count++);
			found += before < count;
		}
	}
	if (device >= 0)
		close(device);
	if (process >= 0)
		close(process);
}

static void scan_process(int pid)
{
	char path[64], target[16];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	folder = opendir(path);
	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target));

		if (length == (ssize_t)strlen("/dev/efuse") && !memcmp(target, "/dev/efuse", length))
			consider(pid, atoi(entry->d_name));
	}
	closedir(folder);
}

static void scan(void)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;

	for (int i = count - 1; i >= 0; i--)
		if (connections[i].link < 0)
			on(i);
	while ((entry = readdir(folder)))
		if (isdigit(entry->d_name[0]) && atoi(entry->d_name) != getpid())
			scan_process(atoi(entry->d_name));
	closedir(folder);
	/* Of those that have ended only the programs are left. */
	for (int i = count - 1; i >= 0; i--) {
		struct efuse_info info;

		if (!ioctl(connections[i].control, EFUSE_IOC_INFO, &info))
			continue;
		off(&connections[i]);
		close(connections[i].control);
		connections[i] = connections[--count];
	}
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Becomes several processes. Returns: in the first, where the others say how often they have attached; else -1 */
static int divide(int processes)
{
	int ends[2];

	if (pipe(ends))
		fail("attach: pipe");
	for (part = processes - 1; part > 0; part--) {
		int pid = fork();

		if (pid < 0)
			fail("attach: fork");
		if (!pid) {
			dup2(ends[1], STDOUT_FILENO);
			close(ends[0]);
			ends[0] = -1;
			break;
		}
	}
	close(ends[1]);
	parts = processes;
	return ends[0];
}

int main(int argc, char **argv)
{
	int period = argc >= 2 && strcmp(argv[1], "always") ? atoi(argv[1]) : 0;
	int others = divide(argc >= 3 ? atoi(argv[2]) : 1);
	/* The kernel tells whoever polls this that something was mounted or unmounted. */
	struct pollfd events[] = {{.fd = 0, .events = POLLIN}, {.events = POLLPRI}};
	union bpf_attr attr = {
		.info = {.bpf_fd = SHAPE, .info_len = sizeof(shape), .info = (__u64)&shape},
	};
	int status;
	long scanned = 0, began = now_ms(), more;

	if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr))
		fail("attach: what the struct_ops map is");
	if (shape.value_size != sizeof(union value)) {
		fprintf(stderr, "attach: struct efuse_ops has changed: %u bytes\n", shape.value_size);
		return 1;
	}
	object_types = types_of(shape.btf_id);
	module_types = types_of(shape.btf_vmlinux_id);
	events[1].fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (events[1].fd < 0)
		fail("/proc/self/mountinfo");

	for (bool attached = false;;) {
		bool mounted = poll(events, 2, period ?: SCAN_MS) > 0 && events[1].revents;

		if (events[0].revents)
			break;
		if (mounted || now_ms() - scanned >= SCAN_MS) {
			scan();
			attached = true;
			scanned = now_ms();
		} else if (period && attached) {
			for (int i = 0; i < count; i++)
				off(&connections[i]);
			attached = false;
		} else if (period) {
			for (int i = count - 1; i >= 0; i--)
				on(i);
			attached = true;
		}
	}
	if (others < 0) {
		dprintf(STDOUT_FILENO, "%20ld", attachments);
		return 0;
	}
	for (char text[21] = ""; read(others, text, 20) == 20; attachments += more)
		more = atol(text);
	while (wait(&status) > 0)
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			return 1;
	printf("%ld %ld %ld\n", found, attachments, now_ms() - began);
	return 0;
}
