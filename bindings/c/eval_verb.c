// eval: weights on labelled data. Rule: every figure is of the samples that could be read; the others are named.
#include <stdio.h>
#include <string.h>

#include "bindings/c/npy.h"
#include "bindings/c/options.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

// part=auto: test, else a validation part that is really one, else everything.
static ig_status choose_part(const ig_call_state *c, const ig_dataset *d, ig_part *out) {
  const ig_config *k = c->config;
  *out = IG_PART_ALL;
  if (ig_config_is(k, "part", "auto")) {
    bool has_val = d->count[IG_PART_VAL] > 0 && (d->val_was_given || ig_config_has_value(k, "split"));
    *out = d->count[IG_PART_TEST] > 0 ? IG_PART_TEST : has_val ? IG_PART_VAL : IG_PART_ALL;
  }
  for (int p = 0; p < IG_N_PARTS; p++)
    if (ig_config_is(k, "part", ig_part_name((ig_part)p)))
      *out = (ig_part)p;
  if (*out == IG_PART_ALL ? d->n > 0 : d->count[*out] > 0)
    return IG_OK;
  return ig_fail(IG_ERR_DATA, "data=%s has no samples in the part %s (train %zu, val %zu, test %zu)", d->path,
                 ig_part_name(*out), d->count[IG_PART_TRAIN], d->count[IG_PART_VAL], d->count[IG_PART_TEST]);
}

// Pairs that the weights were trained on; of a file that does not say which, the next sentence.
static ig_mlm_pair pairs_of(const ig_weights_info *info) {
  ig_mlm_pair pairs = IG_PAIR_NEXT;
  if (info->pairs)
    (void)ig_mlm_pair_from_text(info->pairs, &pairs);  // one of its words: checked where it was read
  return info->has_pairs ? pairs : IG_PAIR_NONE;
}

static ig_status open_data(ig_call_state *c, ig_use *use, ig_bert_rows **rows, ig_dataset **out) {
  ig_dataset_options options;
  IG_TRY(ig_dataset_keys(c, &options));
  options.classes = (const char *const *)use->info.classes;
  options.n_classes = use->info.n_classes;
  options.allow_one_class = true;
  options.task = use->head.task;
  if (use->model->build_text) {
    if (use->cache_dir)
      IG_TRY(ig_path_join(&use->corpora, use->cache_dir, "corpora"));
    IG_TRY(ig_text_dataset_keys(c, &use->text, use->corpora, NULL, &options));
  }
  IG_TRY(ig_open_data(c, &use->text, pairs_of(&use->info), &options, rows, out));
  IG_TRY(ig_check_pairs(c->config, &use->info, *out));
  ig_describe_texts(c, *out);
  if (use->head.task == IG_TASK_MLM)
    return IG_OK;
  int n = (*out)->n_classes, known = use->info.n_classes;
  if (n == known)
    return IG_OK;
  return ig_fail(IG_ERR_MISMATCH, "data=%s has %d %s, the weights know %d", options.data, n,
                 use->head.task == IG_TASK_CLASSIFY  ? "classes"
                 : use->head.task == IG_TASK_TAG     ? "tags"
                 : use->head.task == IG_TASK_REGRESS ? "columns of numbers"
                                                     : "labels",
                 known);
}

static bool same_file(const char *a, const char *b) {
  const ig_fileops *ops = ig_fileops_get();
  struct stat x, y;
  return a && b && ops->stat(a, &x) == 0 && ops->stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// Whether the run that the weights are of was trained on samples of the part: they are of its data, and not its test
// part, nor what it held out by the same split and seed.
static ig_status trained_on(const ig_call_state *c, const ig_use *use, const ig_dataset *d, ig_part part, bool *out) {
  ig_config *run = NULL;
  char *path;
  *out = false;
  if (!use->info.folder || part == IG_PART_TEST || (part == IG_PART_VAL && d->val_was_given))
    return IG_OK;
  IG_TRY(ig_path_join(&path, use->info.folder, "args.yaml"));
  ig_status status = ig_path_exists(path) ? ig_config_create(&run, &ig_keys, "train") : IG_OK;
  if (run && ig_config_load(run, path) == IG_OK && same_file(ig_config_str(run, "data"), d->path)) {
    const char *a = ig_config_str(run, "split"), *b = ig_config_str(c->config, "split"),
               *val = ig_config_str(run, "val");
    const bool same_split = (strcmp(a ? a : "", b ? b : "") == 0 || same_file(a, b)) && !(val && *val);
    *out = part != IG_PART_VAL || !same_split || ig_config_int(run, "seed") != ig_config_int(c->config, "seed");
  }
  ig_config_destroy(run);
  ig_free(path);
  return status;
}

ig_status ig_verb_eval(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_use use = {0};
  ig_bert_rows *rows = NULL;
  ig_dataset *data = NULL;
  ig_evaluator *evaluator = NULL;
  ig_scores scores;
  ig_outcome outcome = {0};
  json_t *result = NULL;
  ig_text text = {0};
  ig_part part;
  bool seen;
  ig_scores_init(&scores, 1);
  IG_TRY(ig_want_paths(c, 0, 0));
  IG_TRY(ig_want_key(c, "data"));
  IG_TRY(ig_want_writable(c, "logits"));
  IG_GOTO(ig_use_init(c, &use));
  IG_GOTO(ig_cache_folder(&use.cache_dir));
  IG_GOTO(open_data(c, &use, &rows, &data));
  IG_GOTO(choose_part(c, data, &part));
  IG_GOTO(trained_on(c, &use, data, part, &seen));
  if (seen)
    ig_note(c, "the weights were trained on %s of this part (%s): of new ones fewer are right than is said here",
            ig_dataset_noun(data), ig_part_name(part));
  if (data->mlm)
    IG_GOTO(ig_want_maskable(data->mlm, data->corpus, data->path, part));
  IG_GOTO(ig_use_session(c, &use));
  IG_GOTO(use.model->build_text
              ? ig_evaluator_create_text(use.session, data, part, use.batch, &evaluator)
              : ig_evaluator_create(use.session, use.batch, use.image_size, use.mean, use.std, &evaluator));
  IG_GOTO(ig_evaluator_refresh(evaluator, false));
  ig_scores_init(&scores, evaluator->classes);
  ig_train_callbacks callbacks = {c, ig_note_text, ig_show_progress, ig_asked_to_stop};
  uint64_t start = ig_now_ns();
  IG_GOTO(ig_evaluate(evaluator, data, part, use.crop_ratio, ig_thread_count(c), ig_config_bool(c->config, "strict"), 1,
                      &callbacks, &scores));
  double seconds = (double)(ig_now_ns() - start) * 1e-9;
  ig_show_progress(c, "");
  IG_GOTO(ig_outcome_measure(&use.head, &scores, data, &outcome));
  IG_GOTO(ig_outcome_json(&use.head, &outcome, &result));
  if (ig_config_has_value(c->config, "logits")) {
    IG_GOTO(ig_npy_write(ig_config_str(c->config, "logits"), scores.logits, scores.n, (size_t)scores.k));
    ig_note(c, "logits of %zu %s: %s", scores.n, ig_plural(scores.n, "sample", "samples"),
            ig_config_str(c->config, "logits"));
  }
  const bool tokens = use.head.task == IG_TASK_TAG || use.head.task == IG_TASK_MLM;  // scores are not of samples
  size_t asked = part == IG_PART_ALL ? data->n : data->count[part], done = tokens ? asked : scores.n;
  json_t *about = json_pack("{s:s, s:s, s:s, s:o, s:I, s:f, s:f}", "task", ig_task_name(use.head.task), "model",
                            use.model->name, "part", ig_part_name(part), "weights", ig_json_text(use.info.path),
                            "unreadable", (json_int_t)(asked + data->n_skipped - done), "seconds", seconds,
                            "samples_per_second", seconds > 0 ? (double)done / seconds : 0);
  if (!about || json_object_update_new(result, about))
    IG_GOTO(ig_no_json());
  if (seen && json_object_set_new(result, "trained_on", json_true()))  // absent: it was not, or is not known
    IG_GOTO(ig_no_json());
  if (use.model->build_text && json_object_set_new(result, "invalid", json_integer((json_int_t)data->n_invalid)))
    IG_GOTO(ig_no_json());
  IG_GOTO(ig_text_addf(&text, "%s (%s) on part %s of %s, %.1f s, %zu unreadable\n", use.model->name, use.info.path,
                       ig_part_name(part), data->path, seconds, asked + data->n_skipped - done));
  IG_GOTO(ig_scores_text(result, &text));
  status = ig_answer(c, result, text.data);
done:
  json_decref(result);
  ig_free(text.data);
  ig_outcome_fini(&outcome);
  ig_scores_fini(&scores);
  ig_evaluator_destroy(evaluator);
  ig_dataset_close(data);
  ig_bert_rows_close(rows);
  ig_use_fini(&use);
  return status;
}
