// Texts in, answers out. Rule: every text gets a line in the order of the files; a text or a path that cannot be used
// gets an error line, and never keeps the others from their answers.
#include "bindings/c/predict_text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bindings/c/npy.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

typedef struct run {
  ig_answers *a;
  ig_use *use;
  size_t n;
  ig_status status;  // of the answers to what was skipped
  float *vectors;    // embed: all of them, for the file
  size_t n_vectors, capacity;
} run;

static void skipped(void *user, const char *name, const char *reason) {
  run *r = user;
  r->a->text = NULL;
  r->n++;
  if (r->status == IG_OK)
    r->status = ig_answer_error(r->a, name, reason);
}

static ig_status read_standard_input(ig_text *out) {
  char buffer[65536];
  for (;;) {
    const ssize_t n = ig_fileops_get()->read(STDIN_FILENO, buffer, sizeof buffer);
    if (n == 0)
      return IG_OK;
    if (n > 0)
      IG_TRY(ig_text_add(out, buffer, (size_t)n));
    else if (errno != EINTR)
      return ig_fail(IG_ERR_IO, "cannot read standard input: %s", strerror(errno));
  }
}

// A path of which nothing can be read: why, as the thread's message says.
static ig_status path_failed(run *r, const char *path) {
  char *reason;
  IG_TRY(r->status);  // no line could be given: that is no fault of the path
  IG_TRY(ig_strdup(ig_error_message(), &reason));
  skipped(r, path, reason);
  ig_free(reason);
  ig_answers_show(r->a);
  return r->status;
}

static ig_status open_texts(run *r, const char *path, const ig_text *input, ig_dataset **out) {
  ig_call_state *c = r->a->call;
  char q[IG_QUOTE_BYTES];
  ig_dataset_options o = {.size = sizeof o,
                          .data = path,
                          .task = !r->use->embed && r->use->head.task == IG_TASK_TAG ? IG_TASK_TAG : IG_TASK_CLASSIFY,
                          .text = true,
                          .lines = !input        ? NULL
                                   : input->data ? input->data
                                                 : "",
                          .lines_bytes = input ? input->n : 0,
                          .allow_one_class = true,
                          .allow_none = true,
                          .warn = ig_note_text,
                          .warn_user = c,
                          .skipped = skipped,
                          .skipped_user = r};
  o.text_column = ig_config_str(c->config, "text_column");
  o.text2_column = ig_config_str(c->config, "text2_column");
  if (!input && !ig_path_exists(path))
    return ig_fail(IG_ERR_NOT_FOUND, "%s: no such folder or file", ig_quote(q, path));
  IG_TRY(ig_dataset_open(&o, out));
  if (!r->use->embed)
    IG_TRY(ig_check_pairs(c->config, &r->use->info, *out));
  IG_TRY(ig_dataset_tokenize(*out, r->use->text.tokenizer, r->use->text.max_length, ig_thread_count(c)));
  return ig_check_token_types(&r->use->text, *out);
}

static ig_status keep_vector(run *r, const char *name, const float *v, int n) {
  double square = 0;
  bool told;
  const size_t width = (size_t)n;
  IG_TRY(ig_answer_not_finite(r->a, name, v, width, &told));
  if (told)  // no row of the file
    return IG_OK;
  IG_TRY(ig_grow(&r->vectors, &r->capacity, r->n_vectors * width, (r->n_vectors + 1) * width, sizeof *r->vectors,
                 "vectors of texts"));
  float *to = r->vectors + r->n_vectors++ * width;
  for (int i = 0; i < n; i++)
    square += (double)v[i] * (double)v[i];
  const double norm = square > 0 ? sqrt(square) : 1;
  for (int i = 0; i < n; i++)
    to[i] = (float)((double)v[i] / norm);
  return ig_answer_vector(r->a, name, to, n);
}

// The rows of a sequence's words are their first tokens'. Words without a token have none.
static ig_status answer_tags(run *r, const ig_dataset *d, const ig_batch *b, int i, const float *logits) {
  const ig_text_sample *t = &d->texts[b->samples[i]];
  const ig_packed *p = b->packed;
  const int32_t *word = d->tokens->words + d->tokens->start[b->samples[i]];
  const size_t k = (size_t)r->use->info.n_classes;
  const char **words = NULL;
  float *rows = NULL;
  size_t n = 0;
  ig_status status = IG_OK;
  IG_GOTO(ig_alloc_array(t->n_words + 1, sizeof *words, "tags of a text", &words));
  IG_GOTO(ig_alloc_array(t->n_words + 1, k * sizeof *rows, "tags of a text", &rows));
  for (int32_t row = p->cu_seqlens[i]; row < p->cu_seqlens[i + 1]; row++, word++)
    if (*word >= 0) {
      words[n] = t->words[*word];
      memcpy(rows + n++ * k, logits + (size_t)row * k, k * sizeof *rows);
    }
  status = ig_answer_tags(r->a, d->samples[b->samples[i]].name, words, n, rows);
done:
  ig_free(words);
  ig_free(rows);
  return status;
}

static ig_status answer_batch(run *r, const ig_dataset *d, const ig_batch *b, float *logits) {
  const int width = r->use->session->config.classes;
  for (int i = 0; i < b->n; i++) {
    const char *name = d->samples[b->samples[i]].name;
    float *row = logits + (size_t)i * (size_t)width;
    r->a->text = &d->texts[b->samples[i]];
    r->n++;
    if (r->use->embed)
      IG_TRY(keep_vector(r, name, row, width));
    else if (r->use->head.task == IG_TASK_TAG)
      IG_TRY(answer_tags(r, d, b, i, logits));
    else
      IG_TRY(ig_answer_sample(r->a, name, row));
  }
  ig_answers_show(r->a);
  return IG_OK;
}

static ig_status predict_texts(run *r, const ig_dataset *d) {
  ig_call_state *c = r->a->call;
  ig_evaluator *e = NULL;
  ig_loader *loader = NULL;
  const ig_batch *b;
  const float *logits;
  ig_status status = IG_OK;
  const int batch = d->n < (size_t)r->use->batch ? (int)d->n : r->use->batch;
  for (size_t i = 0; i < d->n; i++)
    if ((int)strlen(d->samples[i].name) > r->a->width)
      r->a->width = (int)strlen(d->samples[i].name) < 40 ? (int)strlen(d->samples[i].name) : 40;
  IG_GOTO(ig_evaluator_create_text(r->use->session, d, IG_PART_ALL, batch, &e));
  IG_GOTO(ig_evaluator_refresh(e, false));
  IG_GOTO(ig_loader_create(&(ig_loader_options){.size = sizeof(ig_loader_options),
                                                .data = d,
                                                .part = IG_PART_ALL,
                                                .batch = batch,
                                                .threads = ig_thread_count(c)},
                           &loader));
  for (;;) {
    IG_GOTO(ig_loader_next(loader, &b));
    if (!b)
      break;
    IG_GOTO(ig_evaluator_run_packed(e, b, &logits));
    IG_GOTO(answer_batch(r, d, b, e->logits_memory));
    if (ig_asked_to_stop(c))
      IG_GOTO(ig_fail(IG_ERR_PARTIAL, "stopped after %zu %s", r->n, ig_plural(r->n, "text", "texts")));
  }
done:
  ig_loader_destroy(loader);
  ig_evaluator_destroy(e);
  return status;
}

static ig_status predict_path(run *r, const char *path) {
  const bool standard_input = !strcmp(path, "-");
  ig_text input = {0};
  ig_dataset *d = NULL;
  ig_status status = IG_OK;
  if (standard_input)
    status = read_standard_input(&input);
  if (status == IG_OK)
    status = open_texts(r, path, standard_input ? &input : NULL, &d);
  if (status != IG_OK) {
    status = path_failed(r, path);
    goto done;
  }
  IG_GOTO(r->status);
  ig_answers_show(r->a);
  if (d->n == 0)  // nothing was asked, or each text has its error line
    goto done;
  ig_describe_texts(r->a->call, d);
  status = predict_texts(r, d);
done:
  ig_dataset_close(d);
  ig_free(input.data);
  return status;
}

ig_status ig_predict_texts(ig_answers *a, ig_use *use, size_t *n) {
  run r = {.a = a, .use = use};
  ig_status status = IG_OK;
  const ig_config *k = a->call->config;
  if (!use->embed && use->head.task == IG_TASK_MLM)
    IG_GOTO(ig_fail(IG_ERR_USAGE,
                    "%s is pre-trained and answers nothing yet: train it for a task (train weights=%s), "
                    "or ask for vectors by task=embed",
                    use->info.path, ig_config_str(k, "weights")));
  IG_GOTO(ig_use_session(a->call, use));
  if (!use->embed)
    IG_GOTO(ig_answers_begin(a));
  for (size_t i = 0; i < ig_config_n_paths(k); i++)
    IG_GOTO(predict_path(&r, ig_config_path(k, i)));
  if (use->embed && a->wants_csv)
    IG_GOTO(ig_npy_write(ig_config_str(k, "out"), r.vectors, r.n_vectors, (size_t)use->session->config.classes));
  *n = r.n;
done:
  ig_free(r.vectors);
  return status;
}
