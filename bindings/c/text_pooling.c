// How a sentence's vector is made, as a folder of sentence-transformers says. Rule: a vector is that folder's, or it is
// refused; pooling= says otherwise.
#include <string.h>

#include "bindings/c/options.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

enum { MAX_JSON = 1 << 20, LEAST_LENGTH = 3 };

static const char pooling_file[] = "1_Pooling/config.json", length_file[] = "sentence_bert_config.json",
                  modules_file[] = "modules.json";

// *out: NULL where the folder has no such file.
static ig_status read_json(const char *folder, const char *name, char **path, json_t **out) {
  uint8_t *text = NULL;
  size_t n;
  json_error_t error;
  ig_status status = IG_OK;
  *out = NULL;
  IG_TRY(ig_path_join(path, folder, name));
  if (!ig_path_exists(*path))
    return IG_OK;
  IG_TRY(ig_file_read(*path, MAX_JSON, &text, &n));
  *out = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, &error);
  if (!*out)
    status = ig_fail(IG_ERR_FORMAT, "%s:%d:%d: %s", *path, error.line, error.column, error.text);
  ig_free(text);
  return status;
}

// Modules but the encoder, pooling and the division by the norm (a dense layer, say) are not built.
static ig_status check_modules(const char *folder) {
  static const char *const built[] = {"Transformer", "Pooling", "Normalize"};
  char *path = NULL, q[IG_QUOTE_BYTES];
  json_t *modules = NULL;
  ig_status status = IG_OK;
  IG_GOTO(read_json(folder, modules_file, &path, &modules));
  for (size_t i = 0; i < json_array_size(modules); i++) {
    const char *type = json_string_value(json_object_get(json_array_get(modules, i), "type"));
    const char *name = type && strrchr(type, '.') ? strrchr(type, '.') + 1 : type;
    size_t k = 0;
    while (k < 3 && (!name || strcmp(name, built[k]) != 0))
      k++;
    if (k == 3)
      IG_GOTO(ig_fail(IG_ERR_UNSUPPORTED,
                      "%s: module %zu is %s; built are Transformer, Pooling and Normalize: say pooling=mean or cls to "
                      "have vectors without it",
                      path, i, type ? ig_quote(q, type) : "without a type"));
  }
done:
  json_decref(modules);
  ig_free(path);
  return status;
}

ig_status ig_choose_pooling(ig_call_state *c, const char *folder, ig_text_head *out) {
  static const char start[] = "pooling_mode_";
  char *path = NULL, q[IG_QUOTE_BYTES];
  const char *name, *other = NULL;
  json_t *pooling = NULL, *value;
  bool mean = false, first = false;
  ig_status status = IG_OK;
  *out = IG_TEXT_MEAN;
  if (ig_config_has_value(c->config, "pooling")) {
    *out = ig_config_is(c->config, "pooling", "cls") ? IG_TEXT_FIRST : IG_TEXT_MEAN;
    return IG_OK;
  }
  if (!folder)
    return IG_OK;
  IG_TRY(check_modules(folder));
  IG_GOTO(read_json(folder, pooling_file, &path, &pooling));
  json_object_foreach(pooling, name, value) {
    if (strncmp(name, start, sizeof start - 1) != 0 || !json_is_true(value))
      continue;
    if (!strcmp(name, "pooling_mode_mean_tokens"))
      mean = true;
    else if (!strcmp(name, "pooling_mode_cls_token"))
      first = true;
    else
      other = name;
  }
  if (pooling && (other || mean == first))
    IG_GOTO(ig_fail(IG_ERR_UNSUPPORTED,
                    "%s: %s%s; expected pooling_mode_mean_tokens or pooling_mode_cls_token alone: say pooling=mean or "
                    "cls to have that",
                    path,
                    other  ? ig_quote(q, other)
                    : mean ? "mean and cls together"
                           : "no pooling_mode_",
                    other || mean ? "" : "... is true"));
  if (first) {
    *out = IG_TEXT_FIRST;
    ig_note(c, "pooling=cls, as %s says", path);
  }
done:
  json_decref(pooling);
  ig_free(path);
  return status;
}

ig_status ig_choose_embed_length(ig_call_state *c, const char *folder, ig_text_model *text) {
  char *path = NULL;
  json_t *sentences = NULL;
  ig_status status = IG_OK;
  if (!folder || ig_config_is_set(c->config, "max_length"))
    return IG_OK;
  IG_GOTO(read_json(folder, length_file, &path, &sentences));
  const json_t *most = json_object_get(sentences, "max_seq_length");
  if (most && !json_is_null(most) && !(json_is_integer(most) && json_integer_value(most) >= LEAST_LENGTH))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: max_seq_length: a whole number of at least %d expected", path, LEAST_LENGTH));
  if (json_is_integer(most) && json_integer_value(most) < text->max_length) {
    text->max_length = (int)json_integer_value(most);
    ig_note(c, "max_length=%d, as %s says", text->max_length, path);
  }
done:
  json_decref(sentences);
  ig_free(path);
  return status;
}

static ig_status copy_file(const char *folder, const char *name, const char *to) {
  char *from = NULL, *copy = NULL;
  uint8_t *text = NULL;
  size_t n = 0;
  ig_status status = IG_OK;
  IG_GOTO(ig_path_join(&from, folder, name));
  if (!ig_path_exists(from))
    goto done;
  IG_GOTO(ig_file_read(from, MAX_JSON, &text, &n));
  IG_GOTO(ig_path_join(&copy, to, name));
  status = ig_file_write_atomic(copy, text, n);
done:
  ig_free(text);
  ig_free(from);
  ig_free(copy);
  return status;
}

ig_status ig_copy_pooling(ig_call_state *c, const char *folder, const char *to) {
  char *inner = NULL;
  bool there = false;
  IG_TRY(folder ? ig_path_holds(folder, pooling_file, &there) : IG_OK);
  if (!there)
    return IG_OK;
  if (!to) {
    ig_note(c, "how %s makes vectors of sentences (%s) is not written; a folder as OUT keeps it", folder, pooling_file);
    return IG_OK;
  }
  IG_TRY(ig_path_join(&inner, to, "1_Pooling"));
  const ig_status status = ig_make_dirs(inner);
  ig_free(inner);
  IG_TRY(status);
  IG_TRY(copy_file(folder, pooling_file, to));
  IG_TRY(copy_file(folder, length_file, to));
  return copy_file(folder, modules_file, to);
}
