/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Texts made from the tables: help, man page, completion, the table in the docs.
 */
#ifndef KHO_USAGE_H
#define KHO_USAGE_H

#include <stdio.h>

#include "khoctl/cli.h"

/* khoctl --help */
void kho_usage_all(FILE *f);
/* khoctl VERB --help */
void kho_usage_verb(FILE *f, enum kho_verb_id v);
/* Man page (scdoc), bash completion, docs/cli.md, docs/upgrade-guide.md (read, with its table of gates made anew): for gen-tables. */
void kho_usage_man(FILE *f);
void kho_usage_completion(FILE *f);
void kho_usage_docs(FILE *f);
void kho_usage_guide(FILE *f);

#endif
