// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl.ko: device nodes, dispatch of ioctls, facts.  Every ioctl takes one struct that begins
 * with its size; it is copied in, checked by its handler, and copied back.  Handlers check flags
 * and pads.
 */
#include "kho.h"

#include <linux/capability.h>
#include <linux/irq.h>
#include <linux/memory.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <generated/utsrelease.h>
#include <asm/apic.h>
#include <asm/special_insns.h>
#include <asm/tsc.h>

static bool irq_remaps;

/*
 * The names of remapped interrupt chips begin with "IR-"; the remapping code exports nothing. Asked once: it does not change after
 * boot, and there is no lock that keeps an interrupt's parents while they are looked at.
 */
static bool __init irq_remapped(void)
{
	struct irq_data *d;
	unsigned int i;

	for (i = 0; i < 1024; i++)
		for (d = irq_get_irq_data(i); d; d = d->parent_data)
			if (d->chip && d->chip->name && strstarts(d->chip->name, "IR-"))
				return true;
	return false;
}

static u32 bsp_apicid(void)
{
	u32 i;

	if (kho_live(&kho_up))
		for (i = 0; i < kho_up.ncpus; i++)
			if (kho_known(&kho_up, &kho_up.cpus[i])->bsp)
				return kho_known(&kho_up, &kho_up.cpus[i])->apicid;
	return kho_apicid(0);
}

static long info(void *arg)
{
	struct kho_ioc_info *a = arg;
	u32 size = a->size;

	down_read(&kho_life);
	*a = (struct kho_ioc_info) {
		.size = size, .revision = KHO_REGION_REVISION, .generation = kho_generation,
		.instance_id = kho_instance_id, .tsc_khz = tsc_khz, .low_slot = kho_free_slot(),
		.memory_block_bytes = memory_block_size_bytes(), .bsp_apicid = bsp_apicid(),
	};
	a->flags = (x2apic_mode ? KHO_INFO_X2APIC : 0) |
		   (__read_cr4() & X86_CR4_LA57 ? KHO_INFO_LA57 : 0) |
		   (irq_remaps ? KHO_INFO_IRQ_REMAP : 0);
	if (kho_live(&kho_up)) {
		a->flags |= KHO_INFO_HAS_UP;
		a->up_base = kho_up.base;
		a->up_bytes = kho_up.bytes;
		a->state = READ_ONCE(kho_up.state);
	}
	if (kho_live(&kho_down)) {
		a->flags |= KHO_INFO_HAS_DOWN;
		a->down_base = kho_down.base;
		a->down_bytes = kho_down.bytes;
		a->state = READ_ONCE(kho_down.state);
	}
	up_read(&kho_life);
	strscpy(a->build_release, UTS_RELEASE, sizeof(a->build_release));
	return 0;
}

static void cpu_facts(int cpu, struct kho_cpu_info *c)
{
	struct kho_region *r = kho_live(&kho_down) ? &kho_down : kho_live(&kho_up) ? &kho_up : NULL;
	struct kho_ledger_cpu *l;

	*c = (struct kho_cpu_info) {
		.cpu = cpu, .apicid = kho_apicid(cpu), .online = cpu_online(cpu),
		.present = cpu_present(cpu), .node = cpu_to_node(cpu),
	};
	l = r ? kho_ledger_cpu(r, c->apicid) : NULL;
	if (l) {
		c->owner_known = 1;
		c->owner = READ_ONCE(l->owner);
	}
}

static long cpus(void *arg)
{
	struct kho_ioc_cpus *a = arg;
	struct kho_cpu_info __user *u = u64_to_user_ptr(a->cpus);
	struct kho_cpu_info c;
	u32 room = a->count, n = 0;
	long ret = 0;
	int cpu;

	down_read(&kho_life);
	for_each_possible_cpu(cpu) {
		if (kho_apicid(cpu) == BAD_APICID)
			continue;
		if (n < room) {
			cpu_facts(cpu, &c);
			if (copy_to_user(u + n, &c, sizeof(c))) {
				ret = -EFAULT;
				break;
			}
		}
		n++;
	}
	up_read(&kho_life);
	a->count = n;
	return ret;
}

union arg {
	u32 size;
	struct kho_ioc_info info;
	struct kho_ioc_cpus cpus;
	struct kho_ioc_mem_take mem_take;
	struct kho_ioc_mem mem;
	struct kho_ioc_region_init region_init;
	struct kho_ioc_cpu cpu;
	struct kho_ioc_spawn spawn;
	struct kho_ioc_pci pci;
	struct kho_ioc_u32 u32;
};

static const struct call {
	unsigned int cmd;
	size_t size;
	long (*run)(void *arg);
} calls[] = {
	{ KHO_IOC_INFO, sizeof(struct kho_ioc_info), info },
	{ KHO_IOC_CPUS, sizeof(struct kho_ioc_cpus), cpus },
	{ KHO_IOC_MEM_TAKE, sizeof(struct kho_ioc_mem_take), kho_mem_take },
	{ KHO_IOC_MEM_RELEASE, sizeof(struct kho_ioc_mem), kho_mem_release },
	{ KHO_IOC_MEM_ADOPT, sizeof(struct kho_ioc_mem), kho_mem_adopt },
	{ KHO_IOC_MEM_DISOWN, sizeof(struct kho_ioc_mem), kho_mem_disown },
	{ KHO_IOC_MEM_GIVE, sizeof(struct kho_ioc_mem), kho_mem_give },
	{ KHO_IOC_REGION_INIT, sizeof(struct kho_ioc_region_init), kho_region_init },
	{ KHO_IOC_REGION_DROP, sizeof(struct kho_ioc_u32), kho_region_drop },
	{ KHO_IOC_CPU_GIVE, sizeof(struct kho_ioc_cpu), kho_cpu_give },
	{ KHO_IOC_CPU_TAKE, sizeof(struct kho_ioc_cpu), kho_cpu_take },
	{ KHO_IOC_SPAWN, sizeof(struct kho_ioc_spawn), kho_spawn },
	{ KHO_IOC_STOP, sizeof(struct kho_ioc_u32), kho_stop },
	{ KHO_IOC_RETIRE, sizeof(struct kho_ioc_u32), kho_retire },
	{ KHO_IOC_PCI_QUIESCE, sizeof(struct kho_ioc_pci), kho_pci_quiesce },
	{ KHO_IOC_PCI_UNQUIESCE, sizeof(struct kho_ioc_pci), kho_pci_unquiesce },
	{ KHO_IOC_PCI_GIVE, sizeof(struct kho_ioc_pci), kho_pci_give },
	{ KHO_IOC_PCI_TAKE, sizeof(struct kho_ioc_pci), kho_pci_take },
	{ KHO_IOC_STATE, sizeof(struct kho_ioc_u32), kho_state_set },
};

/* By type and number: the struct itself says its size, which differs between revisions. */
static const struct call *find_call(unsigned int cmd)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (_IOC_TYPE(cmd) == _IOC_TYPE(calls[i].cmd) &&
		    _IOC_NR(cmd) == _IOC_NR(calls[i].cmd))
			return &calls[i];
	return NULL;
}

static long dev_ioctl(struct file *f, unsigned int cmd, unsigned long u)
{
	const struct call *c = find_call(cmd);
	void __user *user = (void __user *)u;
	union arg arg;
	u32 size;
	long ret;

	if (!capable(CAP_SYS_BOOT) || !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!c)
		return -ENOTTY;
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < c->size)
		return -EINVAL;
	memset(&arg, 0, sizeof(arg));
	ret = copy_struct_from_user(&arg, c->size, user, size);
	if (ret)
		return ret;
	arg.size = size;		/* the copy may have seen another value */
	ret = c->run(&arg);
	if (!ret && (_IOC_DIR(c->cmd) & _IOC_READ) && copy_to_user(user, &arg, c->size))
		return -EFAULT;
	return ret;
}

static int dev_open(struct inode *i, struct file *f)
{
	return capable(CAP_SYS_BOOT) && capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = dev_open,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = kho_mem_mmap,
};

#define NODE(n, f) { .minor = MISC_DYNAMIC_MINOR, .name = n, .fops = f, .mode = 0600 }
static struct miscdevice nodes[] = {
	NODE("khoctl", &fops), NODE("khoctl-link", &kho_link_fops),
	NODE("khoctl-console", &kho_console_fops),
};

static void nodes_cleanup(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(nodes); i++)
		if (nodes[i].minor != MISC_DYNAMIC_MINOR)
			misc_deregister(&nodes[i]);
}

static int nodes_setup(void)
{
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(nodes); i++) {
		ret = misc_register(&nodes[i]);
		if (ret) {
			nodes_cleanup();
			return ret;
		}
	}
	return 0;
}

/* In this order; undone in reverse.  The region comes late: its probe uses what is above it. */
static const struct part {
	int (*setup)(void);
	void (*cleanup)(void);
} parts[] = {
	{ kho_mem_setup, kho_mem_cleanup },
	{ NULL, kho_pci_cleanup },
	{ kho_ping_setup, kho_ping_cleanup },
	{ NULL, kho_doorbell_close },
	{ kho_region_setup, kho_region_cleanup },
	{ kho_cpu_setup, kho_cpu_cleanup },
	{ kho_platform_setup, kho_platform_cleanup },
	{ kho_leave_setup, kho_leave_cleanup },
	{ kho_beat_setup, kho_beat_cleanup },
	{ kho_proc_setup, kho_proc_cleanup },
	{ nodes_setup, nodes_cleanup },
	{ kho_console_setup, NULL },
};

static void undo(int n)
{
	while (n--)
		if (parts[n].cleanup)
			parts[n].cleanup();
}

static int __init kho_init(void)
{
	size_t i;
	int ret;

	irq_remaps = irq_remapped();
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		ret = parts[i].setup ? parts[i].setup() : 0;
		if (ret) {
			undo(i);
			return ret;
		}
	}
	return 0;
}

static void __exit kho_exit(void)
{
	undo(ARRAY_SIZE(parts));
}

module_init(kho_init);
module_exit(kho_exit);
MODULE_DESCRIPTION("hand this machine over to another kernel that runs next to this one");
MODULE_LICENSE("GPL");
