// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/khoctl-link: frames to and from the other kernel.  The rings lie in memory that the peer
 * writes: its counters and each frame's length are read once and checked, ours are not read from there; a peer that breaks the
 * rules ends the link (-EPROTO) and can do no more.
 */
#include "kho.h"

#include <linux/capability.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

struct kho_link {
	struct kho_region *r;		/* NULL: not attached */
	u32 seq;
};

void kho_link_init(struct kho_region *r)
{
	init_waitqueue_head(&r->wait);
	mutex_init(&r->tx_lock);
	mutex_init(&r->rx_lock);
	mutex_init(&r->ping_lock);
	init_completion(&r->pong_seen);
	INIT_WORK(&r->poll_work, kho_ping_poll_work);
}

/* The region the file was attached to is still there (kho_life is held for reading). */
static bool same(const struct kho_link *l)
{
	return kho_live(l->r) && l->r->seq == l->seq;
}

static int attach(struct kho_link *l, u32 peer)
{
	struct kho_region *r;
	int ret = 0;

	if (l->r)
		return -EBUSY;
	down_read(&kho_life);
	r = kho_region_of(peer);
	if (!r) {
		ret = kho_check_peer(peer) ?: -ENODEV;
	} else {
		mutex_lock(&r->tx_lock);
		if (r->attached)
			ret = -EBUSY;
		r->attached = true;
		WRITE_ONCE(kho_self(r)->link_open, 1);
		mutex_unlock(&r->tx_lock);
	}
	if (!ret) {
		l->seq = r->seq;
		smp_store_release(&l->r, r);
	}
	up_read(&kho_life);
	return ret;
}

/* Bytes the peer has sent and we have not read; -EPROTO for a counter that cannot be. */
static long pending(const struct kho_region *r)
{
	return kho_check_ring(smp_load_acquire(&r->rx->head), r->rx_tail);
}

static long room(const struct kho_region *r)
{
	long n = kho_check_ring(r->tx_head, smp_load_acquire(&r->tx->tail));

	return n < 0 ? n : (long)KHO_RING_DATA - n;
}

static unsigned long copy_in(struct kho_ring *k, u64 pos, const char __user *u, size_t n)
{
	size_t off = pos % KHO_RING_DATA, first = min_t(size_t, n, KHO_RING_DATA - off);

	return copy_from_user(k->data + off, u, first) ||
	       copy_from_user(k->data, u + first, n - first);
}

static unsigned long copy_out(struct kho_ring *k, u64 pos, char __user *u, size_t n)
{
	size_t off = pos % KHO_RING_DATA, first = min_t(size_t, n, KHO_RING_DATA - off);

	return copy_to_user(u, k->data + off, first) ||
	       copy_to_user(u + first, k->data, n - first);
}

static ssize_t send(struct kho_region *r, const char __user *u, size_t len)
{
	struct kho_ring *k = r->tx;
	long free = room(r);

	if (free < 0)
		r->broken = true;
	if (r->broken)
		return -EPROTO;
	if (kho_state_terminal(READ_ONCE(kho_peer(r)->state)))
		return -EPIPE;
	if (free < KHO_FRAME_BYTES(len))
		return -EAGAIN;
	/* frames are 8-aligned: the length never wraps */
	*(u32 *)(k->data + r->tx_head % KHO_RING_DATA) = len;
	if (copy_in(k, r->tx_head + sizeof(u32), u, len))
		return -EFAULT;
	r->tx_head += KHO_FRAME_BYTES(len);
	smp_store_release(&k->head, r->tx_head);
	kho_doorbell_ring(r);
	return len;
}

static ssize_t link_write(struct file *f, const char __user *u, size_t len, loff_t *pos)
{
	struct kho_link *l = f->private_data;
	struct kho_region *r = smp_load_acquire(&l->r);
	ssize_t ret;

	if (!r)
		return -ENOTCONN;
	if (!len || len > KHO_FRAME_MAX)
		return -EMSGSIZE;
	down_read(&kho_life);
	mutex_lock(&r->tx_lock);
	ret = same(l) ? send(r, u, len) : -EPIPE;
	mutex_unlock(&r->tx_lock);
	up_read(&kho_life);
	return ret;
}

/* One frame, or 0 when there is none. */
static ssize_t receive(struct kho_region *r, char __user *u, size_t len)
{
	struct kho_ring *k = r->rx;
	long have = pending(r);
	bool was_full;
	u32 n;

	if (have < 0)
		r->broken = true;
	if (r->broken)
		return -EPROTO;
	if (!have)
		return 0;
	n = READ_ONCE(*(u32 *)(k->data + r->rx_tail % KHO_RING_DATA));
	if (!kho_check_frame(n, have)) {
		r->broken = true;
		return -EPROTO;
	}
	if (n > len)
		return -EMSGSIZE;
	if (copy_out(k, r->rx_tail + sizeof(u32), u, n))
		return -EFAULT;
	was_full = KHO_RING_DATA - have < KHO_FRAME_BYTES(KHO_FRAME_MAX);
	r->rx_tail += KHO_FRAME_BYTES(n);
	smp_store_release(&k->tail, r->rx_tail);
	if (was_full)
		kho_doorbell_ring(r);	/* the sender may wait for room */
	return n;
}

/* One that hangs after the commit says nothing any more: whoever reads here would wait for ever. */
static bool peer_gone(const struct kho_region *r)
{
	return kho_state_terminal(READ_ONCE(kho_peer(r)->state)) || kho_peer_gone(r);
}

static bool readable(const struct kho_link *l)
{
	return !same(l) || READ_ONCE(l->r->broken) || pending(l->r) || peer_gone(l->r);
}

static ssize_t link_read(struct file *f, char __user *u, size_t len, loff_t *pos)
{
	struct kho_link *l = f->private_data;
	struct kho_region *r = smp_load_acquire(&l->r);
	ssize_t ret;
	bool gone;

	if (!r)
		return -ENOTCONN;
	for (;;) {
		down_read(&kho_life);
		gone = !same(l);
		mutex_lock(&r->rx_lock);
		ret = 0;
		if (!gone) {
			gone = peer_gone(r);	/* first: nothing comes after it */
			ret = receive(r, u, len);
		}
		mutex_unlock(&r->rx_lock);
		up_read(&kho_life);
		if (ret || gone)
			return ret;
		if (f->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible(r->wait, readable(l));
		if (ret)
			return ret;
	}
}

static __poll_t link_poll(struct file *f, poll_table *w)
{
	struct kho_link *l = f->private_data;
	struct kho_region *r = smp_load_acquire(&l->r);
	__poll_t ret = 0;

	if (!r)
		return EPOLLERR;
	poll_wait(f, &r->wait, w);
	down_read(&kho_life);
	if (!same(l) || r->broken)
		ret = EPOLLERR | EPOLLHUP | EPOLLIN;
	else {
		if (pending(r))
			ret |= EPOLLIN | EPOLLRDNORM;
		if (peer_gone(r))
			ret |= EPOLLHUP | EPOLLIN;
		else if (room(r) >= (long)KHO_FRAME_BYTES(KHO_FRAME_MAX))
			ret |= EPOLLOUT | EPOLLWRNORM;
	}
	up_read(&kho_life);
	return ret;
}

static long link_ping(struct kho_link *l, void __user *u)
{
	struct kho_ioc_ping p = { };
	u32 size;
	int ret;

	if (!l->r)
		return -ENOTCONN;
	if (get_user(size, (u32 __user *)u))
		return -EFAULT;
	if (size < sizeof(p))
		return -EINVAL;
	ret = copy_struct_from_user(&p, sizeof(p), u, size);
	if (ret)
		return ret;
	if (kho_check_ping(&p))
		return -EINVAL;
	down_read(&kho_life);
	ret = same(l) ? kho_ping_run(l->r, &p) : -EPIPE;
	up_read(&kho_life);
	if (!ret && copy_to_user(u, &p, sizeof(p)))
		ret = -EFAULT;
	return ret;
}

static long link_ioctl(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct kho_link *l = f->private_data;
	void __user *u = (void __user *)arg;
	struct kho_ioc_u32 a;
	u32 size;
	int ret;

	if (!capable(CAP_SYS_BOOT) || !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (_IOC_TYPE(cmd) != 'k')
		return -ENOTTY;
	if (_IOC_NR(cmd) == _IOC_NR(KHO_IOC_PING))
		return link_ping(l, u);
	if (_IOC_NR(cmd) != _IOC_NR(KHO_LINK_ATTACH))
		return -ENOTTY;
	if (get_user(size, (u32 __user *)u))
		return -EFAULT;
	if (size < sizeof(a))
		return -EINVAL;
	ret = copy_struct_from_user(&a, sizeof(a), u, size);
	return ret ?: attach(l, a.value);
}

static int link_open(struct inode *i, struct file *f)
{
	if (!capable(CAP_SYS_BOOT) || !capable(CAP_SYS_ADMIN))
		return -EPERM;
	f->private_data = kzalloc(sizeof(struct kho_link), GFP_KERNEL_ACCOUNT);
	return f->private_data ? nonseekable_open(i, f) : -ENOMEM;
}

static int link_release(struct inode *i, struct file *f)
{
	struct kho_link *l = f->private_data;

	if (l->r) {
		down_read(&kho_life);
		mutex_lock(&l->r->tx_lock);
		if (l->r->seq == l->seq)
			l->r->attached = false;
		if (same(l))
			WRITE_ONCE(kho_self(l->r)->link_open, 0);
		mutex_unlock(&l->r->tx_lock);
		up_read(&kho_life);
	}
	kfree(l);
	return 0;
}

const struct file_operations kho_link_fops = {
	.owner = THIS_MODULE,
	.open = link_open,
	.release = link_release,
	.read = link_read,
	.write = link_write,
	.poll = link_poll,
	.unlocked_ioctl = link_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
