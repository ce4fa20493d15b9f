// SPDX-License-Identifier: GPL-2.0-only
/*
 * The journal across an upgrade. Before it journald is asked to let go of /var, so that its files
 * there are closed as they should be; what is logged from then on lies in /run/log/journal, travels
 * when all carried processes are frozen, and is found by the new journald, which appends it to /var.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "state-serializers/units.h"

#define JOURNALD  "/run/systemd/journal/io.systemd.journal"
#define RUNTIME	  "/run/log/journal"
#define SENT_DIR  "Journal" /* no workload has a name with a capital letter */
#define FILES_MAX 16
#define BYTES_MAX (128ll << 20)

/* One answer of Varlink: JSON up to a NUL. */
static int hear(int fd, const char *method, uint64_t timeout_us, struct kho_err *err)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t end = kho_clock_us() + timeout_us;
	char buf[4096];
	size_t len = 0;

	while (len < sizeof(buf)) {
		uint64_t now = kho_clock_us();
		ssize_t n;

		if (now >= end || poll(&p, 1, (int)((end - now + 999) / 1000)) <= 0)
			return kho_fail(err, -ETIMEDOUT, "journald: %s: no answer", method);
		n = read(fd, buf + len, sizeof(buf) - len);
		if (n <= 0)
			return kho_fail(err, -EPIPE, "journald: %s: no answer", method);
		len += (size_t)n;
		if (!buf[len - 1])
			break;
	}
	if (len == sizeof(buf) || kho_json_parse(buf, len - 1, &o, NULL))
		return kho_fail(err, -EPROTO, "journald: %s: the answer is not understood", method);
	if (*kho_json_get_str(o, "error"))
		return kho_fail(err, -EIO, "journald: %s: %s", method, kho_json_get_str(o, "error"));
	return 0;
}

int kho_units_journald(const char *method, uint64_t timeout_us, struct kho_err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = JOURNALD };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char ask[128];
	int n = snprintf(ask, sizeof(ask), "{\"method\":\"io.systemd.Journal.%s\",\"parameters\":{}}", method);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return kho_fail(err, -ENOENT, "journald does not listen at %s", JOURNALD);
	if (send(fd, ask, (size_t)n + 1, MSG_NOSIGNAL) != n + 1)
		return kho_fail_errno(err, "ask journald");
	return hear(fd, method, timeout_us, err);
}

static bool is_machine_id(const char *s)
{
	return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32;
}

static int send_one(struct kho_env *env, Kho__Units *out, const char *id, const char *file, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	Kho__JournalFile *f = malloc(sizeof(*f));
	char sent_as[64];
	int rc;

	if (!f || asprintf(&path, RUNTIME "/%s/%s", id, file) < 0) {
		free(f);
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	}
	kho__journal_file__init(f);
	snprintf(sent_as, sizeof(sent_as), SENT_DIR "/%zu.journal", out->n_journal);
	rc = kho_pb_set(&f->sent_as, sent_as) || kho_pb_set(&f->directory, id) ? kho_fail(err, -ENOMEM, "journal: out of memory")
									       : env->ops->put_file(env, path, sent_as, err);
	if (!rc && kho_pb_append(&out->journal, &out->n_journal, f))
		rc = kho_fail(err, -ENOMEM, "journal: out of memory");
	if (rc)
		kho__journal_file__free_unpacked(f, NULL);
	return rc;
}

static int send_dir(struct kho_env *env, Kho__Units *out, const char *id, int64_t *room, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *e;
	struct stat st;
	int rc = 0;

	if (asprintf(&path, RUNTIME "/%s", id) < 0)
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	_cleanup_closedir_ DIR *d = opendir(path);

	while (!rc && d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len < 9 || strcmp(e->d_name + len - 8, ".journal") || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    !S_ISREG(st.st_mode) || out->n_journal == FILES_MAX || st.st_size > *room)
			continue;
		*room -= st.st_size;
		rc = send_one(env, out, id, e->d_name, err);
	}
	return rc;
}

int kho_units_journal_send(struct kho_env *env, Kho__Units *out, struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = opendir(RUNTIME);
	int64_t room = BYTES_MAX;
	struct dirent *e;
	int rc = 0;

	while (!rc && d && (e = readdir(d)))
		if (is_machine_id(e->d_name))
			rc = send_dir(env, out, e->d_name, &room, err);
	return rc;
}

/* Another file system: it cannot be renamed there. Whoever made from made images_dir; after a kexec it may be a link to what was preserved. */
static int move(const char *from, const char *to, struct kho_err *err)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	ssize_t n;

	if (out < 0)
		return kho_fail_errno(err, "copy %s to %s", from, to);
	do
		n = sendfile(out, in, NULL, 1 << 20);
	while (n > 0);
	if (n < 0 || unlink(from) < 0)
		return kho_fail_errno(err, "copy %s to %s", from, to);
	return 0;
}

int kho_units_journal_place(struct kho_env *env, const Kho__Units *u, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	for (size_t i = 0; i < u->n_journal; i++) {
		char from[PATH_MAX], to[PATH_MAX], expected[64];

		snprintf(expected, sizeof(expected), SENT_DIR "/%zu.journal", i);
		if (strcmp(u->journal[i]->sent_as, expected) || !is_machine_id(u->journal[i]->directory))
			return kho_fail(err, -EPROTO, "journal: a file's name is not understood");
		snprintf(from, sizeof(from), "%s/%s", env->images_dir, expected);
		mkdir("/run/log", 0755);
		mkdir(RUNTIME, 0755);
		snprintf(to, sizeof(to), RUNTIME "/%s", u->journal[i]->directory);
		mkdir(to, 0755);
		snprintf(to, sizeof(to), RUNTIME "/%s/khoctl@%zu.journal", u->journal[i]->directory, i);
		kho_first_failure(move(from, to, &one), &one, &first, err);
	}
	return first;
}
