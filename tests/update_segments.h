// What an update in a test needs beside its graph.
#ifndef INGOT_TESTS_UPDATE_SEGMENTS_H
#define INGOT_TESTS_UPDATE_SEGMENTS_H

#include "kernels/optim_util/optim_util.h"
#include "runtime/train/optimizer.h"
#include "tests/run_graph.h"

// The table of segments, and the norm and scale that tests look at.
inline void set_update_segments(run_graph::Graph &g, const ig_optimizer_options *o, const ig_optimizer_io *io) {
  const size_t n_seg = (size_t)ig_optimizer_segments(&g.params);
  std::vector<int64_t> start(n_seg + 1);
  std::vector<float> attr(n_seg * IG_N_SEG);
  run_graph::must(ig_optimizer_fill_segments(&g.params, o, start.data(), attr.data()));
  g.set(io->seg_start, start);
  g.set(io->seg_attr, attr);
  g.add(io->norm);
  g.add(io->gscale);
}

// The update of a differentiated graph whose parameters are laid out: moments begin at zero.
inline void add_update(run_graph::Graph &g, const ig_optimizer_options *o, ig_optimizer_io *io) {
  run_graph::must(ig_optimizer_build_update(g.g, o, io));
  for (int k = 0; k < ig_optimizer_moments(o); k++)
    g.space((ig_space)(IG_SPACE_MOMENT0 + k)).assign((size_t)g.params.count[IG_PARAM_TRAINABLE], 0.0f);
  set_update_segments(g, o, io);
}

#endif
