/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events -> screen.  On a terminal one live line (step, time, rounds and bytes); elsewhere one line
 * for each thing that ended.
 */
#ifndef KHO_PROGRESS_H
#define KHO_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct kho_progress {
	FILE *f;
	bool live;    /* f is a terminal */
	bool verbose; /* phases too */
	char step[32], detail[200], act[8];
	uint64_t step_begin_us;
	uint64_t now_us; /* of the last event */
	bool told;	/* how long the blackout would be */
	int64_t rounds; /* more rounds of pre-copy, when it was last told how long the blackout would be */
};

/* Show one event line. */
void kho_progress_line(struct kho_progress *p, const char *line, size_t len);
/* Nothing has happened for a while: move the clock of the live line by us. */
void kho_progress_tick(struct kho_progress *p, uint64_t us);
/* Remove the live line. */
void kho_progress_clear(struct kho_progress *p);

#endif
