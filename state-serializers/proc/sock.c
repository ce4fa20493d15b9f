// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which sockets there are: out of /proc/PID/net, and the other ends of UNIX sockets out of
 * sock_diag (on a recorded tree: out of /proc/net/unix_peers, lines of "INODE PEER").
 */
#include <libmnl/libmnl.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/probe.h"

#define UNIX_TYPE_WORD 4
#define TCP_LOCAL_WORD 1
#define TCP_STATE_WORD 3

static const struct table {
	const char *file;
	enum kho_sock_kind kind;
	int inode_word; /* counted from 0; negative: from the end, -1 is the last */
} tables[] = {
	{ "tcp", KHO_SOCK_TCP, 9 },	  { "tcp6", KHO_SOCK_TCP, 9 },
	{ "udp", KHO_SOCK_UDP, 9 },	  { "udp6", KHO_SOCK_UDP, 9 },
	{ "udplite", KHO_SOCK_UDP, 9 },	  { "udplite6", KHO_SOCK_UDP, 9 },
	{ "raw", KHO_SOCK_RAW, 9 },	  { "raw6", KHO_SOCK_RAW, 9 },
	{ "packet", KHO_SOCK_PACKET, 8 }, { "netlink", KHO_SOCK_NETLINK, 9 },
	{ "unix", KHO_SOCK_UNIX, 6 },
};

static int add(struct kho_socks *out, struct kho_sock s)
{
	if (!(out->n & (out->n - 1))) {
		struct kho_sock *bigger =
			realloc(out->s, (out->n ? out->n * 2 : 1) * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		out->s = bigger;
	}
	out->s[out->n++] = s;
	return 0;
}

/* An IPv4 address is the same as IPv6's form of it. */
static const char *plain_address(const char *hex)
{
	static const char mapped[] = "0000000000000000FFFF0000";

	return strncmp(hex, mapped, sizeof(mapped) - 1) ? hex : hex + sizeof(mapped) - 1;
}

static int add_line(struct kho_socks *out, const struct table *t, char *line)
{
	struct kho_sock s = { .kind = t->kind };
	char *save = NULL, *word = strtok_r(line, " ", &save), *at[2] = { NULL, NULL };
	bool established = false;

	for (int i = 0; word && i < t->inode_word; i++) {
		if (t->kind == KHO_SOCK_UNIX && i == UNIX_TYPE_WORD)
			s.type = (int)strtol(word, NULL, 16);
		if (t->kind == KHO_SOCK_TCP && (i == TCP_LOCAL_WORD || i == TCP_LOCAL_WORD + 1))
			at[i - TCP_LOCAL_WORD] = word;
		if (t->kind == KHO_SOCK_TCP && i == TCP_STATE_WORD)
			established = strtol(word, NULL, 16) == TCP_ESTABLISHED;
		word = strtok_r(NULL, " ", &save);
	}
	if (!word)
		return 0;
	s.ino = strtoull(word, NULL, 10);
	word = t->kind == KHO_SOCK_UNIX ? strtok_r(NULL, "", &save) : NULL;
	if (!s.ino)
		return 0;
	if (word && !(s.name = strdup(word)))
		return -ENOMEM;
	if (established && asprintf(&s.name, "%s %s", plain_address(at[0]), plain_address(at[1])) < 0)
		return -ENOMEM;
	return add(out, s);
}

static int read_table(const char *sysroot, pid_t pid, const struct table *t, struct kho_socks *out)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	char *line, *next;
	int rc = 0;

	if (asprintf(&path, "%s/proc/%d/net/%s", sysroot, pid, t->file) < 0)
		return -ENOMEM;
	if (kho_read_file(path, 256u << 20, &text, NULL, NULL))
		return 0;	   /* that protocol is not there */
	line = strchr(text, '\n'); /* the first line is a heading */
	for (; !rc && line && *++line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next = '\0';
		rc = add_line(out, t, line);
	}
	return rc;
}

static int by_ino(const void *a, const void *b)
{
	const struct kho_sock *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

const struct kho_sock *kho_socks_find(const struct kho_socks *s, uint64_t ino)
{
	struct kho_sock key = { .ino = ino };

	return s->n ? bsearch(&key, s->s, s->n, sizeof(*s->s), by_ino) : NULL;
}

static void set_peer(struct kho_socks *s, uint64_t ino, uint64_t peer)
{
	struct kho_sock *k = (struct kho_sock *)kho_socks_find(s, ino);

	if (k)
		k->peer = peer;
}

static int on_unix(const struct nlmsghdr *h, void *arg)
{
	const struct unix_diag_msg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;

	mnl_attr_for_each(a, h, sizeof(*m)) if (mnl_attr_get_type(a) == UNIX_DIAG_PEER)
		set_peer(arg, m->udiag_ino, mnl_attr_get_u32(a));
	return MNL_CB_OK;
}

static bool live_peers(struct kho_socks *s)
{
	char buf[32768];
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct unix_diag_req *q = mnl_nlmsg_put_extra_header(h, sizeof(*q));
	ssize_t n = -1;
	int rc = -1;

	if (!nl)
		return false;
	h->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	h->nlmsg_seq = 1;
	*q = (struct unix_diag_req){ .sdiag_family = AF_UNIX,
				     .udiag_states = ~0u,
				     .udiag_show = UDIAG_SHOW_PEER };
	if (!mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) &&
	    mnl_socket_sendto(nl, h, h->nlmsg_len) > 0)
		while ((n = mnl_socket_recvfrom(nl, buf, sizeof(buf))) > 0) {
			rc = mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), on_unix, s);
			if (rc <= MNL_CB_STOP)
				break;
		}
	mnl_socket_close(nl);
	return n > 0 && rc == MNL_CB_STOP;
}

static bool recorded_peers(const char *sysroot, struct kho_socks *s)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/net/unix_peers"), *text = NULL;
	unsigned long long ino, peer;

	if (!path || kho_read_file(path, 16u << 20, &text, NULL, NULL))
		return false;
	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (sscanf(p, "%llu %llu", &ino, &peer) == 2)
			set_peer(s, ino, peer);
	}
	return true;
}

static int by_name(const void *a, const void *b)
{
	const struct kho_sock *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* Both ends of a connection over the loopback (or an own address) are in the tables, one the other's mirror. */
static int local_peers(struct kho_socks *s)
{
	_cleanup_free_ struct kho_sock **tcp = calloc(s->n + 1, sizeof(struct kho_sock *));
	size_t n = 0;

	if (!tcp)
		return -ENOMEM;
	for (size_t i = 0; i < s->n; i++)
		if (s->s[i].kind == KHO_SOCK_TCP && s->s[i].name)
			tcp[n++] = &s->s[i];
	qsort(tcp, n, sizeof(*tcp), by_name);
	for (size_t i = 0; i < n; i++) {
		const char *remote = strchr(tcp[i]->name, ' ') + 1;
		_cleanup_free_ char *mirror = NULL;
		struct kho_sock key = { 0 }, *pkey = &key, **other;

		if (asprintf(&mirror, "%s %.*s", remote, (int)(remote - 1 - tcp[i]->name), tcp[i]->name) < 0)
			return -ENOMEM;
		key.name = mirror;
		other = bsearch(&pkey, tcp, n, sizeof(*tcp), by_name);
		if (other)
			tcp[i]->peer = (*other)->ino;
	}
	return 0;
}

int kho_socks_read(const char *sysroot, pid_t pid, struct kho_socks *out, struct kho_err *err)
{
	int rc = 0;

	*out = (struct kho_socks){ 0 };
	for (size_t i = 0; !rc && i < sizeof(tables) / sizeof(tables[0]); i++)
		rc = read_table(sysroot, pid, &tables[i], out);
	if (!rc && out->n) {
		qsort(out->s, out->n, sizeof(*out->s), by_ino);
		rc = local_peers(out);
	}
	if (rc) {
		kho_socks_done(out);
		return kho_fail(err, rc, "read the sockets of pid %d: out of memory", pid);
	}
	out->peers_known = *sysroot ? recorded_peers(sysroot, out) : live_peers(out);
	return 0;
}

void kho_socks_done(struct kho_socks *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->s[i].name);
	free(s->s);
	*s = (struct kho_socks){ 0 };
}
