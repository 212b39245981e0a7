// SPDX-License-Identifier: GPL-2.0-only
/* For test/bpf: a program that calls a function which no kernel has. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

extern int no_such_kernel_function(int number) __ksym;

SEC("raw_tp/sys_enter")
int no_such_function(void *ctx)
{
	return no_such_kernel_function(1);
}
