// Gradients of a row's case: its forward and backward graph, slopes by central differences, and the backward nodes as
// jobs. Rule: ops_test and mutants_test judge by check_gradients() of this file alone, so that what mutants_test proves
// holds for ops_test.
#ifndef INGOT_TESTS_OPS_GRADIENTS_H
#define INGOT_TESTS_OPS_GRADIENTS_H

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/reduce/reduce.h"
#include "kernels/reduce/reduce_attr.h"
#include "runtime/base/rng.h"
#include "tests/ops_harness.h"

namespace ops {

// ---- forward and backward graph of a case ----
// total = sum_k seed_k sum(out_k * weights_k) over the results of the type under test.
struct Differentiated {
  std::unique_ptr<Net> net;
  ig_node *node = nullptr;
  std::vector<ig_tensor *> in, dinputs;
  std::vector<int> wanted;  // operand of dinputs[i]
  std::vector<ig_tensor *> totals;
  Values seeds;
  size_t n_forward = 0;

  double total() const {
    double sum = 0;
    for (size_t k = 0; k < totals.size(); k++)
      sum += seeds[k] * net->get(totals[k])[0];
    return sum;
  }
};

// NULL where the row refuses the type. backward false: the forward part alone.
inline std::unique_ptr<Differentiated> differentiated(const ig_op *op, const ig_op_case &c, ig_dtype type,
                                                      bool backward) {
  Job job = job_of(op, c, type);
  if (!accepted(job))
    job = job_of(op, c, type, false);
  if (!accepted(job))
    return nullptr;
  std::unique_ptr<Differentiated> d(new Differentiated);
  d->net.reset(new Net(type));
  Net &net = *d->net;
  d->in.assign(job.in.size() + 1, nullptr);
  for (size_t i = 0; i < job.in.size(); i++)
    if (!job.in[i].absent)
      d->in[i] = net.input("operand" + std::to_string(i), job.in[i].dtype, job.in[i].shape, job.in[i].values);
  d->node = ig_graph_node(net.g, op->name, c.name, c.n_in, d->in.data(), c.attr);
  must(ig_graph_status(net.g));
  std::vector<ig_tensor *> seeds;
  for (int k = 0; k < op->n_out; k++) {
    ig_tensor *y = d->node->out[k];
    if (!ig_dtype_is_float(y->dtype) || (type == IG_F64 && y->dtype != IG_F64))
      continue;
    ig_case_input like = {};
    like.shape = y->shape;
    std::string name = "weights" + std::to_string(k);
    ig_tensor *w = net.input(name, y->dtype, y->shape, fill(like, 100 + (uint64_t)k, 0));
    ig_tensor *factors[] = {y, w};
    ig_node *product = ig_graph_node(net.g, "mul", "product", 2, factors, NULL);
    ig_sum_attr all = {};
    ig_tensor *p = product ? product->out[0] : NULL;
    ig_node *sum = ig_graph_node(net.g, "sum", "total", 1, &p, &all);
    must(ig_graph_status(net.g));
    d->totals.push_back(sum->out[0]);
    d->seeds.push_back(0.75 + 0.5 * k);
    seeds.push_back(net.input("seed" + std::to_string(k), sum->out[0]->dtype, sum->out[0]->shape, {d->seeds.back()}));
  }
  d->n_forward = net.g->n_nodes;
  std::vector<ig_tensor *> inputs;
  for (int i = 0; i < c.n_in; i++)
    if (d->in[i] && ig_dtype_is_float(d->in[i]->dtype) && !c.in[i].no_grad) {
      inputs.push_back(d->in[i]);
      d->wanted.push_back(i);
    }
  if (backward) {
    d->dinputs.assign(inputs.size() + 1, nullptr);
    must(ig_graph_differentiate(net.g, (int)d->totals.size(), d->totals.data(), seeds.data(), (int)inputs.size(),
                                inputs.data(), d->dinputs.data()));
  }
  net.expose_all();
  return d;
}

// ---- central differences ----
struct Slope {
  int wanted;      // which of Differentiated::wanted
  long at;         // element, -1: along the random direction `stream`
  double numeric;  // d total
};

inline Values direction(size_t n, uint64_t stream) {
  Values d(n);
  ig_rng r = ig_rng_make(77, stream, 0);
  for (double &v : d)
    v = ig_rng_normal(&r);
  return d;
}

// Slopes of the total in fp64 by signed central differences: up to `n_coordinates` elements of every operand (first
// and last among them), and one direction that moves all elements.
inline std::vector<Slope> numeric_slopes(const ig_op *op, const ig_op_case &c, ig_device *device, int n_coordinates) {
  std::unique_ptr<Differentiated> d = differentiated(op, c, IG_F64, false);
  std::vector<Slope> slopes;
  std::string why;
  if (!d || d->totals.empty())
    return slopes;
  if (!d->net->plan(device, "*=ref", &why))
    throw std::runtime_error(why);
  const double h = 1e-6;
  for (size_t k = 0; k < d->wanted.size(); k++) {
    ig_tensor *x = d->in[(size_t)d->wanted[k]];
    const Values at = d->net->get(x), way = direction(at.size(), (uint64_t)k);
    long n = (long)at.size(), taken = std::min<long>(n, n_coordinates);
    for (long m = -1; m < taken; m++) {
      long i = m < 0 ? -1 : m * (n - 1) / std::max(1L, taken - 1);
      double total[2];
      for (int side = 0; side < 2; side++) {
        Values moved = at;
        for (long j = 0; j < n; j++)
          if (i < 0 || i == j)
            moved[(size_t)j] += (side ? -h : h) * (i < 0 ? way[(size_t)j] : 1);
        d->net->set(x, moved);
        d->net->run();
        total[side] = d->total();
      }
      slopes.push_back({(int)k, i, (total[0] - total[1]) / (2 * h)});
    }
    d->net->set(x, at);
  }
  return slopes;
}

// Empty when the gradient rule's graph, run in fp64 by references, has these slopes; signs count.
inline std::string check_gradients(const ig_op *op, const ig_op_case &c, ig_device *device,
                                   const std::vector<Slope> &slopes) {
  std::unique_ptr<Differentiated> d = differentiated(op, c, IG_F64, true);
  std::string why;
  if (!d)
    return "no fp64 graph";
  if (!d->net->plan(device, "*=ref", &why))
    throw std::runtime_error(why);
  d->net->run();
  double total = std::fabs(d->total());
  for (const Slope &s : slopes) {
    size_t k = (size_t)s.wanted;
    const ig_tensor *x = d->in[(size_t)d->wanted[k]];
    size_t n = (size_t)ig_shape_count(&x->shape);
    Values g = d->dinputs[k] ? d->net->get(d->dinputs[k]) : Values(n, 0.0), way = direction(n, (uint64_t)k);
    double analytic = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
      norm += g[i] * g[i];
      if (s.at < 0)
        analytic += g[i] * way[i];
    }
    if (s.at >= 0)
      analytic = g[(size_t)s.at];
    // Truncation and rounding of the differences: h^2 and eps / h of what is differenced.
    double allowed = 1e-6 * std::fabs(s.numeric) + 1e-7 * std::sqrt(norm) / (s.at < 0 ? 1 : std::sqrt((double)n)) +
                     1e-8 * (1 + total);
    if (!(std::fabs(analytic - s.numeric) <= allowed)) {
      char line[256];
      snprintf(line, sizeof line, "operand %d %s %ld: gradient %.10g, central difference %.10g, allowed %.3g",
               d->wanted[k], s.at < 0 ? "direction" : "element", s.at, analytic, s.numeric, allowed);
      return line;
    }
  }
  return "";
}

// The backward nodes of case c in `type`, as jobs on the fp64 reference's values rounded to their operands' types.
// n_unmatched counts nodes that the fp64 graph does not have (casts).
inline std::vector<Job> backward_jobs(const ig_op *op, const ig_op_case &c, ig_dtype type, ig_device *device,
                                      std::vector<std::unique_ptr<Differentiated>> *keep, int *n_unmatched) {
  std::vector<Job> jobs;
  std::unique_ptr<Differentiated> narrow = differentiated(op, c, type, true),
                                  wide = differentiated(op, c, IG_F64, true);
  std::string why;
  if (!narrow || !wide || wide->totals.empty())
    return jobs;
  if (!wide->net->plan(device, "*=ref", &why))
    throw std::runtime_error(why);
  wide->net->run();
  std::map<std::string, const ig_node *> by_name;
  for (size_t k = 0; k < wide->net->g->n_nodes; k++)
    by_name[wide->net->g->nodes[k]->name] = wide->net->g->nodes[k];
  for (size_t k = narrow->n_forward; k < narrow->net->g->n_nodes; k++) {
    const ig_node *n = narrow->net->g->nodes[k];
    if (n->key != narrow->node->key || n->phase != IG_PHASE_BACKWARD)
      continue;
    auto found = by_name.find(n->name);
    if (found == by_name.end() || found->second->op != n->op) {
      (*n_unmatched)++;
      continue;
    }
    Job job;
    job.op = n->op;
    job.name = n->name;
    job.key = n->key;
    job.attr = n->attr;
    job.type = type;
    for (int i = 0; i < n->n_in; i++) {
      Operand o;
      if ((o.absent = !n->in[i]) == false) {
        o.shape = n->in[i]->shape;
        o.dtype = n->in[i]->dtype;
        o.narrow = o.dtype == type;
        o.wide = found->second->in[i]->dtype;
        o.values = wide->net->get(found->second->in[i]);
        for (double &v : o.values)
          v = rounded(v, o.dtype);
      }
      job.in.push_back(o);
    }
    jobs.push_back(job);
  }
  keep->push_back(std::move(narrow));  // jobs point at its attributes
  return jobs;
}

}  // namespace ops

#endif
