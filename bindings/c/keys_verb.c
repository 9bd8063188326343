// keys, help and version. Rule: written from the table of keys; nothing is said twice.
#include <string.h>

#include "bindings/c/call.h"
#include "kernels/kernels.h"
#include "models/model.h"
#include "runtime/base/mem.h"
#include "runtime/device/device.h"

static ig_status find_verb(const char *name, size_t *out) {
  char quoted[IG_QUOTE_BYTES], nearest[IG_NEAREST_BYTES];
  for (*out = 0; *out < ig_keys.n_verbs; ++*out)
    if (strcmp(ig_keys.verbs[*out], name) == 0)
      return IG_OK;
  return ig_fail(IG_ERR_USAGE, "unknown verb %s%s (all verbs: ingot help)", ig_quote(quoted, name),
                 ig_nearest(nearest, name, ig_keys.verbs, ig_keys.n_verbs));
}

static json_t *key_json(const ig_key *key) {
  char type[256], range[96];
  ig_key_type_text(key, type);
  ig_key_range_text(key, range);
  json_t *verbs = json_array();
  for (size_t v = 0; v < ig_keys.n_verbs; v++)
    if (key->verbs >> v & 1)
      json_array_append_new(verbs, json_string(ig_keys.verbs[v]));
  return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s, s:o}", "key", key->name, "type", type, "range", range, "unit",
                   key->unit ? key->unit : "", "default", key->initial, "meaning", key->meaning, "verbs", verbs);
}

ig_status ig_verb_keys(ig_call_state *c) {
  IG_TRY(ig_want_paths(c, 0, 1));
  const char *verb = ig_config_n_paths(c->config) ? ig_config_path(c->config, 0) : NULL;
  size_t v = 0;
  if (verb)
    IG_TRY(find_verb(verb, &v));
  bool markdown = ig_config_is(c->config, "format", "markdown");
  if (markdown && verb)
    return ig_fail(IG_ERR_USAGE, "format=markdown is the document of all verbs: leave %s out", verb);
  char *text = NULL;
  IG_TRY(markdown ? ig_keys_markdown(&ig_keys, &text) : ig_keys_text(&ig_keys, verb, &text));
  json_t *rows = json_array();
  for (size_t i = 0; i < ig_keys.n_keys; i++)
    if (!verb || ig_keys.keys[i].verbs >> v & 1)
      json_array_append_new(rows, key_json(&ig_keys.keys[i]));
  json_t *object = json_pack("{s:o}", "keys", rows);
  ig_status status = object ? ig_answer(c, object, text) : ig_no_json();
  json_decref(object);
  ig_free(text);
  return status;
}

static ig_status help_all(ig_text *out) {
  IG_TRY(ig_text_addf(out,
                      "ingot VERB [key=value | --key value | --key=value | PATH]... [--config FILE.yaml]\n\nverbs\n"));
  for (size_t v = 0; v < ig_keys.n_verbs; v++)
    IG_TRY(ig_text_addf(out, "  %-10s  %s\n", ig_keys.verbs[v], ig_verb_meaning[v]));
  IG_TRY(ig_text_addf(out, "\nmodels\n"));
  for (size_t i = 0; ig_models[i]; i++)
    IG_TRY(ig_text_addf(out, "  %-16s  %s\n", ig_models[i]->name, ig_models[i]->summary));
  return ig_text_addf(out,
                      "\ningot help VERB: usage and keys of a verb; ingot keys: all keys.\n"
                      "Keys come from, later ones winning: default, model and data, --config files, command line.\n"
                      "Exit codes: 0 done, 1 failed while running, 2 refused before any work, 75 stopped with a "
                      "checkpoint\n(go on with resume=auto), 130 second Ctrl-C.\n");
}

ig_status ig_verb_help(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_text text = {0};
  char *keys = NULL;
  json_t *object = NULL;
  IG_TRY(ig_want_paths(c, 0, 1));
  if (ig_config_n_paths(c->config)) {
    size_t v;
    IG_TRY(find_verb(ig_config_path(c->config, 0), &v));
    IG_GOTO(ig_keys_text(&ig_keys, ig_keys.verbs[v], &keys));
    IG_GOTO(ig_text_addf(&text, "%s\n\n%s\n\n%s", ig_verb_usage[v], ig_verb_meaning[v], keys));
  } else {
    IG_GOTO(help_all(&text));
  }
  object = json_pack("{s:s}", "help", text.data);
  status = object ? ig_answer(c, object, text.data) : ig_no_json();
done:
  json_decref(object);
  ig_free(keys);
  ig_free(text.data);
  return status;
}

ig_status ig_verb_version(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_text text = {0};
  json_t *environment = NULL, *object = NULL, *value;
  const char *name;
  IG_TRY(ig_want_paths(c, 0, 0));
  IG_GOTO(ig_environment_json(&environment));
  const char *cuda = ig_has_cuda() ? "cuda" : NULL;
  object = json_pack("{s:s, s:s, s:s, s:[s, s*], s:O}", "version", ig_version(), "git", ig_git_hash(), "build",
                     ig_build_text(), "back_ends", "cpu", cuda, "libraries", json_object_get(environment, "libraries"));
  if (!object)
    IG_GOTO(ig_no_json());
  IG_GOTO(ig_text_addf(&text, "ingot %s (git %s; %s), back ends: cpu%s\n", ig_version(), ig_git_hash(), ig_build_text(),
                       cuda ? ", cuda" : ""));
  json_object_foreach(json_object_get(environment, "libraries"), name, value)
      IG_GOTO(ig_text_addf(&text, "%s %s\n", name, json_string_value(value)));
  status = ig_answer(c, object, text.data);
done:
  json_decref(environment);
  json_decref(object);
  ig_free(text.data);
  return status;
}
