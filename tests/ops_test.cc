// floor: ig_kernels
// Walks the op table: every row, every case that is not a bench, every implementation, instruction set and thread count
// against the fp64 reference, forward and backward; gradients by signed central differences. Rule: nothing here names
// an op; a new row is covered from its line in ops.def on. Layouts are layout_test's, the power of the comparison is
// mutants_test's.
#include <algorithm>
#include <gtest/gtest.h>
#include <set>

#include "kernels/dnnl_common/dnnl_common.h"
#include "tests/ops_compare.h"
#include "tests/ops_gradients.h"
#include "tests/ops_harness.h"

namespace {

using namespace ops;

struct Counts {
  int rows = 0, cases = 0, jobs = 0, comparisons = 0, gradients = 0, refused = 0, unmatched = 0;
  size_t elements = 0, slopes = 0;
  std::set<const ig_impl *> impls;
  std::map<std::string, std::string> refusal;  // last reason of an implementation
};
Counts counts;

const Device &device_of(ig_isa isa, int threads) {
  static std::map<std::pair<int, int>, std::unique_ptr<Device>> all;
  std::unique_ptr<Device> &d = all[{isa, threads}];
  if (!d)
    d.reset(new Device(isa, threads));
  return *d;
}
ig_device *plain() { return device_of(IG_ISA_AMX, 1).get(); }

// Every implementation of the node, in every instruction set that provides its own, on 1, 2 and 3 threads, and with
// results over operands.
void check_job(const Job &job, const std::string &what) {
  counts.jobs++;
  const Result want = oracle(job, plain());
  for (int i = 0; i < IG_MAX_IMPLS && job.op->impls[IG_DEVICE_CPU][i]; i++) {
    std::string name = job.op->impls[IG_DEVICE_CPU][i];
    std::set<const ig_impl *> done;
    for (ig_isa isa : {IG_ISA_AMX, IG_ISA_AVX512, IG_ISA_AVX2, IG_ISA_BASE}) {
      const ig_impl *impl = ig_device_find_impl(device_of(isa, 1).get(), name.c_str());
      if (!impl || !done.insert(impl).second)
        continue;
      // What is updated in place (masters, moments) is fp32 by design: 16 bits there are for no reference to show.
      if ((impl->flags & IG_IMPL_REF) && job.op->mutates_in && job.type != IG_F32)
        continue;
      Result first;
      for (int variant = 0; variant < 4; variant++) {
        int threads = 1 + variant % 3;
        bool in_place = variant == 3;
        if (threads > 1 && (impl->flags & IG_IMPL_REF))
          continue;
        Result got;
        std::string why, where = what + " " + name + " " + ig_isa_name(isa) + ", variant " + std::to_string(variant);
        try {
          if (!run_job(job, device_of(isa, threads).get(), name, in_place, &got, &why)) {
            counts.refused++;
            if (job.type == IG_F32)
              counts.refusal[name] = where + ": " + why;
            done.erase(impl);  // a lower instruction set may take it
            break;
          }
        } catch (const std::exception &e) {
          ADD_FAILURE() << where << ": " << e.what();
          break;
        }
        counts.impls.insert(impl);
        counts.comparisons++;
        std::string text = compare(job, impl, got, want, &counts.elements);
        EXPECT_TRUE(text.empty()) << where << ": " << text;
        if (variant == 0)
          first = got;
        EXPECT_TRUE(!(impl->flags & IG_IMPL_THREAD_FREE) || same_bits(first, got))
            << where << ": bits differ from those on one thread";
      }
    }
  }
}

void check_case(const ig_op *op, const ig_op_case &c) {
  counts.cases++;
  for (ig_dtype type : {IG_F32, IG_BF16}) {
    Job job = job_of(op, c, type);
    std::string what = std::string(op->name) + " '" + c.name + "' " + ig_dtype_name(type);
    if (type != IG_F32 && std::none_of(job.in.begin(), job.in.end(), [](const Operand &o) { return o.narrow; }))
      continue;
    if (!accepted(job)) {
      ASSERT_NE(type, IG_F32) << what << ": the row refuses its own case: " << ig_error_message();
      counts.refused++;
      continue;
    }
    check_job(job, what);
    if (!has_gradient(op))
      continue;
    std::vector<std::unique_ptr<Differentiated>> keep;
    for (const Job &b : backward_jobs(op, c, type, plain(), &keep, &counts.unmatched))
      check_job(b, what + " -> " + b.op->name);
  }
}

TEST(Ops, EveryImplementationAgreesWithTheReference) {
  for (const ig_op *op : all_rows()) {
    counts.rows++;
    for (int i = 0; i < op->n_cases; i++)
      if (!op->cases[i].bench) {
        try {
          check_case(op, op->cases[i]);
        } catch (const std::exception &e) {
          ADD_FAILURE() << op->name << " '" << op->cases[i].name << "': " << e.what();
        }
      }
  }
  printf(
      "%d rows, %d cases, %zu implementations, %d nodes, %d comparisons of %zu elements; %d refused by type, %d "
      "casts without fp64 twin\n",
      counts.rows, counts.cases, counts.impls.size(), counts.jobs, counts.comparisons, counts.elements, counts.refused,
      counts.unmatched);
  EXPECT_GT(counts.comparisons, counts.cases);
  // An implementation that no case reaches is untested; Winograd's may be what this processor lacks.
  for (const ig_impl *const *list = ig_cpu_impl_lists; *list; list++)
    for (const ig_impl *impl = *list; impl->name; impl++)
      if (impl->isa <= ig_isa_detect() && !counts.impls.count(impl)) {
        printf("  never ran: %s (%s); %s\n", impl->name, ig_isa_name(impl->isa), counts.refusal[impl->name].c_str());
        EXPECT_TRUE(impl->flags & IG_IMPL_INEXACT) << impl->name << " is reached by no case";
      }
}

TEST(Ops, GradientsAreCentralDifferences) {
  int n_rows = 0, n_cases = 0;
  size_t n_slopes = 0;
  for (const ig_op *op : all_rows()) {
    if (!has_gradient(op))
      continue;
    size_t of_row = 0;
    for (int i = 0; i < op->n_cases; i++) {
      if (op->cases[i].bench)
        continue;
      try {
        std::vector<Slope> slopes = numeric_slopes(op, op->cases[i], plain(), 7);
        std::string text = slopes.empty() ? "" : check_gradients(op, op->cases[i], plain(), slopes);
        EXPECT_TRUE(text.empty()) << op->name << " '" << op->cases[i].name << "': " << text;
        of_row += slopes.size();
        n_cases += !slopes.empty();
      } catch (const std::exception &e) {
        ADD_FAILURE() << op->name << " '" << op->cases[i].name << "': " << e.what();
      }
    }
    EXPECT_GT(of_row, 0u) << op->name << " has a gradient rule, but no case asks for it";
    n_slopes += of_row;
    n_rows++;
  }
  printf("%d rows with a gradient, %d cases, %zu slopes\n", n_rows, n_cases, n_slopes);
}

// What the rule's nodes read is what the row says that it keeps: recomputation and memory estimates rest on it.
TEST(Ops, RowsKeepWhatTheirGradientReads) {
  for (const ig_op *op : all_rows()) {
    if (!has_gradient(op))
      continue;
    uint32_t in = 0, out = 0, given = 0;  // read, and operands that some case has
    for (int c = 0; c < op->n_cases; c++) {
      if (op->cases[c].bench)
        continue;
      std::unique_ptr<Differentiated> d = differentiated(op, op->cases[c], IG_F64, true);
      if (!d || d->totals.empty())
        continue;
      for (int j = 0; j < d->node->n_in; j++)
        given |= d->node->in[j] ? 1u << std::min(j, 31) : 0;
      for (size_t k = d->n_forward; k < d->net->g->n_nodes; k++) {
        const ig_node *n = d->net->g->nodes[k];
        for (int i = 0; n->key == d->node->key && i < n->n_in; i++) {
          for (int j = 0; j < d->node->n_in; j++)
            in |= n->in[i] && n->in[i] == d->node->in[j] ? 1u << std::min(j, 31) : 0;
          for (int j = 0; j < d->node->n_out; j++)
            out |= n->in[i] && n->in[i] == d->node->out[j] ? 1u << j : 0;
        }
      }
    }
    EXPECT_EQ(in, op->keeps_in & given) << op->name << ": operands that backward reads, and keeps_in";
    EXPECT_EQ(out, op->keeps_out) << op->name << ": results that backward reads, and keeps_out";
  }
}

TEST(Ops, RowsAreComplete) {
  std::set<std::string> names, reached;
  for (const ig_op *op : all_rows()) {
    for (int c = 0; has_gradient(op) && c < op->n_cases; c++) {
      if (op->cases[c].bench)
        continue;
      std::unique_ptr<Differentiated> d = differentiated(op, op->cases[c], IG_F64, true);
      for (size_t k = 0; d && k < d->net->g->n_nodes; k++)
        reached.insert(d->net->g->nodes[k]->op->name);
    }
  }
  std::set<std::string> built;  // for whatever instruction set
  for (const ig_impl *const *list = ig_cpu_impl_lists; *list; list++)
    for (const ig_impl *impl = *list; impl->name; impl++)
      built.insert(impl->name);
  for (const ig_op *op : all_rows()) {
    EXPECT_TRUE(names.insert(op->name).second) << op->name << ": two rows of that name";
    EXPECT_TRUE(op->summary && *op->summary) << op->name;
    EXPECT_TRUE(op->infer && op->grad && op->cost) << op->name;
    EXPECT_LE(op->n_out, IG_MAX_OUT) << op->name;
    int small = 0;
    for (int c = 0; c < op->n_cases; c++)
      small += !op->cases[c].bench;
    EXPECT_TRUE(small > 0 || reached.count(op->name)) << op->name << ": no case, and no gradient leads to it";
    for (int kind = 0; kind < IG_N_DEVICE_KINDS; kind++)
      EXPECT_EQ(op->impls[kind][IG_MAX_IMPLS - 1], nullptr) << op->name << ": the list is full: raise IG_MAX_IMPLS";
    const char *last = nullptr;
    for (int i = 0; i < IG_MAX_IMPLS && op->impls[IG_DEVICE_CPU][i]; i++) {
      last = op->impls[IG_DEVICE_CPU][i];
      if (std::string(last).find("_dnnl_wino") != std::string::npos && !IG_DNNL_HAS_WINOGRAD)
        continue;  // of oneDNN up to 3.1
      EXPECT_TRUE(built.count(last)) << op->name << " names " << last << ", which is nowhere";
    }
    ASSERT_NE(last, nullptr) << op->name;
    EXPECT_EQ(std::string(last), std::string(op->name) + "_ref");
    EXPECT_TRUE(ig_device_find_impl(plain(), last)->flags & IG_IMPL_REF) << last;
    for (int i = 0; i < op->n_out; i++)
      EXPECT_TRUE(op->in_place[i] >= 0 && (op->max_in < 0 || op->in_place[i] <= op->max_in)) << op->name;
  }
  // Implementations that no row names are dead code.
  for (const ig_impl *const *list = ig_cpu_impl_lists; *list; list++)
    for (const ig_impl *impl = *list; impl->name; impl++) {
      bool named = false;
      for (const ig_op *op : all_rows())
        for (int i = 0; i < IG_MAX_IMPLS && op->impls[IG_DEVICE_CPU][i]; i++)
          named |= !strcmp(op->impls[IG_DEVICE_CPU][i], impl->name);
      EXPECT_TRUE(named) << impl->name;
    }
}

}  // namespace
