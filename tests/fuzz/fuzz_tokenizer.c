// Texts through a tokenizer: the first byte chooses the flags, the second the length; what follows is a text, behind a
// line feed the second of a pair. Ids are of tokens, places lie in the text and rise, and the fast pass without places
// gives the same ids.
#include "runtime/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static const char form[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"[UNK]\",\"special\":true},{\"id\":1,\"content\":\"[CLS]\",\"special\":"
    "true},"
    "{\"id\":2,\"content\":\"[SEP]\",\"special\":true}%s],"
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":%s,\"handle_chinese_chars\":%s,\"strip_accents\":%s,"
    "\"lowercase\":%s},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",1]},"
    "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},"
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
    "\"max_input_chars_per_word\":10,\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,\"##a\":4,\"b\":5,\"ab\":6,"
    "\"##\\u302e\":7,\"\\u4e2d\":8,\".\":9,\"e\":10,\"\\u00e9\":11,\"##b\":12}}}";
static const char added[] =
    ",{\"id\":13,\"content\":\"<t>\",\"lstrip\":true,\"rstrip\":true},{\"id\":14,\"content\":\"<w>\",\"single_word\":"
    "true,"
    "\"normalized\":false},{\"id\":15,\"content\":\"\\u00c9b\",\"normalized\":true}";

static ig_tokenizer *open_by(int ask) {
  char json[4096];
  ig_tokenizer *t;
#define WORD(bit) (ask & (bit) ? "true" : "false")
  int length = snprintf(json, sizeof json, form, ask & 1 ? added : "", WORD(2), WORD(4), WORD(8), WORD(16));
  fuzz_put("tokenizer.json", json, (size_t)length);
  fuzz_demand(ig_tokenizer_open("tokenizer.json", &t) == IG_OK, "the tokenizer opens");
  return t;
}

static void check(const ig_tokenizer *t, const ig_encoding *e, size_t n) {
  ig_tokenizer_info info;
  char *text;
  ig_tokenizer_get_info(t, &info);
  for (size_t i = 0; i < e->n; i++) {
    fuzz_demand(e->ids[i] >= 0 && e->ids[i] < info.vocabulary && ig_tokenizer_token(t, e->ids[i]), "ids are of tokens");
    fuzz_demand(e->begin[i] <= e->end[i] && e->end[i] <= n && (e->special[i] || e->begin[i] < e->end[i]),
                "places lie in the text");
    fuzz_demand(e->special[i] == (e->word[i] < 0), "tokens of a text are of a word");
    if (i && e->types[i] == e->types[i - 1] && !e->special[i] && !e->special[i - 1])
      fuzz_demand(e->word[i] >= e->word[i - 1], "words rise");
  }
  fuzz_demand(ig_tokenizer_decode(t, e->ids, e->n, true, &text) == IG_OK, "what was encoded can be decoded");
  ig_free(text);
}

// Opened once: with the address sanitizer that takes longer than any text.
static struct {
  ig_tokenizer *by_flags[32];
  int64_t live;
} opened;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  for (int ask = 0; ask < 32; ask++)
    opened.by_flags[ask] = open_by(ask);
  opened.live = ig_mem_live();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  const int ask = n > 0 ? data[0] : 0, limit = n > 1 ? data[1] : 0;
  const char *text = n > 2 ? (const char *)data + 2 : "";
  const size_t bytes = n > 2 ? n - 2 : 0;
  const char *second = bytes ? memchr(text, '\n', bytes) : NULL;
  const size_t first = second ? (size_t)(second - text) : bytes, rest = second ? bytes - first - 1 : 0;
  const ig_tokenizer *t = opened.by_flags[ask & 31];
  ig_encoding places = {0}, plain = {0};
  ig_encode_options options = {
      .special = ask & 32, .max_length = limit, .truncation = (ig_truncation)(limit % 3), .offsets = true};
  if (fuzz_ok(ig_tokenizer_encode(t, text, first, second ? second + 1 : NULL, rest, &options, &places))) {
    check(t, &places, n);
    fuzz_demand(!limit || places.n <= (size_t)limit, "the length holds");
    options.offsets = false;
    fuzz_demand(ig_tokenizer_encode(t, text, first, second ? second + 1 : NULL, rest, &options, &plain) == IG_OK &&
                    plain.n == places.n && plain.n_invalid == places.n_invalid &&
                    !(plain.n && memcmp(plain.ids, places.ids, plain.n * sizeof *plain.ids)),
                "places change no id");
  }
  ig_encoding_fini(&places);
  ig_encoding_fini(&plain);
  fuzz_demand(ig_mem_live() == opened.live, "no leak");
  return 0;
}
