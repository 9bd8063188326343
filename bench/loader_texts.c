// `ingot bench loader` of texts: reading and tokenising a table or raw text once, then packing batches as training gets
// them. Rule: each batch is copied out, as a step's inputs are; nothing is computed with it, so `wait` is the share of
// that bare loop.
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/rival.h"
#include "bindings/c/data_texts.h"
#include "bindings/c/options.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/corpus.h"
#include "runtime/data/loader.h"
#include "runtime/data/mlm.h"
#include "runtime/data/table.h"

enum { AHEAD = 64, BATCHES = 2000 };

typedef struct text_bench {
  ig_call_state *call;
  ig_tokenizer *tokenizer;
  ig_dataset *data;
  ig_loader *loader;
  char *folder;  // of a corpus's tokens, which are made anew
  int batch, threads, max_length;
  int64_t batches, rounds;
  uint64_t open_ns, tokens, rows;  // of the rounds: real tokens, and rows of the capacities
  double waited_ns, spent_ns;
  ig_times ns, cpu_ns;  // a batch, of each round
  char *copy;
  size_t copy_capacity;
  uint64_t copied;  // bytes, of the rounds
} text_bench;

static bool is_labelled(const char *name) {
  ig_table_form form;
  return ig_table_form_of(name, &form) || ig_path_ends_in(name, "conll") || ig_path_ends_in(name, "iob") ||
         ig_path_ends_in(name, "bio");
}

// Raw text, unless task= says otherwise: what is no table and no folder of tables.
static bool is_raw(const ig_config *k, const char *data) {
  if (ig_config_is_set(k, "task"))
    return ig_config_is(k, "task", "mlm");
  DIR *dir = opendir(data);
  bool labelled = is_labelled(data);
  for (struct dirent *e; dir && (e = readdir(dir));)
    labelled |= is_labelled(e->d_name);
  if (dir)
    closedir(dir);
  return !labelled;
}

static ig_status open_tokenizer(text_bench *b, const char *data) {
  const ig_config *k = b->call->config;
  const char *model = ig_config_is_set(k, "model") ? ig_config_str(k, "model") : NULL;
  const char *path = ig_config_has_value(k, "tokenizer") ? ig_config_str(k, "tokenizer")
                     : model && ig_path_is_dir(model)    ? model
                                                         : NULL;
  if (!path)
    return ig_fail(
        IG_ERR_USAGE,
        "data=%s holds texts, which need tokenizer=PATH (vocab.txt, tokenizer.json or a folder), or model= a "
        "folder with one",
        data);
  return ig_tokenizer_open(path, &b->tokenizer);
}

static ig_status open_data(text_bench *b, const char *data) {
  const bool raw = is_raw(b->call->config, data);
  IG_TRY(ig_bench_folder(&b->folder));
  const uint64_t start = ig_now_ns();
  IG_TRY(ig_dataset_open(&(ig_dataset_options){.size = sizeof(ig_dataset_options),
                                               .data = data,
                                               .text = true,
                                               .task = raw ? IG_TASK_MLM : IG_TASK_AUTO,
                                               .tokenizer = b->tokenizer,
                                               .cache = b->folder,
                                               .threads = b->threads,
                                               .needs_labels = true,
                                               .allow_one_class = true,
                                               .warn = ig_note_text,
                                               .warn_user = b->call},
                         &b->data));
  if (raw) {
    ig_mlm_options o = ig_mlm_options_default();
    o.max_length = b->max_length;
    o.pair = IG_PAIR_NEXT;
    IG_TRY(ig_dataset_mlm(b->data, &o));
  } else {
    IG_TRY(ig_dataset_tokenize(b->data, b->tokenizer, b->max_length, b->threads));
  }
  b->open_ns = ig_now_ns() - start;
  ig_describe_texts(b->call, b->data);
  return ig_loader_create(&(ig_loader_options){.size = sizeof(ig_loader_options),
                                               .data = b->data,
                                               .part = IG_PART_TRAIN,
                                               .train = true,
                                               .batch = b->batch,
                                               .threads = b->threads},
                          &b->loader);
}

// The bytes of a batch go where a step would read them.
static ig_status copy_out(text_bench *b, const ig_packed *p) {
  const struct {
    const void *from;
    size_t bytes;
  } arrays[] = {{p->ids, (size_t)p->capacity * sizeof *p->ids},
                {p->types, (size_t)p->capacity * sizeof *p->types},
                {p->positions, (size_t)p->capacity * sizeof *p->positions},
                {p->row_keys, (size_t)p->capacity * sizeof *p->row_keys},
                {p->cu_seqlens, ((size_t)b->batch + 1) * sizeof *p->cu_seqlens},
                {p->first, (size_t)b->batch * sizeof *p->first},
                {p->labels, (size_t)p->capacity * sizeof *p->labels},
                {p->masked, (size_t)p->masked_capacity * sizeof *p->masked},
                {p->masked_labels, (size_t)p->masked_capacity * sizeof *p->masked_labels},
                {p->masked_weights, (size_t)p->masked_capacity * sizeof *p->masked_weights}};
  size_t at = 0;
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
    at += arrays[i].from ? arrays[i].bytes : 0;
  IG_TRY(ig_grow(&b->copy, &b->copy_capacity, 0, at, 1, "a batch of texts"));
  b->copied += at;
  at = 0;
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
    if (arrays[i].from) {
      memcpy(b->copy + at, arrays[i].from, arrays[i].bytes);
      at += arrays[i].bytes;
    }
  return IG_OK;
}

static ig_status run(text_bench *b, int64_t batches, bool count) {
  const uint64_t before = b->copied;
  for (int64_t i = 0; i < batches; i++) {
    const ig_batch *batch;
    IG_TRY(ig_loader_next(b->loader, &batch));
    IG_TRY(copy_out(b, batch->packed));
    b->tokens += count ? (uint64_t)batch->packed->n_tokens : 0;
    b->rows += count ? (uint64_t)batch->packed->capacity : 0;
  }
  b->copied = count ? b->copied : before;
  return IG_OK;
}

static ig_status run_rounds(text_bench *b) {
  for (int64_t round = 0; round < b->rounds; round++) {
    IG_TRY(run(b, AHEAD, false));
    const uint64_t start = ig_now_ns(), cpu = ig_bench_cpu_ns(), waited = ig_loader_wait_ns(b->loader);
    IG_TRY(run(b, b->batches, true));
    const uint64_t ns = ig_now_ns() - start;
    b->waited_ns += (double)(ig_loader_wait_ns(b->loader) - waited);
    b->spent_ns += (double)ns;
    IG_TRY(ig_times_add(&b->ns, ns / (uint64_t)b->batches));
    IG_TRY(ig_times_add(&b->cpu_ns, (ig_bench_cpu_ns() - cpu) / (uint64_t)b->batches));
    ig_note(b->call, "round %lld of %lld: %.0f texts/s", (long long)round + 1, (long long)b->rounds,
            1e9 * (double)b->batch * (double)b->batches / (double)ns);
  }
  return IG_OK;
}

static json_t *row_of(const text_bench *b, const char *name, const char *shape) {
  return json_pack("{s:s, s:s, s:s, s:i}", "name", name, "shape", shape, "precision", "exact", "threads", b->threads);
}

static void put_rates(json_t *row, const ig_machine *m, double bytes, double ns) {
  ig_put_number(row, "gbps", bytes / ns);
  ig_put_number(row, "gflops", 0);
  ig_put_number(row, "roofline", ig_machine_roofline_ns(m, 0, bytes, false) / ns);
}

static double text_bytes(const ig_dataset *d) {
  ig_corpus_info info = {0};
  uint64_t n = 0;
  if (d->corpus)
    ig_corpus_get_info(d->corpus, &info);
  for (size_t i = 0; d->texts && i < d->n; i++) {
    n += d->texts[i].n_first + d->texts[i].n_second;
    for (size_t k = 0; !d->texts[i].first && k < d->texts[i].n_words; k++)
      n += strlen(d->texts[i].words[k]);
  }
  return (double)(info.text_bytes + n);
}

// The batches, and what came before them: reading and tokenising.
static ig_status make_rows(text_bench *b, const ig_machine *m, json_t **out) {
  const ig_dataset *d = b->data;
  const double n = (double)(b->rounds * b->batches), tokens = (double)b->tokens / n;
  const double ns = (double)ig_times_quantile(&b->ns, 0.5), bytes = 2 * (double)b->copied / n;
  ig_corpus_info info = {0};
  if (d->corpus)
    ig_corpus_get_info(d->corpus, &info);
  const double all = d->corpus ? (double)info.n_tokens : (double)d->tokens->start[d->n];
  char shape[96];
  ig_times once = {0};
  snprintf(shape, sizeof shape, "%zu texts of up to %d tokens", d->n, b->max_length);
  json_t *open = row_of(b, "loader: texts to tokens, once", shape);
  snprintf(shape, sizeof shape, "%d texts of up to %d tokens", b->batch, b->max_length);
  json_t *row = row_of(b, "loader", shape);
  *out = json_pack("[o, o]", row, open);
  if (!*out)
    return ig_no_json();
  ig_status status = ig_times_add(&once, b->open_ns);
  if (status == IG_OK)
    status = ig_times_put(&once, open);
  ig_times_fini(&once);
  IG_TRY(status);
  ig_put_number(open, "samples_per_second", 1e9 * (double)d->n / (double)b->open_ns);
  ig_put_number(open, "tokens_per_second", 1e9 * all / (double)b->open_ns);
  put_rates(open, m, text_bytes(d), (double)b->open_ns);
  IG_TRY(ig_times_put(&b->ns, row));
  ig_put_number(row, "samples_per_second", 1e9 * b->batch / ns);
  ig_put_number(row, "samples_per_second_per_thread", 1e9 * b->batch / ns / b->threads);
  ig_put_number(row, "tokens_per_second", 1e9 * tokens / ns);
  ig_put_number(row, "filled", (double)b->tokens / (double)b->rows);
  ig_put_number(row, "wait", b->waited_ns / b->spent_ns);
  json_object_set_new(row, "cpu_ns", json_integer((json_int_t)ig_times_quantile(&b->cpu_ns, 0.5)));
  put_rates(row, m, bytes, ns);
  return IG_OK;
}

bool ig_bench_reads_texts(const ig_config *k) {
  const char *model = ig_config_is_set(k, "model") ? ig_config_str(k, "model") : NULL;
  return ig_config_has_value(k, "tokenizer") || (model && ig_path_is_dir(model)) ||
         ig_looks_like_texts(ig_config_str(k, "data"));
}

ig_status ig_bench_text_loader(ig_call_state *c) {
  const ig_config *k = c->config;
  const char *data = ig_config_str(k, "data");
  text_bench b = {.call = c,
                  .batch = (int)ig_config_int(k, "batch"),
                  .threads = ig_thread_count(c),
                  .max_length = (int)ig_config_int(k, "max_length"),
                  .batches = ig_config_is_set(k, "steps") ? ig_config_int(k, "steps") : BATCHES,
                  .rounds = ig_config_int(k, "rounds")};
  ig_machine machine;
  json_t *rows = NULL, *libraries = NULL;
  ig_status status = IG_OK;
  if (ig_config_has_value(k, "rivals"))
    return ig_fail(IG_ERR_USAGE,
                   "rivals=%s: bench loader has none for texts; bench tokenizer compares their longest part",
                   ig_config_str(k, "rivals"));
  IG_GOTO(open_tokenizer(&b, data));
  IG_GOTO(open_data(&b, data));
  IG_GOTO(run_rounds(&b));
  ig_machine_measure(b.threads, IG_ISA_BASE, &machine);
  IG_GOTO(make_rows(&b, &machine, &rows));
  IG_GOTO(ig_bench_libraries(NULL, 0, NULL, 0, &libraries));
  status = ig_bench_answer(c, rows, libraries, &machine);
  rows = libraries = NULL;
done:
  json_decref(rows);
  json_decref(libraries);
  ig_loader_destroy(b.loader);
  ig_dataset_close(b.data);
  ig_tokenizer_close(b.tokenizer);
  if (b.folder)
    ig_remove_tree(b.folder);
  ig_free(b.folder);
  ig_times_fini(&b.ns);
  ig_times_fini(&b.cpu_ns);
  ig_free(b.copy);
  return status;
}
