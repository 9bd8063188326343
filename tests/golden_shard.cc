// NVIDIA's pre-training shard: every number of the file as Python's reader stored it, and what the format promises.
#include "runtime/ckpt/bert_shard.h"
#include "tests/golden.h"
#include "tests/st_reader.h"

namespace {

template <class T>
std::vector<T> values(const st::File &f, const std::string &name) {
  const st::Tensor &t = f.at(name);
  std::vector<T> v(t.count());
  if (t.dtype != (sizeof(T) == 4 ? "I32" : "I8"))
    throw std::runtime_error(name + " is of another type");
  memcpy(v.data(), t.bytes.data(), t.bytes.size());
  return v;
}

template <class T>
void same(golden::Report &r, const st::File &f, const std::string &name, const T *found, size_t n) {
  const std::vector<T> expected = values<T>(f, name);
  r.check(name + " size", expected.size() == n, "found " + std::to_string(n));
  if (expected.size() == n)
    r.compare(name, found, expected.data(), n, {0, 0});
}

// Rows of the table: what is there without padding, and the ids before masking.
void check_rows(const std::string &path, const st::File &io, const ig_bert_shard &s, golden::Report &r) {
  ig_bert_rows *rows = nullptr;
  if (!r.ok("rows", ig_bert_rows_open(path.c_str(), 0, &rows)))
    return;
  const std::vector<int32_t> original = values<int32_t>(io, "original_ids");
  std::vector<int32_t> found(original.size());
  int64_t tokens = 0, random_next = 0, predictions = 0;
  for (int64_t i = 0; i < ig_bert_rows_count(rows); i++) {
    ig_bert_row row;
    ig_bert_rows_get(rows, i, &row);
    std::copy(row.ids, row.ids + row.n, found.begin() + i * s.length);
    for (int k = 0; k < row.n_masked; k++)
      found[(size_t)(i * s.length + row.masked[k])] = row.labels[k];
    tokens += row.n;
    random_next += row.next;
    predictions += row.n_masked;
  }
  r.compare("original_ids", found, original, {0, 0});
  golden::Json config = golden::load_json(path + "/config.json");
  r.check("rows", ig_bert_rows_count(rows) == (int64_t)golden::number(config.get(), "rows"));
  r.check("S", s.length == (int)golden::number(config.get(), "S"));
  r.check("P", s.max_masked == (int)golden::number(config.get(), "P"));
  r.check("tokens", tokens == (int64_t)golden::number(config.get(), "tokens"), "found " + std::to_string(tokens));
  r.check("random_next", random_next == (int64_t)golden::number(config.get(), "random_next"));
  json_t *kinds = golden::get(config.get(), "predictions");
  r.check("predictions", predictions == (int64_t)(golden::number(kinds, "mask") + golden::number(kinds, "random") +
                                                  golden::number(kinds, "kept")));
  ig_bert_rows_close(rows);
}

void run(const std::string &path, golden::Report &r) {
  ig_bert_rows *rows = nullptr;
  ig_bert_shard s;
  int32_t largest = 0;
  const st::File io(path + "/io.safetensors");
  if (!r.ok("read", ig_bert_shard_read((path + "/training_shard_0.hdf5").c_str(), &s, &largest)))
    return;
  const size_t tokens = (size_t)(s.n * s.length), masked = (size_t)(s.n * s.max_masked);
  same(r, io, "input_ids", s.input_ids, tokens);
  same(r, io, "input_mask", s.input_mask, tokens);
  same(r, io, "segment_ids", s.segment_ids, tokens);
  same(r, io, "masked_lm_positions", s.masked_lm_positions, masked);
  same(r, io, "masked_lm_ids", s.masked_lm_ids, masked);
  same(r, io, "next_sentence_labels", s.next_sentence_labels, (size_t)s.n);
  check_rows(path, io, s, r);
  const int vocabulary = (int)golden::number(golden::load_json(path + "/config.json").get(), "vocab_size");
  r.check("largest id", largest < vocabulary);
  r.check("a smaller vocabulary is refused", ig_bert_rows_open(path.c_str(), largest, &rows) == IG_ERR_MISMATCH);
  r.ok("its own is not", ig_bert_rows_open(path.c_str(), vocabulary, &rows));
  ig_bert_rows_close(rows);
  ig_bert_shard_fini(&s);
}

}  // namespace

GOLDEN_CASE("nvidia_shard", run)
