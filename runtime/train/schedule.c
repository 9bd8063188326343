// Learning-rate schedules: the formulas of schedule.h. Rule: double arithmetic, no state.
#include "runtime/train/schedule.h"

#include <math.h>
#include <string.h>

#include "runtime/base/text.h"

static const char *const names[IG_SCHEDULE_N_KINDS] = {"constant", "linear",   "cosine",      "poly",
                                                       "step",     "onecycle", "exponential", "rsqrt"};

const char *ig_schedule_name(ig_schedule_kind kind) {
  return (unsigned)kind < IG_SCHEDULE_N_KINDS ? names[kind] : "unknown";
}

ig_status ig_schedule_parse(const char *name, ig_schedule_kind *out) {
  for (int i = 0; i < IG_SCHEDULE_N_KINDS; i++)
    if (!strcmp(name, names[i])) {
      *out = (ig_schedule_kind)i;
      return IG_OK;
    }
  return ig_fail(IG_ERR_USAGE,
                 "schedule=%s: expected constant, linear, cosine, poly, step, onecycle, exponential or rsqrt", name);
}

ig_schedule ig_schedule_default(void) {
  return (ig_schedule){
      .kind = IG_SCHEDULE_CONSTANT, .lr = 0.1, .power = 1, .pct_start = 0.3, .div_factor = 25, .final_div_factor = 1e4};
}

// NaN fails every comparison, so the conditions below are written as what must hold.
ig_status ig_schedule_check(const ig_schedule *s) {
  const char *name = ig_schedule_name(s->kind);
  const bool decays = s->kind == IG_SCHEDULE_LINEAR || s->kind == IG_SCHEDULE_COSINE || s->kind == IG_SCHEDULE_POLY;
  if ((unsigned)s->kind >= IG_SCHEDULE_N_KINDS)
    return ig_fail(IG_ERR_INTERNAL, "schedule: kind %d does not exist", (int)s->kind);
  if (!(s->lr >= 0 && isfinite(s->lr)))
    return ig_fail(IG_ERR_USAGE, "lr=%g: a rate must be a finite number of at least 0", s->lr);
  if (!(s->lr_end >= 0 && isfinite(s->lr_end)))
    return ig_fail(IG_ERR_USAGE, "lr_end=%g: a rate must be a finite number of at least 0", s->lr_end);
  if (s->warmup < 0 || !(s->warmup_start >= 0 && s->warmup_start <= 1))
    return ig_fail(IG_ERR_USAGE, "warmup=%lld from %g of the rate: expected at least 0 steps, from a share of 0 to 1",
                   (long long)s->warmup, s->warmup_start);
  if ((decays || s->kind == IG_SCHEDULE_ONECYCLE) && s->total < 1)
    return ig_fail(IG_ERR_USAGE, "schedule=%s needs the number of steps: found %lld, give steps= or epochs=", name,
                   (long long)s->total);
  if (decays && s->warmup > s->total)
    return ig_fail(IG_ERR_USAGE, "warmup=%lld is longer than the training of %lld %s", (long long)s->warmup,
                   (long long)s->total, ig_plural((unsigned long long)s->total, "step", "steps"));
  if (s->kind == IG_SCHEDULE_ONECYCLE) {
    if (s->warmup != 0)
      return ig_fail(IG_ERR_USAGE, "schedule=onecycle has its own warm-up: leave warmup=%lld out",
                     (long long)s->warmup);
    if (!(s->pct_start >= 0 && s->pct_start <= 1) || (s->three_phase && !(s->pct_start <= 0.5)) ||
        !(s->div_factor > 0) || !(s->final_div_factor > 0))
      return ig_fail(IG_ERR_USAGE,
                     "schedule=onecycle: rise %g of the steps, divisors %g and %g: expected a share of 0 to %s and "
                     "positive divisors",
                     s->pct_start, s->div_factor, s->final_div_factor, s->three_phase ? "0.5" : "1");
  }
  if (s->kind == IG_SCHEDULE_POLY && !(s->power > 0))
    return ig_fail(IG_ERR_USAGE, "schedule=poly: the degree is %g, expected above 0", s->power);
  if (!(s->gamma >= 0 && s->gamma <= 1))
    return ig_fail(IG_ERR_USAGE, "schedule=%s: gamma is %g, expected 0 (the default) to 1", name, s->gamma);
  if (s->step_size < 0 || s->timescale < 0)
    return ig_fail(IG_ERR_USAGE, "schedule=%s: a length of %lld steps, expected at least 0", name,
                   (long long)(s->step_size < 0 ? s->step_size : s->timescale));
  if (s->kind == IG_SCHEDULE_STEP && !s->milestones && s->step_size == 0 && s->total < 1)
    return ig_fail(IG_ERR_USAGE, "schedule=step needs milestones, a step size or the number of steps");
  if (s->kind == IG_SCHEDULE_EXPONENTIAL && s->gamma == 0 && s->total < 1)
    return ig_fail(IG_ERR_USAGE, "schedule=exponential needs gamma or the number of steps");
  for (size_t i = 1; i < s->n_milestones; i++)
    if (s->milestones[i] < s->milestones[i - 1])
      return ig_fail(IG_ERR_USAGE, "schedule=step: milestone %lld comes after %lld, expected ascending steps",
                     (long long)s->milestones[i], (long long)s->milestones[i - 1]);
  return IG_OK;
}

// 1 at q = 0, 0 at q = 1 along half a cosine.
static double half_cosine(double q) { return (1 + cos(3.14159265358979323846 * q)) / 2; }

static double anneal(const ig_schedule *s, double from, double to, double q) {
  return s->linear_anneal ? from + (to - from) * q : to + (from - to) * half_cosine(q);
}

// Phase ends as in torch: pct T - 1, then (three phases) 2 pct T - 2, then T - 1.
static double one_cycle(const ig_schedule *s, int64_t step) {
  const double low = s->lr / s->div_factor, end = low / s->final_div_factor, last = (double)(s->total - 1);
  const double k = step < s->total - 1 ? (double)step : last;
  const double up = s->pct_start * (double)s->total - 1;
  const double down = s->three_phase ? 2 * up : last;
  if (k >= last)
    return end;
  if (k <= up)
    return up > 0 ? anneal(s, low, s->lr, k / up) : s->lr;
  if (k <= down)
    return anneal(s, s->lr, s->three_phase ? low : end, (k - up) / (down - up));
  return anneal(s, low, end, (k - down) / (last - down));
}

static double step_decay(const ig_schedule *s, int64_t t) {
  const double gamma = s->gamma > 0 ? s->gamma : 0.1;
  int64_t n = 0;
  if (s->milestones) {
    while ((size_t)n < s->n_milestones && s->milestones[n] <= t)
      n++;
  } else {
    n = t / (s->step_size > 0 ? s->step_size : (s->total + 2) / 3);
  }
  return pow(gamma, (double)n);
}

double ig_schedule_lr(const ig_schedule *s, int64_t step) {
  const int64_t w = s->warmup, T = s->total;
  if (s->kind == IG_SCHEDULE_ONECYCLE)
    return one_cycle(s, step);
  if (s->kind == IG_SCHEDULE_POLY && s->one_ahead) {
    if (step + 1 < w)
      return s->lr * (s->warmup_start + (1 - s->warmup_start) * (double)(step + 1) / (double)w);
    const double left = step + 1 < T ? 1 - (double)(step + 1) / (double)T : 0;
    return s->lr_end + (s->lr - s->lr_end) * pow(left, s->power);
  }
  const double ramp = step < w ? s->warmup_start + (1 - s->warmup_start) * (double)step / (double)w : 1;
  const int64_t after = step > w ? step - w : 0, t = s->from_start ? step : after;
  const double q = step >= T ? 1 : after ? (double)after / (double)(T - w) : 0;  // w < step < T in the division
  switch (s->kind) {
    case IG_SCHEDULE_LINEAR:
      return ramp * (s->lr_end + (s->lr - s->lr_end) * (1 - q));
    case IG_SCHEDULE_COSINE:
      return ramp * (s->lr_end + (s->lr - s->lr_end) * half_cosine(q));
    case IG_SCHEDULE_POLY:
      return ramp * (s->lr_end + (s->lr - s->lr_end) * pow(1 - q, s->power));
    case IG_SCHEDULE_STEP:
      return ramp * s->lr * step_decay(s, t);
    case IG_SCHEDULE_EXPONENTIAL:
      return ramp * s->lr * (s->gamma > 0 ? pow(s->gamma, (double)t) : pow(0.01, (double)t / (double)T));
    case IG_SCHEDULE_RSQRT: {
      const double scale = (double)(s->timescale > 0 ? s->timescale : w > 0 ? w : 10000);
      return ramp * s->lr / sqrt((double)after / scale + 1);
    }
    default:
      return ramp * s->lr;
  }
}
