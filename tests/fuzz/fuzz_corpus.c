// Token files of a corpus: the first byte says whether the hashes are made to fit, so that what lies behind them is
// looked at too. What opens is whole: every start in order, every id of the vocabulary.
#include "runtime/data/corpus_internal.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  fuzz_map_by_copy();
  return 0;
}

static void demand_whole(const ig_corpus *c) {
  ig_corpus_info n;
  ig_corpus_get_info(c, &n);
  uint64_t sentence = 0, token = 0;
  fuzz_demand(n.n_documents > 0 && ig_corpus_document(c, 0) == 0 && ig_corpus_sentence(c, 0) == 0, "it begins at 0");
  for (uint64_t d = 0; d < n.n_documents; d++) {
    fuzz_demand(ig_corpus_document(c, d) == sentence, "documents follow each other");
    for (; sentence < ig_corpus_document(c, d + 1); sentence++) {
      fuzz_demand(ig_corpus_sentence(c, sentence) == token && ig_corpus_document_of(c, sentence) == d, "sentences too");
      for (; token < ig_corpus_sentence(c, sentence + 1); token++) {
        int32_t id;
        ig_corpus_read(c, token, 1, &id);
        fuzz_demand(id >= 0 && id < n.vocabulary && ig_corpus_sentence_of(c, token) == sentence, "ids are known");
      }
    }
  }
  fuzz_demand(sentence == n.n_sentences && token == n.n_tokens, "and nothing is over");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n == 0)
    return 0;
  uint8_t *copy = malloc(n);
  memcpy(copy, data + 1, n - 1);
  if (data[0] & 1)
    ig_corpus_seal(copy, n - 1);
  fuzz_put("corpus.tokens", copy, n - 1);
  free(copy);
  ig_corpus *c;
  if (fuzz_ok(ig_corpus_open_file("corpus.tokens", NULL, 1, &c)))
    demand_whole(c);
  ig_corpus_close(c);
  corpus_part part;
  if (fuzz_ok(ig_corpus_part_open("corpus.tokens", 0, 2, 100, &part)))
    fuzz_demand(part.counts.n_tokens >= part.counts.n_sentences, "a part is whole");
  ig_corpus_part_close(&part);
  return fuzz_end();
}
