// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rings of a connection (io_uring queues): how many there are, which one takes a request, and how many requests
 * may be under way in the background.
 *
 * A request takes no lock here. How many queues there are may change at any time; who chooses sees that the one chosen
 * exists, which then stays until the connection's end.
 */
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/percpu.h>
#include "dev.h"
#include "fuse_dev_i.h"
#include "dev_uring_i.h"
#include "efuse_i.h"

/* See dev.c: the connection has ended. */
#define EFUSE_BACKGROUND_ENDED UINT_MAX

/* How many numbers each CPU has given to requests, of whichever connection. */
static DEFINE_PER_CPU(u64, efuse_numbers);

/* A request's number: a counter for all would be a lock, or at least a cache line, that all CPUs write. */
u64 efuse_unique(void)
{
	unsigned int cpu = get_cpu();
	u64 number = __this_cpu_inc_return(efuse_numbers) * nr_cpu_ids + cpu;

	put_cpu();
	return number * FUSE_REQ_ID_STEP;
}

#ifdef CONFIG_FUSE_IO_URING
/*
 * The queue of a CPU: its own where there are enough, or CPUs with numbers next to each other share one: these are
 * mostly of the same node.
 */
static unsigned int efuse_home(unsigned int cpu, unsigned int nr)
{
	unsigned int online = num_online_cpus();

	if (likely(nr >= online && cpu < nr))
		return cpu;
	return cpu < online ? (u64)cpu * nr / online : cpu % nr;
}

/**
 * efuse_select_queue - the queue for a request
 * @req: request
 * @ring: of its connection, which is ready
 * @cpu: of its caller
 *
 * Requests that no program sees the end of are not shown to select_queue either.
 *
 * Returns: what the program says, or else the CPU's own.
 */
unsigned int efuse_select_queue(struct fuse_req *req, struct fuse_ring *ring, unsigned int cpu)
{
	unsigned int nr = READ_ONCE(ring->efuse_queues);
	unsigned int home = efuse_home(cpu, nr);
	struct fuse_conn *fc = req->chan->conn;
	struct efuse_call call __uninitialized;
	int ret;

	if (efuse_hooked(fc) && req->args->efuse.flags & EFUSE_ARGS_WATCHED) {
		efuse_call_init(&call, fc, NULL, req->args, test_bit(FR_BACKGROUND, &req->flags));
		call.ctx.size = fuse_len_args(req->args->in_numargs, (struct fuse_arg *)req->args->in_args);
		call.ctx.cpu = cpu;
		call.ctx.queue = home;
		call.ctx.nr_queues = nr;
		/* no program: 0, which is no queue but nothing chosen */
		ret = efuse_run(&call, EFUSE_SELECT_QUEUE);
		if (ret > 0 && ret <= nr && READ_ONCE(ring->queues[ret - 1]))
			return ret - 1;
	}
	/* there may be more to come: number 0 was there when the rings became ready */
	return READ_ONCE(ring->queues[home]) ? home : 0;
}

/* EFUSE_IOC_QUEUES */
int efuse_set_queues(struct fuse_conn *fc, unsigned long nr)
{
	/* Pairs with smp_store_release() in fuse_uring_create() */
	struct fuse_ring *ring = smp_load_acquire(&fc->chan->ring);

	if (!ring)
		return -EOPNOTSUPP;
	if (!nr || nr > ring->nr_queues)
		return -EINVAL;
	WRITE_ONCE(ring->efuse_queues, nr);
	return 0;
}
#else
int efuse_set_queues(struct fuse_conn *fc, unsigned long nr)
{
	return -EOPNOTSUPP;
}
#endif

/* EFUSE_IOC_BACKGROUND */
int efuse_set_background(struct fuse_conn *fc, unsigned long max)
{
	struct fuse_chan *fch = fc->chan;
	int err = 0;

	if (!max || max > U16_MAX)
		return -EINVAL;
	if (max > max_user_bgreq && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	spin_lock(&fch->bg_lock);
	if (fch->max_background == EFUSE_BACKGROUND_ENDED) {
		err = -ENOTCONN;
	} else {
		fch->max_background = max;
		fch->blocked = fch->num_background >= max;
		if (!fch->blocked)
			wake_up_nr(&fch->blocked_waitq, max - fch->num_background);
	}
	spin_unlock(&fch->bg_lock);
	if (!err)
		WRITE_ONCE(fc->congestion_threshold, max_t(unsigned int, 1, max * 3 / 4));
	return err;
}
