// predict: an answer for every picture or text. Rule: a picture that cannot be read gets an error line, and never keeps
// the others from their answers.
#include <stdio.h>
#include <string.h>

#include "bindings/c/options.h"
#include "bindings/c/path_list.h"
#include "bindings/c/predict_answers.h"
#include "bindings/c/predict_text.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

enum { REASON_BYTES = 512 };

// Pictures first..first+n into the evaluator's memory; reasons[i] is empty where it went well.
static void load_pictures(ig_evaluator *e, char *const *paths, int n, double crop, int threads,
                          char (*reasons)[REASON_BYTES]) {
  size_t bytes = (size_t)e->image_size * (size_t)e->image_size * 3;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int i = 0; i < n; i++) {
    reasons[i][0] = 0;
    if (ig_picture_load(paths[i], e->image_size, crop, e->pictures_memory + (size_t)i * bytes) == IG_OK)
      continue;
    snprintf(reasons[i], REASON_BYTES, "%s", ig_error_message());
    memset(e->pictures_memory + (size_t)i * bytes, 0, bytes);
  }
}

static ig_status predict_pictures(ig_answers *a, ig_evaluator *e, const ig_path_list *list) {
  ig_status status = IG_OK;
  char(*reasons)[REASON_BYTES] = NULL, text[96];
  IG_TRY(ig_alloc_array((size_t)e->batch, sizeof *reasons, "messages", &reasons));
  for (size_t first = 0; first < list->n; first += (size_t)e->batch) {
    int n = list->n - first < (size_t)e->batch ? (int)(list->n - first) : e->batch;
    const float *logits;
    load_pictures(e, list->paths + first, n, a->use->crop_ratio, ig_thread_count(a->call), reasons);
    IG_GOTO(ig_evaluator_run(e, e->pictures_memory, &logits));
    for (int i = 0; i < n; i++)
      IG_GOTO(reasons[i][0] ? ig_answer_error(a, list->paths[first + (size_t)i], reasons[i])
                            : ig_answer_sample(a, list->paths[first + (size_t)i],
                                               e->logits_memory + (size_t)i * (size_t)e->classes));
    ig_answers_show(a);
    snprintf(text, sizeof text, "%zu of %zu %s", first + (size_t)n, list->n, ig_plural(list->n, "picture", "pictures"));
    ig_show_progress(a->call, text);
    if (first + (size_t)n < list->n && ig_asked_to_stop(a->call))
      IG_GOTO(ig_fail(IG_ERR_PARTIAL, "stopped after %s", text));
  }
done:
  ig_free(reasons);
  return status;
}

static ig_status run_pictures(ig_answers *a, ig_use *use, size_t *n) {
  ig_call_state *c = a->call;
  ig_path_list list = {0};
  ig_evaluator *evaluator = NULL;
  ig_status status = IG_OK;
  IG_GOTO(ig_path_list_read(c->config, &list));
  *n = list.n;
  if (!ig_config_has_value(c->config, "batch") && list.n < (size_t)use->batch)
    use->batch = list.n ? (int)list.n : 1;
  for (size_t i = 0; i < list.n; i++)
    if ((int)strlen(list.paths[i]) > a->width)
      a->width = (int)strlen(list.paths[i]) < 80 ? (int)strlen(list.paths[i]) : 80;
  IG_GOTO(ig_use_session(c, use));
  IG_GOTO(ig_evaluator_create(use->session, use->batch, use->image_size, use->mean, use->std, &evaluator));
  IG_GOTO(ig_evaluator_refresh(evaluator, false));
  IG_GOTO(ig_answers_begin(a));
  IG_GOTO(predict_pictures(a, evaluator, &list));
done:
  ig_evaluator_destroy(evaluator);
  ig_path_list_fini(&list);
  return status;
}

ig_status ig_verb_predict(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_use use = {0};
  ig_answers a = {.call = c, .use = &use, .reject = ig_config_float(c->config, "reject")};
  size_t n = 0;
  const char *out = ig_config_str(c->config, "out");
  char q[IG_QUOTE_BYTES];
  a.wants_csv = out && *out;
  IG_TRY(ig_want_paths(c, 1, SIZE_MAX));
  IG_TRY(ig_want_key(c, "weights"));
  IG_TRY(ig_want_writable(c, "out"));
  IG_GOTO(ig_use_init(c, &use));
  if (a.reject > 0 && (use.embed || use.head.task == IG_TASK_REGRESS))
    IG_GOTO(ig_fail(IG_ERR_USAGE, "reject=%g: these weights predict numbers, which have no probability; leave it out",
                    a.reject));
  if (a.wants_csv && ig_ends_with(out, use.embed ? ".csv" : ".npy"))
    IG_GOTO(ig_fail(IG_ERR_USAGE, "out=%s: %s; name a file that ends in %s", ig_shown(q, out),
                    use.embed ? "sentence vectors are written as .npy" : "answers are written as CSV",
                    use.embed ? ".npy" : ".csv"));
  IG_GOTO(use.model->build_text ? ig_predict_texts(&a, &use, &n) : run_pictures(&a, &use, &n));
  if (a.wants_csv && !use.embed)
    IG_GOTO(ig_file_write_atomic(out, a.csv.data, a.csv.n));
  if (a.failed)
    status = ig_fail(IG_ERR_PARTIAL, "%zu of %zu %s could not be %s%s", a.failed, n,
                     use.model->build_text ? ig_plural(n, "text", "texts") : ig_plural(n, "picture", "pictures"),
                     !a.not_finite              ? "read"
                     : a.not_finite == a.failed ? "answered"
                                                : "read or answered",
                     a.failed == n       ? ""
                     : n == a.failed + 1 ? "; the other has its answer"
                                         : "; the others have their answers");
done:
  ig_answers_fini(&a);
  ig_use_fini(&use);
  return status;
}
