// NVIDIA's shards as a stranger's file: the input is a list of edits of a good one (place, length, bytes; the first
// byte 1: all of the file). libhdf5 reads it in a child process, whose crash is a refusal here. What is accepted holds
// rows that can be trained on.
#include "runtime/ckpt/bert_shard.h"
#include "tests/fuzz/fuzz.h"

static uint8_t *good;
static size_t good_n;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  ig_bert_shard s;
  uint8_t *data;
  fuzz_demand(ig_bert_shard_init(3, 8, 2, &s) == IG_OK, "a shard");
  for (int i = 0; i < 3; i++)
    for (int t = 0; t < 5 + i; t++) {
      s.input_ids[i * 8 + t] = 10 * i + t;
      s.input_mask[i * 8 + t] = 1;
      s.segment_ids[i * 8 + t] = t > 2;
      s.masked_lm_positions[i * 2] = i;
      s.masked_lm_ids[i * 2] = 7;
    }
  fuzz_demand(ig_bert_shard_write("training_0.hdf5", &s) == IG_OK, "a file");
  fuzz_demand(ig_file_read("training_0.hdf5", 1 << 20, &data, &good_n) == IG_OK, "its bytes");
  good = memcpy(malloc(good_n), data, good_n);
  ig_free(data);
  ig_bert_shard_fini(&s);
  return 0;
}

static void put_edited(const uint8_t *data, size_t n) {
  uint8_t *now = memcpy(malloc(good_n), good, good_n);
  size_t size = good_n;
  while (n >= 3) {  // place (2 bytes), length; 0: the file ends there
    const size_t at = (data[0] | (size_t)data[1] << 8) % good_n, length = data[2] < n - 3 ? data[2] : n - 3;
    for (size_t k = 0; k < length && at + k < good_n; k++)
      now[at + k] = data[3 + k];
    if (data[2] == 0 && at < size)
      size = at;
    data += 3 + length;
    n -= 3 + length;
  }
  fuzz_put("training_0.hdf5", now, size);
  free(now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  ig_bert_rows *rows;
  if (n && data[0] == 1)
    fuzz_put("training_0.hdf5", data + 1, n - 1);
  else
    put_edited(n ? data + 1 : data, n ? n - 1 : 0);
  const bool opened = fuzz_ok(ig_bert_rows_open("training_0.hdf5", 100, &rows));
  fuzz_demand(opened || n > 3 || (n && data[0] == 1), "an unchanged file opens");
  if (opened) {
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
