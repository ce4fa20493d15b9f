// SPDX-License-Identifier: GPL-2.0-only
/*
 * The serial ports of a kernel that is alone, by the stock 8250 driver.  An incoming kernel boots
 * with their I/O ranges reserved (handover/beside/cmdline.c), so that its driver has the four names
 * and touches nothing; here those that the first kernel had are let go of and registered, with the
 * interrupt that they are wired to (wire.c) or else polled.  The one that was its console is ours from then on.
 */
#include "kho.h"

#include <linux/console.h>
#include <linux/ioport.h>
#include <linux/platform_device.h>
#include <linux/serial_8250.h>
#include <linux/tty.h>

#if IS_BUILTIN(CONFIG_SERIAL_8250)

#define NPORTS	min(KHO_UARTS, CONFIG_SERIAL_8250_NR_UARTS)
#define REGS	8
/* exported for modules, declared in the driver's own folder only */
struct uart_8250_port *serial8250_get_port(int line);

enum { NOT_CONSOLE, IS_CONSOLE, IS_DEV_CONSOLE };

/* Ports that the 8250 driver of the kernel that firmware booted has found. */
void kho_serial_fill(struct kho_ledger_platform *p)
{
	int i;

	for (i = 0; i < NPORTS; i++) {
		struct uart_port *u = &serial8250_get_port(i)->port;
		struct console *c = u->cons;
		struct ktermios t = { };

		if (u->type == PORT_UNKNOWN || u->iotype != UPIO_PORT || !u->iobase ||
		    u->iobase > 0xffff - REGS)
			continue;
		p->uart[i].iobase = u->iobase;
		p->uart[i].uartclk = u->uartclk;
		kho_wire_fill(u->irq, &p->uart[i]);
		if (!c || !(c->flags & CON_ENABLED) || c->index != i)
			continue;
		p->uart[i].console = c->flags & CON_CONSDEV ? IS_DEV_CONSOLE : IS_CONSOLE;
		t.c_cflag = c->cflag;
		p->uart[i].baud = tty_termios_baud_rate(&t);
	}
}

#if IS_ENABLED(CONFIG_SERIAL_8250_CONSOLE)
static void console_open(int line, const struct kho_ledger_uart *u)
{
	struct console *c = serial8250_get_port(line)->port.cons;
	char options[16];

	if (!c || (c->flags & CON_ENABLED))
		return;
	snprintf(options, sizeof(options), "%un8", u->baud ? u->baud : 115200);
	c->index = line;
	if (c->setup && c->setup(c, options))
		return;
	/* no word of the command line asks for it, and what was said before is in the log */
	c->flags |= CON_ENABLED | (u->console == IS_DEV_CONSOLE ? CON_CONSDEV : 0);
	c->flags &= ~CON_PRINTBUFFER;
	register_console(c);
}
#else
static void console_open(int line, const struct kho_ledger_uart *u) { }
#endif

static void port_open(struct device *parent, const struct kho_ledger_uart *u)
{
	struct uart_8250_port up = { };
	int line, irq;

	/* of the boot word, or free already */
	(void)!request_region(u->iobase, REGS, "khoctl");
	release_region(u->iobase, REGS);
	up.port.iobase = u->iobase;
	up.port.uartclk = u->uartclk;
	up.port.iotype = UPIO_PORT;
	up.port.flags = UPF_BOOT_AUTOCONF | UPF_SKIP_TEST;
	up.port.dev = parent;
	irq = kho_wire_open(u);
	if (irq < 0)
		pr_err("interrupt of the serial port at 0x%x: %d\n", u->iobase, irq);
	else
		up.port.irq = irq;
	line = serial8250_register_8250_port(&up);
	if (line < 0)
		pr_err("serial port at 0x%x: %d\n", u->iobase, line);
	else if (u->console)
		console_open(line, u);
}

/* Called once, when this kernel is alone. */
void kho_serial_open(void)
{
	const struct kho_ledger_platform *p = kho_platform();
	struct platform_device *d = NULL;
	int i;

	for (i = 0; i < NPORTS; i++) {
		/* without the boot word the driver is not there: registering would be its end */
		if (!p->uart[i].iobase || !serial8250_get_port(i)->port.dev)
			continue;
		if (!d)
			d = platform_device_register_simple("khoctl-serial", PLATFORM_DEVID_NONE,
							    NULL, 0);
		if (IS_ERR(d))
			return;
		port_open(&d->dev, &p->uart[i]);
	}
}

#else
void kho_serial_fill(struct kho_ledger_platform *p) { }
void kho_serial_open(void) { }
#endif
