// The update that golden cases end a step with.
#ifndef INGOT_TESTS_GOLDEN_UPDATE_H
#define INGOT_TESTS_GOLDEN_UPDATE_H

#include "runtime/train/optimizer.h"
#include "tests/run_graph.h"

// Of a differentiated graph whose parameters are laid out: moments begin at zero, segments are filled.
inline void add_golden_update(run_graph::Graph &g, const ig_optimizer_options *o, ig_optimizer_io *io) {
  run_graph::must(ig_optimizer_build_update(g.g, o, io));
  const size_t n = (size_t)g.params.count[IG_PARAM_TRAINABLE], n_seg = (size_t)ig_optimizer_segments(&g.params);
  for (int k = 0; k < ig_optimizer_moments(o); k++)
    g.space((ig_space)(IG_SPACE_MOMENT0 + k)).assign(n, 0.0f);
  std::vector<int64_t> start(n_seg + 1);
  std::vector<float> attr(4 * n_seg);
  run_graph::must(ig_optimizer_fill_segments(&g.params, o, start.data(), attr.data()));
  g.set(io->seg_start, start);
  g.set(io->seg_attr, attr);
  g.add(io->norm);
  g.add(io->gscale);
}

#endif
