// SPDX-License-Identifier: GPL-2.0-only
/*
 * Small files in /run that the network of the new system begins with: what /etc/resolv.conf leads to, and words for
 * services that are started anew and would otherwise begin with what they have on disk:
 *
 * systemd-networkd drops addresses of DHCP that it finds and asks for them again, and connections stand still
 * meanwhile: it is told to keep them (KeepConfiguration=), and asks for the same ones.  nftables.service
 * loads its file in place of the rule set that has been carried, which may be another: its first start, while
 * the system comes up, leaves the rules as they are.  ifupdown's are in netdev-ifupdown.c.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev.h"

#define NETIF	  "/run/systemd/netif"
#define NFTABLES  "/usr/lib/systemd/system/nftables.service"
#define CARRIED	  "/run/khoctl/ruleset-carried"
#define TEXT_MAX (64u << 10)

int kho_netdev_add_file(Kho__Netdev *cfg, const char *path, const char *text)
{
	Kho__NetFile *f = malloc(sizeof(*f));

	if (!f)
		return -ENOMEM;
	kho__net_file__init(f);
	if (kho_pb_set(&f->path, path) || kho_pb_set(&f->text, text) || kho_pb_append(&cfg->file, &cfg->n_file, f)) {
		kho__net_file__free_unpacked(f, NULL);
		return -ENOMEM;
	}
	return 0;
}

/* root + path, read; NULL when it is not there. */
static char *read_text(const char *root, const char *path)
{
	_cleanup_free_ char *full = kho_sysroot_path(root, path);
	char *text = NULL;
	size_t len = 0;

	if (!full || kho_read_file(full, TEXT_MAX, &text, &len, NULL) < 0)
		return NULL;
	if (strlen(text) != len) {
		free(text);
		return NULL;
	}
	return text;
}

static int add_copy(Kho__Netdev *cfg, const char *root, const char *path)
{
	_cleanup_free_ char *text = read_text(root, path);

	return text ? kho_netdev_add_file(cfg, path, text) : 0;
}

/* Value of KEY= at the beginning of a line, without the end of the line. */
static bool value_of(const char *text, const char *key, char out[PATH_MAX])
{
	size_t n = strlen(key);

	for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
		if (!strncmp(p, key, n) && p[n] == '=') {
			snprintf(out, PATH_MAX, "%.*s", (int)strcspn(p + n + 1, "\n"), p + n + 1);
			return true;
		}
	return false;
}

/* An interface whose address networkd got by DHCP. */
static int keep_lease(Kho__Netdev *cfg, const char *root, uint32_t index)
{
	char path[PATH_MAX], network[PATH_MAX];
	_cleanup_free_ char *lease = NULL, *link = NULL;
	const char *name;

	snprintf(path, sizeof(path), NETIF "/leases/%u", index);
	lease = read_text(root, path);
	snprintf(path, sizeof(path), NETIF "/links/%u", index);
	link = read_text(root, path);
	if (!lease || !link || !value_of(link, "NETWORK_FILE", network))
		return 0;
	name = strrchr(network, '/');
	name = name ? name + 1 : network;
	if (!*name || snprintf(path, sizeof(path), "/run/systemd/network/%s.d/khoctl.conf", name) >= (int)sizeof(path))
		return 0;
	return kho_netdev_add_file(cfg, path,
		   "# Made by khoctl: this address came from the former kernel and has connections.\n"
		   "[Network]\nKeepConfiguration=dhcp\n");
}

static int keep_ruleset(Kho__Netdev *cfg, const char *root)
{
	_cleanup_free_ char *unit = read_text(root, NFTABLES);
	char start[PATH_MAX], text[PATH_MAX + 512];
	int ret;

	if (!unit || !cfg->ruleset || !cfg->ruleset->n_table || !value_of(unit, "ExecStart", start) ||
	    start[strspn(start, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._ -")] || start[0] != '/')
		return 0;
	snprintf(text, sizeof(text),
		 "# Made by khoctl: the rule set that was carried stays until this service is started again.\n"
		 "[Service]\nExecStart=\nExecStart=/bin/sh -c 'if rm " CARRIED " 2> /dev/null && " KHO_NETDEV_COMES_UP "; then exit 0; fi; exec %s'\n",
		 start);
	ret = kho_netdev_add_file(cfg, "/run/systemd/system/nftables.service.d/khoctl.conf", text);
	return ret ? ret : kho_netdev_add_file(cfg, CARRIED, "");
}

/* The file in /run that /etc/resolv.conf is a link to, with those beside it. */
static int resolver(Kho__Netdev *cfg, const char *root)
{
	static const char *const of_resolved[] = { "/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf" };
	_cleanup_free_ char *path = kho_sysroot_path(root, "/etc/resolv.conf");
	char target[PATH_MAX];
	ssize_t n = path ? readlink(path, target, sizeof(target) - 1) : -1;
	const char *run;
	int ret = 0;

	target[n > 0 ? n : 0] = '\0';
	run = !strncmp(target, "run/", 4) ? NULL : strstr(target, "/run/");
	if (!run || !kho_path_is_plain(run))
		return 0;
	for (size_t i = 0; !ret && i < KHO_ARRAY_SIZE(of_resolved); i++)
		if (!strncmp(run, "/run/systemd/resolve/", 21) && strcmp(run, of_resolved[i]))
			ret = add_copy(cfg, root, of_resolved[i]);
	return ret ? ret : add_copy(cfg, root, run);
}

int kho_netdev_files_collect(Kho__Netdev *cfg, const char *root, struct kho_err *err)
{
	int ret = resolver(cfg, root);

	for (size_t i = 0; !ret && i < cfg->n_link; i++)
		ret = keep_lease(cfg, root, cfg->link[i]->index);
	if (!ret)
		ret = keep_ruleset(cfg, root);
	if (!ret)
		ret = kho_netdev_ifupdown_collect(cfg, root);
	return ret ? kho_fail(err, ret, "read files of the network: out of memory") : 0;
}

/* Readable for all, as those are that the services make themselves. */
static int place(const char *root, const Kho__NetFile *f, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(root, f->path);
	int ret;

	if (!path)
		return kho_fail(err, -ENOMEM, "out of memory");
	for (char *p = strchr(path + strlen(root) + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(path, 0755) == 0 && chmod(path, 0755) < 0)
			return kho_fail_errno(err, "%s", path);
		*p = '/';
	}
	ret = kho_write_file(path, f->text, strlen(f->text), err);
	return !ret && chmod(path, 0644) < 0 ? kho_fail_errno(err, "%s", path) : ret;
}

int kho_netdev_files_place(const Kho__Netdev *cfg, const char *root, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	for (size_t i = 0; i < cfg->n_file; i++) {
		if (strncmp(cfg->file[i]->path, "/run/", 5) || !kho_path_is_plain(cfg->file[i]->path))
			return kho_fail(err, -EBADMSG, "state of netdev: bad path of a file");
		kho_first_failure(place(root, cfg->file[i], &e), &e, &first, err);
	}
	return first;
}
