// See data_texts.h. Rule: a finding is no failure; only a path that cannot be used is.
#include "bindings/c/data_texts.h"

#include <dirent.h>
#include <string.h>
#include <strings.h>

#include "bindings/c/data_json.h"
#include "bindings/c/options.h"
#include "bindings/c/text_model.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/table.h"
#include "runtime/train/data_report.h"

enum { HEADER_BYTES = 4096, USUAL_LENGTH = 512 };

// A split file of pictures has a column file or path; a table of texts has not, or has the text beside it.
static bool lists_pictures(const char *path) {
  uint8_t *data;
  size_t n;
  bool file = false, text = false;
  if (!ig_path_ends_in(path, "csv") || ig_file_read(path, UINT64_MAX, &data, &n) != IG_OK) {
    ig_error_clear();
    return false;
  }
  char header[HEADER_BYTES];
  n = n < sizeof header - 1 ? n : sizeof header - 1;
  memcpy(header, data, n);
  header[n] = 0;
  header[strcspn(header, "\r\n")] = 0;
  ig_free(data);
  for (char *rest = header, *name; (name = strsep(&rest, ",")) != NULL;) {
    name += strspn(name, " \"\xef\xbb\xbf");
    name[strcspn(name, " \"")] = 0;
    file = file || !strcasecmp(name, "file") || !strcasecmp(name, "path");
    text = text || !strcasecmp(name, "text") || !strcasecmp(name, "sentence") || !strcasecmp(name, "sentence1");
  }
  return file && !text;
}

static bool is_text_name(const char *name) {
  ig_table_form form;
  return ig_path_ends_in(name, "conll") || ig_path_ends_in(name, "iob") || ig_path_ends_in(name, "bio") ||
         ig_table_form_of(name, &form);
}

static bool is_picture_name(const char *name) {
  static const char *const endings[] = {"jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "bin"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
    if (ig_path_ends_in(name, endings[i]))
      return true;
  return false;
}

// Down to `depth` folders. A picture decides: beside pictures a .txt is a note and a table a list of them.
static void look(const char *folder, int depth, bool *texts, bool *pictures) {
  DIR *dir = opendir(folder);
  for (struct dirent *e; dir && !*pictures && (e = readdir(dir)) != NULL;) {
    char *path;
    if (e->d_name[0] == '.' || ig_path_join(&path, folder, e->d_name) != IG_OK)
      continue;
    *pictures = is_picture_name(e->d_name);
    if (ig_path_is_dir(path) && depth > 0)
      look(path, depth - 1, texts, pictures);
    else
      *texts = *texts || ig_path_ends_in(e->d_name, "txt") || (is_text_name(e->d_name) && !lists_pictures(path));
    ig_free(path);
  }
  if (dir)
    closedir(dir);
}

bool ig_looks_like_texts(const char *path) {
  bool texts = false, pictures = false;
  if (!ig_path_is_dir(path))
    return is_text_name(path) && !lists_pictures(path);
  look(path, 2, &texts, &pictures);
  return texts && !pictures;
}

typedef struct work {
  ig_call_state *call;
  const char *path;
  ig_dataset *data;
  ig_tokenizer *tokenizer;
  ig_quality skipped;  // only what the opening left out
  ig_text_quality q;
  ig_use use;  // weights=; empty without
  double seconds;
} work;

static ig_status open_once(work *w, bool labels) {
  const ig_config *k = w->call->config;
  const char *split = ig_config_str(k, "split"), *val = ig_config_str(k, "val");
  ig_dataset_options o = {.size = sizeof o,
                          .data = w->path,
                          .val = val && *val ? val : NULL,
                          .split = split && *split ? split : NULL,
                          .seed = (uint64_t)ig_config_int(k, "seed"),
                          .text = true,
                          .classes = (const char *const *)w->use.info.classes,
                          .n_classes = w->use.info.n_classes,
                          .task = w->use.model ? w->use.head.task : IG_TASK_AUTO,
                          .text_column = ig_config_str(k, "text_column"),
                          .text2_column = ig_config_str(k, "text2_column"),
                          .needs_labels = labels,
                          .allow_one_class = true,
                          .inspect = true,
                          .warn = ig_warn_text,
                          .warn_user = w->call,
                          .skipped = ig_quality_skip,
                          .skipped_user = &w->skipped};
  o.columns = ig_config_list(k, "label_column", &o.n_columns);
  return ig_dataset_open(&o, &w->data);
}

// A table without labels has duplicates and lengths, too.
static ig_status open_data(work *w) {
  ig_status status = open_once(w, true);
  if (status != IG_ERR_DATA || w->use.model || ig_config_has_value(w->call->config, "label_column") ||
      ig_path_is_dir(w->path))
    return status;
  char *why, *told = NULL;
  IG_TRY(ig_strdup(ig_error_message(), &why));
  json_array_clear(w->call->warnings);  // come again
  ig_quality_fini(&w->skipped);
  w->skipped = (ig_quality){0};
  if (open_once(w, false) != IG_OK)
    status = ig_fail(status, "%s", why);
  else
    status = ig_asprintf(&told, "without labels: %s", why);
  if (told)
    ig_warn_text(w->call, told);
  ig_free(told);
  ig_free(why);
  return status;
}

static ig_status tokenize(work *w) {
  const ig_config *k = w->call->config;
  const char *path = ig_config_str(k, "tokenizer");
  ig_tokenizer_info info;
  if (w->use.model)
    IG_TRY(ig_check_pairs(k, &w->use.info, w->data));
  if (w->use.model)
    return ig_dataset_tokenize(w->data, w->use.text.tokenizer, w->use.text.max_length, ig_thread_count(w->call));
  if (!path || !*path)
    return IG_OK;
  IG_TRY(ig_open_tokenizer_file(w->call, path, &w->tokenizer));
  ig_tokenizer_get_info(w->tokenizer, &info);
  const int length = ig_config_is_set(k, "max_length")                       ? (int)ig_config_int(k, "max_length")
                     : info.max_length > 0 && info.max_length < USUAL_LENGTH ? info.max_length
                                                                             : USUAL_LENGTH;
  return ig_dataset_tokenize(w->data, w->tokenizer, length, ig_thread_count(w->call));
}

// weights=: a model of one class a text, whose labels are compared with these.
static ig_status open_model(work *w) {
  IG_TRY(ig_use_init(w->call, &w->use));
  if (!w->use.model->build_text)
    return ig_fail(IG_ERR_USAGE, "weights=%s: model=%s reads pictures, but %s is texts", w->use.info.path,
                   w->use.model->name, w->path);
  if (w->use.head.task != IG_TASK_CLASSIFY)
    return ig_fail(IG_ERR_USAGE,
                   "weights=%s: labels are compared with a model of one class a text; this one's task is %s. Leave it "
                   "out (tokenizer= counts tokens and unknown words)",
                   w->use.info.path, ig_task_name(w->use.head.task));
  return IG_OK;
}

static ig_status doubt_labels(work *w) {
  ig_scores scores;
  ig_status status = ig_data_ask_model(w->call, &w->use, w->data, &scores);
  if (status == IG_OK)
    status = ig_text_quality_suspects(w->data, scores.logits, scores.sample, scores.n, scores.k, &w->q);
  ig_show_progress(w->call, "");
  ig_scores_fini(&scores);
  return status;
}

static bool add_classes(const work *w, json_t *list) {
  const ig_dataset *d = w->data;
  bool ok = true;
  for (int c = 0; c < d->n_classes && w->q.counts && ok; c++) {
    const int64_t *n = w->q.counts + c;
    const int64_t train = n[0], val = n[d->n_classes], test = n[2 * d->n_classes];
    ok = ig_json_push(
        list, json_pack("{s:o, s:I, s:I, s:I, s:I}", "class", ig_json_text(d->classes[c]), "train", (json_int_t)train,
                        "val", (json_int_t)val, "test", (json_int_t)test, "all", (json_int_t)(train + val + test)));
  }
  return ok;
}

static bool add_groups(const work *w, json_t *list) {
  const ig_dataset *d = w->data;
  bool ok = true;
  for (size_t i = 0; i < w->q.n_groups && ok; i++) {
    const ig_text_group *g = &w->q.groups[i];
    json_t *parts = json_array(), *texts = json_array();
    for (int p = 0; p < IG_N_PARTS && ok; p++)
      if (g->parts & 1u << p)
        ok = ig_json_push(parts, json_string(ig_part_name((ig_part)p)));
    for (size_t k = 0; k < g->n && ok; k++) {
      const ig_sample *s = &d->samples[w->q.members[g->first + k]];
      ok = ig_json_push(
          texts,
          json_pack("{s:o, s:s, s:o}", "path", ig_json_text(s->name), "part", ig_part_name(s->part), "label",
                    s->label >= 0 && s->label < d->n_classes ? ig_json_text(d->classes[s->label]) : json_null()));
    }
    ok = ig_json_push(
             list, json_pack("{s:o, s:b, s:o}", "parts", parts, "labels_differ", g->labels_differ, "texts", texts)) &&
         ok;
  }
  return ok;
}

static bool add_findings(const work *w, json_t *findings, json_t *unreadable, int n[IG_N_SEVERITIES]) {
  bool ok = true;
  const size_t skipped = w->skipped.n_skipped;
  char text[128];
  if (skipped) {
    n[IG_SEVERITY_SERIOUS]++;
    snprintf(text, sizeof text, "%zu %s cannot be used and %s left out. Repair or remove what is named below.", skipped,
             ig_plural(skipped, "text", "texts"), ig_plural(skipped, "is", "are"));
    ok = ig_json_push(findings, json_pack("{s:s, s:s, s:I, s:s}", "severity", ig_severity_name(IG_SEVERITY_SERIOUS),
                                          "code", "unreadable", "count", (json_int_t)skipped, "text", text));
  }
  for (size_t i = 0; i < w->q.n_findings && ok; i++) {
    const ig_quality_finding *f = &w->q.findings[i];
    n[f->severity]++;
    ok = ig_json_push(findings, json_pack("{s:s, s:s, s:I, s:o}", "severity", ig_severity_name(f->severity), "code",
                                          f->code, "count", (json_int_t)f->count, "text", ig_json_text(f->text)));
  }
  for (size_t i = 0; i < skipped && ok; i++)
    ok = ig_json_push(unreadable, json_pack("{s:o, s:o}", "path", ig_json_text(w->skipped.skipped[i].name), "reason",
                                            ig_json_text(w->skipped.skipped[i].reason)));
  return ok;
}

static bool add_lengths(const work *w, json_t *list) {
  bool ok = true;
  for (int b = 0; b < IG_TEXT_BINS && ok; b++) {
    const size_t train = w->q.lengths[IG_PART_TRAIN][b], val = w->q.lengths[IG_PART_VAL][b],
                 test = w->q.lengths[IG_PART_TEST][b];
    if (train + val + test)
      ok = ig_json_push(
          list, json_pack("{s:I, s:I, s:I, s:I, s:I}", "from", (json_int_t)1 << b, "to", ((json_int_t)2 << b) - 1,
                          "train", (json_int_t)train, "val", (json_int_t)val, "test", (json_int_t)test));
  }
  return ok;
}

static json_t *to_json(const work *w) {
  const ig_dataset *d = w->data;
  const ig_token_table *t = d->tokens;
  int n[IG_N_SEVERITIES] = {0};
  json_t *classes = json_array(), *findings = json_array(), *unreadable = json_array(), *groups = json_array(),
         *lengths = json_array();
  bool ok = add_classes(w, classes) && add_findings(w, findings, unreadable, n) && add_groups(w, groups) &&
            add_lengths(w, lengths);
  json_t *object =
      json_pack("{s:o, s:s, s:I, s:{s:I, s:I, s:I}, s:b, s:o, s:i, s:i, s:i, s:o, s:o, s:o, s:s, s:o, s:f}", "path",
                ig_json_text(w->path), "task", ig_task_name(d->task), "texts", (json_int_t)d->n, "parts", "train",
                (json_int_t)d->count[IG_PART_TRAIN], "val", (json_int_t)d->count[IG_PART_VAL], "test",
                (json_int_t)d->count[IG_PART_TEST], "held_out", !d->val_was_given && d->count[IG_PART_VAL] > 0,
                "classes", classes, "serious", n[IG_SEVERITY_SERIOUS], "care", n[IG_SEVERITY_CARE], "note",
                n[IG_SEVERITY_NOTE], "findings", findings, "unreadable", unreadable, "duplicates", groups, "unit",
                t ? "tokens" : "bytes", "lengths", lengths, "seconds", w->seconds);
  if (t && ok)
    ok = json_object_set_new(object, "tokens",
                             json_pack("{s:I, s:i, s:i, s:I, s:f, s:I}", "n", (json_int_t)t->n_tokens, "longest",
                                       t->longest, "max_length", t->max_length, "truncated", (json_int_t)t->n_truncated,
                                       "unknown_share", t->n_tokens ? (double)t->n_unknown / (double)t->n_tokens : 0,
                                       "invalid", (json_int_t)d->n_invalid)) == 0;
  json_t *suspects = w->q.asked_model ? json_array() : NULL;
  if (suspects && ok)
    ok = ig_data_suspects(d, w->q.suspects, w->q.n_suspects, suspects) &&
         json_object_set(object, "suspects", suspects) == 0;
  json_decref(suspects);
  if (ok && object)
    return object;
  json_decref(object);
  return NULL;
}

ig_status ig_data_texts(ig_call_state *c, const char *path) {
  ig_status status = IG_OK;
  work w = {.call = c, .path = path};
  json_t *result = NULL;
  ig_text text = {0};
  const char *out = ig_config_str(c->config, "out"), *weights = ig_config_str(c->config, "weights");
  if (weights && *weights)
    IG_GOTO(open_model(&w));
  const uint64_t start = ig_now_ns();
  IG_GOTO(open_data(&w));
  IG_GOTO(tokenize(&w));
  if (w.use.model)
    IG_GOTO(doubt_labels(&w));
  IG_GOTO(ig_text_quality_scan(w.data, &w.q));
  w.seconds = (double)(ig_now_ns() - start) * 1e-9;
  result = to_json(&w);
  if (!result)
    IG_GOTO(ig_no_json());
  IG_GOTO(ig_answer_warnings(c, result));
  if (out && *out) {
    IG_GOTO(ig_text_report_write(result, out));
    ig_note(c, "report: %s", out);
    if (json_object_set_new(result, "report", ig_json_text(out)))
      IG_GOTO(ig_no_json());
  }
  IG_GOTO(ig_data_texts_show(result, &text));
  status = ig_answer(c, result, text.data);
done:
  json_decref(result);
  ig_free(text.data);
  ig_text_quality_fini(&w.q);
  ig_quality_fini(&w.skipped);
  ig_dataset_close(w.data);
  ig_tokenizer_close(w.tokenizer);
  ig_use_fini(&w.use);
  return status;
}
