// Sentences of any bytes: none is empty or begins or ends with white space, they follow each other, and nothing but
// white space lies between them.
#include "runtime/data/corpus_internal.h"
#include "tests/fuzz/fuzz.h"

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  corpus_spans s = {0};
  size_t at = 0;
  if (n == 0)
    return 0;
  const char *text = (const char *)data + 1;
  n--;
  fuzz_demand(ig_corpus_cut(text, n, data[0] & 1, &s) == IG_OK, "any text is cut");
  for (size_t i = 0; i <= s.n; i++) {
    const size_t begin = i < s.n ? s.items[i].at : n;
    fuzz_demand(begin >= at && begin <= n, "sentences follow each other");
    for (; at < begin; at++)
      fuzz_demand(is_space((uint8_t)text[at]), "nothing is left out");
    if (i == s.n)
      break;
    at = begin + s.items[i].n;
    fuzz_demand(s.items[i].n > 0 && at <= n && !is_space((uint8_t)text[begin]) && !is_space((uint8_t)text[at - 1]),
                "a sentence has no margins");
  }
  fuzz_demand(s.n == 0 || !(data[0] & 1) || s.items[0].starts_document, "the first starts a document");
  ig_corpus_spans_fini(&s);
  return fuzz_end();
}
