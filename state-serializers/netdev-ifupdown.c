// SPDX-License-Identifier: GPL-2.0-only
/*
 * ifupdown (/etc/network/interfaces).  What it has brought up is up in the new system, too, and ifup must leave it alone there: to it an
 * address that is there already is an error, and what an operator has it do besides (routes, rules, tunnels) would be done twice.  So
 * its state comes along, for the interfaces that are carried.
 *
 * A DHCP client, which ifup would have started, ends with the outgoing kernel.  The unit that it ran in starts it anew, once, with the
 * command that ifup has for it; it asks for the address in its lease file.  dhclient does not touch the lifetime of an address that
 * it finds, and would see it end before its first renewal: with it the address has no end of its own until then.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev.h"

#define STATE	  "/run/network/ifstate"
#define SYSTEMD	  "/run/systemd/system"
#define ALL	  "networking.service"
#define GROUP	  "/sys/fs/cgroup/system.slice"
#define UNIT_LEN  80
#define NAME_LEN  32
#define START_LEN 512

static const char *const clients[] = { "dhclient", "dhcpcd", "udhcpc" };

struct entry {
	char iface[NAME_LEN], logical[NAME_LEN];
};

/* Only what can be a word of a command and a part of a path. */
static bool is_word(const char *s, size_t n)
{
	return n && n < NAME_LEN && s[0] != '.' && s[0] != '-' && strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-") >= n;
}

/* The next line "interface=what it is called in the file" that can be used. */
static bool next(const char **at, struct entry *e)
{
	while (**at) {
		const char *line = *at;
		size_t n = strcspn(line, "\n"), name = strcspn(line, "=\n"), rest;

		*at += n + (line[n] == '\n');
		rest = n > name ? n - name - 1 : 0;
		if (!is_word(line, name) || !is_word(line + name + 1, rest))
			continue;
		snprintf(e->iface, sizeof(e->iface), "%.*s", (int)name, line);
		snprintf(e->logical, sizeof(e->logical), "%.*s", (int)rest, line + name + 1);
		return true;
	}
	return false;
}

/* "eth0:1" is an address of eth0. */
static Kho__NetLink *link_of(const Kho__Netdev *cfg, const char *iface)
{
	size_t n = strcspn(iface, ":");

	for (size_t i = 0; i < cfg->n_link; i++)
		if (!strncmp(cfg->link[i]->name, iface, n) && !cfg->link[i]->name[n])
			return cfg->link[i];
	return NULL;
}

static bool can_have_client(const struct entry *e)
{
	return strcmp(e->iface, "lo") && !strchr(e->iface, ':');
}

/* The unit of an interface that may come at any time, as systemd-escape names it. */
static void unit_of(const char *iface, char out[UNIT_LEN])
{
	int n = snprintf(out, UNIT_LEN, "ifup@");

	for (const char *p = iface; *p; p++)
		n += snprintf(out + n, (size_t)(UNIT_LEN - n), isalnum(*p) || strchr(":_.", *p) ? "%c" : "\\x%02x", *p);
	/* 4 for each of the 15 characters of a name, at most */
	snprintf(out + n, (size_t)(UNIT_LEN - n), ".service");
}

static const char *client_named(const char *root, const char *pid)
{
	_cleanup_free_ char *path = NULL, *comm = NULL;

	if (asprintf(&path, "%s/proc/%s/comm", root, pid) < 0 || kho_read_line(path, &comm, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < KHO_ARRAY_SIZE(clients); i++)
		if (!strcmp(comm, clients[i]))
			return clients[i];
	return NULL;
}

/* The DHCP client among the processes of a unit; NULL: there is none. */
static const char *client_in(const char *root, const char *unit)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	const char *found = NULL;
	char *save = NULL;

	if (asprintf(&path, "%s" GROUP "/%s/cgroup.procs", root, unit) < 0 || kho_read_file(path, 1 << 20, &text, NULL, NULL))
		return NULL;
	for (char *pid = strtok_r(text, "\n", &save); pid && !found; pid = strtok_r(NULL, "\n", &save))
		found = client_named(root, pid);
	return found;
}

/* Once, and only while the system comes up: "systemctl restart networking" has ifup start it. */
static int start(Kho__Netdev *cfg, const struct entry *e, char out[START_LEN])
{
	char mark[sizeof("/run/khoctl/dhcp-client-") + NAME_LEN];

	snprintf(mark, sizeof(mark), "/run/khoctl/dhcp-client-%s", e->iface);
	snprintf(out, START_LEN,
		 "ExecStartPost=-/bin/sh -c 'rm %s 2> /dev/null && " KHO_NETDEV_COMES_UP " || "
		 "exit 0; ifup --no-act --force --no-scripts %s=%s 2>&1 | grep -E \"^(CLIENT=.*; *)?(dhclient|dhcpcd|udhcpc) \" | sh'\n",
		 mark, e->iface, e->logical);
	return kho_netdev_add_file(cfg, mark, "");
}

static int add_drop_in(Kho__Netdev *cfg, const char *unit, const char *lines)
{
	_cleanup_free_ char *path = NULL, *text = NULL;

	if (asprintf(&path, SYSTEMD "/%s.d/khoctl.conf", unit) < 0 ||
	    asprintf(&text, "# Made by khoctl: the interface is up, only its DHCP client has to be started.\n[Service]\n%s", lines) < 0)
		return -ENOMEM;
	return kho_netdev_add_file(cfg, path, text);
}

/* What of the clients there is to do: lines of networking.service, and drop-ins of the others. */
static int add_clients(Kho__Netdev *cfg, const char *root, const char *state)
{
	const char *of_all = client_in(root, ALL), *at = state;
	_cleanup_free_ char *lines = calloc(1, 1);
	struct entry e;
	int ret = 0;

	while (lines && !ret && next(&at, &e)) {
		char unit[UNIT_LEN], one[START_LEN], *more;
		const char *own;

		unit_of(e.iface, unit);
		own = can_have_client(&e) ? client_in(root, unit) : NULL;
		if (!link_of(cfg, e.iface) || !can_have_client(&e) || (!own && !of_all))
			continue;
		link_of(cfg, e.iface)->address_stays = !strcmp(own ? own : of_all, clients[0]);
		ret = start(cfg, &e, one);
		if (!ret && own)
			ret = add_drop_in(cfg, unit, one);
		if (ret || own)
			continue;
		if (asprintf(&more, "%s%s", lines, one) < 0)
			return -ENOMEM;
		free(lines);
		lines = more;
	}
	if (!lines)
		return -ENOMEM;
	return ret || !*lines ? ret : add_drop_in(cfg, ALL, lines);
}

static char *read_state(const char *root)
{
	_cleanup_free_ char *systemd = kho_sysroot_path(root, SYSTEMD), *path = kho_sysroot_path(root, STATE);
	char *text = NULL;

	/* without systemd nobody would start the clients: ifup does, as at every boot */
	if (!path || !systemd || !kho_exists(systemd) || kho_read_file(path, 64u << 10, &text, NULL, NULL))
		return NULL;
	return text;
}

int kho_netdev_ifupdown_collect(Kho__Netdev *cfg, const char *root)
{
	_cleanup_free_ char *state = read_state(root), *kept = state ? calloc(1, strlen(state) + 2) : NULL;
	const char *at = state;
	struct entry e;
	int ret = 0;

	if (!state)
		return 0;
	while (kept && !ret && next(&at, &e)) {
		char path[sizeof(STATE) + NAME_LEN + 1], logical[NAME_LEN + 1];

		if (!link_of(cfg, e.iface))
			continue;
		snprintf(path, sizeof(path), STATE ".%s", e.iface);
		snprintf(logical, sizeof(logical), "%s\n", e.logical);
		ret = kho_netdev_add_file(cfg, path, logical);
		sprintf(kept + strlen(kept), "%s=%s\n", e.iface, e.logical);
	}
	if (!kept)
		return -ENOMEM;
	if (!ret && *kept)
		ret = kho_netdev_add_file(cfg, STATE, kept);
	return ret ? ret : add_clients(cfg, root, kept);
}

/* A client that no service starts. */
static int probe_client(const char *root, const char *pid, struct kho_report *r)
{
	const char *name = client_named(root, pid);
	_cleanup_free_ char *group = name ? kho_cgroup_of(root, (pid_t)atoi(pid)) : NULL;
	size_t n = group ? strlen(group) : 0;

	if (!name || (n > 8 && !strcmp(group + n - 8, ".service")))
		return 0;
	return kho_report_add(r, KHO_V_LOSS, "device", name, "start it by ifup or a service of its own",
			      "process %s belongs to no service: nobody starts it in the new kernel, and the address ends with its lease", pid);
}

int kho_netdev_ifupdown_probe(const Kho__Netdev *cfg, const char *root, struct kho_report *r)
{
	_cleanup_free_ char *state = read_state(root), *proc = kho_sysroot_path(root, "/proc");
	_cleanup_closedir_ DIR *d = proc ? opendir(proc) : NULL;
	char names[256] = "";
	const char *at = state;
	struct dirent *p;
	struct entry e;
	int ret = 0;

	while (at && next(&at, &e))
		if (link_of(cfg, e.iface) && can_have_client(&e))
			snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", *names ? ", " : "", e.iface);
	if (*names)
		ret = kho_report_add(r, KHO_V_OK, "device", "ifupdown", NULL,
				     "%s: up for the new system, too; only DHCP clients are started anew, and keep the address", names);
	while (!ret && d && (p = readdir(d)))
		if (isdigit(p->d_name[0]))
			ret = probe_client(root, p->d_name, r);
	return ret;
}
