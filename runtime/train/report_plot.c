// Charts as inline SVG. Rule: a chart has at most COLUMNS points a series (lowest and highest of each column are kept),
// so that a long run gives a small page.
#include <math.h>

#include "runtime/base/mem.h"
#include "runtime/train/report_internal.h"

enum { W = 420, H = 240, LEFT = 46, RIGHT = 10, TOP = 8, BOTTOM = 26, COLUMNS = 180 };

typedef struct axis {
  double low, high, step;
} axis;

// About n round steps that cover low..high.
static axis axis_make(double low, double high, int n) {
  if (!(high > low)) {
    double pad = fabs(low) > 0 ? fabs(low) * 0.1 : 1;
    low -= pad, high += pad;
  }
  double raw = (high - low) / n, ten = pow(10, floor(log10(raw))), m = raw / ten;
  double step = ten * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
  return (axis){floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step, step};
}

static double to_x(const axis *a, double v) { return LEFT + (v - a->low) / (a->high - a->low) * (W - LEFT - RIGHT); }
static double to_y(const axis *a, double v) {
  return H - BOTTOM - (v - a->low) / (a->high - a->low) * (H - TOP - BOTTOM);
}

// Grid lines and numbers of y, numbers of x at multiples of its step.
static ig_status axes(ig_text *t, const axis *x, const axis *y, const char *x_name) {
  for (int i = 0; y->low + i * y->step <= y->high + 1e-6 * y->step; i++) {
    double v = fabs(y->low + i * y->step) < 1e-9 * y->step ? 0 : y->low + i * y->step, at = to_y(y, v);
    IG_TRY(ig_text_addf(t, "<path class=gl d=\"M%d %.1fH%d\"/><text x=%d y=%.1f text-anchor=end>%.4g</text>", LEFT, at,
                        W - RIGHT, LEFT - 6, at + 4, v));
  }
  double first = ceil(x->low / x->step - 1e-9) * x->step;
  for (int i = 0; first + i * x->step <= x->high + 1e-6 * x->step; i++) {
    double v = fabs(first + i * x->step) < 1e-9 * x->step ? 0 : first + i * x->step;
    IG_TRY(ig_text_addf(t, "<text x=%.1f y=%d text-anchor=middle>%.6g</text>", to_x(x, v), H - 8, v));
  }
  return ig_text_addf(t, "<text x=%d y=%d text-anchor=end>%s</text>", W - RIGHT, H + 8, x_name);
}

static ig_status line(ig_text *t, const axis *x, const axis *y, const report_series *s) {
  if (s->n == 1)
    return ig_text_addf(t, "<circle r=3.5 cx=%.1f cy=%.1f fill=\"var(--c%d)\"/>", to_x(x, s->x[0]), to_y(y, s->y[0]),
                        s->colour % 8);
  IG_TRY(ig_text_addf(t, "<path class=ln stroke=\"var(--c%d)\" d=\"", s->colour % 8));
  char pen = 'M';
  for (size_t i = 0; i < s->n;) {
    size_t column = s->n > COLUMNS ? i * COLUMNS / s->n : i, low = i, high = i;
    for (; i < s->n && (s->n > COLUMNS ? i * COLUMNS / s->n : i) == column; i++) {
      low = s->y[i] < s->y[low] ? i : low;
      high = s->y[i] > s->y[high] ? i : high;
    }
    size_t pair[2] = {low < high ? low : high, low < high ? high : low};
    for (int k = 0; k < (low == high ? 1 : 2); k++, pen = 'L')
      IG_TRY(ig_text_addf(t, "%c%.1f %.1f", pen, to_x(x, s->x[pair[k]]), to_y(y, s->y[pair[k]])));
  }
  return ig_text_addf(t, "\"/>");
}

ig_status ig_report_chart(ig_text *t, const char *title, const char *x_name, const report_series *s, size_t n,
                          bool from_zero) {
  double x0 = INFINITY, x1 = -INFINITY, y0 = from_zero ? 0 : INFINITY, y1 = -INFINITY;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < s[i].n; k++) {
      x0 = fmin(x0, s[i].x[k]), x1 = fmax(x1, s[i].x[k]);
      y0 = fmin(y0, s[i].y[k]), y1 = fmax(y1, s[i].y[k]);
    }
  if (!isfinite(x0))
    return IG_OK;  // nothing was logged: no chart
  axis x = axis_make(x0, x1, 5), y = axis_make(y0, y1, 4);
  if (x1 > x0)
    x.low = x0, x.high = x1;  // the curve fills the width; y ends at round numbers
  IG_TRY(ig_report_wrap(t, "<div class=card><h3>", title, "</h3>"));
  IG_TRY(ig_text_addf(t, "<svg viewBox=\"0 0 %d %d\" role=img", W, H + 10));
  IG_TRY(ig_report_wrap(t, " aria-label=\"", title, "\">"));
  IG_TRY(axes(t, &x, &y, x_name));
  for (size_t i = 0; i < n; i++)
    if (s[i].n)
      IG_TRY(line(t, &x, &y, &s[i]));
  IG_TRY(ig_text_addf(t, "</svg><div class=key>"));
  for (size_t i = 0; i < n; i++)
    if (s[i].n) {
      IG_TRY(ig_text_addf(t, "<span><i style=\"background:var(--c%d)\"></i>", s[i].colour % 8));
      IG_TRY(ig_report_wrap(t, "", s[i].name, "</span>"));
    }
  return ig_text_addf(t, "</div></div>\n");
}

ig_status ig_report_calibration(ig_text *t, const json_t *bins) {
  const axis unit = {0, 1, 0.25};
  size_t i;
  json_t *bin;
  double most = 1;
  json_array_foreach(bins, i, bin) most = fmax(most, ig_report_number(bin, "n"));
  IG_TRY(ig_text_addf(t, "<svg viewBox=\"0 0 %d %d\" role=img aria-label=\"calibration\">", W, H + 10));
  IG_TRY(axes(t, &unit, &unit, "how sure it was"));
  IG_TRY(ig_text_addf(t, "<path class=ln stroke=\"var(--soft)\" stroke-dasharray=\"3 5\" d=\"M%.1f %.1fL%.1f %.1f\"/>",
                      to_x(&unit, 0), to_y(&unit, 0), to_x(&unit, 1), to_y(&unit, 1)));
  json_array_foreach(bins, i, bin) {
    double n = ig_report_number(bin, "n"), sure = ig_report_number(bin, "confidence");
    double right = ig_report_number(bin, "accuracy");
    if (!(n > 0) || !isfinite(sure) || !isfinite(right))
      continue;
    IG_TRY(ig_text_addf(t,
                        "<circle cx=%.1f cy=%.1f r=%.1f fill=\"var(--c0)\" fill-opacity=.75><title>%.0f %s: %.1f %% "
                        "sure, %.1f %% right</title></circle>",
                        to_x(&unit, sure), to_y(&unit, right), 3 + 8 * sqrt(n / most), n,
                        ig_plural((unsigned long long)n, "sample", "samples"), 100 * sure, 100 * right));
  }
  return ig_text_addf(t, "</svg>");
}
