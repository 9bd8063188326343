// Configuration: the first byte says the verb and whether the rest is YAML or words of a command line, one a line. What
// is accepted and written out again means the same.
#include "bindings/c/keys.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_WORDS = 64 };

static ig_status read_words(ig_config *c, char *text) {
  const char *words[MAX_WORDS];
  int n = 0;
  for (char *save, *word = strtok_r(text, "\n", &save); word && n < MAX_WORDS; word = strtok_r(NULL, "\n", &save))
    words[n++] = word;
  return ig_config_args(c, n, words);
}

static void check_round_trip(const ig_config *c, const char *verb) {
  char *yaml = NULL;
  ig_config *again = NULL;
  ig_config_change *changes = NULL;
  size_t n_changes = 0;
  if (!fuzz_ok(ig_config_yaml(c, &yaml)))  // a value that YAML cannot hold is refused here
    return;
  fuzz_demand(ig_config_create(&again, &ig_keys, verb) == IG_OK, "a second configuration");
  fuzz_demand(ig_config_load_text(again, yaml, strlen(yaml), "args.yaml") == IG_OK, "its own YAML reads back");
  fuzz_demand(ig_config_diff(c, again, &changes, &n_changes) == IG_OK && n_changes == 0, "and means the same");
  ig_free(changes);
  ig_free(yaml);
  ig_config_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n == 0)
    return 0;
  const char *verb = ig_keys.verbs[(data[0] >> 1) % ig_keys.n_verbs];
  char *text = malloc(n);  // exactly: a read behind the end is seen
  ig_config *c;
  memcpy(text, data + 1, n - 1);
  text[n - 1] = 0;
  fuzz_demand(ig_config_create(&c, &ig_keys, verb) == IG_OK, "the table is right");
  if (fuzz_ok(data[0] & 1 ? read_words(c, text) : ig_config_load_text(c, text, n - 1, "in.yaml")))
    check_round_trip(c, verb);
  ig_config_destroy(c);
  free(text);
  return fuzz_end();
}
