// SPDX-License-Identifier: GPL-2.0-only
/*
 * For test/bpf: a map of every type that eFuse may use, and a program that is run by hand (BPF_PROG_TEST_RUN) to
 * touch each of them from the kernel's side.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct key {
	__u32 mount;
	__u16 operation;
	__u16 cpu;
};

struct value {
	__u64 count;
	__s64 balance;
	__u32 histogram[4];
	char name[8];
	union {
		__u32 number;
		__u8 bytes[4];
	};
	_Bool set;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1000);
	__type(key, struct key);
	__type(value, struct value);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} percpu_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct value);
} percpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} lru_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} lru_percpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, 8);
	__type(value, __u32);
} lpm_trie SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__type(value, __u32);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 4);
	__type(value, __u32);
} stack SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 64);
	__type(value, __u32);
} bloom_filter SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {.values = {[1] = &inner}};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u64);
	__array(values, struct inner);
} outer_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} tails SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} task_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} inode_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

/* What the program is run with, in 8 bytes each, and what it sends. */
struct request {
	__u32 number;
	__u32 records;
	struct key key;
};

SEC("socket")
int tail(struct __sk_buff *packet)
{
	return 77;
}

SEC("socket")
int jump(struct __sk_buff *packet)
{
	bpf_tail_call(packet, &tails, 2);
	return 1;
}


SEC("raw_tp/sys_enter")
int touch(struct bpf_raw_tracepoint_args *ctx)
{
	struct request request = {.number = ctx->args[0], .records = ctx->args[1]};
	__u32 zero = 0, one = 1, number = request.number;
	__u64 wide = number, argument = ctx->args[2];
	struct key key;
	struct value *value, fresh = {};
	__u64 *count;
	__u32 *small;
	void *map;
	int touched = 0;

	__builtin_memcpy(&key, &argument, sizeof(key));
	request.key = key;
	value = bpf_map_lookup_elem(&hash, &key);
	if (value) {
		value->count += number;
		value->balance -= number;
		value->histogram[3]++;
		touched |= 1 << 0;
	}
	count = bpf_map_lookup_elem(&array, &one);
	if (count) {
		*count += number;
		touched |= 1 << 1;
	}
	small = bpf_map_lookup_elem(&percpu_array, &one);
	if (small) {
		*small += number;
		touched |= 1 << 2;
	}
	fresh.count = number;
	if (!bpf_map_update_elem(&percpu_hash, &wide, &fresh, BPF_ANY))
		touched |= 1 << 3;
	if (!bpf_map_update_elem(&lru_hash, &number, &number, BPF_ANY))
		touched |= 1 << 4;
	if (!bpf_map_update_elem(&lru_percpu_hash, &number, &wide, BPF_ANY))
		touched |= 1 << 5;
	if (!bpf_map_push_elem(&queue, &number, 0))
		touched |= 1 << 6;
	if (!bpf_map_push_elem(&stack, &number, 0))
		touched |= 1 << 7;
	if (!bpf_map_peek_elem(&bloom_filter, &number))
		touched |= 1 << 8;
	map = bpf_map_lookup_elem(&outer, &one);
	if (map) {
		small = bpf_map_lookup_elem(map, &zero);
		if (small) {
			*small += number;
			touched |= 1 << 9;
		}
	}
	map = bpf_map_lookup_elem(&outer_hash, &wide);
	if (map) {
		small = bpf_map_lookup_elem(map, &one);
		if (small) {
			*small += number;
			touched |= 1 << 10;
		}
	}
	for (__u32 i = 0; i < request.records && i < 1000; i++) {
		struct request *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

		if (!record)
			break;
		*record = request;
		record->records = i;
		/* Every third is thought better of. */
		if (i % 3 == 2)
			bpf_ringbuf_discard(record, 0);
		else
			bpf_ringbuf_submit(record, 0);
		touched |= 1 << 11;
	}
	return touched;
}

/* Kept for its type. */
const struct request *request_type __attribute__((unused));
