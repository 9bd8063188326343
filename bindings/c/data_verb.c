// data PATH: the quality report of a data set. Rule: a finding is no failure; only a path that cannot be used is.
#include <stdlib.h>
#include <string.h>

#include "bindings/c/data_json.h"
#include "bindings/c/data_texts.h"
#include "bindings/c/options.h"
#include "runtime/base/mem.h"
#include "runtime/train/data_report.h"

enum { ROWS = 10, MAX_NAMED = 20 };

static ig_status open_once(ig_call_state *c, const char *path, const ig_use *use, bool labels, ig_quality *q,
                           ig_dataset **out) {
  const char *split = ig_config_str(c->config, "split"), *val = ig_config_str(c->config, "val");
  size_t n_columns = 0;
  const char *const *columns = ig_config_list(c->config, "label_column", &n_columns);
  return ig_dataset_open(&(ig_dataset_options){.size = sizeof(ig_dataset_options),
                                               .data = path,
                                               .val = val && *val ? val : NULL,
                                               .split = split && *split ? split : NULL,
                                               .columns = columns,
                                               .n_columns = n_columns,
                                               .seed = (uint64_t)ig_config_int(c->config, "seed"),
                                               .classes = (const char *const *)use->info.classes,
                                               .n_classes = use->info.n_classes,
                                               .needs_labels = labels,
                                               .allow_one_class = true,
                                               .warn = ig_warn_text,
                                               .warn_user = c,
                                               .inspect = true,
                                               .skipped = ig_quality_skip,
                                               .skipped_user = q},
                         out);
}

// With labels where there are class folders, a split file or CIFAR records; else the bare pictures of a folder.
static ig_status open_data(ig_call_state *c, const char *path, const ig_use *use, ig_quality *q, ig_dataset **out) {
  ig_status status = open_once(c, path, use, true, q, out);
  if (status == IG_ERR_DATA && !q->n_skipped && !use->info.path && !ig_config_has_value(c->config, "label_column")) {
    char *why;
    IG_TRY(ig_strdup(ig_error_message(), &why));
    json_array_clear(c->warnings);  // come again
    ig_status again = open_once(c, path, use, false, q, out);
    if (again != IG_OK)
      status = ig_fail(status, "%s", why);
    else
      status = IG_OK;
    ig_free(why);
  }
  // No report will name the files, so that notes do.
  for (size_t i = 0; status != IG_OK && i < q->n_skipped && i < MAX_NAMED; i++)
    ig_note(c, "cannot use %s: %s", q->skipped[i].name, q->skipped[i].reason);
  return status;
}

ig_status ig_data_ask_model(ig_call_state *c, ig_use *use, const ig_dataset *data, ig_scores *scores) {
  ig_status status = IG_OK;
  ig_evaluator *e = NULL;
  ig_train_callbacks callbacks = {c, NULL, ig_show_progress, ig_asked_to_stop};  // what is unreadable is known
  ig_scores_init(scores, use->info.n_classes);
  IG_GOTO(ig_use_session(c, use));
  IG_GOTO(data->texts ? ig_evaluator_create_text(use->session, data, IG_PART_ALL, use->batch, &e)
                      : ig_evaluator_create(use->session, use->batch, use->image_size, use->mean, use->std, &e));
  IG_GOTO(ig_evaluator_refresh(e, false));
  IG_GOTO(ig_evaluate(e, data, IG_PART_ALL, use->crop_ratio, ig_thread_count(c), false, 1, &callbacks, scores));
done:
  ig_evaluator_destroy(e);
  return status;
}

// weights=: a model of one class a picture, whose labels are compared with these.
static ig_status open_model(ig_call_state *c, ig_use *use) {
  IG_TRY(ig_use_init(c, use));
  if (use->head.task == IG_TASK_CLASSIFY)
    return IG_OK;
  return ig_fail(IG_ERR_USAGE,
                 "weights=%s: labels are compared with a model of one class a picture; this one's task is %s. Leave it "
                 "out",
                 use->info.path, ig_task_name(use->head.task));
}

static ig_status doubt_labels(ig_call_state *c, ig_use *use, ig_quality *q) {
  ig_scores scores;
  ig_status status = ig_data_ask_model(c, use, q->data, &scores);
  if (status == IG_OK)
    status = ig_quality_suspects(q, scores.logits, scores.sample, scores.n, scores.k);
  ig_scores_fini(&scores);
  return status;
}

ig_status ig_verb_data(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_use use = {0};
  ig_dataset *data = NULL;
  ig_quality q = {0};
  json_t *result = NULL;
  ig_text text = {0};
  const char *out = ig_config_str(c->config, "out"), *weights = ig_config_str(c->config, "weights");
  IG_TRY(ig_want_paths(c, 1, 1));
  const char *path = ig_config_path(c->config, 0);
  if (!strcmp(path, "shard") && ig_config_has_value(c->config, "data"))
    return ig_data_shard(c);
  if (ig_config_has_value(c->config, "data"))
    return ig_fail(IG_ERR_USAGE, "data=%s goes with `ingot data shard`; a report is asked for by `ingot data PATH`",
                   ig_config_str(c->config, "data"));
  IG_TRY(ig_want_writable(c, "out"));
  if (ig_looks_like_texts(path))
    return ig_data_texts(c, path);
  if (weights && *weights)
    IG_GOTO(open_model(c, &use));
  IG_GOTO(open_data(c, path, &use, &q, &data));
  IG_GOTO(ig_quality_scan(&(ig_quality_options){.size = sizeof(ig_quality_options),
                                                .data = data,
                                                .threads = ig_thread_count(c),
                                                .progress = ig_show_progress,
                                                .should_stop = ig_asked_to_stop,
                                                .user = c},
                          &q));
  if (use.model)
    IG_GOTO(doubt_labels(c, &use, &q));
  IG_GOTO(ig_quality_judge(&q));
  ig_show_progress(c, "");
  if (out && *out) {
    IG_GOTO(ig_data_report_write(&q, path, out));
    ig_note(c, "report: %s", out);
  }
  if (c->json || !c->callbacks.table) {
    result = ig_data_json(&q, path);
    if (!result)
      IG_GOTO(ig_no_json());
    IG_GOTO(ig_answer_warnings(c, result));
    if (out && *out && json_object_set_new(result, "report", ig_json_text(out)))
      IG_GOTO(ig_no_json());
  } else {
    IG_GOTO(ig_data_text(&q, path, ROWS, &text));
  }
  status = ig_answer(c, result, text.data);
done:
  json_decref(result);
  ig_free(text.data);
  ig_quality_fini(&q);
  ig_dataset_close(data);
  ig_use_fini(&use);
  return status;
}
