// Case schedules: the rate of every step against torch's, transformers' and NVIDIA's schedules (VISION.md).
#include <cstring>

#include "runtime/train/schedule.h"
#include "tests/golden.h"

namespace {

bool starts_with(const std::string &s, const char *prefix) { return s.compare(0, strlen(prefix), prefix) == 0; }

ig_schedule_kind kind_of(const std::string &name) {
  const struct {
    const char *prefix;
    ig_schedule_kind kind;
  } kinds[] = {{"constant", IG_SCHEDULE_CONSTANT},  {"linear", IG_SCHEDULE_LINEAR},
               {"cosine", IG_SCHEDULE_COSINE},      {"polynomial", IG_SCHEDULE_POLY},
               {"nvidia_poly", IG_SCHEDULE_POLY},   {"step", IG_SCHEDULE_STEP},
               {"multistep", IG_SCHEDULE_STEP},     {"exponential", IG_SCHEDULE_EXPONENTIAL},
               {"inverse_sqrt", IG_SCHEDULE_RSQRT}, {"one_cycle", IG_SCHEDULE_ONECYCLE}};
  for (const auto &k : kinds)
    if (starts_with(name, k.prefix))
      return k.kind;
  throw std::runtime_error("schedule '" + name + "' is of no known kind");
}

// Every parameter must be understood: an ignored one would make the comparison a matter of luck.
ig_schedule schedule_of(const std::string &name, json_t *params, std::vector<int64_t> &milestones) {
  ig_schedule s = ig_schedule_default();
  s.kind = kind_of(name);
  s.lr = golden::number(params, "lr");
  const char *key;
  json_t *v;
  json_object_foreach(params, key, v) {
    const std::string k = key;
    const double x = json_is_number(v) ? json_number_value(v) : 0;
    if (k == "lr" || k == "max_lr")
      s.lr = x;
    else if (k == "warmup")
      s.warmup = (int64_t)x;
    else if (k == "total" || k == "T_max" || k == "total_steps")
      s.total = (int64_t)x;
    else if (k == "lr_end" || k == "eta_min")
      s.lr_end = x;
    else if (k == "min_lr_rate")
      s.lr_end = x * s.lr;
    else if (k == "power" || k == "degree")
      s.power = x;
    else if (k == "start_factor")
      s.warmup_start = x;
    else if (k == "step_size")
      s.step_size = (int64_t)x;
    else if (k == "gamma")
      s.gamma = x;
    else if (k == "timescale")
      s.timescale = (int64_t)x;
    else if (k == "pct_start")
      s.pct_start = x;
    else if (k == "div_factor")
      s.div_factor = x;
    else if (k == "final_div_factor")
      s.final_div_factor = x;
    else if (k == "three_phase")
      s.three_phase = json_is_true(v);
    else if (k == "anneal_strategy")
      s.linear_anneal = golden::text(params, k) == "linear";
    else if (k == "warmup_proportion")
      s.warmup = llround(x * golden::number(params, "total")), s.one_ahead = true;
    else if (k == "milestones")
      for (double m : golden::numbers(v))
        milestones.push_back((int64_t)m);
    else if (k != "num_cycles" || x != 0.5)
      throw std::runtime_error(name + ": parameter '" + k + "' is not known");
  }
  s.milestones = milestones.empty() ? nullptr : milestones.data();
  s.n_milestones = milestones.size();
  s.from_start = name.find("_absolute") != std::string::npos;
  return s;
}

void run(const std::string &path, golden::Report &r) {
  golden::Json root = golden::load_json(path + "/schedules.json");
  const char *name;
  json_t *entry;
  json_object_foreach(golden::get(root.get(), "schedules"), name, entry) {
    std::vector<int64_t> milestones;
    const ig_schedule s = schedule_of(name, golden::get(entry, "params"), milestones);
    if (!r.ok(name, ig_schedule_check(&s)))
      continue;
    std::vector<double> expected = golden::numbers(entry, "lr"), found;
    // Both libraries' cosines rise again after the end; ours holds its last value.
    if (s.kind == IG_SCHEDULE_COSINE)
      for (size_t k = (size_t)s.total + 1; k < expected.size(); k++)
        expected[k] = expected[(size_t)s.total];
    for (size_t k = 0; k < expected.size(); k++)
      found.push_back(ig_schedule_lr(&s, (int64_t)k));
    r.compare(name, found, expected, {1e-9 * s.lr, 0});
  }
}

}  // namespace

GOLDEN_CASE("schedules", run)
