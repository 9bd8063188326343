// NVIDIA's shards as a stranger's file: libhdf5 reads them in a child process, whose crash is a refusal here. What is
// accepted holds rows that can be trained on.
#include "runtime/ckpt/bert_shard.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  ig_bert_rows *rows;
  fuzz_put("training_0.hdf5", data, n);
  if (fuzz_ok(ig_bert_rows_open("training_0.hdf5", 100, &rows))) {
    fuzz_demand(ig_bert_rows_count(rows) > 0, "rows");
    for (int64_t i = 0; i < ig_bert_rows_count(rows); i++) {
      ig_bert_row r;
      ig_bert_rows_get(rows, i, &r);
      fuzz_demand(r.n > 0 && r.n <= ig_bert_rows_longest(rows) && r.n_first <= r.n && (r.next == 0 || r.next == 1),
                  "a row");
      for (int t = 0; t < r.n; t++)
        fuzz_demand(r.ids[t] >= 0 && r.ids[t] < 100, "ids of the vocabulary");
      for (int k = 0; k < r.n_masked; k++)
        fuzz_demand(
            r.masked[k] > (k ? r.masked[k - 1] : 0) && r.masked[k] < r.n && r.labels[k] >= 0 && r.labels[k] < 100,
            "masked places, ascending");
    }
  }
  ig_bert_rows_close(rows);
  return fuzz_end();
}
