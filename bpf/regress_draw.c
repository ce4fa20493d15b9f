// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two recordings as a picture: for each metric both distributions over one logarithmic axis, before above the line and after below it, with
 * marks at the medians and the 99th percentiles.
 */
#include <math.h>
#include <string.h>

#include "bpf/regress.h"

#define WIDTH  980
#define LEFT   150 /* of the axis: names */
#define RIGHT  640 /* its end: figures */
#define HALF   34  /* the greatest height, above and below */
#define ROW    100
#define HEAD   70

static void escaped(const char *text, FILE *f)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", f);
		else if (*text == '&')
			fputs("&amp;", f);
		else if ((unsigned char)*text >= ' ')
			fputc(*text, f);
	}
}

static void label(FILE *f, double x, double y, const char *class, const char *text)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
	escaped(text, f);
	fputs("</text>\n", f);
}

/* The slots that either has anything in, one more on each side. */
struct span {
	unsigned from, to;
	double width; /* of one, in the picture */
};

static struct span span_of(const struct kho_regress_row *row)
{
	struct span s = { KHO_HIST_SLOTS, 0, 0 };

	for (unsigned i = 0; i < KHO_HIST_SLOTS; i++) {
		if (!row->a.slot[i] && !row->b.slot[i])
			continue;
		s.from = i < s.from ? i : s.from;
		s.to = i + 1;
	}
	s.from -= s.from > 0;
	s.to += s.to < KHO_HIST_SLOTS;
	s.width = (double)(RIGHT - LEFT) / (s.to - s.from);
	return s;
}

static double share_max(const struct kho_hist *h)
{
	unsigned long long max = 0;

	for (unsigned i = 0; i < KHO_HIST_SLOTS; i++)
		max = h->slot[i] > max ? h->slot[i] : max;
	return (double)max / (double)kho_hist_count(h);
}

/* Where a value lies on the axis. */
static double at(const struct span *s, uint64_t value)
{
	unsigned slot = kho_hist_slot(value);
	uint64_t from = kho_hist_from(slot), to = kho_hist_to(slot);

	return LEFT + s->width * (slot - s->from + (to > from ? (double)(value - from) / (double)(to - from) : 0));
}

/* up: 1 above the line at y, -1 below it */
static void half(FILE *f, const struct span *s, const struct kho_hist *h, double tallest, double y, int up, const char *class)
{
	double n = (double)kho_hist_count(h);

	for (unsigned i = s->from; i < s->to; i++) {
		double tall = HALF * (double)h->slot[i] / n / tallest;

		if (h->slot[i])
			fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"/>\n", LEFT + s->width * (i - s->from),
				up > 0 ? y - tall : y, s->width, tall, class);
	}
	for (int q = 0; q < 2; q++) {
		double x = at(s, kho_hist_quantile(h, q ? 0.99 : 0.5));

		fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x, y, x, y - up * HALF, q ? "p99" : "p50");
	}
}

static void figures(FILE *f, const struct kho_regress *g, enum kho_metric m, double y)
{
	const struct kho_regress_row *row = &g->row[m];
	char line[160], v[4][KHO_REGRESS_TEXT];

	snprintf(line, sizeof(line), "before: %s, p99 %s", kho_regress_text(g, m, kho_hist_quantile(&row->a, 0.5), v[0]),
		 kho_regress_text(g, m, kho_hist_quantile(&row->a, 0.99), v[1]));
	label(f, RIGHT + 10, y - 20, "a", line);
	snprintf(line, sizeof(line), "after: %s, p99 %s", kho_regress_text(g, m, kho_hist_quantile(&row->b, 0.5), v[0]),
		 kho_regress_text(g, m, kho_hist_quantile(&row->b, 0.99), v[1]));
	label(f, RIGHT + 10, y - 4, "b", line);
	snprintf(line, sizeof(line), "x %s, p99 x %s", kho_regress_ratio(row->d.median_ratio, v[2]), kho_regress_ratio(row->d.p99_ratio, v[3]));
	label(f, RIGHT + 10, y + 14, "n", line);
	snprintf(line, sizeof(line), "p %.2g, effect %+.2f", row->d.p, row->d.delta);
	label(f, RIGHT + 10, y + 29, "n", line);
}

static void metric(FILE *f, const struct kho_regress *g, enum kho_metric m, double y)
{
	const struct kho_regress_row *row = &g->row[m];
	struct span s = span_of(row);
	double tallest = fmax(share_max(&row->a), share_max(&row->b));
	char v[KHO_REGRESS_TEXT];

	label(f, 10, y - 4, "name", kho_metric_name(m));
	label(f, 10, y + 14, !row->judged ? "n" : row->verdict == KHO_GATE_FAIL ? "fail" : "n", row->judged ? kho_gate_verdict_name(row->verdict) : "rare");
	half(f, &s, &row->a, tallest, y, 1, "a");
	half(f, &s, &row->b, tallest, y, -1, "b");
	fprintf(f, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" class=\"axis\"/>\n", LEFT, y, RIGHT, y);
	label(f, LEFT, y + HALF + 12, "n", kho_regress_text(g, m, kho_hist_from(s.from), v));
	fprintf(f, "<text x=\"%d\" y=\"%.1f\" class=\"n\" text-anchor=\"end\">%s</text>\n", RIGHT, y + HALF + 12,
		kho_regress_text(g, m, kho_hist_to(s.to - 1), v));
	figures(f, g, m, y);
}

void kho_regress_draw(const struct kho_recording *a, const struct kho_recording *b, const struct kho_regress *g, FILE *f)
{
	char line[1024];
	int rows = 0;

	for (int m = 0; m < KHO_NMETRICS; m++)
		rows += g->row[m].compared;
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n"
		   "<style>text { font: 12px sans-serif } rect.a { fill: #7a9cc6 } rect.b { fill: #d99a6c } text.a { fill: #3d6396 } text.b { fill: #a05a24 } "
		   ".n { fill: #555 } .name { font-weight: bold } .fail { fill: #b00; font-weight: bold } .axis { stroke: #999 } .p50 { stroke: #000 } "
		   ".p99 { stroke: #000; stroke-dasharray: 2 2 } .back { fill: #fff }</style>\n<rect class=\"back\" width=\"%d\" height=\"%d\"/>\n",
		WIDTH, HEAD + rows * ROW, WIDTH, HEAD + rows * ROW, WIDTH, HEAD + rows * ROW);
	snprintf(line, sizeof(line), "before: %s, %.1f s, %s: %.1f replies a second", a->kernel, (double)a->us / 1e6, a->workloads, g->replies_a);
	label(f, 10, 20, "a", line);
	snprintf(line, sizeof(line), "after: %s, %.1f s, %s: %.1f replies a second", b->kernel, (double)b->us / 1e6, b->workloads, g->replies_b);
	label(f, 10, 38, "b", line);
	label(f, 10, 56, "n", "above the line before, below it after; lines: median, and dashed 99th percentile; logarithmic");
	rows = 0;
	for (int m = 0; m < KHO_NMETRICS; m++)
		if (g->row[m].compared)
			metric(f, g, (enum kho_metric)m, HEAD + 45 + ROW * rows++);
	fputs("</svg>\n", f);
}
