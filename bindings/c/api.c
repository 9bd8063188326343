// ig_call: from words to a verb. Rule: usage is checked whole before a verb does anything.
#include <locale.h>
#include <string.h>

#include "bindings/c/call.h"
#include "runtime/base/mem.h"
#include "runtime/train/session.h"

// From the generated ingot_build.h, which the build includes into this file alone.
#ifndef INGOT_VERSION
#define INGOT_VERSION    "0.1.0"
#define INGOT_GIT_HASH   "unknown"
#define INGOT_COMPILER   "unknown"
#define INGOT_BUILD_TYPE "unknown"
#endif

typedef ig_status (*verb_function)(ig_call_state *c);
static const verb_function functions[IG_N_VERBS] = {
    [IG_VERB_TRAIN] = ig_verb_train,
    [IG_VERB_EVAL] = ig_verb_eval,
    [IG_VERB_PREDICT] = ig_verb_predict,
    [IG_VERB_PLAN] = ig_verb_plan,
    [IG_VERB_CONVERT] = ig_verb_convert,
    [IG_VERB_CHECKPOINT] = ig_verb_checkpoint,
    [IG_VERB_DATA] = ig_verb_data,
    [IG_VERB_TOKENIZER] = ig_verb_tokenizer,
    [IG_VERB_REPORT] = ig_verb_report,
    [IG_VERB_DEMO] = ig_verb_demo,
    [IG_VERB_DOCTOR] = ig_verb_doctor,
    [IG_VERB_KEYS] = ig_verb_keys,
    [IG_VERB_COMPLETION] = ig_verb_completion,
    [IG_VERB_HELP] = ig_verb_help,
    [IG_VERB_VERSION] = ig_verb_version,
    [IG_VERB_BENCH] = ig_verb_bench,
};

const char *ig_version(void) { return INGOT_VERSION; }
const char *ig_git_hash(void) { return INGOT_GIT_HASH; }
const char *ig_build_text(void) { return INGOT_COMPILER ", " INGOT_BUILD_TYPE; }

static ig_status check_arguments(const char *verb, int n_words, const char *const *words) {
  if (!verb)
    return ig_fail(IG_ERR_USAGE, "ig_call: verb is NULL; expected a verb's name, as \"train\"");
  if (n_words < 0)
    return ig_fail(IG_ERR_USAGE, "ig_call: n_words is %d; expected the number of words", n_words);
  for (int i = 0; i < n_words; i++)
    if (!words || !words[i])
      return ig_fail(IG_ERR_USAGE, "ig_call: word %d of %d is NULL; expected a text", i + 1, n_words);
  return IG_OK;
}

static ig_status call_verb(ig_call_state *c) {
  IG_TRY(ig_config_create(&c->config, &ig_keys, c->verb));
  ig_status status = ig_config_args(c->config, c->n_words, c->words);
  if (status == IG_OK && ig_config_has_value(c->config, "device"))  // of verbs that take none, too
    status = ig_session_check_device(ig_config_str(c->config, "device"));
  if (status == IG_OK) {
    c->json = ig_config_bool(c->config, "json");
    c->quiet = ig_config_bool(c->config, "quiet");
    size_t v = 0;
    while (strcmp(ig_keys.verbs[v], c->verb) != 0)
      v++;
    c->verb = ig_keys.verbs[v];
    status = functions[v](c);
    ig_show_progress(c, "");
  }
  json_decref(c->warnings);
  ig_config_destroy(c->config);
  return status;
}

// The present locale, but that numbers have a point. NULL: no memory.
static locale_t locale_with_point(void) {
  locale_t own = duplocale(uselocale((locale_t)0));
  locale_t with_point = own ? newlocale(LC_NUMERIC_MASK, "C", own) : own;
  if (own && !with_point)
    freelocale(own);
  return with_point;
}

ig_status ig_call(const char *verb, int n_words, const char *const *words, const ig_callbacks *callbacks) {
  ig_call_state c = {.verb = verb, .n_words = n_words, .words = words};
  ig_error_clear();
  IG_TRY(check_arguments(verb, n_words, words));
  if (callbacks && callbacks->size)
    memcpy(&c.callbacks, callbacks, callbacks->size < sizeof c.callbacks ? callbacks->size : sizeof c.callbacks);
  const locale_t with_point = locale_with_point();
  if (!with_point)
    return ig_fail(IG_ERR_MEMORY, "no memory for the locale of numbers");
  const locale_t before = uselocale(with_point);
  const ig_status status = call_verb(&c);
  uselocale(before);
  freelocale(with_point);
  if (status == IG_OK)
    ig_error_clear();  // of what was tried and done in another way
  return status;
}
