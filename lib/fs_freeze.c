// SPDX-License-Identifier: GPL-2.0-only
/* File systems that stand still.  See lib/fs_freeze.h. */
#include "lib/fs_freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "lib/cleanup.h"

/* On the stack of the thread that is in the kernel for it. */
struct under_way {
	struct under_way *next;
	dev_t dev;
	bool given_up;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t back = PTHREAD_COND_INITIALIZER;
static struct under_way *first;
static bool any_given_up, refused;

static bool begin(struct under_way *w)
{
	bool may;

	pthread_mutex_lock(&lock);
	may = !refused;
	if (may) {
		w->next = first;
		first = w;
	}
	pthread_mutex_unlock(&lock);
	return may;
}

static void end(struct under_way *w)
{
	struct under_way **p = &first;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	pthread_cond_broadcast(&back);
}

int kho_fs_freeze(int fd)
{
	_cleanup_close_ int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	struct under_way w = { 0 };
	struct stat st;
	int rc;

	if (own < 0 || fstat(own, &st) < 0)
		return -errno;
	w.dev = st.st_dev;
	if (!begin(&w))
		return -ECANCELED;
	rc = ioctl(own, FIFREEZE, 0) < 0 ? -errno : 0;
	pthread_mutex_lock(&lock);
	if (w.given_up) {
		/* it may wait, too; nobody else does for this one */
		pthread_mutex_unlock(&lock);
		if (rc == 0)
			(void)!ioctl(own, FITHAW, 0);
		rc = -ECANCELED;
		pthread_mutex_lock(&lock);
	}
	end(&w);
	pthread_mutex_unlock(&lock);
	return rc;
}

int kho_fs_thaw(int fd)
{
	bool waits = false;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	pthread_mutex_lock(&lock);
	for (struct under_way *w = first; w; w = w->next)
		if (w->dev == st.st_dev)
			waits = w->given_up = any_given_up = true;
	pthread_mutex_unlock(&lock);
	if (waits)
		return -EINPROGRESS;
	return ioctl(fd, FITHAW, 0) < 0 ? -errno : 0;
}

void kho_fs_freeze_allow(bool on)
{
	pthread_mutex_lock(&lock);
	refused = !on;
	pthread_mutex_unlock(&lock);
}

bool kho_fs_freeze_waits(void)
{
	bool any;

	pthread_mutex_lock(&lock);
	any = first;
	pthread_mutex_unlock(&lock);
	return any;
}

bool kho_fs_freeze_settle(void)
{
	bool any;

	pthread_mutex_lock(&lock);
	while (first)
		pthread_cond_wait(&back, &lock);
	any = any_given_up;
	pthread_mutex_unlock(&lock);
	return any;
}
