// SPDX-License-Identifier: GPL-2.0-only
/*
 * struct efuse_ops for the BPF subsystem: what programs it takes, and attaching them as links.
 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/module.h>
#include "efuse_i.h"

static int efuse_init(struct btf *btf)
{
	return 0;
}

/* Programs read their argument, a struct efuse_ctx, and nothing writes to it: there is no btf_struct_access. */
static bool efuse_is_valid_access(int off, int size, enum bpf_access_type type, const struct bpf_prog *prog,
				  struct bpf_insn_access_aux *info)
{
	return bpf_tracing_btf_ctx_access(off, size, type, prog, info);
}

/* No tail calls: all hooks look the same to them, and a program would do what only another hook may. */
static const struct bpf_func_proto *efuse_get_func_proto(enum bpf_func_id id, const struct bpf_prog *prog)
{
	return id == BPF_FUNC_tail_call ? NULL : bpf_base_func_proto(id, prog);
}

static const struct bpf_verifier_ops efuse_verifier_ops = {
	.get_func_proto		= efuse_get_func_proto,
	.is_valid_access	= efuse_is_valid_access,
};

/* Only reads and writes come always in a context that may sleep. */
static int efuse_check_member(const struct btf_type *t, const struct btf_member *member, const struct bpf_prog *prog)
{
	switch (__btf_member_bit_offset(t, member) / 8) {
	case offsetof(struct efuse_ops, read):
	case offsetof(struct efuse_ops, write):
		return 0;
	default:
		return prog->sleepable ? -EINVAL : 0;
	}
}

static int efuse_init_member(const struct btf_type *t, const struct btf_member *member, void *kdata,
			     const void *udata)
{
	const struct efuse_ops *from = udata;
	struct efuse_ops *to = kdata;

	switch (__btf_member_bit_offset(t, member) / 8) {
	case offsetof(struct efuse_ops, token):
		to->token = from->token;
		return 1;
	case offsetof(struct efuse_ops, name):
		if (bpf_obj_name_cpy(to->name, from->name, sizeof(to->name)) <= 0)
			return -EINVAL;
		return 1;
	default:
		return 0;
	}
}

/* A link's owner is who detaches: without one, nobody would when a loader dies. */
static int efuse_reg(void *kdata, struct bpf_link *link)
{
	return link ? efuse_attach(kdata, link) : -EOPNOTSUPP;
}

static void efuse_unreg(void *kdata, struct bpf_link *link)
{
	efuse_detach(link);
}

static int efuse_update(void *kdata, void *old_kdata, struct bpf_link *link)
{
	return efuse_replace(kdata, link);
}

/* Never called: their types tell the verifier what the hooks are given. */
static int efuse_stub(struct efuse_ctx *ctx)
{
	return EFUSE_PASS;
}

static struct efuse_ops efuse_cfi_stubs = {
	.lookup		= efuse_stub,
	.getattr	= efuse_stub,
	.access		= efuse_stub,
	.getxattr	= efuse_stub,
	.readlink	= efuse_stub,
	.open		= efuse_stub,
	.flush		= efuse_stub,
	.release	= efuse_stub,
	.opendir	= efuse_stub,
	.readdir	= efuse_stub,
	.releasedir	= efuse_stub,
	.statfs		= efuse_stub,
	.read		= efuse_stub,
	.write		= efuse_stub,
	.begin		= efuse_stub,
	.reply		= efuse_stub,
	.select_queue	= efuse_stub,
	.stands		= efuse_stub,
};

static struct bpf_struct_ops bpf_efuse_ops = {
	.verifier_ops	= &efuse_verifier_ops,
	.init		= efuse_init,
	.check_member	= efuse_check_member,
	.init_member	= efuse_init_member,
	.reg		= efuse_reg,
	.unreg		= efuse_unreg,
	.update		= efuse_update,
	.cfi_stubs	= &efuse_cfi_stubs,
	.name		= "efuse_ops",
	.owner		= THIS_MODULE,
};

/* Nothing of this is ever unregistered: it goes with the module's type information. */
int efuse_bpf_init(void)
{
	return efuse_kfuncs_init(&bpf_efuse_ops) ?: register_bpf_struct_ops(&bpf_efuse_ops, efuse_ops);
}
