/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file system that stands still (FIFREEZE, FITHAW of linux/fs.h).  To stop it the kernel waits for who is writing, and for the disk, as long as
 * that takes: the call cannot be interrupted or killed, and who thaws meanwhile either waits as long (fs/super.c holds s_umount while it writes) or is told
 * that nothing stands still.  So what is given up thaws itself when it comes back.
 */
#ifndef KHO_LIB_FS_FREEZE_H
#define KHO_LIB_FS_FREEZE_H

#include <stdbool.h>

/*
 * Stop the file system of this open file; the caller may close fd before this comes back. 0; -ECANCELED: kho_fs_thaw() was called for it meanwhile, and it is thawed,
 * or it is not allowed any more; -EBUSY: it stands still already; -EOPNOTSUPP: it cannot, or is read-only; -ENOMEM, -EMFILE.
 */
int kho_fs_freeze(int fd) __attribute__((warn_unused_result));
/*
 * Its inverse; never waits for a kho_fs_freeze() of this process. 0; -EINPROGRESS: that has not come back, and thaws it when it does (or it never stood still);
 * -EINVAL: it does not stand still; -EOPNOTSUPP.
 */
int kho_fs_thaw(int fd) __attribute__((warn_unused_result));
/*
 * Whether kho_fs_freeze() may begin with another one; it may at first. Who thaws several forbids it before: else a thread that comes back between two of
 * them stops the next one behind his back.
 */
void kho_fs_freeze_allow(bool on);
/* Is a kho_fs_freeze() under way? */
bool kho_fs_freeze_waits(void);
/*
 * Wait until each kho_fs_freeze() has come back: for a process that is done, and whose end would leave nobody who thaws. true: one had been given up; its thread
 * goes on with what it had, which must not be freed.
 */
bool kho_fs_freeze_settle(void);

#endif
