// SPDX-License-Identifier: GPL-2.0-only
/*
 * The incoming kernel's messages: a console there writes them into a ring of its region, and
 * /dev/khoctl-console of the outgoing kernel reads them, also after that kernel died.
 */
#include "kho.h"

#include <linux/capability.h>
#include <linux/console.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define RING	sizeof_field(struct kho_console_ring, data)

static void console_put(struct console *c, const char *s, unsigned int n)
{
	struct kho_console_ring *k = kho_up.console;
	u64 head = k->head;
	size_t off, part;

	while (n) {
		off = head % RING;
		part = min_t(size_t, n, RING - off);
		memcpy(k->data + off, s, part);
		head += part;
		s += part;
		n -= part;
	}
	smp_store_release(&k->head, head);
}

static struct console con = {
	.name = "khoctl",
	.write = console_put,
	.flags = CON_PRINTBUFFER | CON_ENABLED | CON_ANYTIME,
	.index = -1,
};

/* The last part of init: never unregistered, as a kernel with an outgoing side keeps the module once that has not failed. */
int kho_console_setup(void)
{
	if (kho_live(&kho_up))
		register_console(&con);
	return 0;
}

struct kho_reader {
	struct mutex lock;
	u32 seq;
	u64 pos;
};

static int reader_open(struct inode *i, struct file *f)
{
	struct kho_reader *c;
	int ret = 0;

	if (!capable(CAP_SYS_BOOT) || !capable(CAP_SYS_ADMIN))
		return -EPERM;
	c = kzalloc(sizeof(*c), GFP_KERNEL_ACCOUNT);
	if (!c)
		return -ENOMEM;
	mutex_init(&c->lock);
	down_read(&kho_life);
	if (!kho_live(&kho_down))
		ret = -ENODEV;
	c->seq = kho_down.seq;
	up_read(&kho_life);
	if (ret) {
		kfree(c);
		return ret;
	}
	f->private_data = c;
	return nonseekable_open(i, f);
}

static int reader_release(struct inode *i, struct file *f)
{
	kfree(f->private_data);
	return 0;
}

static bool same(const struct kho_reader *c)
{
	return kho_live(&kho_down) && kho_down.seq == c->seq;
}

static bool over(void)
{
	return kho_state_terminal(READ_ONCE(kho_peer(&kho_down)->state));
}

/* The ring may be written, over what is being read too: text, and nothing else depends on it. */
static ssize_t copy(struct kho_reader *c, char __user *u, size_t len)
{
	struct kho_console_ring *k = kho_down.console;
	u64 head = smp_load_acquire(&k->head);
	size_t n, off, first;

	if (head - c->pos > RING)
		c->pos = head - RING;		/* overrun, or a counter that makes no sense */
	n = min_t(u64, len, head - c->pos);
	if (!n)
		return 0;
	off = c->pos % RING;
	first = min_t(size_t, n, RING - off);
	if (copy_to_user(u, k->data + off, first) || copy_to_user(u + first, k->data, n - first))
		return -EFAULT;
	c->pos += n;
	return n;
}

static bool readable(struct kho_reader *c)
{
	return !same(c) || READ_ONCE(kho_down.console->head) != READ_ONCE(c->pos) || over();
}

static ssize_t reader_read(struct file *f, char __user *u, size_t len, loff_t *pos)
{
	struct kho_reader *c = f->private_data;
	ssize_t ret;
	bool end;

	if (!len)
		return 0;
	for (;;) {
		ret = 0;
		down_read(&kho_life);
		mutex_lock(&c->lock);
		end = !same(c) || over();
		if (same(c))
			ret = copy(c, u, len);
		mutex_unlock(&c->lock);
		up_read(&kho_life);
		if (ret || end)
			return ret;
		if (f->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible(kho_down.wait, readable(c));
		if (ret)
			return ret;
	}
}

static __poll_t reader_poll(struct file *f, poll_table *w)
{
	struct kho_reader *c = f->private_data;
	__poll_t ret = 0;

	poll_wait(f, &kho_down.wait, w);
	down_read(&kho_life);
	if (!same(c) || over())
		ret = EPOLLIN | EPOLLHUP;
	else if (readable(c))
		ret = EPOLLIN | EPOLLRDNORM;
	up_read(&kho_life);
	return ret;
}

const struct file_operations kho_console_fops = {
	.owner = THIS_MODULE,
	.open = reader_open,
	.release = reader_release,
	.read = reader_read,
	.poll = reader_poll,
};
