// BERT of the cases bert_* and minilm: packed batches, the model with its head, losses, gradients and updates.
#ifndef INGOT_TESTS_GOLDEN_BERT_H
#define INGOT_TESTS_GOLDEN_BERT_H

#include <fstream>

#include "models/bert.h"
#include "runtime/train/session.h"
#include "runtime/train/weights.h"
#include "tests/golden.h"
#include "tests/run_graph.h"
#include "tests/st_reader.h"
#include "tests/update_segments.h"

namespace golden_bert {

using run_graph::must;

inline std::string slurp(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  if (!in)
    throw std::runtime_error(path + ": cannot be opened");
  return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

inline void read_config(const std::string &path, ig_bert_model *out) {
  const std::string text = slurp(path);
  must(ig_bert_config_parse(text.data(), text.size(), path.c_str(), out, nullptr));
}

// Sequences without padding.
struct Packed {
  std::vector<int32_t> ids, types, positions, cu_seqlens, first;
  int64_t rows() const { return (int64_t)ids.size(); }
  int64_t sequences() const { return (int64_t)first.size(); }
};

inline void finish(Packed &p) {
  for (size_t b = 0; b + 1 < p.cu_seqlens.size(); b++) {
    p.first.push_back(p.cu_seqlens[b]);
    for (int32_t t = p.cu_seqlens[b]; t < p.cu_seqlens[b + 1]; t++)
      p.positions.push_back(t - p.cu_seqlens[b]);
  }
}

// From [B, S] with a mask; row_of: place of (b, s) among the rows, -1 for padding.
inline Packed pack(const st::File &io, std::vector<int32_t> *row_of) {
  const std::vector<int64_t> shape = io.shape("input_ids");
  const std::vector<int32_t> ids = io.i32("input_ids"), types = io.i32("token_type_ids"),
                             mask = io.i32("attention_mask");
  Packed p;
  p.cu_seqlens.push_back(0);
  for (int64_t b = 0; b < shape.at(0); b++) {
    for (size_t i = (size_t)(b * shape.at(1)); i < (size_t)((b + 1) * shape.at(1)); i++) {
      row_of->push_back(mask[i] ? (int32_t)p.ids.size() : -1);
      if (mask[i])
        p.ids.push_back(ids[i]), p.types.push_back(types[i]);
    }
    p.cu_seqlens.push_back((int32_t)p.ids.size());
  }
  finish(p);
  return p;
}

const ig_space space_of_kind[IG_N_PARAM_KINDS] = {IG_SPACE_TRAINABLE, IG_SPACE_FROZEN, IG_SPACE_STATE};

// In tf32, bf16 and fp16: largest norms of differences, in units of one rounding (2^-8 in bf16, 2^-11 in the others).
// Logits of a few classes are small differences of what was rounded. Adam moves every weight by the sign of its
// gradient where that is small beside rounding.
const struct {
  double loss, hidden, logits, gradients, losses, norm, moved, gradient_alone, moved_alone;
} rounded = {4, 6, 24, 16, 8, 8, 48, 8, 12};

// A model with its head on packed sequences; what is added to it goes before plan().
class Net {
 public:
  Net(const ig_bert_model &m, int classes, ig_text_head head, bool nsp, const Packed &p,
      const std::vector<int32_t> &masked, ig_mode mode, const run_graph::Way &how)
      : g(how.compute, mode), way(how) {
    in = ig_session_text_inputs(g.g, p.rows(), p.sequences(), (int64_t)masked.size());
    g.set(in.ids, p.ids);
    g.set(in.types, p.types);
    g.set(in.positions, p.positions);
    g.set(in.cu_seqlens, p.cu_seqlens);
    g.set(in.first, p.first);
    if (in.masked)
      g.set(in.masked, masked);
    ig_model_config c = {sizeof c, classes, false, 0, nullptr, head, nsp};
    out = m.model.build_text(&m.model, g.g, &c, &in);
    must(ig_graph_status(g.g));
  }
  // After all outputs: gradients of the losses' sum and, where given, an update.
  void differentiate(const std::vector<ig_tensor *> &losses, const ig_optimizer_options *optimizer) {
    std::vector<ig_tensor *> l = losses;
    std::vector<ig_tensor *> seeds(l.size(),
                                   g.input("seed", IG_F32, IG_SHAPE1(1), std::vector<float>{way.loss_scale()}));
    lay_out();
    must(ig_graph_differentiate(g.g, (int)l.size(), l.data(), seeds.data(), 0, nullptr, nullptr));
    g.space(IG_SPACE_GRAD).assign((size_t)g.params.count[IG_PARAM_TRAINABLE], 0.0f);
    if (optimizer)
      add_update(g, optimizer, &io);
  }
  void lay_out() {
    must(ig_params_layout(&g.params));
    for (int k = 0; k < IG_N_PARAM_KINDS; k++)
      g.space(space_of_kind[k]).assign((size_t)g.params.count[k], 0.0f);
  }
  void load(const ig_model *model, const std::string &path, int *n_extra = nullptr) {
    float *buffers[IG_N_PARAM_KINDS];
    for (int k = 0; k < IG_N_PARAM_KINDS; k++)
      buffers[k] = g.space(space_of_kind[k]).data();
    ig_weights_report report = {};
    must(ig_weights_load(path.c_str(), model, &g.params, buffers, nullptr, &report));
    if (n_extra)
      *n_extra = report.extra;
  }
  std::vector<float> slice(ig_space space, const ig_param *p) {
    const float *from = g.space(space).data() + p->offset;
    return std::vector<float>(from, from + ig_shape_count(&p->shape));
  }
  std::vector<float> gradient(const ig_param *p) {
    std::vector<float> v = slice(IG_SPACE_GRAD, p);
    for (float &d : v)
      d /= way.loss_scale();
    return v;
  }
  // Value by value in fp32, by the norm where operands are rounded.
  void near(const std::string &name, const ig_tensor *found, const std::vector<float> &expected, golden::Report &r) {
    const bool logits = found == out.logits || found == out.nsp;
    if (way.exact())
      r.compare(name, g.get<float>(found), expected, {0, 1e-5});
    else
      golden::compare_norm(r, name, as_floats(found), expected,
                           (logits ? rounded.logits : rounded.hidden) * way.rounding());
  }
  // A tensor of 16 bits, too.
  std::vector<float> as_floats(const ig_tensor *t) const {
    std::vector<float> v((size_t)ig_shape_count(&t->shape));
    const std::vector<uint8_t> bytes = g.get<uint8_t>(t);
    for (size_t i = 0; i < v.size(); i++)
      v[i] = (float)ig_load_f64(bytes.data(), t->dtype, i);
    return v;
  }

  run_graph::Graph g;
  const run_graph::Way way;
  ig_text_inputs in = {};
  ig_text_outputs out = {};
  ig_optimizer_io io = {};
};

}  // namespace golden_bert

#endif
