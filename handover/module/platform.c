// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a machine that one of our kernels is alone on.  Such a kernel was started with tables
 * of ours, without the platform's registers; the kernel that firmware booted reads them out of the
 * real ones (FADT, _S5) and writes them into the ledger, each later one passes them on.  As soon as
 * this kernel is alone:
 *   reboot, emergency restart, panic=N   through the kernel's own ACPI reset, whose register is
 *                                        the real one from then on; without one the kernel goes
 *                                        on to keyboard controller and triple fault, as always
 *   poweroff                             a sys-off handler does what ACPI does for S5
 *   power button                         is polled and reported as a key (no SCI arrives here)
 */
#include "kho.h"

#include <linux/acpi.h>
#include <linux/delay.h>
#include <linux/input.h>
#include <linux/panic.h>
#include <linux/reboot.h>
#include <asm/x86_init.h>

/* Bits of the PM1 status and control registers, ACPI 6.5, 4.8.3 */
#define BUTTON_STATUS	0x0100u
#define ALL_STATUS	0x8731u
#define SLEEP_TYPE_BIT	10
#define SLEEP_TYPE	(7u << SLEEP_TYPE_BIT)
#define SLEEP_ENABLE	0x2000u

static struct kho_ledger_platform here;	/* what this kernel knows of the machine; constant */
static struct sys_off_handler *off;
static struct input_dev *button;
static bool alone;

/* --- what the ledger says --- */

static struct kho_ledger_gas gas_out(const struct acpi_generic_address *g)
{
	return (struct kho_ledger_gas){
		.address = g->address, .space = g->space_id, .bit_width = g->bit_width,
		.bit_offset = g->bit_offset, .access = g->access_width,
	};
}

static struct acpi_generic_address gas_in(const struct kho_ledger_gas *g)
{
	return (struct acpi_generic_address){
		.address = g->address, .space_id = g->space, .bit_width = g->bit_width,
		.bit_offset = g->bit_offset, .access_width = g->access,
	};
}

static bool gas_usable(const struct kho_ledger_gas *g)
{
	return g->address && g->bit_width &&
	       (g->space == ACPI_ADR_SPACE_SYSTEM_MEMORY ||
		(g->space == ACPI_ADR_SPACE_SYSTEM_IO && g->address < 0x10000));
}

/* Firmware's tables, on the kernel that firmware booted. */
static void from_firmware(struct kho_ledger_platform *p)
{
	const struct acpi_table_fadt *f = &acpi_gbl_FADT;

	if (x86_platform.legacy.rtc)
		p->flags |= KHO_PLATFORM_RTC;
	if (acpi_disabled)
		return;
	p->century = f->century;
	p->reset = gas_out(&f->reset_register);
	p->reset_value = f->reset_value;
	if ((f->flags & ACPI_FADT_RESET_REGISTER) && gas_usable(&p->reset))
		p->flags |= KHO_PLATFORM_RESET;
	p->pm1a_event = gas_out(&f->xpm1a_event_block);
	p->pm1b_event = gas_out(&f->xpm1b_event_block);
	p->pm1a_control = gas_out(&f->xpm1a_control_block);
	p->pm1b_control = gas_out(&f->xpm1b_control_block);
	p->gpe0 = gas_out(&f->xgpe0_block);
	p->gpe1 = gas_out(&f->xgpe1_block);
	p->sleep_control = gas_out(&f->sleep_control);
	p->sleep_status = gas_out(&f->sleep_status);
	if ((gas_usable(&p->pm1a_control) || gas_usable(&p->sleep_control)) &&
	    ACPI_SUCCESS(acpi_get_sleep_type_data(ACPI_STATE_S5, &p->sleep_type_a,
						  &p->sleep_type_b)))
		p->flags |= KHO_PLATFORM_POWER_OFF;
	if (!(f->flags & (ACPI_FADT_POWER_BUTTON | ACPI_FADT_HW_REDUCED)) &&
	    gas_usable(&p->pm1a_event))
		p->flags |= KHO_PLATFORM_BUTTON;
}

/**
 * kho_platform_fill - the platform's part of a new region's ledger
 *
 * Context: process; evaluates AML on the kernel that firmware booted.
 */
void kho_platform_fill(struct kho_ledger_platform *p)
{
	if (kho_live(&kho_up)) {
		*p = here;
	} else {
		memset(p, 0, sizeof(*p));
		from_firmware(p);
		kho_serial_fill(p);
		kho_wires_fill(p->ioapic);
	}
	p->panic_timeout = panic_timeout;
}

const struct kho_ledger_platform *kho_platform(void)
{
	return &here;
}

/* --- power off --- */

static u64 get(const struct kho_ledger_gas *g)
{
	struct acpi_generic_address a = gas_in(g);
	u64 v = 0;

	return g->address && ACPI_SUCCESS(acpi_read(&v, &a)) ? v : 0;
}

static void put(const struct kho_ledger_gas *g, u64 v)
{
	struct acpi_generic_address a = gas_in(g);

	if (g->address)
		(void)acpi_write(v, &a);
}

/* One of the two equal halves of a block: 0 status, 1 enable. */
static struct kho_ledger_gas half(const struct kho_ledger_gas *block, int n)
{
	struct kho_ledger_gas g = *block;

	g.bit_width /= 2;
	g.access = 0;
	if (g.address)
		g.address += n * g.bit_width / 8;
	return g;
}

/* Any of them would wake the machine at once. */
static void mute_gpes(const struct kho_ledger_gas *block)
{
	struct kho_ledger_gas status = half(block, 0), enable = half(block, 1);
	int i, n = status.bit_width / 8;

	status.bit_width = enable.bit_width = 8;
	for (i = 0; block->address && i < n; i++) {
		put(&enable, 0);
		put(&status, 0xff);
		enable.address++;
		status.address++;
	}
}

static void sleep_pm1(void)
{
	struct kho_ledger_gas sts_a = half(&here.pm1a_event, 0), sts_b = half(&here.pm1b_event, 0);
	u64 v;

	mute_gpes(&here.gpe0);
	mute_gpes(&here.gpe1);
	put(&sts_a, ALL_STATUS);
	put(&sts_b, ALL_STATUS);
	v = (get(&here.pm1a_control) | get(&here.pm1b_control)) &
	    ~(u64)(SLEEP_TYPE | SLEEP_ENABLE);
	/* the type alone first: chipsets want to see it before the enable bit */
	put(&here.pm1a_control, v | here.sleep_type_a << SLEEP_TYPE_BIT);
	put(&here.pm1b_control, v | here.sleep_type_b << SLEEP_TYPE_BIT);
	v |= SLEEP_ENABLE;
	put(&here.pm1a_control, v | here.sleep_type_a << SLEEP_TYPE_BIT);
	put(&here.pm1b_control, v | here.sleep_type_b << SLEEP_TYPE_BIT);
}

/* A kernel that shares the machine is in the park before it comes here. */
static int power_off(struct sys_off_data *data)
{
	pr_emerg("power off (S5)\n");
	if (gas_usable(&here.sleep_control)) {
		put(&here.sleep_status, ACPI_X_WAKE_STATUS);
		put(&here.sleep_control, here.sleep_type_a << ACPI_X_SLEEP_TYPE_POSITION |
		    ACPI_X_SLEEP_ENABLE);
	} else {
		sleep_pm1();
	}
	mdelay(5000);
	pr_emerg("it is still on\n");
	return NOTIFY_DONE;
}

/* --- the power button --- */

static void pressed(struct work_struct *w)
{
	int down;

	pr_notice("power button\n");
	for (down = 1; down >= 0; down--) {
		input_report_key(button, KEY_POWER, down);
		input_sync(button);
	}
}

static DECLARE_WORK(pressed_work, pressed);

static void look_at_button(void)
{
	struct kho_ledger_gas s = half(&here.pm1a_event, 0);

	if (!(get(&s) & BUTTON_STATUS))
		return;
	put(&s, BUTTON_STATUS);
	schedule_work(&pressed_work);
}

static void button_setup(void)
{
	struct kho_ledger_gas s = half(&here.pm1a_event, 0), e = half(&here.pm1a_event, 1);
	struct input_dev *d;

	if (!(here.flags & KHO_PLATFORM_BUTTON))
		return;
	d = input_allocate_device();
	if (!d)
		return;
	d->name = "Power Button";
	d->phys = "khoctl/button/input0";
	d->id.bustype = BUS_HOST;
	input_set_capability(d, EV_KEY, KEY_POWER);
	if (input_register_device(d)) {
		input_free_device(d);
		return;
	}
	put(&s, BUTTON_STATUS);
	put(&e, get(&e) | BUTTON_STATUS);	/* the same bit; the interrupt itself goes nowhere */
	smp_store_release(&button, d);
}

/* --- alone --- */

static void take_machine(struct work_struct *w)
{
	struct acpi_table_fadt *f = &acpi_gbl_FADT;

	f->reset_register = gas_in(&here.reset);
	f->reset_value = here.reset_value;
	if (!(here.flags & KHO_PLATFORM_RESET))
		f->flags &= ~ACPI_FADT_RESET_REGISTER;
	f->century = here.century;
	panic_timeout = here.panic_timeout;
	pr_info("alone on the machine: reset %s, power off %s, panic=%d\n",
		here.flags & KHO_PLATFORM_RESET ? "register" : "without a register",
		off ? "S5" : "not known", panic_timeout);
	kho_rtc_open();
	kho_serial_open();
	button_setup();
}

static DECLARE_WORK(alone_work, take_machine);

/* Every beat, from its timer. */
void kho_platform_watch(void)
{
	if (!kho_live(&kho_up))
		return;
	if (!alone && kho_peer_gone(&kho_up)) {
		alone = true;
		schedule_work(&alone_work);
	}
	if (smp_load_acquire(&button))
		look_at_button();
}

/* Registers in memory: mapped now, as they are used where nothing can be mapped. */
static void map_all(void)
{
	const struct kho_ledger_gas *all[] = {
		&here.reset, &here.pm1a_event, &here.pm1b_event, &here.pm1a_control,
		&here.pm1b_control, &here.gpe0, &here.gpe1, &here.sleep_control,
		&here.sleep_status,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		struct acpi_generic_address a = gas_in(all[i]);

		if (a.address && a.space_id == ACPI_ADR_SPACE_SYSTEM_MEMORY)
			acpi_os_map_generic_address(&a);
	}
}

int kho_platform_setup(void)
{
	if (!kho_live(&kho_up))
		return 0;
	here = kho_up.ledger->platform;
	map_all();
	if (!(here.flags & KHO_PLATFORM_POWER_OFF) ||
	    !(gas_usable(&here.pm1a_control) || gas_usable(&here.sleep_control)))
		return 0;
	off = register_sys_off_handler(SYS_OFF_MODE_POWER_OFF, SYS_OFF_PRIO_FIRMWARE, power_off,
				       NULL);
	if (IS_ERR(off)) {
		int ret = PTR_ERR(off);

		off = NULL;
		return ret;
	}
	return 0;
}

void kho_platform_cleanup(void)
{
	/* a kernel that was made by another one keeps the module: see up_probe() */
	if (off)
		unregister_sys_off_handler(off);
}
