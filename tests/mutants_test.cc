// floor: ig_kernels
// Proof of ops_test's power: every implementation is run with an error built in (a sign, a factor, a lost tail, two
// elements exchanged), and the comparison that ops_test uses must notice; so must central differences when a backward
// implementation errs. Rule: an error that changes no bit of a result is no mutant; every other one must be caught, or
// stand in `excused` with its reason.
#include <algorithm>
#include <gtest/gtest.h>
#include <set>

#include "tests/ops_compare.h"
#include "tests/ops_gradients.h"
#include "tests/ops_harness.h"

namespace {

using namespace ops;

enum Kind { SIGN, TWICE, TAIL, SWAP, N_KINDS };
const char *const kind_name[] = {"sign", "factor 2", "dropped tail", "exchange"};

// The mutation at work. A C function pointer carries no data, so that it stands here.
struct Mutation {
  const ig_impl *original = nullptr;
  Kind kind = SIGN;
  int result = 0;         // output, then operands
  uint64_t key = 0;       // only nodes with this key, 0 = all
  bool backward = false;  // only backward nodes
  bool changed = false;
};
Mutation active;

void mutate(void *p, ig_dtype type, size_t n) {
  std::vector<size_t> live;  // places of values that are not zero: padding is none
  std::vector<double> v(n);
  for (size_t i = 0; i < n; i++)
    if ((v[i] = ig_load_f64(p, type, i)) != 0)
      live.push_back(i);
  if (live.empty())
    return;
  std::vector<double> before = v;
  bool integer = !ig_dtype_is_float(type);
  size_t tail = std::max<size_t>(1, live.size() * 3 / 100), low = 0, high = 0;
  for (size_t i = 0; i < n; i++) {
    low = v[i] < v[low] ? i : low;
    high = v[i] > v[high] ? i : high;
  }
  switch (active.kind) {
    case SIGN:
      for (size_t i : live)
        v[i] = integer ? v[i] - 1 : -v[i];
      break;
    case TWICE:
      for (size_t i : live)
        v[i] *= 2;
      break;
    case TAIL:
      for (size_t k = live.size() - tail; k < live.size(); k++)
        v[live[k]] = 0;
      break;
    default:
      std::swap(v[low], v[high]);
  }
  for (size_t i = 0; i < n; i++)
    if (v[i] != before[i]) {
      ig_store_f64(p, type, i, v[i]);
      active.changed |= ig_load_f64(p, type, i) != before[i];
    }
}

ig_status mutated_run(const ig_launch *l) {
  IG_TRY(active.original->run(l));
  const ig_node *n = l->node;
  if ((active.key && n->key != active.key) || (active.backward && n->phase != IG_PHASE_BACKWARD))
    return IG_OK;
  bool is_out = active.result < n->n_out;
  int i = is_out ? active.result : active.result - n->n_out;
  const ig_tensor *t = is_out ? n->out[i] : n->in[i];
  if (!t)  // an operand that this case leaves out
    return IG_OK;
  ig_layout layout = is_out ? l->out_layout[i] : l->in_layout[i];
  mutate(is_out ? l->out[i] : (void *)l->in[i], t->dtype,
         ig_layout_bytes(l->layouts, layout, &t->shape, t->dtype) / ig_dtype_bytes(t->dtype));
  return IG_OK;
}

// A device whose table has one implementation replaced by its mutant.
struct MutantDevice {
  std::vector<ig_impl> table;
  const ig_impl *lists[2];
  std::unique_ptr<Device> device;
  explicit MutantDevice(const ig_impl *victim) {
    for (const ig_impl *const *list = ig_cpu_impl_lists; *list; list++)
      for (const ig_impl *impl = *list; impl->name; impl++) {
        table.push_back(*impl);
        if (impl == victim)
          table.back().run = mutated_run;
      }
    table.push_back({});
    lists[0] = table.data();
    lists[1] = nullptr;
    device.reset(new Device(victim->isa, 1, lists));
  }
};

struct Excuse {
  const char *row, *kind, *why;
};
// Mutants that change bits and may pass.
const std::vector<Excuse> excused = {};

bool is_excused(const std::string &row, Kind kind) {
  for (const Excuse &e : excused)
    if (row == e.row && !strcmp(kind_name[kind], e.kind))
      return true;
  return false;
}

TEST(Mutants, ComparisonCatchesEveryErrorOfEveryImplementation) {
  Device plain(IG_ISA_AMX, 1);
  int total = 0, caught = 0, without_effect = 0;
  std::set<const ig_impl *> impls, mutated;
  std::set<std::string> silent;  // results that no mutation changed in any case
  for (const ig_op *op : all_rows()) {
    std::vector<Job> jobs;
    std::vector<Result> wants;
    for (int c = 0; c < op->n_cases; c++)
      if (!op->cases[c].bench) {
        jobs.push_back(job_of(op, op->cases[c], IG_F32));
        wants.push_back(oracle(jobs.back(), plain.get()));
      }
    for (const ig_impl *const *list = ig_cpu_impl_lists; *list; list++)
      for (const ig_impl *impl = *list; impl->name; impl++) {
        bool of_row = false;
        for (int i = 0; i < IG_MAX_IMPLS && op->impls[IG_DEVICE_CPU][i]; i++)
          of_row |= !strcmp(op->impls[IG_DEVICE_CPU][i], impl->name);
        if (!of_row || impl->isa > ig_isa_detect())
          continue;
        impls.insert(impl);
        MutantDevice device(impl);
        for (int result = 0; result < op->n_out + 32; result++) {
          if (result >= op->n_out && !(op->mutates_in >> (result - op->n_out) & 1))
            continue;
          std::string where = std::string(impl->name) + " result " + std::to_string(result);
          bool any = false;
          for (int kind = 0; kind < N_KINDS; kind++)
            for (size_t k = 0; k < jobs.size(); k++) {
              active = Mutation();
              active.original = impl;
              active.kind = (Kind)kind;
              active.result = result;
              // Other nodes of the same row (reorders that the plan inserts) stay as they are.
              active.key = jobs[k].key;
              Result got;
              std::string why;
              if (!run_job(jobs[k], device.device->get(), impl->name, false, &got, &why))
                continue;
              if (!active.changed) {
                without_effect++;
                continue;
              }
              any = true;
              mutated.insert(impl);
              total++;
              bool noticed = !compare(jobs[k], impl, got, wants[k]).empty();
              caught += noticed;
              EXPECT_TRUE(noticed || is_excused(op->name, (Kind)kind))
                  << where << ", case '" << jobs[k].name << "': " << kind_name[kind] << " passes";
            }
          if (!any)
            silent.insert(where);
        }
      }
  }
  printf("%d of %d mutants of %zu implementations caught; %d changed no bit and are none\n", caught, total,
         mutated.size(), without_effect);
  for (const std::string &s : silent)
    printf("  never anything to change: %s\n", s.c_str());
  EXPECT_GT(total, 0);
}

// A wrong backward implementation (its reference, which the gradient graph runs in fp64) against central differences.
TEST(Mutants, CentralDifferencesCatchEveryErrorOfBackward) {
  Device plain(IG_ISA_AMX, 1);
  int total = 0, caught = 0, without_effect = 0;
  std::set<std::string> rows, backward_rows;
  for (const ig_op *op : all_rows()) {
    if (!has_gradient(op))
      continue;
    for (int c = 0; c < op->n_cases; c++) {
      if (op->cases[c].bench)
        continue;
      std::vector<Slope> slopes = numeric_slopes(op, op->cases[c], plain.get(), 7);
      if (slopes.empty())
        continue;
      ASSERT_EQ(check_gradients(op, op->cases[c], plain.get(), slopes), "") << op->name;
      std::unique_ptr<Differentiated> d = differentiated(op, op->cases[c], IG_F64, true);
      std::set<std::pair<const ig_op *, int>> done;
      for (size_t k = d->n_forward; k < d->net->g->n_nodes; k++) {
        const ig_node *n = d->net->g->nodes[k];
        if (n->key != d->node->key)
          continue;
        for (int result = 0; result < n->n_out; result++) {
          if (!done.insert({n->op, result}).second)
            continue;
          bool is_asked = false;  // results that no gradient uses (a bias that is absent) may be anything
          for (size_t m = k + 1; m < d->net->g->n_nodes; m++)
            for (int i = 0; i < d->net->g->nodes[m]->n_in; i++)
              is_asked |= d->net->g->nodes[m]->in[i] == n->out[result];
          for (ig_tensor *t : d->dinputs)
            is_asked |= t && t == n->out[result];
          if (!is_asked)
            continue;
          const ig_impl *victim = ig_device_find_impl(plain.get(), (std::string(n->op->name) + "_ref").c_str());
          ASSERT_NE(victim, nullptr) << n->op->name;
          MutantDevice device(victim);
          for (int kind = 0; kind < N_KINDS; kind++) {
            active = Mutation();
            active.original = victim;
            active.kind = (Kind)kind;
            active.result = result;
            active.key = d->node->key;
            active.backward = true;
            std::string text = check_gradients(op, op->cases[c], device.device->get(), slopes);
            if (!active.changed) {
              without_effect++;
              continue;
            }
            total++;
            caught += !text.empty();
            rows.insert(op->name);
            backward_rows.insert(n->op->name);
            EXPECT_TRUE(!text.empty() || is_excused(n->op->name, (Kind)kind))
                << op->name << " '" << op->cases[c].name << "': " << kind_name[kind] << " of " << n->op->name
                << " result " << result << " passes";
          }
        }
      }
    }
  }
  printf("%d of %d mutants of %zu backward rows behind %zu rows caught; %d changed no bit and are none\n", caught,
         total, backward_rows.size(), rows.size(), without_effect);
  EXPECT_GT(total, 0);
}

}  // namespace
