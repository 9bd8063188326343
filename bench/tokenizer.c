// `ingot bench tokenizer`: lines of text to ids, beside Hugging Face's tokenizers. Rule: both sides take the same lines
// from memory, one a call or a batch, and must give the same number of tokens.
#include "runtime/tokenizer/tokenizer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/rival.h"
#include "bindings/c/options.h"
#include "bindings/c/path_list.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

enum { MAX_RIVALS = 2, MAX_THREADS = 256 };

typedef struct line {
  const char *text;
  size_t n;
} line;
typedef struct side {
  ig_rival *rival;  // NULL: ingot
  ig_times ns;      // of all lines, of each round
  ig_ratios ratios;
  int64_t tokens;
} side;
typedef struct worker {
  const struct tokenizer_bench *bench;
  size_t first, end;
  int64_t tokens;
  pthread_t thread;
  ig_status status;
  char message[1024];
  ig_encoding encoding;
} worker;
typedef struct tokenizer_bench {
  ig_path_list files;
  ig_mapped *texts;  // [files.n]
  line *lines;
  size_t n_lines, lines_capacity, bytes;
  ig_tokenizer *tokenizer;
  worker *workers;
  int threads;
  bool offsets;
  side sides[1 + MAX_RIVALS];
  int n_sides;
} tokenizer_bench;

static ig_status read_lines(tokenizer_bench *b) {
  IG_TRY(ig_alloc_array(b->files.n, sizeof *b->texts, "texts", &b->texts));
  for (size_t i = 0; i < b->files.n; i++) {
    IG_TRY(ig_file_map(b->files.paths[i], &b->texts[i]));
    const char *p = (const char *)b->texts[i].data, *end = p + b->texts[i].n;
    for (const char *stop; p <= end; p = stop + 1) {
      stop = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
      stop = stop ? stop : end;
      IG_TRY(ig_grow(&b->lines, &b->lines_capacity, b->n_lines, b->n_lines + 1, sizeof *b->lines, "lines"));
      b->lines[b->n_lines++] = (line){p, (size_t)(stop - p) - (stop > p && stop[-1] == '\r')};
    }
    b->bytes += b->texts[i].n;
  }
  return IG_OK;
}

static void *encode_some(void *user) {
  worker *w = user;
  const tokenizer_bench *b = w->bench;
  const ig_encode_options options = {.special = true, .offsets = b->offsets};
  w->tokens = 0;
  for (size_t i = w->first; i < w->end && w->status == IG_OK; i++) {
    w->status = ig_tokenizer_encode(b->tokenizer, b->lines[i].text, b->lines[i].n, NULL, 0, &options, &w->encoding);
    w->tokens += (int64_t)w->encoding.n;
  }
  if (w->status != IG_OK)
    snprintf(w->message, sizeof w->message, "%s", ig_error_message());
  return NULL;
}

static ig_status run_ingot(tokenizer_bench *b, uint64_t *ns, int64_t *tokens) {
  int started = 1;
  const uint64_t start = ig_now_ns();
  for (; started < b->threads; started++)
    if (pthread_create(&b->workers[started].thread, NULL, encode_some, &b->workers[started]))
      break;
  encode_some(&b->workers[0]);
  for (int i = 1; i < started; i++)
    pthread_join(b->workers[i].thread, NULL);
  *ns = ig_now_ns() - start;
  *tokens = 0;
  for (int i = 0; i < started; i++) {
    if (b->workers[i].status != IG_OK)
      return ig_fail(b->workers[i].status, "%s", b->workers[i].message);
    *tokens += b->workers[i].tokens;
  }
  return started == b->threads ? IG_OK
                               : ig_fail(IG_ERR_IO, "only %d of %d threads could be started", started, b->threads);
}

static ig_status make_workers(tokenizer_bench *b) {
  IG_TRY(ig_alloc_array((size_t)b->threads, sizeof *b->workers, "threads", &b->workers));
  for (int i = 0; i < b->threads; i++) {
    b->workers[i].bench = b;
    b->workers[i].first = b->n_lines * (size_t)i / (size_t)b->threads;
    b->workers[i].end = b->n_lines * (size_t)(i + 1) / (size_t)b->threads;
  }
  return IG_OK;
}

static ig_status start_rivals(ig_call_state *c, tokenizer_bench *b) {
  size_t n = 0;
  const char *const *names = ig_config_list(c->config, "rivals", &n);
  ig_tokenizer_info info;
  ig_status status = IG_OK;
  b->n_sides = 1;
  ig_tokenizer_get_info(b->tokenizer, &info);
  json_t *files = json_array();
  for (size_t i = 0; i < b->files.n; i++) {
    char *real = realpath(b->files.paths[i], NULL);
    json_array_append_new(files, json_string(real ? real : b->files.paths[i]));
    free(real);
  }
  char *tokenizer = realpath(ig_config_str(c->config, "tokenizer"), NULL);
  json_t *spec = json_pack("{s:O, s:s?, s:i, s:b}", "files", files, "tokenizer", tokenizer, "threads", b->threads,
                           "lowercase", (int)info.lowercase);
  free(tokenizer);
  if (!spec)
    IG_GOTO(ig_no_json());
  for (size_t i = 0; i < n; i++) {
    if (n > MAX_RIVALS || (strcmp(names[i], "tokenizers") && strcmp(names[i], "tokenizers-fast")))
      IG_GOTO(ig_fail(IG_ERR_USAGE, "rivals=%s: bench tokenizer knows tokenizers and tokenizers-fast", names[i]));
    ig_note(c, "%s: starting", names[i]);
    IG_GOTO(ig_rival_start(names[i], "tokenizers_rate.py", spec, &b->sides[b->n_sides].rival));
    b->n_sides++;
  }
done:
  json_decref(spec);
  json_decref(files);
  return status;
}

static ig_status turn(tokenizer_bench *b, side *s) {
  uint64_t ns = 0;
  if (s->rival) {
    json_t *answer;
    IG_TRY(ig_rival_ask(s->rival, &answer, "run"));
    ns = (uint64_t)json_integer_value(json_object_get(answer, "ns"));
    s->tokens = json_integer_value(json_object_get(answer, "tokens"));
    json_decref(answer);
  } else {
    IG_TRY(run_ingot(b, &ns, &s->tokens));
  }
  if (s->tokens != b->sides[0].tokens)
    return ig_fail(IG_ERR_MISMATCH, "%s gives %lld tokens, ingot %lld", ig_rival_name(s->rival), (long long)s->tokens,
                   (long long)b->sides[0].tokens);
  return ig_times_add(&s->ns, ns);
}

static ig_status run_rounds(ig_call_state *c, tokenizer_bench *b) {
  for (int64_t round = 0; round < ig_config_int(c->config, "rounds"); round++)
    for (int i = 0; i < b->n_sides; i++) {
      side *s = &b->sides[i];
      ig_bench_pause();
      IG_TRY(turn(b, s));
      ig_note(c, "round %lld: %s %.1f MB/s", (long long)round + 1, s->rival ? ig_rival_name(s->rival) : "ingot",
              (double)b->bytes * 1e3 / (double)s->ns.ns[s->ns.n - 1]);
    }
  return IG_OK;
}

static ig_status make_rows(tokenizer_bench *b, const ig_machine *m, json_t **out) {
  char shape[96];
  snprintf(shape, sizeof shape, "%zu lines, %zu bytes", b->n_lines, b->bytes);
  for (int i = 1; i < b->n_sides; i++)
    b->sides[i].ratios = ig_times_ratios(&b->sides[0].ns, &b->sides[i].ns);
  *out = json_array();
  for (int i = b->n_sides > 1 ? 1 : 0; i < b->n_sides; i++) {
    side *s = &b->sides[i];
    json_t *row = json_pack("{s:s, s:s, s:s, s:i}", "name", b->offsets ? "tokenizer with offsets" : "tokenizer",
                            "shape", shape, "precision", "exact", "threads", b->threads);
    json_array_append_new(*out, row);
    IG_TRY(ig_times_put(&b->sides[0].ns, row));
    const double ns = (double)ig_times_quantile(&b->sides[0].ns, 0.5);
    ig_put_number(row, "mb_per_second", (double)b->bytes * 1e3 / ns);
    ig_put_number(row, "tokens_per_second", (double)b->sides[0].tokens * 1e9 / ns);
    ig_put_number(row, "gbps", (double)b->bytes / ns);
    ig_put_number(row, "gflops", 0);
    ig_put_number(row, "roofline", ig_machine_roofline_ns(m, 0, (double)b->bytes, false) / ns);
    if (!s->rival)
      continue;
    const double rival_ns = (double)ig_times_quantile(&s->ns, 0.5);
    ig_rival_put(s->rival, ns, &s->ns, s->ratios, row);
    ig_put_number(row, "rival_mb_per_second", (double)b->bytes * 1e3 / rival_ns);
  }
  return IG_OK;
}

static void fini(tokenizer_bench *b) {
  for (int i = 0; i < 1 + MAX_RIVALS; i++) {
    ig_rival_stop(b->sides[i].rival);
    ig_times_fini(&b->sides[i].ns);
  }
  for (int i = 0; b->workers && i < b->threads; i++)
    ig_encoding_fini(&b->workers[i].encoding);
  ig_free(b->workers);
  ig_tokenizer_close(b->tokenizer);
  for (size_t i = 0; b->texts && i < b->files.n; i++)
    ig_file_unmap(&b->texts[i]);
  ig_free(b->texts);
  ig_free(b->lines);
  ig_path_list_fini(&b->files);
}

ig_status ig_bench_tokenizer(ig_call_state *c) {
  const ig_config *k = c->config;
  tokenizer_bench b = {.threads = ig_thread_count(c) < MAX_THREADS ? ig_thread_count(c) : MAX_THREADS,
                       .offsets = ig_config_bool(k, "offsets")};
  ig_machine machine;
  json_t *rows = NULL, *libraries = NULL;
  ig_status status = IG_OK;
  IG_GOTO(ig_want_key(c, "data"));
  IG_GOTO(ig_want_key(c, "tokenizer"));
  IG_GOTO(ig_path_list_texts(ig_config_str(k, "data"), &b.files));
  IG_GOTO(ig_tokenizer_open(ig_config_str(k, "tokenizer"), &b.tokenizer));
  IG_GOTO(read_lines(&b));
  IG_GOTO(make_workers(&b));
  IG_GOTO(start_rivals(c, &b));
  IG_GOTO(run_rounds(c, &b));
  ig_machine_measure(b.threads, IG_ISA_BASE, &machine);
  IG_GOTO(make_rows(&b, &machine, &rows));
  ig_rival *rivals[1 + MAX_RIVALS];
  for (int i = 0; i < 1 + MAX_RIVALS; i++)
    rivals[i] = b.sides[i].rival;
  IG_GOTO(ig_bench_libraries(NULL, 0, rivals, 1 + MAX_RIVALS, &libraries));
  status = ig_bench_answer(c, rows, libraries, &machine);
  rows = libraries = NULL;
done:
  json_decref(rows);
  json_decref(libraries);
  fini(&b);
  return status;
}
